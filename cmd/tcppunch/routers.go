package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck"
	"github.com/tcppunch/tcppunch/tcppunch"
)

const (
	// countPatience is how long a punch waits for the number of routers, which
	// has been asked for long before.
	countPatience = 100 * time.Millisecond
	// checkPatience is how long it waits for the whole check, once two rounds
	// have been in vain.
	checkPatience = 5 * time.Second
	// checkRound is the first round for which that is worth it.
	checkRound = 2
)

// routers finds out what this side's routers do, beside other things, so that
// the punch need not try what cannot work.
type routers struct {
	servers []string
	out     *output
	counted chan struct{} // closed when their number is known, or will not be

	mu    sync.Mutex
	nat   tcppunch.NAT // guarded by mu
	tried bool         // the whole check; guarded by mu
}

// newRouters begins to count them, until ctx ends.
func newRouters(ctx context.Context, servers []string, out *output) *routers {
	r := &routers{servers: servers, out: out, counted: make(chan struct{})}
	go func() {
		defer close(r.counted)
		if n, err := countRouters(ctx, servers); err == nil {
			r.mu.Lock()
			r.nat.Routers = n
			r.mu.Unlock()
			out.detail("%d routers before the public side", n)
		}
	}()
	return r
}

// countRouters counts those on the way to the first server that has an IPv4
// address.
func countRouters(ctx context.Context, servers []string) (int, error) {
	err := errors.New("no server with an IPv4 address")
	for _, s := range servers {
		host, _, serr := net.SplitHostPort(s)
		if serr != nil {
			continue
		}
		ips, lerr := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
		if lerr == nil && len(ips) > 0 {
			return natcheck.Routers(ctx, ips[0].Unmap())
		}
		err = errors.Join(err, lerr)
	}
	return 0, err
}

// check makes the whole check, once.
func (r *routers) check(ctx context.Context) {
	r.mu.Lock()
	tried := r.tried
	r.tried = true
	r.mu.Unlock()
	if tried {
		return
	}
	rep, err := natcheck.Run(ctx, &natcheck.Options{Servers: r.servers, Quick: true})
	if errors.Is(ctx.Err(), context.Canceled) { // the other side has come: there may be time later
		r.mu.Lock()
		r.tried = false
		r.mu.Unlock()
		return
	}
	if err != nil {
		r.out.detail("checking the routers: %v", err)
		return
	}
	nat := natOf(rep)
	r.out.detail("this side's routers: %+v", nat)
	r.mu.Lock()
	defer r.mu.Unlock()
	if nat.Routers == 0 {
		nat.Routers = r.nat.Routers
	}
	r.nat = nat
}

// know is what a Dial asks before each round. The check makes mappings that a
// prediction would have to allow for, so it is not made while a round is on.
func (r *routers) know(ctx context.Context, round int) tcppunch.NAT {
	if round >= checkRound {
		limited, cancel := context.WithTimeout(ctx, checkPatience)
		defer cancel()
		r.check(limited)
	} else {
		t := time.NewTimer(countPatience)
		defer t.Stop()
		select {
		case <-r.counted:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nat
}

// natOf takes from a report what a punch can use.
func natOf(rep *natcheck.Report) tcppunch.NAT {
	mappings := map[natcheck.Behavior]tcppunch.Behavior{
		natcheck.NoNAT:                   tcppunch.EndpointIndependent,
		natcheck.EndpointIndependent:     tcppunch.EndpointIndependent,
		natcheck.AddressDependent:        tcppunch.AddressDependent,
		natcheck.AddressAndPortDependent: tcppunch.AddressAndPortDependent,
	}
	ports := map[natcheck.Ports]tcppunch.Ports{
		natcheck.Preserving: tcppunch.Preserving,
		natcheck.Sequential: tcppunch.Sequential,
		natcheck.Random:     tcppunch.Random,
	}
	answers := map[natcheck.Outcome]tcppunch.Answer{
		natcheck.Accepted: tcppunch.LetsIn,
		natcheck.Silent:   tcppunch.Silent,
		natcheck.RST:      tcppunch.SendsRST,
		natcheck.ICMP:     tcppunch.SendsICMP,
	}
	nat := tcppunch.NAT{
		Mapping: mappings[rep.TCP.Mapping], Ports: ports[rep.TCP.Ports], Inbound: answers[rep.TCP.InboundSYN],
		Routers: max(rep.Routers, 0), Public: rep.TCP.Mapped.Addr(),
	}
	switch {
	case rep.TCP.Hairpin == natcheck.Yes:
		nat.Hairpin = tcppunch.LetsIn
	case rep.TCP.Hairpin == natcheck.No && rep.UDP.Hairpin != natcheck.Yes && (nat.Mapping == tcppunch.EndpointIndependent || nat.Ports == tcppunch.Preserving):
		// Else the mapping that was dialled may have been another one.
		nat.Hairpin = tcppunch.Silent
	}
	return nat
}
