package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// meeting has two Extra functions that connect to each other, with a word each way.
type meeting struct {
	t     *testing.T
	calls atomic.Int32
	fail  func(n int32, first bool) error

	mu    sync.Mutex
	conns map[string]chan net.Conn // by what the first side said
}

func newMeeting(t *testing.T) *meeting {
	return &meeting{t: t, conns: make(map[string]chan net.Conn)}
}

// place is where a connection changes hands: several are made at once.
func (m *meeting) place(word string) chan net.Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns[word] == nil {
		m.conns[word] = make(chan net.Conn, 1)
	}
	return m.conns[word]
}

func (m *meeting) extra(ctx context.Context, s *Signals) (net.Conn, error) {
	n := m.calls.Add(1)
	if m.fail != nil {
		if err := m.fail(n, s.First()); err != nil {
			return nil, err
		}
	}
	mine := fmt.Sprintf("hello from %t, call %d", s.First(), n)
	if err := s.Send(ctx, []byte(mine)); err != nil {
		return nil, err
	}
	theirs, err := s.Recv(ctx)
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("hello from %t, ", !s.First()); !strings.HasPrefix(string(theirs), want) {
		m.t.Errorf("the other side said %q, want %q", theirs, want)
	}
	if s.Seen() != netip.MustParseAddr("127.0.0.1") {
		m.t.Errorf("seen as %v", s.Seen())
	}
	if s.First() {
		a, b := tcpPair(m.t)
		m.place(mine) <- b
		return a, nil
	}
	select {
	case c := <-m.place(string(theirs)):
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// slowConn lets only so many bytes pass in a second.
type slowConn struct {
	net.Conn
	rate int
}

func (s slowConn) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		part := p[n:min(len(p), n+16<<10)]
		time.Sleep(time.Duration(len(part)) * time.Second / time.Duration(s.rate))
		m, err := s.Conn.Write(part)
		if n += m; err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func TestStreams(t *testing.T) {
	files := manyFiles()
	for _, n := range []int{1, 2, 5, MaxStreams + 9} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMeeting(t)
			a, b := tcpPair(t)
			dir := t.TempDir()
			var most [2]int
			trace := func(i int) *Trace { return &Trace{Streams: func(n int) { most[i] = n }} }
			sent, received := both(t.Context(), slowConn{a, 20 << 20}, b, offering(t, files), dir,
				&SendOptions{Streams: n, Extra: m.extra, Trace: trace(0)}, &ReceiveOptions{Extra: m.extra, Trace: trace(1)})
			if sent.err != nil || received.err != nil {
				t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
			}
			wantTree(t, dir, files)
			if want := min(n, MaxStreams); want > 1 && (most[0] < 2 || most[0] > want || most[1] < most[0] || most[1] > most[0]+1) || want == 1 && most != [2]int{} {
				t.Errorf("%v connections, want %d", most, want)
			}
		})
	}
}

// What it takes to make further connections does not wait for blocks on a slow one.
func TestStreamsFirst(t *testing.T) {
	files := map[string][]byte{"f": content(5 * mib)}
	m := newMeeting(t)
	far := func(ctx context.Context, s *Signals) (net.Conn, error) {
		<-time.After(200 * time.Millisecond) // as a STUN server would take
		return m.extra(ctx, s)
	}
	a, b := tcpPair(t)
	s := &spy{Conn: slowConn{a, 1 << 20}, kind: wire.BlockKind, seen: make(chan struct{})}
	made := &Trace{Streams: func(int) {
		select {
		case <-s.seen:
			t.Error("a block went first")
		default:
		}
	}}
	dir := t.TempDir()
	sent, received := both(t.Context(), s, b, offering(t, files), dir, &SendOptions{Streams: 2, Extra: far, Trace: made}, &ReceiveOptions{Extra: far})
	if sent.err != nil || received.err != nil || m.calls.Load() == 0 {
		t.Fatalf("Send: %v; Receive: %v; Extra was called %d times", sent.err, received.err, m.calls.Load())
	}
	wantTree(t, dir, files)
}

// A stream of unknown length may be spread too; into a pipe it is not.
func TestStreamsOfStream(t *testing.T) {
	data := content(20*tree.BlockSize + 7)
	for _, pipe := range []bool{false, true} {
		m := newMeeting(t)
		a, b := tcpPair(t)
		dir := t.TempDir()
		dst, err := Into(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if pipe {
			dst.Close()
			dst = IntoWriter(&out)
		}
		src := Stream(bytes.NewReader(data), "s")
		sent, received := pair(t.Context(), slowConn{a, 20 << 20}, b, src, dst,
			&SendOptions{Streams: 3, Extra: m.extra}, &ReceiveOptions{Extra: m.extra})
		dst.Close()
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		if !pipe {
			wantTree(t, dir, map[string][]byte{"s": data})
		} else if !bytes.Equal(out.Bytes(), data) || m.calls.Load() > 0 {
			t.Errorf("%d bytes came out; Extra was called %d times", out.Len(), m.calls.Load())
		}
	}
}

// When Extra fails on one side, the other one's ends, no more are tried, and the transfer
// goes on.
func TestStreamsFail(t *testing.T) {
	files := map[string][]byte{"f": content(8 << 20)}
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprint("first ", first), func(t *testing.T) {
			m := newMeeting(t)
			m.fail = func(n int32, f bool) error {
				if n > 2 && f == first {
					return errors.New("no luck")
				}
				return nil
			}
			a, b := tcpPair(t)
			dir := t.TempDir()
			sent, received := both(t.Context(), slowConn{a, 10 << 20}, b, offering(t, files), dir,
				&SendOptions{Streams: 9, Extra: m.extra}, &ReceiveOptions{Extra: m.extra})
			if sent.err != nil || received.err != nil {
				t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
			}
			wantTree(t, dir, files)
			if n := m.calls.Load(); n > 2*(link.MaxMaking+1) {
				t.Errorf("Extra was called %d times", n)
			}
		})
	}
}

// One that breaks is a break of all, and what arrived counts.
func TestStreamBreaks(t *testing.T) {
	files := map[string][]byte{"f": content(30 << 20)}
	src := offering(t, files)
	dir := t.TempDir()
	dst, err := Into(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	m := newMeeting(t)
	a, b := tcpPair(t)
	breaking := func(ctx context.Context, s *Signals) (net.Conn, error) {
		c, err := m.extra(ctx, s)
		if err != nil || !s.First() {
			return c, err
		}
		left := new(atomic.Int64)
		left.Store(3 << 20)
		return &cutter{Conn: c, other: c, left: left}, nil
	}
	sent, received := pair(t.Context(), slowConn{a, 20 << 20}, b, src, dst,
		&SendOptions{Streams: 2, Extra: breaking}, &ReceiveOptions{Extra: m.extra})
	if !errors.Is(sent.err, ErrPeerGone) || !errors.Is(received.err, ErrPeerGone) {
		t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
	}
	a, b = tcpPair(t)
	sent, again := pair(t.Context(), a, b, src, dst, nil, nil)
	if sent.err != nil || again.err != nil {
		t.Fatalf("Send: %v; Receive: %v", sent.err, again.err)
	}
	wantTree(t, dir, files)
	if sum := received.sum.Received + again.sum.Received; sum > 33<<20 {
		t.Errorf("%d bytes received", sum)
	}
}

// A connection that belongs to another transfer is not used.
func TestStreamOfOthers(t *testing.T) {
	files := map[string][]byte{"f": content(8 << 20)}
	a, b := tcpPair(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	stranger := func(ctx context.Context, s *Signals) (net.Conn, error) {
		c, d := tcpPair(t)
		wg.Go(func() { _, _ = io.Copy(d, d) }) // an echo
		return c, nil
	}
	sent, received := both(t.Context(), slowConn{a, 20 << 20}, b, offering(t, files), dir,
		&SendOptions{Streams: 2, Extra: stranger}, &ReceiveOptions{Extra: func(ctx context.Context, s *Signals) (net.Conn, error) {
			c, d := tcpPair(t)
			_, _ = d.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			return c, nil
		}})
	if sent.err != nil || received.err != nil {
		t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
	}
	wantTree(t, dir, files)
}

// A connection that is held down gets help, and one that is not does not.
func TestStreamsAutomatic(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: not with -short")
	}
	files := map[string][]byte{"f": content(48 << 20)}
	for _, held := range []bool{true, false} {
		t.Run(fmt.Sprint("held ", held), func(t *testing.T) {
			m := newMeeting(t)
			slow := func(ctx context.Context, s *Signals) (net.Conn, error) {
				c, err := m.extra(ctx, s)
				if err == nil && s.First() {
					c = slowConn{c, 5 << 20}
				}
				return c, err
			}
			rate := 5 << 20
			if !held {
				rate = 40 << 20
			}
			a, b := tcpPair(t)
			dir := t.TempDir()
			sent, received := both(t.Context(), slowConn{a, rate}, b, offering(t, files), dir,
				&SendOptions{Extra: slow, Held: func() bool { return held }}, &ReceiveOptions{Extra: slow})
			if sent.err != nil || received.err != nil {
				t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
			}
			wantTree(t, dir, files)
			if got := m.calls.Load() > 0; got != held {
				t.Errorf("Extra was called %d times", m.calls.Load())
			}
		})
	}
}
