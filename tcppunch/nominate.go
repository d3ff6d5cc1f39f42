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
	// minAckTime is the least time to wait for an acknowledgement.
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
// next best if that one breaks before it is acknowledged.
func (r *race) choose(ctx context.Context) (*link, error) {
	var ready []*link
	var timer <-chan time.Time
	over := false
	for {
		if best := bestOf(ready); best != nil && (over || !r.betterComing(best.path.Kind)) {
			err := best.propose(ctx)
			if err == nil {
				return best, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			ready = without(ready, best)
			best.drop()
			continue
		}
		select {
		case l := <-r.links:
			ready = append(ready, l)
			if timer == nil {
				timer = time.After(grace)
			}
		case <-timer:
			over = true
		case err := <-r.rejected:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
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

// propose nominates l and waits for the acknowledgement.
func (l *link) propose(ctx context.Context) error {
	wait := max(minAckTime, 4*l.path.RTT)
	if err := l.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.tcp.SetDeadline(time.Unix(1, 0)) })() //nolint:errcheck // closed: over anyway
	if _, err := l.Write([]byte{sayNominate}); err != nil {
		return fmt.Errorf("nominating: %w", err)
	}
	if err := l.expect(sayAcknowledge); err != nil {
		return err
	}
	return l.SetDeadline(time.Time{})
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
	defer stop()
	return l.expect(sayNominate)
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
