package natcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// udpSends are when a request is sent, for all that is known the first time may be lost, and udpTime is when it has
// failed.
func udpSends() []time.Duration {
	return []time.Duration{0, 500 * time.Millisecond, time.Second}
}

const udpTime = 1600 * time.Millisecond

// A socket is a local UDP port. A goroutine reads it.
type socket struct {
	pc     *net.UDPConn
	done   chan struct{} // closed when the goroutine has ended
	others chan string   // what is no answer; what does not fit is dropped

	mu      sync.Mutex
	waiting map[stun.TransactionID]chan reply // guarded by mu
}

// A reply is an answer and where it came from.
type reply struct {
	res  stun.Response
	from netip.AddrPort
	err  error
}

func newSocket(to netip.Addr) (*socket, error) {
	network := "udp6"
	if to.Is4() {
		network = "udp4"
	}
	pc, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	s := &socket{pc: pc, done: make(chan struct{}), others: make(chan string, 16)}
	s.waiting = make(map[stun.TransactionID]chan reply)
	go s.read()
	return s, nil
}

func (s *socket) port() uint16 { return s.pc.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

func (s *socket) close() {
	_ = s.pc.Close()
	<-s.done
}

func (s *socket) read() {
	defer close(s.done)
	buf := make([]byte, 1<<16) // Windows makes an error of a packet that does not fit
	for {
		n, from, err := s.pc.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP error, where those are told
			if !pause(context.Background()) {
				return
			}
			continue
		}
		id, ok := stun.ResponseID(buf[:n])
		if !ok {
			select {
			case s.others <- string(buf[:min(n, nonceSize)]):
			default:
			}
			continue
		}
		s.mu.Lock()
		to := s.waiting[id]
		delete(s.waiting, id)
		s.mu.Unlock()
		if to != nil {
			res, err := stun.ParseResponse(buf[:n])
			to <- reply{res, unmap(from), err} // has room for the one that there is
		}
	}
}

// An inquiry is a request, and the wait for its answer.
type inquiry struct {
	socket *socket // gets the answer
	from   *socket // sends the request
	raw    []byte
	id     stun.TransactionID
	to     netip.AddrPort
	got    chan reply
}

// expect prepares for the answer to a request.
func (s *socket) expect(to netip.AddrPort, q *stun.Request) *inquiry {
	i := &inquiry{socket: s, from: s, to: to, got: make(chan reply, 1)}
	i.raw, i.id = q.Encode()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[i.id] = i.got
	return i
}

// begin sends a request for the first time.
func (s *socket) begin(to netip.AddrPort, q *stun.Request) *inquiry {
	i := s.expect(to, q)
	i.send()
	return i
}

// send: what cannot be sent now may be later.
func (i *inquiry) send() { _, _ = i.from.pc.WriteToUDPAddrPort(i.raw, i.to) }

// wait sends the request again until there is an answer, or it is time to give up: ErrNoAnswer.
func (i *inquiry) wait(ctx context.Context) (stun.Response, netip.AddrPort, error) {
	defer func() {
		i.socket.mu.Lock()
		delete(i.socket.waiting, i.id)
		i.socket.mu.Unlock()
	}()
	sends := udpSends()
	for n, at := range sends {
		next := udpTime
		if n+1 < len(sends) {
			next = sends[n+1]
		}
		if n > 0 {
			i.send()
		}
		t := time.NewTimer(next - at)
		select {
		case r := <-i.got:
			t.Stop()
			return r.res, r.from, r.err
		case <-ctx.Done():
			t.Stop()
			return stun.Response{}, netip.AddrPort{}, ctx.Err()
		case <-t.C:
		}
	}
	return stun.Response{}, netip.AddrPort{}, ErrNoAnswer
}

func (s *socket) ask(ctx context.Context, to netip.AddrPort, q *stun.Request) (stun.Response, netip.AddrPort, error) {
	return s.begin(to, q).wait(ctx)
}

// A glimpse is a server's answer over UDP.
type glimpse struct {
	server netip.AddrPort
	res    stun.Response
	rtt    time.Duration // and what was lost
}

// udpCheck is what is found out about UDP in one address family.
type udpCheck struct {
	run     *run
	result  Transport
	seen    []glimpse // of one socket
	rtt     time.Duration
	skipped []string
}

func (c *udpCheck) skip(format string, args ...any) {
	c.skipped = append(c.skipped, fmt.Sprintf(format, args...))
}

// checkUDP makes all tests over UDP with the given servers, which are of one family. The report of no servers is empty.
func (r *run) checkUDP(ctx context.Context, servers []netip.AddrPort) *udpCheck {
	c := &udpCheck{run: r}
	if len(servers) == 0 {
		return c
	}
	s, err := newSocket(servers[0].Addr())
	if err != nil {
		c.skip("UDP: %v", err)
		return c
	}
	defer s.close()
	c.reach(ctx, s, servers)
	if len(c.seen) == 0 {
		return c
	}
	c.result.Local = netip.AddrPortFrom(localAddr(c.seen[0].server), s.port())
	c.result.Mapped = c.seen[0].res.Mapped
	c.rtt = c.seen[0].rtt
	var seen []sighting
	for _, g := range c.seen {
		c.rtt = min(c.rtt, g.rtt)
		seen = append(seen, sighting{g.server, g.res.Mapped})
	}
	c.result.Mapping = mapping(c.result.Local, seen)
	c.tests(ctx)
	return c
}

// localAddr is the address that this host sends from.
func localAddr(to netip.AddrPort) netip.Addr {
	pc, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer pc.Close()
	return pc.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// reach asks all servers from one socket, and then the other addresses that they tell of.
func (c *udpCheck) reach(ctx context.Context, s *socket, servers []netip.AddrPort) {
	c.reachAll(ctx, s, servers)
	all := slices.Clone(servers)
	for _, g := range c.seen {
		all = append(all, further(all, g.server, g.res)...)
	}
	all = all[:min(len(all), len(servers)+maxFurther)]
	c.reachAll(ctx, s, all[len(servers):])
	slices.SortStableFunc(c.seen, func(a, b glimpse) int { return slices.Index(all, a.server) - slices.Index(all, b.server) })
}

func (c *udpCheck) reachAll(ctx context.Context, s *socket, servers []netip.AddrPort) {
	var asks []asking[glimpse]
	for _, server := range servers {
		asks = append(asks, asking[glimpse]{server.Addr(), func(ctx context.Context) (glimpse, error) {
			began := time.Now()
			res, _, err := s.ask(ctx, server, probe{op: opHello}.request())
			return glimpse{server, res, time.Since(began)}, err
		}})
	}
	var known []netip.Addr
	for _, g := range c.seen {
		known = append(known, g.server.Addr())
	}
	c.seen = append(c.seen, collect(ctx, asks, known...)...)
}

// tests makes those tests for which one server is enough, all at once.
func (c *udpCheck) tests(ctx context.Context) {
	server := c.seen[0].server
	translated := c.result.Mapping != NoNAT && c.result.Local.Addr() != c.result.Mapped.Addr()
	var wg sync.WaitGroup
	if translated && c.result.Local.Addr().Is4() {
		pairs := c.portPairs(ctx, server, &wg) // the packets are out when it returns
		wg.Go(func() { c.result.Hairpin = c.hairpin(ctx, server) })
		defer func() { c.result.Ports, c.result.Step, c.result.Churn = ports(pairs()) }()
	}
	var port, addr Answer
	filter, canPort, canAddr := c.filterServer()
	if canPort {
		wg.Go(func() { port = c.answersFrom(ctx, filter, &stun.Request{ChangePort: true}) })
	}
	if canAddr {
		wg.Go(func() { addr = c.answersFrom(ctx, filter, &stun.Request{ChangeIP: true, ChangePort: true}) })
	}
	var lived, died []int64
	respond := c.respondServer()
	if c.run.opt.Slow && translated && respond.IsValid() {
		wg.Go(func() { lived, died = c.lifetimes(ctx, respond) })
	}
	wg.Wait()
	if !canPort {
		c.skip("UDP filtering: no server here answers from another port or address")
	}
	if c.run.opt.Slow && !respond.IsValid() {
		c.skip("UDP lifetime: no server here answers to another port")
	}
	c.result.Filtering = filtering(port, addr)
	least, most := lifetime(lived, died)
	c.result.LifetimeMin, c.result.LifetimeMax = time.Duration(least), time.Duration(most)
}

// filterServer finds a server that answers from another port, or even address.
func (c *udpCheck) filterServer() (server netip.AddrPort, port, addr bool) {
	for _, g := range c.seen {
		if plausible(g.server, g.res.Other) {
			return g.server, true, true
		}
	}
	server = c.respondServer()
	return server, server.IsValid(), false
}

// respondServer finds a server that answers from another port, and to another port.
func (c *udpCheck) respondServer() netip.AddrPort {
	for _, g := range c.seen {
		if p, ok := findProbe(g.res.Extra); ok && p.op == opHello && p.arg&canRespond != 0 {
			return g.server
		}
	}
	return netip.AddrPort{}
}

// answersFrom reports whether an answer arrives that is sent from elsewhere (RFC 5780 section 4.4).
func (c *udpCheck) answersFrom(ctx context.Context, server netip.AddrPort, q *stun.Request) Answer {
	s, err := newSocket(server.Addr())
	if err != nil {
		return ""
	}
	defer s.close()
	_, from, err := s.ask(ctx, server, q)
	switch {
	case errors.Is(err, ErrNoAnswer):
		return No
	case err != nil || from.Port() == server.Port() || q.ChangeIP && from.Addr() == server.Addr():
		return "" // refused, or passed over
	}
	return Yes
}

// portPairs sends requests from several sockets, one right after the other. What it returns waits for their mappings.
func (c *udpCheck) portPairs(ctx context.Context, server netip.AddrPort, wg *sync.WaitGroup) func() []pair {
	got := make([]pair, manyPorts)
	c.run.inOrder.Lock()
	defer c.run.inOrder.Unlock()
	for i := range got {
		s, err := newSocket(server.Addr())
		if err != nil {
			break
		}
		sent := s.begin(server, &stun.Request{})
		began := time.Now()
		wg.Go(func() {
			defer s.close()
			res, _, err := sent.wait(ctx)
			if err == nil && time.Since(began) < udpSends()[1] { // else it may be the second packet's, out of order
				got[i] = pair{s.port(), res.Mapped.Port()}
			}
		})
	}
	return func() []pair { return slices.DeleteFunc(got, func(p pair) bool { return p.mapped == 0 }) }
}
