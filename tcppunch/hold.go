package tcppunch

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

// A tuple is one 4-tuple to try. It is held by one connecting socket for as
// long as the race lasts: where our own NAT sees the peer's SYN while no
// connecting socket of ours holds the tuple, it is dead for two minutes.
type tuple struct {
	port   *sock.Port
	remote netip.AddrPort
	kind   Kind
	lane   int
}

// A holder keeps a tuple dialled.
type holder struct {
	tuple
	race  *race
	at    timetable
	begun chan struct{} // closed when the first SYN is out, or could not be sent

	role     role
	began    time.Time // the first SYN of this role
	refusals int       // in this role
	vain     int       // connections that were not the peer's
	knocks   int       // since the last longer pause
}

// errRedial ends an attempt whose role is over.
var errRedial = errors.New("its slot ended")

// run dials until ctx ends, or a neighbour is known to be another one.
func (h *holder) run(ctx context.Context) {
	for ctx.Err() == nil && !(h.kind == KindLAN && h.race.nears.isWrong(h.remote)) {
		pause := h.attempt(ctx)
		h.wait(ctx, pause)
	}
	h.begin()
}

func (h *holder) begin() {
	select {
	case <-h.begun:
	default:
		close(h.begun)
	}
}

// wait sleeps until the pause is over, or until the role ends if that is sooner.
func (h *holder) wait(ctx context.Context, pause time.Duration) {
	if !h.role.until.IsZero() {
		pause = min(pause, time.Until(h.role.until))
	}
	if pause <= 0 {
		return
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// attempt makes one socket and follows it to its end. It returns how long to
// pause before the next one.
func (h *holder) attempt(ctx context.Context) time.Duration {
	now := time.Now()
	r := h.at(now)
	if !r.began.Equal(h.role.began) || h.began.IsZero() {
		h.began, h.refusals = now, 0
	}
	h.role = r
	a := Attempt{
		Network: "tcp",
		Local:   netip.AddrPortFrom(netip.Addr{}, h.port.Number()),
		Remote:  h.remote, Kind: h.kind, Technique: r.technique, TTL: r.ttl,
		Lane: h.lane, Round: r.round, Start: now,
	}
	h.race.attemptStarts(a)
	conn, err := h.dial(ctx, &a)
	h.race.attemptDone(a, err)
	switch {
	case err == nil:
		h.race.run(conn, a, h.began)
		if h.kind == KindLAN {
			h.vain++
			return nearPause(h.vain - 1)
		}
		return 300 * time.Millisecond // it is no longer wanted there
	case errors.Is(err, errRedial):
		return 0
	}
	return h.pause(err, time.Since(now))
}

// pause tells how long to stay away after a failure that took so long to come.
// The figures are measured: a fixed pause keeps two sides that refuse each other
// out of phase for ever.
func (h *holder) pause(err error, took time.Duration) time.Duration {
	random := 250*time.Millisecond + rand.N(100*time.Millisecond)
	switch {
	case sock.TupleTaken(err):
		return random // a listener or an older connection has it
	case sock.Refused(err):
		h.refusals++
		switch {
		case h.kind == KindLAN && h.race.nears.mayKnock(h.remote.Addr()),
			h.kind != KindLAN && h.role.technique == Plain && h.race.oneRouter() && h.refusals <= maxKnocks:
			return h.knock(took)
		case h.refusals > 5:
			return random
		case h.role.technique == Opener && h.refusals == 1:
			return 0 // the peer's SYN may be right behind the RST
		case h.role.technique == Opener:
			return 20 * time.Millisecond
		case h.role.technique == Simultaneous, h.role.technique == Plain:
			return rand.N(100 * time.Millisecond)
		}
		return random
	case sock.Unroutable(err):
		return time.Second // the network may come back
	}
	return random
}

const (
	// maxKnocks bounds the quick dials of one tuple on a local network.
	maxKnocks = 320
	// maxNearKnocks is the same for a neighbour's address: the two may hear of each
	// other a second or two apart.
	maxNearKnocks = 2000
	// maxNearKnocksAll bounds those of all neighbours.
	maxNearKnocksAll = 30000
	// inOneGo is how many of them come between two longer pauses.
	inOneGo = 32
)

// knock is the pause on a network that two hosts share and both of whose own
// firewalls refuse what they have not asked for: only two SYNs that are on the
// way at the same time connect, and that is some tens of microseconds. So they go
// out in quick series, after pauses that are as random as the network is long.
func (h *holder) knock(took time.Duration) time.Duration {
	if h.knocks++; h.knocks%inOneGo == 0 {
		return 20*time.Millisecond + rand.N(80*time.Millisecond)
	}
	return rand.N(min(took, 100*time.Millisecond) + time.Microsecond)
}

// dial sends a SYN and follows the socket until it is connected, has failed,
// or must make way for another one.
func (h *holder) dial(ctx context.Context, a *Attempt) (*net.TCPConn, error) {
	p, err := h.port.Connect(h.remote, h.role.ttl)
	h.begin()
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	var conn *net.TCPConn
	go func() {
		var err error
		conn, err = p.Wait(ctx)
		if err == nil {
			a.Connected = time.Now()
			a.Local = localAddr(conn)
		}
		done <- err
	}()
	start := a.Start
	raise, end := h.times(start)
	for {
		select {
		case err := <-done:
			return conn, err
		case <-raise:
			p.Raise()
			continue
		case <-end:
		}
		if s, _ := p.State(); s == sock.StateFinished { // just now
			err := <-done
			return conn, err
		}
		wait := h.mayEnd(p, start)
		if wait > 0 {
			end = time.After(wait)
			continue
		}
		p.Close()
		if err := <-done; err == nil {
			return conn, nil // it was connected just now
		}
		return nil, errRedial
	}
}

// times returns when the TTL goes up and when the socket's time is over.
func (h *holder) times(start time.Time) (raise, end <-chan time.Time) {
	until := h.role.until
	if h.role.technique == Opener {
		low := lowV4
		if h.remote.Addr().Is6() {
			low = lowV6
		}
		raise = time.After(low)
		until = openerEnd(start, until)
	}
	if !until.IsZero() {
		end = time.After(until.Sub(start))
	}
	return raise, end
}

// mayEnd tells how long the socket must stay for another while, 0 or less if it
// may be closed. One that has seen the peer's SYN stays: closing it would
// poison the tuple. So does one whose SYN may have reached the peer a moment
// ago: an opener's own cannot have, but where this process was slow to come
// here the kernel has sent another one.
func (h *holder) mayEnd(p *sock.Pending, start time.Time) time.Duration {
	state, again := p.State()
	if state == sock.StateSynRecv {
		select {
		case h.race.peerSeen <- struct{}{}:
		default:
		}
		return freshSYN
	}
	elapsed := time.Since(start)
	last := lastSYN(elapsed, again)
	if h.role.technique == Opener && last == 0 {
		return 0
	}
	return freshSYN - (elapsed - last)
}
