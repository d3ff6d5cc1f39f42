package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// TestCutAtTheEnd: the receiver has everything, and its word on that gets lost. Then the
// sender looks for it again, and it must be there.
func TestCutAtTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the idle time, 10 s")
	}
	t.Parallel()
	c := &cutRun{t: t, meetingPlace: newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})}
	c.file = c.a.file("small.bin", 100_000)
	c.send = watch(c.a.start("send", "-v", "--timeout=60s", ownCode, c.file))
	c.recv = watch(c.b.start("recv", "-v", "--timeout=60s", ownCode, "--out=out"))
	if _, err := c.recv.waitEvent("connected", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"home", "office"} { // so that there is time to cut
		link := c.lab.Link(name)
		link.Delay = 500 * time.Millisecond
		if err := c.lab.SetLink(name, link); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.recv.Stdout.WaitFor(ctx, func(string) bool {
		e, ok := c.recv.last("progress")
		return ok && e.Bytes == e.Total
	}); err != nil {
		t.Fatal(err)
	}
	c.linksDown(14 * time.Second) // the word is on its way for a second
	c.wantEnd()
	if n := c.send.count("connected"); n != 2 {
		t.Errorf("the sender was connected %d times: nothing was lost", n)
	}
	if e, ok := c.recv.last("done"); !ok || e.Moved != 100_000 {
		t.Errorf("the receiver is done: %v, with %d bytes", ok, e.Moved)
	}
}

// TestSessionUnheard: a receiver that has everything comes back for a sender that does not
// know, for a while.
func TestSessionUnheard(t *testing.T) {
	stateHere(t)
	unheard := func(t *testing.T) (send, recv *session) {
		send, recv = sessions(t, 0)
		left := 2
		recv.transfer = func(context.Context, *tcppunch.Conn) error {
			recv.offered()
			recv.accept([32]byte{5})
			left--
			recv.unheard = left > 0
			return nil
		}
		return send, recv
	}
	t.Run("it comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			send, recv := unheard(t)
			left := 1
			send.transfer = func(context.Context, *tcppunch.Conn) error {
				if left--; left >= 0 {
					return fmt.Errorf("sending: %w", transfer.ErrPeerGone)
				}
				return nil
			}
			if a, b := runBoth(t, send, recv); a != nil || b != nil {
				t.Error(a, b)
			}
			if w := recv.dials(); len(w.keys) != 2 || !w.sures[1] {
				t.Errorf("the receiver has dialled %d times", len(w.keys))
			}
			wantEntries(t, recv.folder)
		})
	})
	t.Run("it was gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			send, recv := unheard(t)
			first := recv.transfer
			recv.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
				recv.dials().to = nil
				return first(ctx, conn)
			}
			began := time.Now()
			if a, b := runBoth(t, send, recv); a != nil || b != nil {
				t.Error(a, b)
			}
			if took := time.Since(began); took < goodbyeTime || took > goodbyeTime+time.Minute {
				t.Errorf("it took %v", took)
			}
			wantEntries(t, recv.folder)
		})
	})
}
