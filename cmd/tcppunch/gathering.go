package main

import (
	"context"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
)

// freshTime is how long what was gathered is of use: routers forget mappings, and
// servers close connections, over which nothing goes; and what is known of a
// sequence of ports gets old with every port that somebody else takes.
const freshTime = 3 * time.Second

// A gathering is a tcppunch.Gather beside something else.
type gathering struct {
	cancel context.CancelFunc
	stale  *time.Timer   // of one that was begun ahead of a meeting, else nil
	close  func()        // gives up what nobody took
	done   chan struct{} // closed when the fields below are set

	local *tcppunch.Local
	err   error
	took  time.Duration
	ended time.Time
}

// gather begins to find this side's addresses, for a Dial through a room.
func (r *rendezvous) gather(ctx context.Context) *gathering {
	ctx, cancel := context.WithCancel(ctx)
	g := &gathering{cancel: cancel, done: make(chan struct{})}
	cfg := &tcppunch.Config{Side: r.side, Signaler: &signals{}, Via: r.via.transport(), STUN: r.flags.stun(r.common.STUN)}
	go func() {
		defer close(g.done)
		began := time.Now()
		g.local, g.err = tcppunch.Gather(ctx, cfg)
		g.ended = time.Now()
		g.took = g.ended.Sub(began)
	}()
	g.close = sync.OnceFunc(func() {
		cancel()
		<-g.done
		if g.local != nil {
			g.local.Close()
		}
	})
	return g
}

// gatherAhead begins before it is known whether somebody comes. What is not used
// in time is given up.
func (r *rendezvous) gatherAhead(ctx context.Context) *gathering {
	g := r.gather(ctx)
	g.stale = time.AfterFunc(freshTime, g.close)
	return g
}

// keep tells whether what was begun ahead can still be used, and if so stops its
// time. It is good for one meeting.
func (g *gathering) keep() bool { return g != nil && g.stale.Stop() }

// old tells whether it has been ready for too long.
func (g *gathering) old() bool {
	select {
	case <-g.done:
		return time.Since(g.ended) > freshTime
	default:
		return false
	}
}

// take waits for the addresses. They are the caller's then.
func (g *gathering) take(ctx context.Context) (*tcppunch.Local, error) {
	select {
	case <-g.done:
		return g.local, g.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// discard gives up what was gathered, unless it has been used, when that does no harm.
func (g *gathering) discard() {
	if g.stale != nil {
		g.stale.Stop()
	}
	g.close()
}
