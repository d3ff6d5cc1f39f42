package tcppunch

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

const (
	// pace is the time between two SYNs of a burst: punch storms kill small
	// routers.
	pace = time.Millisecond
	// patience is how long a dial of a search waits for its answer before
	// another port has its turn.
	patience = 500 * time.Millisecond
)

// burst starts the many attempts of a burst. It returns when the first SYN of
// each opener is out, or all dials of connectors have been left to a goroutine.
// All of them end with ctx.
func (r *race) burst(ctx context.Context, b burst, port *sock.Port, round int) {
	if b.technique == Opener {
		r.openMany(ctx, b, port, round)
		return
	}
	r.wg.Go(func() { r.dialMany(ctx, b, port, round) })
}

// openMany holds an opener for each of the burst's dials.
func (r *race) openMany(ctx context.Context, b burst, port *sock.Port, round int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	at := forGood(Opener, b.ttl, round, time.Now())
	for remote := range b.targets() {
		<-r.hold(ctx, b.tuple(port, remote), at)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// dialMany dials the burst's targets, some at a time.
func (r *race) dialMany(ctx context.Context, b burst, port *sock.Port, round int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	slots := make(chan struct{}, b.sockets)
	for remote := range b.targets() {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		r.wg.Go(func() { r.dialOnce(ctx, b.tuple(port, remote), round, func() { <-slots }) })
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// targets yields the burst's remote endpoints.
func (b burst) targets() func(yield func(netip.AddrPort) bool) {
	return func(yield func(netip.AddrPort) bool) {
		if !b.random.IsValid() {
			for _, a := range b.remotes {
				if !yield(a) {
					return
				}
			}
			return
		}
		seen := map[uint16]bool{}
		for len(seen) < b.dials {
			port := uint16(1024 + rand.IntN(portsIn-1024))
			if seen[port] {
				continue
			}
			seen[port] = true
			if !yield(netip.AddrPortFrom(b.random, port)) {
				return
			}
		}
	}
}

func (b burst) tuple(port *sock.Port, remote netip.AddrPort) tuple {
	if b.fresh {
		port = new(sock.Port)
	}
	return tuple{port: port, remote: remote, kind: KindPredicted, lane: b.lane}
}

// dialOnce makes one socket and gives it up when no answer has come in time:
// its port was a wrong one. ended is called when it is connected or closed.
func (r *race) dialOnce(ctx context.Context, t tuple, round int, ended func()) {
	a := Attempt{
		Network: "tcp",
		Local:   netip.AddrPortFrom(netip.Addr{}, t.port.Number()),
		Remote:  t.remote, Kind: t.kind, Technique: Connector, Lane: t.lane, Round: round, Start: time.Now(),
	}
	r.attemptStarts(a)
	p, err := t.port.Connect(t.remote, 0)
	if err != nil {
		ended()
		r.attemptDone(a, err)
		return
	}
	var giveUp func()
	giveUp = func() {
		if s, _ := p.State(); s == sock.StateSynRecv { // right after all
			time.AfterFunc(freshSYN, giveUp)
			return
		}
		p.Close() // if it is connected by now, this does nothing
	}
	late := time.AfterFunc(patience, giveUp)
	conn, err := p.Wait(ctx)
	late.Stop()
	ended()
	if err == nil {
		a.Connected, a.Local = time.Now(), localAddr(conn)
	} else if time.Since(a.Start) >= patience {
		err = errRedial
	}
	r.attemptDone(a, err)
	if err == nil {
		r.run(conn, a, a.Start)
	}
}
