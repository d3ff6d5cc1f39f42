package natcheck

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
)

const (
	// resent is when a SYN that was lost has surely been sent again, which is after one second.
	resent = 1200 * time.Millisecond
	// attempts is how often a thing is tried before it is believed that a NAT refuses it.
	attempts = 2
)

// agree tries a thing twice at the same time. One success settles it. What else comes out counts only if it is the same
// both times: a lost packet looks like a refusal. Each try is told its number, to be late by that.
func agree[T comparable](ctx context.Context, success T, try func(ctx context.Context, n int) T) T {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var got [attempts]T
	var wg sync.WaitGroup
	for n := range got {
		wg.Go(func() {
			if got[n] = try(ctx, n); got[n] == success {
				cancel() // the other
			}
		})
	}
	wg.Wait()
	var unknown T
	switch {
	case got[0] == success || got[1] == success:
		return success
	case got[0] == got[1]:
		return got[0]
	}
	return unknown
}

// sleep waits, and reports whether ctx lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// keeps reports whether one mapping was seen to serve all ports of a server's address.
func (t *Transport) keeps() bool {
	switch t.Mapping {
	case NoNAT, EndpointIndependent, AddressDependent, NotPortDependent:
		return true
	}
	return false
}

// inbound finds out what a SYN meets that one of ours preceded. A refusal has to be seen twice, the second time with a
// SYN of ours that had time to be sent again. It counts only if the server's reserved ports can be reached: else our
// SYNs may not have got through, or its own firewall may have had a hand in it.
func (c *tcpCheck) inbound(ctx context.Context) Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reached := true
	var wg sync.WaitGroup
	if c.result.keeps() { // else each try visits its port
		wg.Go(func() { reached = c.visitOther(ctx) })
	}
	met := agree(ctx, Accepted, func(ctx context.Context, n int) Outcome {
		return c.simultaneous(ctx, portSilent, time.Duration(n)*resent)
	})
	if met == Accepted || met == "" {
		cancel()
	}
	wg.Wait()
	switch {
	case met == Accepted:
		return met
	case met != "" && !reached:
		c.skip("TCP SYNs after our own: the server's ports cannot be reached")
		return ""
	case met == "" || met == Silent && c.rtt > maxRTT:
		c.skip("TCP SYNs after our own: no certain answer")
		return ""
	}
	return met
}

// simultaneous sends a SYN to a reserved port of the server, where it meets what how says, and then, after a time, has
// the server dial from there.
func (c *tcpCheck) simultaneous(ctx context.Context, how byte, hold time.Duration) Outcome {
	l, err := newLane(ctx, c.prober.server.Addr())
	if err != nil {
		return ""
	}
	defer l.close()
	control, err := l.ask(ctx, c.prober.server, probe{op: opHello})
	if err != nil {
		return ""
	}
	defer syn.Discard(control.conn)
	// The server has to be shown the mapping towards the reserved port, and it has to last.
	if !c.result.keeps() && !c.show(ctx, l, control) {
		return ""
	}
	at, ok := c.reserve(ctx, control, how)
	if !ok {
		return ""
	}
	sent, err := l.dial(at)
	if err != nil {
		return ""
	}
	if how == portRefuses {
		return c.afterRST(ctx, sent, control)
	}
	defer sent.Close()
	if !sleep(ctx, hold) {
		return ""
	}
	met := c.dialBack(ctx, control)
	// Where something has answered our SYN, or ended it, the session is not the one that was meant.
	if met != Accepted && sent.State() != syn.Waiting {
		return ""
	}
	return met
}

// afterRST has the server dial once a RST has answered our SYN.
func (c *tcpCheck) afterRST(ctx context.Context, sent *syn.Call, control contact) Outcome {
	limited, cancel := context.WithTimeout(ctx, resent+c.rtt)
	defer cancel()
	conn, err := sent.Wait(limited)
	if err == nil {
		syn.Discard(conn) // somebody else has answered
		return ""
	}
	if !syn.Refused(err) {
		return ""
	}
	return c.dialBack(ctx, control)
}

// dialBack has the server dial from the reserved port.
func (c *tcpCheck) dialBack(ctx context.Context, control contact) Outcome {
	p, ok := c.probe(ctx, control, dialling(opDial, c.rtt))
	if !ok {
		return ""
	}
	return outcomeOf(p.arg)
}

// reserve has the server reserve a port, or change what a SYN meets there.
func (c *tcpCheck) reserve(ctx context.Context, control contact, how byte) (netip.AddrPort, bool) {
	p, ok := c.probe(ctx, control, probe{op: opOpen, arg: how})
	return netip.AddrPortFrom(control.server.Addr(), p.port), ok && p.arg == done && p.port != 0
}

// show visits a reserved port twice over the same pair of ports, as the third time shall be, and reports whether the
// NAT has given both the same mapping.
func (c *tcpCheck) show(ctx context.Context, l *lane, control contact) bool {
	at, ok := c.reserve(ctx, control, portSTUN)
	if !ok {
		return false
	}
	var mapped [2]netip.AddrPort
	for i := range mapped {
		if mapped[i], ok = c.visit(ctx, l, at); !ok {
			return false
		}
	}
	if mapped[0] != mapped[1] {
		c.skip("TCP SYNs after our own: this NAT takes a new port even for the same connection")
		return false
	}
	return true
}

// visit asks at a reserved port how it sees us.
func (c *tcpCheck) visit(ctx context.Context, l *lane, at netip.AddrPort) (netip.AddrPort, bool) {
	ctx, cancel := context.WithTimeout(ctx, resent+3*c.rtt)
	defer cancel()
	k, err := l.ask(ctx, at, probe{op: opHello})
	if err != nil {
		return netip.AddrPort{}, false
	}
	syn.Discard(k.conn) // by a RST of ours, which leaves no TIME_WAIT in the way
	return k.res.Mapped, true
}

// visitOther reports whether reserved ports of the server can be reached. It uses local ports of its own, so that the
// NAT sessions of the others are as new as those of a punch.
func (c *tcpCheck) visitOther(ctx context.Context) bool {
	var lanes [2]*lane
	for i := range lanes {
		l, err := newLane(ctx, c.prober.server.Addr())
		if err != nil {
			return false
		}
		defer l.close()
		lanes[i] = l
	}
	control, err := lanes[0].ask(ctx, c.prober.server, probe{op: opHello})
	if err != nil {
		return false
	}
	defer syn.Discard(control.conn)
	at, ok := c.reserve(ctx, control, portSTUN)
	if !ok {
		return false
	}
	_, ok = c.visit(ctx, lanes[1], at)
	return ok
}

// probe asks over a connection that there is.
func (c *tcpCheck) probe(ctx context.Context, k contact, p probe) (probe, bool) {
	ctx, cancel := context.WithTimeout(ctx, c.testTime())
	defer cancel()
	res, err := p.request().Query(ctx, k.conn)
	if err != nil {
		return probe{}, false
	}
	answer, ok := findProbe(res.Extra)
	return answer, ok && answer.op == p.op
}

// testTime is how long a test of the server's may take.
func (c *tcpCheck) testTime() time.Duration { return dialTime(c.rtt) + c.rtt + 1500*time.Millisecond }
