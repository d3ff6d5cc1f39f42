package stunt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestMeet(t *testing.T) {
	s := serve(t, nil)
	cases := []struct {
		name        string
		room        string
		first, then Side
	}{
		{"a number, the sender first", "", SideSend, SideRecv},
		{"a number, the receiver first", "", SideRecv, SideSend},
		{"a name, the sender first", "garden", SideSend, SideRecv},
		{"a name, the receiver first", "kitchen", SideRecv, SideSend},
		{"a name beyond ASCII", "Küche & Bad=1;2", SideSend, SideRecv},
		{"a benchmark", "", SideBench, SideBench},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := s.join(c.room, c.first)
			if c.room != "" && a.Name() != c.room {
				t.Errorf("joined %q, want %q", a.Name(), c.room)
			}
			if c.room == "" && !(isNumber(a.Name()) && len(a.Name()) == 4) {
				t.Errorf("room %q is not a number of four digits", a.Name())
			}
			b := s.join(a.Name(), c.then)
			am, bm := meet(t, a), meet(t, b)
			if !am.First() || bm.First() {
				t.Errorf("first: %v and %v, want true and false", am.First(), bm.First())
			}
			for i := range 50 {
				say(t, am, fmt.Sprint("a", i))
				say(t, bm, fmt.Sprint("b", i))
			}
			for i := range 50 {
				wantHear(t, bm, fmt.Sprint("a", i))
				wantHear(t, am, fmt.Sprint("b", i))
			}
			big := strings.Repeat("x", MaxMessage)
			say(t, am, big)
			wantHear(t, bm, big)
			if err := am.Send(within(t), []byte(big+"x")); err == nil {
				t.Error("a message of more than MaxMessage was sent")
			}
			wantTalk(t, am, bm)
		})
	}
}

func TestMeetWaits(t *testing.T) {
	s := serve(t, nil)
	a := s.join("", SideSend)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Meet(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Meet: %v, want a deadline", err)
	}
	// The Room has not suffered.
	b := s.join(a.Name(), SideRecv)
	am, bm := meet(t, a), meet(t, b)
	if _, err := am.Recv(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Recv: %v, want a deadline", err)
	}
	wantTalk(t, am, bm)
}

func TestLeaving(t *testing.T) {
	s := serve(t, nil)
	a, b, am, bm := s.pair("")
	say(t, bm, "last words")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wantHear(t, am, "last words")
	wantOver(t, am, ErrPeerLeft)
	if _, err := b.Meet(within(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Meet after Close: %v, want %v", err, net.ErrClosed)
	}
	if err := b.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v, want %v", err, net.ErrClosed)
	}
	wantOver(t, bm, ErrDisconnected)
	c := s.join(a.Name(), SideRecv) // the next one
	wantTalk(t, meet(t, a), meet(t, c))
}

// TestMeetingsApart: what was meant for one never reaches the next one.
func TestMeetingsApart(t *testing.T) {
	s := serve(t, nil)
	a, b, am, bm := s.pair("")
	b.Close()
	wantOver(t, am, ErrPeerLeft)
	c := s.join(a.Name(), SideRecv)
	a2, cm := meet(t, a), meet(t, c)
	// am and bm are over: a member that has not noticed yet says this, with the old meeting's number.
	for _, old := range []*Meeting{am, bm} {
		stale := &Meeting{id: old.id, out: a2.out, over: make(chan struct{})}
		say(t, stale, "a secret for b")
		stale.id = old.id + 1000
		say(t, stale, "a guess")
	}
	say(t, a2, "hello c")
	wantHear(t, cm, "hello c")
	wantTalk(t, a2, cm)
}

func TestDrop(t *testing.T) {
	t.Run("by the owner", func(t *testing.T) {
		s := serve(t, nil)
		a, b, am, bm := s.pair("")
		am.Drop()
		wantOver(t, am, ErrPeerLeft)
		wantOver(t, bm, ErrDropped)
		if _, err := b.Meet(within(t)); !errors.Is(err, ErrDropped) {
			t.Errorf("Meet: %v, want %v", err, ErrDropped)
		}
		c := s.join(a.Name(), SideRecv)
		wantTalk(t, meet(t, a), meet(t, c))
	})
	t.Run("by a stranger", func(t *testing.T) {
		s := serve(t, nil)
		a, b, am, bm := s.pair("")
		bm.Drop()
		wantOver(t, am, ErrPeerLeft)
		wantOver(t, bm, ErrDropped)
		if _, err := b.Meet(within(t)); !errors.Is(err, ErrDropped) {
			t.Errorf("Meet: %v, want %v", err, ErrDropped)
		}
		c := s.join(a.Name(), SideRecv)
		wantTalk(t, meet(t, a), meet(t, c))
	})
	t.Run("by an owner that came back", func(t *testing.T) {
		s := serve(t, nil)
		line := newCutter(t, s.addr)
		w := newWatch()
		a := join(t, &JoinOptions{Server: line.addr, Side: SideSend, Trace: w.trace()})
		b := s.join(a.Name(), SideRecv)
		meet(t, a)
		meet(t, b)
		line.cut()
		w.wait(t, 1, 0, 1)
		am, bm := meet(t, a), meet(t, b)
		if !am.First() || bm.First() {
			t.Errorf("first: %v and %v, want true and false", am.First(), bm.First())
		}
		am.Drop()
		wantOver(t, bm, ErrDropped)
	})
}

func TestSeats(t *testing.T) {
	s := serve(t, nil)
	a := s.join("", SideSend)
	if e := s.wantRefused(a.Name(), SideSend, ErrSideTaken); e.Code != "side-taken" {
		t.Errorf("code %q", e.Code)
	}
	s.wantRefused(a.Name(), SideBench, ErrMismatch)
	b := s.join(a.Name(), SideRecv)
	for _, side := range []Side{SideSend, SideRecv, SideBench} {
		if e := s.wantRefused(a.Name(), side, ErrRoomFull); e.Code != "room-full" {
			t.Errorf("code %q", e.Code)
		}
	}
	wantTalk(t, meet(t, a), meet(t, b)) // who have not noticed
}

func TestJoinOptions(t *testing.T) {
	for name, o := range map[string]*JoinOptions{
		"nil":                 nil,
		"no side":             {Server: "127.0.0.1:1"},
		"an unknown side":     {Server: "127.0.0.1:1", Side: "both"},
		"no server":           {Side: SideSend},
		"an unknown scheme":   {Server: "ftp://127.0.0.1:1", Side: SideSend},
		"a long name":         {Server: "127.0.0.1:1", Side: SideSend, Room: strings.Repeat("x", 65)},
		"a name of controls":  {Server: "127.0.0.1:1", Side: SideSend, Room: "a\x1b[2J"},
		"a name of bad UTF-8": {Server: "127.0.0.1:1", Side: SideSend, Room: "a\xff"},
	} {
		if r, err := Join(within(t), o); err == nil {
			r.Close()
			t.Errorf("%s: no error", name)
		} else if errors.Is(err, ErrNoServer) {
			t.Errorf("%s: %v, which is too late", name, err)
		}
	}
}
