package stunt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A running is a server that a test has started.
type running struct {
	t      *testing.T
	server *Server
	addr   string
	stop   context.CancelFunc
	done   chan struct{}
}

// serve runs a server on a port of loopback until the test ends.
func serve(t *testing.T, s *Server) *running {
	t.Helper()
	return serveAt(t, s, "127.0.0.1:0")
}

func serveAt(t *testing.T, s *Server, addr string) *running {
	t.Helper()
	if s == nil {
		s = &Server{}
	}
	if s.Drain == 0 {
		s.Drain = 100 * time.Millisecond
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, server: s, addr: ln.Addr().String(), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := s.Serve(ctx, ln); err != nil {
			t.Errorf("server: %v", err)
		}
	}()
	t.Cleanup(r.end)
	return r
}

// end stops the server and waits until it has.
func (r *running) end() {
	r.stop()
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		r.t.Error("server does not stop")
	}
}

// testWriter is the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b[:max(0, len(b)-1)])
	return len(b), nil
}

// within bounds a wait that must not take long, however busy the machine is.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func join(t *testing.T, o *JoinOptions) *Room {
	t.Helper()
	r, err := Join(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

func (r *running) join(room string, side Side) *Room {
	r.t.Helper()
	return join(r.t, &JoinOptions{Server: r.addr, Room: room, Side: side})
}

// pair joins as both sides, and waits until they meet.
func (r *running) pair(room string) (send, recv *Room, a, b *Meeting) {
	r.t.Helper()
	send = r.join(room, SideSend)
	recv = r.join(send.Name(), SideRecv)
	return send, recv, meet(r.t, send), meet(r.t, recv)
}

func meet(t *testing.T, r *Room) *Meeting {
	t.Helper()
	m, err := r.Meet(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func say(t *testing.T, m *Meeting, words string) {
	t.Helper()
	if err := m.Send(within(t), []byte(words)); err != nil {
		t.Fatal(err)
	}
}

func wantHear(t *testing.T, m *Meeting, want string) {
	t.Helper()
	got, err := m.Recv(within(t))
	if err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// wantOver checks that a meeting ends, and why.
func wantOver(t *testing.T, m *Meeting, want error) {
	t.Helper()
	if _, err := m.Recv(within(t)); !errors.Is(err, want) {
		t.Errorf("Recv: %v, want %v", err, want)
	}
	if err := m.Send(within(t), nil); !errors.Is(err, want) {
		t.Errorf("Send: %v, want %v", err, want)
	}
	select {
	case <-m.Done():
	default:
		t.Error("Done is not closed")
	}
}

// wantTalk checks that messages pass both ways.
func wantTalk(t *testing.T, a, b *Meeting) {
	t.Helper()
	say(t, a, "to b")
	say(t, b, "to a")
	wantHear(t, b, "to b")
	wantHear(t, a, "to a")
}

// wantRefused checks that a join fails, and why.
func (r *running) wantRefused(room string, side Side, want error) *RefusedError {
	r.t.Helper()
	room2, err := Join(within(r.t), &JoinOptions{Server: r.addr, Room: room, Side: side, Patience: -1})
	if err == nil {
		room2.Close()
	}
	var refused *RefusedError
	if !errors.Is(err, want) || !errors.As(err, &refused) || refused.Message == "" {
		r.t.Errorf("joining %q as %s: %v, want %v and a sentence", room, side, err, want)
		return &RefusedError{}
	}
	return refused
}

// A watch counts what a Trace reports.
type watch struct {
	mu                           sync.Mutex
	disconnected, failed, joined int
	changed                      chan struct{}
}

func newWatch() *watch { return &watch{changed: make(chan struct{}, 1000)} }

func (w *watch) trace() *Trace {
	count := func(n *int) {
		w.mu.Lock()
		*n++
		w.mu.Unlock()
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	return &Trace{
		Disconnected: func(error) { count(&w.disconnected) },
		Failed:       func(error) { count(&w.failed) },
		Rejoined:     func() { count(&w.joined) },
	}
}

// wait waits until enough was reported.
func (w *watch) wait(t *testing.T, disconnected, failed, joined int) {
	t.Helper()
	ctx := within(t)
	for {
		w.mu.Lock()
		ok := w.disconnected >= disconnected && w.failed >= failed && w.joined >= joined
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			t.Fatalf("the trace has not reported %d, %d, %d", disconnected, failed, joined)
		}
	}
}
