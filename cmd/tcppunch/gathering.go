package main

import (
	"context"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
)

// freshTime is how long what was gathered is of use: routers forget mappings, and
// servers close connections, over which nothing goes.
const freshTime = 3 * time.Second

// A gathering is a tcppunch.Gather beside something else.
type gathering struct {
	cancel context.CancelFunc
	stale  *time.Timer
	close  func()        // gives up what nobody took
	done   chan struct{} // closed when the fields below are set

	local *tcppunch.Local
	err   error
	took  time.Duration
}

// gather begins to find this side's addresses, for a Dial through a room.
func (r *rendezvous) gather(ctx context.Context) *gathering {
	ctx, cancel := context.WithCancel(ctx)
	g := &gathering{cancel: cancel, done: make(chan struct{})}
	cfg := &tcppunch.Config{Side: r.side, Signaler: &signals{}, STUN: r.flags.stun(r.common.STUN)}
	go func() {
		defer close(g.done)
		began := time.Now()
		g.local, g.err = tcppunch.Gather(ctx, cfg)
		g.took = time.Since(began)
	}()
	g.close = sync.OnceFunc(func() {
		cancel()
		<-g.done
		if g.local != nil {
			g.local.Close()
		}
	})
	g.stale = time.AfterFunc(freshTime, g.close)
	return g
}

// fresh tells whether it can still be used, and if so keeps it. It is good for
// one meeting.
func (g *gathering) fresh() bool { return g != nil && g.stale.Stop() }

// take waits for the addresses. They are the caller's then.
func (g *gathering) take(ctx context.Context) (*tcppunch.Local, error) {
	g.stale.Stop()
	select {
	case <-g.done:
		return g.local, g.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// discard gives up what was gathered, unless it has been used, when that does no harm.
func (g *gathering) discard() {
	g.stale.Stop()
	g.close()
}
