package datagram_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// got is a datagram that arrived somewhere.
type got struct {
	where string
	b     string
	from  netip.AddrPort
}

// inbox collects what arrives.
type inbox struct {
	name string
	out  chan got
	once sync.Once
	gone chan struct{}
}

func newInbox(name string, out chan got) *inbox {
	return &inbox{name: name, out: out, gone: make(chan struct{})}
}

func (i *inbox) Input(b []byte, from netip.AddrPort) { i.out <- got{i.name, string(b), from} }
func (i *inbox) Flush()                              {}
func (i *inbox) Gone()                               { i.once.Do(func() { close(i.gone) }) }

func listen(t *testing.T, network string, h *datagram.Handler) (*datagram.Socket, netip.AddrPort) {
	t.Helper()
	s, err := datagram.Listen(t.Context(), network, 0, h)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { s.Close() })
	ip := netip.MustParseAddr("127.0.0.1")
	if network == "udp6" {
		ip = netip.IPv6Loopback()
	}
	return s, netip.AddrPortFrom(ip, s.Local().Port())
}

func next(t *testing.T, out chan got) got {
	t.Helper()
	select {
	case g := <-out:
		return g
	case <-time.After(5 * time.Second):
		t.Fatal("nothing arrived")
		return got{}
	}
}

func TestDelivery(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			out := make(chan got, 100)
			first := newInbox("first", out)
			b, bAt := listen(t, network, &datagram.Handler{
				STUN: func(_ *datagram.Socket, msg []byte, from netip.AddrPort) { out <- got{"STUN", string(msg), from} },
				Data: func(s *datagram.Socket, d []byte, from netip.AddrPort) {
					if string(d) == "\x80open" {
						s.Attach(first, from)
						return
					}
					out <- got{"data", string(d), from}
				},
			})
			a, aAt := listen(t, network, nil)
			other, otherAt := listen(t, network, nil)
			tagged := newInbox("tagged", out)
			b.Attach(tagged, netip.MustParseAddrPort("192.0.2.1:1"), 0x80818283)
			tests := []struct {
				from *datagram.Socket
				b    string
				want got
			}{
				{a, "\x00\x01binding", got{"STUN", "\x00\x01binding", aAt}},
				{a, "\x80hello", got{"data", "\x80hello", aAt}},
				{a, "\x80open", got{"first", "\x80open", aAt}},
				{a, "\x80hello", got{"first", "\x80hello", aAt}},
				{a, "\x00\x01binding", got{"STUN", "\x00\x01binding", aAt}},
				{a, "\x83\x82\x81\x80!", got{"tagged", "\x83\x82\x81\x80!", aAt}},
				{other, "\x83\x82\x81\x80!", got{"tagged", "\x83\x82\x81\x80!", otherAt}},
				{other, "\xc0", got{"data", "\xc0", otherAt}},
				{other, "\x00", got{"STUN", "\x00", otherAt}}, // the one before has been dealt with
			}
			for _, tt := range tests {
				if err := tt.from.Send([]byte(tt.b), bAt); err != nil {
					t.Fatal(err)
				}
				if g := next(t, out); g != tt.want {
					t.Errorf("%q: got %+v, want %+v", tt.b, g, tt.want)
				}
			}
			b.Move(first, aAt, otherAt)
			if err := a.Send([]byte("\x80x"), bAt); err != nil {
				t.Fatal(err)
			}
			if g := next(t, out); g.where != "data" {
				t.Errorf("from the old address: %+v, a %v, other %v", g, aAt, otherAt)
			}
			other.Send([]byte("\x80x"), bAt) //nolint:errcheck // seen below
			if g := next(t, out); g.where != "first" {
				t.Errorf("from the new address: %q", g.where)
			}
			b.Detach(first, otherAt)
			other.Send([]byte("\x80x"), bAt) //nolint:errcheck // seen below
			if g := next(t, out); g.where != "data" {
				t.Errorf("after Detach: %q", g.where)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			select {
			case <-tagged.gone:
			default:
				t.Error("the stream was not told that the socket is closed")
			}
			if err := b.Send([]byte("x"), aAt); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Send after Close: %v", err)
			}
			if err := b.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("second Close: %v", err)
			}
		})
	}
}

func TestInUse(t *testing.T) {
	s, _ := listen(t, "udp4", nil)
	if _, err := datagram.Listen(t.Context(), "udp4", s.Local().Port(), nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if s.Local().Addr() != netip.IPv4Unspecified() || s.Local().Port() == 0 {
		t.Errorf("local address %v", s.Local())
	}
	if _, err := datagram.Listen(context.Background(), "udp", 0, nil); err == nil {
		t.Error("a network of both families was taken")
	}
}

// A batch of all sizes arrives as it was added, however the system cuts and joins.
func TestBatch(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		out := make(chan got, 1000)
		b, bAt := listen(t, network, &datagram.Handler{
			Data: func(_ *datagram.Socket, d []byte, from netip.AddrPort) { out <- got{"", string(d), from} },
		})
		b.Attach(newInbox("nobody", nil), netip.MustParseAddrPort("192.0.2.1:1")) // large buffers
		a, _ := listen(t, network, nil)
		var batch datagram.Batch
		var want []string
		for _, run := range []struct{ n, size int }{{1, 30}, {100, 1400}, {1, 700}, {1, 1400}, {3, 24}, {50, 1200}, {50, 1472}, {1, 8}} {
			for i := range run.n {
				d := bytes.Repeat([]byte{0x80 | byte(i)}, run.size)
				batch.Add(d)
				want = append(want, string(d))
			}
		}
		if err := a.SendBatch(&batch, bAt); err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if g := next(t, out); g.b != w {
				t.Fatalf("%s: datagram %d has %d bytes of %x, want %d of %x", network, i, len(g.b), g.b[0], len(w), w[0])
			}
		}
		batch.Reset()
		if batch.Len() != 0 || batch.Size() != 0 {
			t.Error("Reset leaves something")
		}
	}
}

// Errors that concern a datagram do not end the socket.
func TestTransientErrors(t *testing.T) {
	out := make(chan got, 100)
	a, aAt := listen(t, "udp4", &datagram.Handler{
		Data: func(_ *datagram.Socket, d []byte, from netip.AddrPort) { out <- got{"", string(d), from} },
	})
	gone, goneAt := listen(t, "udp4", nil)
	gone.Close()
	var batch datagram.Batch
	batch.Add([]byte("\x80x"))
	for _, to := range []netip.AddrPort{goneAt, goneAt, netip.MustParseAddrPort("255.255.255.255:9"), netip.MustParseAddrPort("240.0.0.1:9")} {
		a.Send([]byte("\x80x"), to) //nolint:errcheck // it may fail
		a.SendBatch(&batch, to)     //nolint:errcheck // it may fail
		a.SendTTL([]byte{0}, to, 1) //nolint:errcheck // it may fail
		time.Sleep(10 * time.Millisecond)
		if err := a.Send([]byte("\x80self"), aAt); err != nil {
			t.Fatalf("after sending to %v: %v", to, err)
		}
		if g := next(t, out); g.b != "\x80self" {
			t.Errorf("got %q", g.b)
		}
	}
}

// Punching by chance opens many sockets, which cost little until a stream is attached.
func TestManySockets(t *testing.T) {
	const sockets, most = 256, 16 << 20
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	out := make(chan got, 1)
	h := &datagram.Handler{
		STUN: func(_ *datagram.Socket, msg []byte, from netip.AddrPort) { out <- got{"STUN", string(msg), from} },
	}
	before := heap()
	from, _ := listen(t, "udp4", nil)
	for range sockets {
		_, at := listen(t, "udp4", h)
		if err := from.Send([]byte("\x00check"), at); err != nil {
			t.Fatal(err)
		}
		if g := next(t, out); g.b != "\x00check" {
			t.Fatalf("got %q", g.b)
		}
	}
	cost := int64(heap()) - int64(before)
	t.Logf("%d KiB for %d sockets", cost>>10, sockets)
	if cost > most {
		t.Errorf("%d MiB for %d sockets", cost>>20, sockets)
	}
}
