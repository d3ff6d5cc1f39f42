package main

import (
	"context"
	"net"
	"net/netip"
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

	mu      sync.Mutex
	nat     tcppunch.NAT // guarded by mu
	checked bool         // guarded by mu
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
	var err error
	for _, s := range servers {
		host, _, serr := net.SplitHostPort(s)
		if serr != nil {
			continue
		}
		var ips []netip.Addr
		if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip4", host); err == nil && len(ips) > 0 {
			return natcheck.Routers(ctx, ips[0].Unmap())
		}
	}
	return 0, err
}

// check makes the whole check, unless that was done.
func (r *routers) check(ctx context.Context) {
	r.mu.Lock()
	done := r.checked
	r.mu.Unlock()
	if done {
		return
	}
	rep, err := natcheck.Run(ctx, &natcheck.Options{Servers: r.servers})
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
	r.nat, r.checked = nat, true
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
	hairpins := map[natcheck.Answer]tcppunch.Answer{natcheck.Yes: tcppunch.LetsIn, natcheck.No: tcppunch.Silent}
	return tcppunch.NAT{
		Mapping: mappings[rep.TCP.Mapping], Ports: ports[rep.TCP.Ports],
		Unsolicited: answers[rep.TCP.Unsolicited], Inbound: answers[rep.TCP.InboundSYN],
		Hairpin: hairpins[rep.TCP.Hairpin], Routers: max(rep.Routers, 0),
	}
}
