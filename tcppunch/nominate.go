package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	sayNominate    = 'N'
	sayAcknowledge = 'A'

	// grace is how long a worse connection waits for a better one that is
	// under way.
	grace = 150 * time.Millisecond
	// maxGrace is the most that one by UDP waits for TCP's handshake.
	maxGrace = 600 * time.Millisecond
	// minAckTime is the least time to wait for an acknowledgement when there
	// is another connection to nominate. Where there is none the other side
	// gets handshakeTime: its Config.Auth ends when it ends.
	minAckTime = 2 * time.Second
)

var errNominate = errors.New("the other side broke the nomination protocol")

// nominate returns the one connection that both sides will use.
func (r *race) nominate(ctx context.Context) (*link, error) {
	var first []*link
	if r.cfg.Side == SideEither { // the first connection shows who is who
		select {
		case l := <-r.links:
			first, r.controller = append(first, l), l.controls
		case err := <-r.rejected:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for {
		part := r.beChosen
		if r.controller {
			part = r.choose
		}
		l, err := part(ctx, first)
		var turned *turnedError
		if !errors.As(err, &turned) {
			return l, err
		}
		first, r.controller = []*link{turned.link}, turned.link.controls
	}
}

// A turnedError is a connection on which the roles are not those of the ones before:
// with SideEither, the peer was started again.
type turnedError struct{ link *link }

func (*turnedError) Error() string { return "the peer has another role now" }

// choose is the controller's side: it nominates the best connection, and the
// next best if that one breaks, or stays silent, before it is acknowledged. TCP
// has a head start.
func (r *race) choose(ctx context.Context, ready []*link) (*link, error) {
	var graceOver, headStart <-chan time.Time
	waited := false
	noTCP := r.noTCP
	var p *proposal
	for {
		if headStart == nil {
			headStart = r.headStart(len(ready) > 0)
		}
		may := eligible(ready, noTCP == nil)
		best := bestOf(may)
		if best != nil && graceOver == nil {
			graceOver = time.After(best.grace())
		}
		if p == nil && best != nil && (waited || !r.betterComing(best.path)) {
			p = r.propose(ctx, best)
		}
		if p.stale() && len(may) > 1 {
			p.giveUp()
		}
		select {
		case l := <-r.links:
			if l.controls != r.controller {
				p.end()
				dropAll(ready)
				return nil, &turnedError{l}
			}
			ready = append(ready, l)
		case <-graceOver:
			waited = true
		case <-headStart:
			noTCP = nil
		case <-noTCP:
			noTCP = nil
		case <-p.patience():
			p.overdue = true
		case err := <-p.answer():
			p.giveUp()
			if err == nil {
				return p.link, nil
			}
			ready = without(ready, p.link)
			p.link.drop()
			p = nil
		case err := <-r.rejected:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// headStart is the end of TCP's priority, or nil as long as nothing is known or connected
// that it could begin with.
func (r *race) headStart(connected bool) <-chan time.Time {
	r.mu.Lock()
	searches, start, planned := r.searches, r.known, r.planned
	r.mu.Unlock()
	switch {
	case r.cfg.room():
		if !planned {
			return nil
		}
	case !connected:
		return nil
	default:
		start = time.Now()
		if first := r.udpFirst.Load(); first != 0 {
			start = time.Unix(0, first)
		}
	}
	return time.After(time.Until(start.Add(r.cfg.headStart(searches))))
}

// eligible are the connections that may be nominated now.
func eligible(ready []*link, kcp bool) []*link {
	if kcp {
		return ready
	}
	var ls []*link
	for _, l := range ready {
		if l.path.Network == "tcp" {
			ls = append(ls, l)
		}
	}
	return ls
}

// grace is how long a connection waits for a better one that is under way. One
// by UDP gives TCP the time of a handshake.
func (l *link) grace() time.Duration {
	if l.path.Network == "tcp" {
		return grace
	}
	return max(grace, min(2*l.path.RTT, maxGrace))
}

// A proposal is a nomination that waits for its acknowledgement. A nil one has
// no answer.
type proposal struct {
	link    *link
	giveUp  context.CancelFunc
	acked   chan error
	late    <-chan time.Time
	overdue bool
}

// propose nominates l in a goroutine of the race.
func (r *race) propose(ctx context.Context, l *link) *proposal {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	p := &proposal{link: l, giveUp: cancel, acked: make(chan error, 1), late: time.After(max(minAckTime, 4*l.path.RTT))}
	r.wg.Go(func() {
		defer cancel()
		p.acked <- l.propose(ctx)
	})
	return p
}

// end gives it up, if there is one.
func (p *proposal) end() {
	if p != nil {
		p.giveUp()
	}
}

func dropAll(ls []*link) {
	for _, l := range ls {
		l.drop()
	}
}

func (p *proposal) stale() bool { return p != nil && p.overdue }

func (p *proposal) answer() <-chan error {
	if p == nil {
		return nil
	}
	return p.acked
}

func (p *proposal) patience() <-chan time.Time {
	if p == nil {
		return nil
	}
	return p.late
}

func bestOf(ls []*link) *link {
	var best *link
	for _, l := range ls {
		if best == nil || l.path.rank() < best.path.rank() {
			best = l
		}
	}
	return best
}

func without(ls []*link, gone *link) []*link {
	var rest []*link
	for _, l := range ls {
		if l != gone {
			rest = append(rest, l)
		}
	}
	return rest
}

// betterComing tells whether a connection with this path should wait a moment.
func (r *race) betterComing(p Path) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return worthWaiting(p, r.dialling, r.shaking, !r.cfg.room() || r.samePublic)
}

// worthWaiting: a better TCP connection that is in its handshake is waited for;
// one that is only being dialled, when it is to a private address and the two
// may share a network, or to a neighbour.
func worthWaiting(p Path, dialling, shaking map[Kind]int, near bool) bool {
	for other, n := range shaking {
		if n > 0 && other.rank() < p.rank() {
			return true
		}
	}
	if p.Kind != KindLAN && dialling[KindLAN] > 0 {
		return true
	}
	return near && p.Kind != KindLAN && p.Kind != KindPrivate && dialling[KindPrivate] > 0
}

// propose nominates l and waits for the acknowledgement, until ctx ends.
func (l *link) propose(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { l.below.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: over anyway
	defer stop()
	if _, err := l.Write([]byte{sayNominate}); err != nil {
		return fmt.Errorf("nominating: %w", err)
	}
	err := l.expect(sayAcknowledge)
	if !stop() && err == nil {
		return context.Cause(ctx)
	}
	return err
}

func (l *link) expect(want byte) error {
	var b [1]byte
	if _, err := l.Read(b[:]); err != nil {
		return fmt.Errorf("nominating: %w", err)
	}
	if b[0] != want {
		return errNominate
	}
	return nil
}

// beChosen is the other side: it acknowledges the first nomination.
func (r *race) beChosen(ctx context.Context, first []*link) (*link, error) {
	nominated := make(chan *link)
	var all []*link
	stayWith := func(l *link) {
		all = append(all, l)
		r.wg.Go(func() {
			if err := l.awaitNomination(ctx); err != nil {
				l.drop()
				return
			}
			select {
			case nominated <- l:
			case <-ctx.Done():
			}
		})
	}
	for _, l := range first {
		stayWith(l)
	}
	for {
		select {
		case l := <-r.links:
			if l.controls != r.controller {
				dropAll(all)
				return nil, &turnedError{l}
			}
			stayWith(l)
		case l := <-nominated:
			if err := l.acknowledge(); err == nil {
				return l, nil
			}
			l.drop()
		case err := <-r.rejected:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *link) awaitNomination(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { l.below.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: over anyway
	err := l.expect(sayNominate)
	if !stop() && err == nil {
		return context.Cause(ctx)
	}
	return err
}

func (l *link) acknowledge() error {
	if err := l.SetWriteDeadline(time.Now().Add(minAckTime)); err != nil {
		return err
	}
	if _, err := l.Write([]byte{sayAcknowledge}); err != nil {
		return err
	}
	return l.SetWriteDeadline(time.Time{})
}
