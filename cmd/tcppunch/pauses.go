package main

import (
	"context"
	"time"
)

// pauses come between attempts: 1, 2, 4, 8 seconds, and 15 from then on. Another next than
// zero is the first one.
type pauses struct{ next time.Duration }

const maxPause = 15 * time.Second

// wait waits for the next one, or returns ctx's error.
func (p *pauses) wait(ctx context.Context) error {
	if p.next == 0 {
		p.next = time.Second
	}
	d := p.next
	p.next = min(2*d, maxPause)
	return sleep(ctx, d)
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tooSoon tells whether a connection that began then has broken so soon, and not for the
// first time, that it takes a pause before the next one.
func (p *pauses) tooSoon(began time.Time) bool {
	if time.Since(began) > maxPause {
		p.next = 0
	}
	if p.next == 0 {
		p.next = time.Second
		return false
	}
	return true
}
