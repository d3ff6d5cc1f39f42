package natcheck

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

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
	res, err := p.request().Query(ctx, conn)
	if err != nil {
		syn.Discard(conn)
		return contact{}, err
	}
	return contact{server, conn, res}, nil
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
	var seen []sighting
	for i := range c.contacts {
		k := &c.contacts[i]
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
	var asks []func(context.Context) (contact, error)
	for _, s := range servers {
		asks = append(asks, func(ctx context.Context) (contact, error) { return l.ask(ctx, s, probe{op: opHello}) })
	}
	c.contacts = append(c.contacts, collect(ctx, asks)...)
}

// tests makes those tests for which one server is enough, all at once.
func (c *tcpCheck) tests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*testTime)
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
	wg.Go(func() { port = c.knock(ctx, opKnockPort) })
	if c.able&canAlt != 0 {
		wg.Go(func() { addr = c.knock(ctx, opKnockAddr) })
	}
	if c.able&canSilence != 0 {
		wg.Go(func() { inbound = c.inbound(ctx, portSilent) })
	} else {
		c.skip("TCP SYNs after our own: the server is not on Linux")
	}
	wg.Go(func() { reset = c.inbound(ctx, portRefuses) })
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
		wg.Go(func() {
			defer l.close()
			if k, err := ask(ctx, sent, server, probe{op: opHello}); err == nil {
				got[i] = pair{l.port, k.res.Mapped.Port()}
				syn.Discard(k.conn)
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
	k, err := l.ask(ctx, c.prober.server, probe{op: how})
	if err != nil {
		return ""
	}
	defer syn.Discard(k.conn)
	if p, ok := findProbe(k.res.Extra); ok && p.op == how {
		return outcomeOf(p.arg)
	}
	return ""
}

// inbound sends a SYN to a reserved port of the server, where it meets what how says, and then has the server dial
// from there.
func (c *tcpCheck) inbound(ctx context.Context, how byte) Outcome {
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
	if c.result.Mapping == AddressAndPortDependent {
		// The server has to be shown the mapping towards the reserved port, and it has to last.
		if !c.show(ctx, l, control) {
			return ""
		}
	}
	p, ok := control.probe(ctx, probe{op: opOpen, arg: how})
	if !ok || p.arg != done || p.port == 0 {
		return ""
	}
	sent, err := l.dial(netip.AddrPortFrom(control.server.Addr(), p.port))
	if err != nil {
		return ""
	}
	if how == portRefuses {
		if conn, err := sent.Wait(ctx); err == nil {
			syn.Discard(conn)
			return "" // somebody else has answered
		} else if !syn.Refused(err) {
			return ""
		}
	} else {
		defer sent.Close()
	}
	if p, ok = control.probe(ctx, probe{op: opDial}); !ok {
		return ""
	}
	return outcomeOf(p.arg)
}

// show visits a reserved port twice over the same pair of ports, as the third time shall be, and reports whether the
// NAT has given both the same mapping.
func (c *tcpCheck) show(ctx context.Context, l *lane, control contact) bool {
	p, ok := control.probe(ctx, probe{op: opOpen, arg: portSTUN})
	if !ok || p.arg != done || p.port == 0 {
		return false
	}
	var mapped [2]netip.AddrPort
	for i := range mapped {
		k, err := l.ask(ctx, netip.AddrPortFrom(control.server.Addr(), p.port), probe{op: opHello})
		if err != nil {
			return false
		}
		syn.Discard(k.conn) // by a RST of ours, which leaves no TIME_WAIT in the way
		mapped[i] = k.res.Mapped
	}
	if mapped[0] != mapped[1] {
		c.skip("TCP SYNs after our own: this NAT takes a new port even for the same connection")
		return false
	}
	return true
}

// probe asks over a connection that there is.
func (k *contact) probe(ctx context.Context, p probe) (probe, bool) {
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	res, err := p.request().Query(ctx, k.conn)
	if err != nil {
		return probe{}, false
	}
	answer, ok := findProbe(res.Extra)
	return answer, ok && answer.op == p.op
}
