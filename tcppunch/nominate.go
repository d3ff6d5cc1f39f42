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
	// minAckTime is the least time to wait for an acknowledgement when there
	// is another connection to nominate. Where there is none the other side
	// gets handshakeTime: its Config.Auth ends when it ends.
	minAckTime = 2 * time.Second
)

var errNominate = errors.New("the other side broke the nomination protocol")

// nominate returns the one connection that both sides will use.
func (r *race) nominate(ctx context.Context) (*link, error) {
	if r.controller {
		return r.choose(ctx)
	}
	return r.beChosen(ctx)
}

// choose is the controller's side: it nominates the best connection, and the
// next best if that one breaks, or stays silent, before it is acknowledged.
func (r *race) choose(ctx context.Context) (*link, error) {
	var ready []*link
	var graceOver <-chan time.Time
	waited := false
	var p *proposal
	for {
		if best := bestOf(ready); p == nil && best != nil && (waited || !r.betterComing(best.path.Kind)) {
			p = r.propose(ctx, best)
		}
		if p.stale() && len(ready) > 1 {
			p.giveUp()
		}
		select {
		case l := <-r.links:
			ready = append(ready, l)
			if graceOver == nil {
				graceOver = time.After(grace)
			}
		case <-graceOver:
			waited = true
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
		if best == nil || l.path.Kind.rank() < best.path.Kind.rank() {
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

// betterComing tells whether a connection of this kind should wait a moment.
func (r *race) betterComing(k Kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return worthWaiting(k, r.dialling, r.shaking, r.cfg.Signaler == nil || r.samePublic)
}

// worthWaiting: a better connection that is in its handshake is waited for;
// one that is only being dialled, when it is to a private address and the two
// may share a network.
func worthWaiting(k Kind, dialling, shaking map[Kind]int, near bool) bool {
	for other, n := range shaking {
		if n > 0 && other.rank() < k.rank() {
			return true
		}
	}
	return near && k != KindPrivate && dialling[KindPrivate] > 0
}

// propose nominates l and waits for the acknowledgement, until ctx ends.
func (l *link) propose(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { l.tcp.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: over anyway
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
func (r *race) beChosen(ctx context.Context) (*link, error) {
	nominated := make(chan *link)
	for {
		select {
		case l := <-r.links:
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
	stop := context.AfterFunc(ctx, func() { l.tcp.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: over anyway
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
