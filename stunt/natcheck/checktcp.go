package natcheck

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-reuseport"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
	"github.com/tcppunch/tcppunch/stunt/stun"
)

// tcpCheck is what is found out about TCP in one address family.
type tcpCheck struct {
	run      *run
	result   Transport
	contacts []contact // that saw the same local port
	prober   *contact  // the one that makes tests, if any does
	able     byte      // what it can do
	rtt      time.Duration

	mu      sync.Mutex
	skipped []string // guarded by mu
}

func (c *tcpCheck) skip(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped = append(c.skipped, fmt.Sprintf(format, args...))
}

// A lane is a local port. It listens, so that what is let in is not refused by this host itself.
type lane struct {
	ln   *net.TCPListener
	port uint16
}

// newLane takes an unused port for connections to the family of to.
func newLane(ctx context.Context, to netip.Addr) (*lane, error) {
	network := "tcp6"
	if to.Is4() {
		network = "tcp4"
	}
	lc := net.ListenConfig{Control: reuseport.Control}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, network, ":0")
	if err != nil {
		return nil, err
	}
	tcp := ln.(*net.TCPListener)
	return &lane{tcp, tcp.Addr().(*net.TCPAddr).AddrPort().Port()}, nil
}

func (l *lane) close() { _ = l.ln.Close() }

// dial sends a SYN.
func (l *lane) dial(to netip.AddrPort) (*syn.Call, error) {
	return syn.Dial(netip.AddrPortFrom(wildcard(to.Addr()), l.port), to, false)
}

// A contact is a connection to a server, and what it said first.
type contact struct {
	server netip.AddrPort
	conn   net.Conn
	res    stun.Response
	rtt    time.Duration // that it took to say it
}

func (k *contact) local() netip.AddrPort {
	if a, ok := k.conn.LocalAddr().(*net.TCPAddr); ok {
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

// ask waits for a call to be answered, and asks what p says.
func ask(ctx context.Context, c *syn.Call, server netip.AddrPort, p probe) (contact, error) {
	conn, err := c.Wait(ctx)
	if err != nil {
		return contact{}, err
	}
	began := time.Now()
	res, err := p.request().Query(ctx, conn)
	if err != nil {
		syn.Discard(conn)
		return contact{}, err
	}
	return contact{server, conn, res, time.Since(began)}, nil
}

// ask connects from the lane and asks what p says.
func (l *lane) ask(ctx context.Context, server netip.AddrPort, p probe) (contact, error) {
	c, err := l.dial(server)
	if err != nil {
		return contact{}, err
	}
	return ask(ctx, c, server, p)
}

// checkTCP makes all tests over TCP with the given servers, which are of one family. The report of no servers is empty.
func (r *run) checkTCP(ctx context.Context, servers []netip.AddrPort) *tcpCheck {
	c := &tcpCheck{run: r}
	if len(servers) == 0 {
		return c
	}
	l, err := newLane(ctx, servers[0].Addr())
	if err != nil {
		c.skip("TCP: %v", err)
		return c
	}
	defer l.close()
	c.reach(ctx, l, servers)
	defer func() {
		for _, k := range c.contacts {
			syn.Discard(k.conn)
		}
	}()
	if len(c.contacts) == 0 {
		return c
	}
	first := &c.contacts[0]
	c.result.Local, c.result.Mapped = first.local(), first.res.Mapped
	c.rtt = first.rtt
	var seen []sighting
	for i := range c.contacts {
		k := &c.contacts[i]
		c.rtt = min(c.rtt, k.rtt)
		seen = append(seen, sighting{k.server, k.res.Mapped})
		if p, ok := findProbe(k.res.Extra); ok && p.op == opHello && p.arg&canDial != 0 && c.prober == nil {
			c.prober, c.able = k, p.arg
		}
	}
	c.result.Mapping = mapping(c.result.Local, seen)
	c.tests(ctx)
	return c
}

// reach asks all servers from one port, and then the other addresses that they tell of.
func (c *tcpCheck) reach(ctx context.Context, l *lane, servers []netip.AddrPort) {
	c.reachAll(ctx, l, servers)
	all := slices.Clone(servers)
	for _, k := range c.contacts {
		all = append(all, further(all, k.server, k.res)...)
	}
	all = all[:min(len(all), len(servers)+maxFurther)]
	c.reachAll(ctx, l, all[len(servers):])
	slices.SortStableFunc(c.contacts, func(a, b contact) int { // as they were given, not as they answered
		return slices.Index(all, a.server) - slices.Index(all, b.server)
	})
}

func (c *tcpCheck) reachAll(ctx context.Context, l *lane, servers []netip.AddrPort) {
	var asks []asking[contact]
	for _, s := range servers {
		ask := func(ctx context.Context) (contact, error) { return l.ask(ctx, s, probe{op: opHello}) }
		asks = append(asks, asking[contact]{s.Addr(), ask})
	}
	var known []netip.Addr
	for _, k := range c.contacts {
		known = append(known, k.server.Addr())
	}
	c.contacts = append(c.contacts, collect(ctx, asks, known...)...)
}

// tests makes those tests for which one server is enough, all at once.
func (c *tcpCheck) tests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, testsTime+4*min(c.rtt, maxRTT))
	defer cancel()
	server := c.contacts[0].server
	translated := c.result.Mapping != NoNAT && c.result.Local.Addr() != c.result.Mapped.Addr()
	var wg sync.WaitGroup
	if translated && c.result.Local.Addr().Is4() {
		pairs := c.portPairs(ctx, server, &wg) // the SYNs are out when it returns
		wg.Go(func() { c.result.Hairpin = c.hairpin(ctx, server) })
		defer func() { c.result.Ports, c.result.Step, c.result.Churn = ports(pairs()) }()
	}
	if c.prober == nil {
		c.skip("TCP filtering, answer to unsolicited SYNs and to those after our own: no server here dials back")
		wg.Wait()
		return
	}
	var port, addr, inbound, reset Outcome
	if c.able&canSilence != 0 {
		wg.Go(func() { inbound = c.inbound(ctx) })
	} else {
		c.skip("TCP SYNs after our own: the server is not on Linux")
	}
	if !c.run.opt.Quick {
		wg.Go(func() { port = c.knock(ctx, opKnockPort) })
		if c.able&canAlt != 0 {
			wg.Go(func() { addr = c.knock(ctx, opKnockAddr) })
		}
		wg.Go(func() { reset = c.simultaneous(ctx, portRefuses, 0) })
	}
	wg.Wait()
	c.conclude(port, addr, inbound, reset)
}

// conclude reads the results of the dial-backs.
func (c *tcpCheck) conclude(port, addr, inbound, reset Outcome) {
	c.result.Filtering = filtering(port.let(), addr.let())
	c.result.Unsolicited = port
	if addr != "" {
		c.result.Unsolicited = addr
	}
	c.result.InboundSYN = inbound
	// Else what is let in after a RST may not owe it to the session.
	if c.result.Filtering == AddressAndPortDependent && inbound == Accepted {
		switch reset.let() {
		case Yes:
			c.result.RSTEnds = No
		case No:
			c.result.RSTEnds = Yes
		}
	}
}

// portPairs sends SYNs from several unused ports, one right after the other. What it returns waits for their mappings.
func (c *tcpCheck) portPairs(ctx context.Context, server netip.AddrPort, wg *sync.WaitGroup) func() []pair {
	got := make([]pair, manyPorts)
	c.run.inOrder.Lock()
	defer c.run.inOrder.Unlock()
	for i := range got {
		l, err := newLane(ctx, server.Addr())
		if err != nil {
			break
		}
		sent, err := l.dial(server)
		if err != nil {
			l.close()
			break
		}
		began := time.Now()
		wg.Go(func() {
			defer l.close()
			k, err := ask(ctx, sent, server, probe{op: opHello})
			if err != nil {
				return
			}
			syn.Discard(k.conn)
			if time.Since(began) < time.Second { // else the SYN may have been sent again, and be out of order
				got[i] = pair{l.port, k.res.Mapped.Port()}
			}
		})
	}
	return func() []pair { return slices.DeleteFunc(got, func(p pair) bool { return p.mapped == 0 }) }
}

// knock has the server dial an unused port of ours from where that port has never sent anything.
func (c *tcpCheck) knock(ctx context.Context, how op) Outcome {
	l, err := newLane(ctx, c.prober.server.Addr())
	if err != nil {
		return ""
	}
	defer l.close()
	k, err := l.ask(ctx, c.prober.server, dialling(how, c.rtt))
	if err != nil {
		return ""
	}
	defer syn.Discard(k.conn)
	if p, ok := findProbe(k.res.Extra); ok && p.op == how {
		return outcomeOf(p.arg)
	}
	return ""
}
