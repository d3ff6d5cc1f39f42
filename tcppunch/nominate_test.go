package tcppunch

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A bench of two races, without sockets: links are TLS over pipes.
type nominators struct {
	t                 *testing.T
	controller, other *race
	ctx               context.Context
	cancel            context.CancelFunc
}

func newNominators(t *testing.T) *nominators {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &nominators{t: t, ctx: ctx, cancel: cancel}
	for _, side := range []Side{SideA, SideB} {
		id, err := newIdentity()
		if err != nil {
			t.Fatal(err)
		}
		r := newRace(ctx, &Config{Side: side, Trace: &Trace{}}, id)
		if r.controller = side == SideA; r.controller {
			n.controller = r
		} else {
			n.other = r
		}
	}
	return n
}

// connect makes an authenticated TCP connection of a kind, known to nobody yet.
func (n *nominators) connect(k Kind) (c, o *link) { return n.connectBy("tcp", k) }

func (n *nominators) connectBy(network string, k Kind) (c, o *link) {
	n.t.Helper()
	pc, po := net.Pipe()
	c, o = secured(n.t, pc, po, n.controller.id, n.other.id)
	c.controls = true
	c.path, o.path = Path{Network: network, Kind: k}, Path{Network: network, Kind: k}
	n.controller.keep(c, true)
	n.other.keep(o, true)
	return c, o
}

type nomination struct {
	l   *link
	err error
}

func (n *nominators) start(r *race) chan nomination {
	c := make(chan nomination, 1)
	go func() {
		l, err := r.nominate(n.ctx)
		c <- nomination{l, err}
	}()
	return c
}

// finish ends both races and checks that all but the winners are closed.
func (n *nominators) finish(winners ...*link) {
	n.t.Helper()
	n.cancel()
	for _, r := range []*race{n.controller, n.other} {
		var winner *link
		for l := range r.all {
			for _, w := range winners {
				if l == w {
					winner = l
				}
			}
		}
		r.finish(winner)
		for l := range r.all {
			if closed := errors.Is(l.below.SetDeadline(time.Time{}), io.ErrClosedPipe); closed == (l == winner) {
				n.t.Errorf("controller %v, %s link: closed %v, winner %v", r.controller, l.path.Kind, closed, l == winner)
			}
		}
	}
	for _, w := range winners {
		w.below.Close()
	}
}

func TestNominateOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNominators(t)
		gotC, gotO := n.start(n.controller), n.start(n.other)
		c1, o1 := n.connect(KindPublic)
		_, o2 := n.connect(KindPublic)
		n.other.links <- o2 // in another order than on the other side
		n.other.links <- o1
		n.controller.links <- c1
		c, o := <-gotC, <-gotO
		if c.err != nil || o.err != nil || c.l != c1 || o.l != o1 {
			t.Errorf("got %v and %v", c, o)
		}
		n.finish(c1, o1)
	})
}

// A better connection that is on its way is waited for, for a while.
func TestNominateBetter(t *testing.T) {
	for _, tt := range []struct {
		name string
		late time.Duration
		want Kind
	}{{"in time", grace / 2, KindPrivate}, {"too late", 2 * grace, KindPublic}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNominators(t)
				gotC, gotO := n.start(n.controller), n.start(n.other)
				c1, o1 := n.connect(KindPublic)
				c2, o2 := n.connect(KindPrivate)
				n.controller.count(n.controller.shaking, KindPrivate, 1)
				n.other.links <- o1
				n.other.links <- o2
				n.controller.links <- c1
				time.Sleep(tt.late)
				select {
				case n.controller.links <- c2:
				case c := <-gotC:
					gotC <- c
				}
				c, o := <-gotC, <-gotO
				if c.err != nil || o.err != nil || c.l.path.Kind != tt.want || o.l.path.Kind != tt.want {
					t.Errorf("got %v and %v, want %s", c, o, tt.want)
				}
				n.finish(c.l, o.l)
			})
		})
	}
}

// A connection that is dead on the way is given up before the acknowledgement,
// and another one is nominated: both sides end with the same one.
func TestNominateAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNominators(t)
		gotC, gotO := n.start(n.controller), n.start(n.other)
		dead, _ := n.connect(KindPrivate) // the other side never reads it
		broken, b := n.connect(KindPrivate)
		c1, o1 := n.connect(KindPublic)
		b.below.Close()
		start := time.Now()
		n.controller.links <- dead
		n.controller.count(n.controller.shaking, KindPrivate, 1)
		select {
		case n.controller.links <- broken:
		case <-time.After(2 * minAckTime):
		}
		select {
		case n.controller.links <- c1:
		case <-time.After(2 * minAckTime):
		}
		n.other.links <- o1
		c, o := <-gotC, <-gotO
		if c.err != nil || o.err != nil || c.l != c1 || o.l != o1 {
			t.Errorf("got %v and %v", c, o)
		}
		if took := time.Since(start); took < minAckTime || took > 5*minAckTime {
			t.Errorf("took %v", took)
		}
		n.finish(c1, o1)
	})
}

// Nonsense in place of a nomination, or of its acknowledgement, ends that
// connection only.
func TestNominateNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNominators(t)
		gotC, gotO := n.start(n.controller), n.start(n.other)
		c0, o0 := n.connect(KindPublic)
		n.other.links <- o0
		go c0.Write([]byte("GET / HTTP/1.1")) //nolint:errcheck // the other side hangs up
		c1, o1 := n.connect(KindPrivate)
		n.controller.links <- c1
		go func() {
			io.CopyN(io.Discard, o1, 1) //nolint:errcheck // the nomination
			o1.Write([]byte("no"))      //nolint:errcheck // the other side hangs up
		}()
		synctest.Wait()
		c2, o2 := n.connect(KindPublic)
		n.other.links <- o2
		n.controller.links <- c2
		c, o := <-gotC, <-gotO
		if c.err != nil || o.err != nil || c.l != c2 || o.l != o2 {
			t.Errorf("got %v and %v", c, o)
		}
		n.finish(c2, o2)
	})
}

func TestNominateCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNominators(t)
		gotC, gotO := n.start(n.controller), n.start(n.other)
		c1, _ := n.connect(KindPublic)
		_, o2 := n.connect(KindPublic)
		n.controller.links <- c1 // waits for an acknowledgement that will not come
		n.other.links <- o2      // waits for a nomination
		synctest.Wait()
		n.cancel()
		for _, got := range []nomination{<-gotC, <-gotO} {
			if !errors.Is(got.err, context.Canceled) || got.l != nil {
				t.Errorf("got %v", got)
			}
		}
		n.finish()
	})
}

func TestNominateRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNominators(t)
		for _, r := range []*race{n.controller, n.other} {
			got := n.start(r)
			r.rejected <- ErrRejected
			if g := <-got; !errors.Is(g.err, ErrRejected) {
				t.Errorf("got %v", g)
			}
		}
		n.finish()
	})
}
