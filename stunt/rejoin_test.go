package stunt

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A cutter is a line to a server that a test can cut.
type cutter struct {
	addr string

	mu     sync.Mutex
	conns  map[net.Conn]bool
	frozen bool // bytes are swallowed
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{addr: ln.Addr().String(), conns: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			c.mu.Lock()
			c.conns[near], c.conns[far] = true, true
			c.mu.Unlock()
			wg.Go(func() { c.copy(near, far) })
			wg.Go(func() { c.copy(far, near) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		c.cut()
		wg.Wait()
	})
	return c
}

func (c *cutter) copy(to, from net.Conn) {
	defer to.Close()
	_, _ = io.Copy(writerFunc(func(b []byte) (int, error) {
		c.mu.Lock()
		frozen := c.frozen
		c.mu.Unlock()
		if frozen {
			return len(b), nil
		}
		return to.Write(b)
	}), from)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// cut breaks all connections that there are.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
}

// freeze swallows what is sent from now on, and tells nobody.
func (c *cutter) freeze(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = on
}

// abandon breaks the near side of nothing: it forgets the connections, so that cut leaves them alone.
func (c *cutter) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.conns)
}

func TestRejoinWhileWaiting(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	line := newCutter(t, s.addr)
	w := newWatch()
	a := join(t, &JoinOptions{Server: line.addr, Side: SideSend, Trace: w.trace()})
	name := a.Name()
	for i := range 3 {
		line.cut()
		w.wait(t, i+1, 0, i+1)
	}
	if a.Name() != name {
		t.Errorf("room %q, want %q again", a.Name(), name)
	}
	wantTalk(t, meet(t, s.join(name, SideRecv)), meet(t, a))
}

func TestRejoinInMeeting(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	line := newCutter(t, s.addr)
	w := newWatch()
	a := join(t, &JoinOptions{Server: line.addr, Side: SideSend, Trace: w.trace()})
	b := s.join(a.Name(), SideRecv)
	am, bm := meet(t, a), meet(t, b)
	wantTalk(t, am, bm)
	line.cut()
	wantOver(t, am, ErrDisconnected)
	wantOver(t, bm, ErrPeerLeft)
	am, bm = meet(t, a), meet(t, b)
	wantTalk(t, am, bm)
}

// TestRejoinReplaces: the server has not noticed that the old connection is dead.
func TestRejoinReplaces(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	line := newCutter(t, s.addr)
	w := newWatch()
	a := join(t, &JoinOptions{Server: line.addr, Side: SideSend, Trace: w.trace(), KeepAlive: 50 * time.Millisecond})
	b := s.join(a.Name(), SideRecv)
	am, bm := meet(t, a), meet(t, b)
	old := *a.dialer // with the same token
	conn, err := old.join(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	wantOver(t, bm, ErrPeerLeft)
	wantOver(t, am, ErrDisconnected)
	meet(t, b)
}

// TestSilentLine: the line is dead, and nobody is told. The client notices, and its new connection replaces the old one.
func TestSilentLine(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	line := newCutter(t, s.addr)
	w := newWatch()
	a := join(t, &JoinOptions{Server: line.addr, Side: SideSend, Trace: w.trace(), KeepAlive: 2 * time.Second})
	b := s.join(a.Name(), SideRecv)
	am := meet(t, a)
	meet(t, b)
	line.freeze(true)
	line.abandon()
	wantOver(t, am, ErrDisconnected)
	line.freeze(false)
	w.wait(t, 1, 0, 1)
	wantTalk(t, meet(t, a), meet(t, b))
}

func TestServerRestarts(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	wa, wb := newWatch(), newWatch()
	a := join(t, &JoinOptions{Server: s.addr, Side: SideSend, Trace: wa.trace()})
	b := join(t, &JoinOptions{Server: s.addr, Side: SideRecv, Room: "early", Trace: wb.trace()})
	s.end()
	wa.wait(t, 1, 1, 0) // it tries and fails
	wb.wait(t, 1, 1, 0)
	s = serveAt(t, nil, s.addr)
	wa.wait(t, 1, 1, 1)
	wb.wait(t, 1, 1, 1)
	wantTalk(t, meet(t, s.join(a.Name(), SideRecv)), meet(t, a))
	wantTalk(t, meet(t, s.join("early", SideSend)), meet(t, b))
}

// TestRejoinTaken: somebody else has come in between.
func TestRejoinTaken(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	w := newWatch()
	a := join(t, &JoinOptions{Server: s.addr, Side: SideSend, Trace: w.trace(), Patience: time.Second})
	s.end()
	w.wait(t, 1, 1, 0)
	s = serveAt(t, nil, s.addr)
	thief, err := Join(within(t), &JoinOptions{Server: s.addr, Room: a.Name(), Side: SideSend})
	if errors.Is(err, ErrSideTaken) {
		t.Skip("the member was back first")
	} else if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if _, err := a.Meet(within(t)); !errors.Is(err, ErrSideTaken) || !errors.Is(err, ErrTakenOver) {
		t.Errorf("Meet: %v, want %v and %v", err, ErrTakenOver, ErrSideTaken)
	}
}

// TestRetryIsHeeded: a server that asks to wait is not asked again before.
func TestRetryIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &comeback{wait: firstWait, retry: 40 * time.Second}
		began := time.Now()
		if err := c.pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 40*time.Second || took > 61*time.Second {
			t.Errorf("waited %v, want 40 to 60 s", took)
		}
		began = time.Now()
		if err := c.pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*firstWait {
			t.Errorf("waited %v the next time, want less than a second", took)
		}
	})
}

// TestCloseWhileRejoining: nothing is waited for.
func TestCloseWhileRejoining(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	w := newWatch()
	a := join(t, &JoinOptions{Server: s.addr, Side: SideSend, Trace: w.trace()})
	s.end()
	w.wait(t, 1, 1, 0)
	met := make(chan error)
	go func() {
		_, err := a.Meet(context.Background())
		met <- err
	}()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := <-met; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Meet: %v, want %v", err, net.ErrClosed)
	}
}
