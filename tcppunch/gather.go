package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

const (
	// stunTime bounds the search for a public address.
	stunTime = 4 * time.Second
	// minSecond is how long the second server at least has.
	minSecond = 100 * time.Millisecond
	// maxHosts bounds this machine's addresses in an offer.
	maxHosts = 8
	// maxServers bounds how many STUN servers a lane asks.
	maxServers = 3
	// roomLanes is how many fresh local ports a round in a room has.
	roomLanes = 3
	// feelers is how many more there are where public ports come in a sequence.
	feelers = 4
)

// A Local is this side, ready to punch: its local ports, listening, and what
// STUN says of their public addresses. Close it, or give it to Dial, which will.
type Local struct {
	lanes   []*lane
	feelers []*lane // closed; they have shown how the NAT chooses ports
	hosts   []netip.Addr
}

// A lane is one local port with its mapping.
type lane struct {
	port *sock.Port

	mu     sync.Mutex
	mapped []netip.AddrPort
	seen   []observation
	other  netip.Addr // a second address of a server's, which is being asked
	held   []net.Conn // the STUN connections; open, they hold the mapping
	errs   []error
}

// Gather does the first step of Dial: it takes the local ports and, when
// cfg.STUN names servers, asks for their public addresses. It is for callers
// who must tell a person this side's addresses before they know the peer's.
// That no STUN server answered is no error here: see STUNError.
func Gather(ctx context.Context, cfg *Config) (*Local, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.checkPorts(); err != nil {
		return nil, err
	}
	if cfg.Signaler != nil {
		return gather(ctx, make([]uint16, roomLanes), cfg.STUN)
	}
	base := cfg.Port
	if base == 0 {
		base = DefaultPort
	}
	l, err := gather(ctx, []uint16{base}, cfg.STUN)
	if err != nil {
		return nil, err
	}
	spare := cfg.Spare
	if spare == 0 {
		spare = 1 + rand.IntN(SparePorts)
	}
	for i := range SparePorts {
		port, err := sock.Open(ctx, base+uint16(1+(spare-1+i)%SparePorts))
		if err == nil { // else another program has that one
			l.lanes = append(l.lanes, &lane{port: port})
		}
	}
	return l, nil
}

// gather opens the ports, 0 meaning any, and asks STUN about each.
func gather(ctx context.Context, ports []uint16, servers []string) (*Local, error) {
	l := &Local{hosts: hostAddrs()}
	for _, n := range ports {
		port, err := sock.Open(ctx, n)
		if err != nil {
			l.Close()
			return nil, err
		}
		l.lanes = append(l.lanes, &lane{port: port})
	}
	askAll(ctx, l.lanes, servers)
	if ports[0] == 0 && l.inSequence() {
		l.feel(ctx, servers)
	}
	if err := ctx.Err(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// feel asks about a few ports more: they tell the step of a sequence, and how
// many ports other users take of it.
func (l *Local) feel(ctx context.Context, servers []string) {
	for range feelers {
		if port, err := sock.Open(ctx, 0); err == nil {
			l.feelers = append(l.feelers, &lane{port: port})
		}
	}
	askAll(ctx, l.feelers, servers)
	for _, ln := range l.feelers {
		ln.close()
	}
}

func askAll(ctx context.Context, lanes []*lane, servers []string) {
	var wg sync.WaitGroup
	for _, ln := range lanes {
		wg.Go(func() { ln.askSTUN(ctx, servers) })
	}
	wg.Wait()
}

// askSTUN asks some servers at once. It stops when one has answered, unless the
// mapping is such that a second answer tells more: then that one gets twice as
// much time again.
func (l *lane) askSTUN(ctx context.Context, servers []string) {
	ctx, cancel := context.WithTimeout(ctx, stunTime)
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	for i, server := range servers {
		if i == maxServers {
			break
		}
		wg.Go(func() {
			res, err := l.ask(ctx, server)
			if err != nil {
				l.mu.Lock()
				l.errs = append(l.errs, fmt.Errorf("STUN server %s: %w", server, err))
				l.mu.Unlock()
				return
			}
			switch {
			case !res.Mapped.Addr().Is4(): // this host's own address: of little interest
				time.AfterFunc(max(2*time.Since(start), minSecond), cancel)
				return
			case res.Mapped.Port() == l.port.Number():
				cancel() // port preserving: what others see is the same
				return
			}
			time.AfterFunc(max(2*time.Since(start), minSecond), cancel)
			if other, ok := otherAddr(server, res); ok && l.first(other.Addr()) {
				l.ask(ctx, other.String()) //nolint:errcheck // one more opinion
			}
		})
	}
	wg.Wait()
}

// otherAddr is the second address of a server that has one, on the port that was
// asked. A server that lies must not make us dial into our own network.
func otherAddr(server string, res stun.Result) (netip.AddrPort, bool) {
	asked, err := netip.ParseAddrPort(server)
	port := asked.Port()
	if err != nil {
		_, p, err := net.SplitHostPort(server)
		n, perr := strconv.ParseUint(p, 10, 16)
		if err != nil || perr != nil {
			return netip.AddrPort{}, false
		}
		port = uint16(n)
	}
	o := netip.AddrPortFrom(res.Other.Addr(), port)
	return o, dialable(o) && o.Addr().Is4() && kindOf(o.Addr()) == KindPublic && o.Addr() != res.Origin.Addr()
}

// first tells, once, that no other goroutine asks the server at this address.
func (l *lane) first(server netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.other.IsValid() {
		return false
	}
	l.other = server
	return true
}

// ask queries one server and keeps the connection, which holds the mapping.
func (l *lane) ask(ctx context.Context, server string) (stun.Result, error) {
	conn, res, err := queryFrom(ctx, l.port, server)
	if err != nil {
		return res, err
	}
	res.Mapped = unmap(res.Mapped)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, conn)
	l.seen = append(l.seen, observation{server: remoteAddr(conn), mapped: res.Mapped})
	if !slices.Contains(l.mapped, res.Mapped) {
		l.mapped = append(l.mapped, res.Mapped)
	}
	return res, nil
}

func queryFrom(ctx context.Context, port *sock.Port, server string) (net.Conn, stun.Result, error) {
	conn, err := port.Dial(ctx, stunNetwork(server), server)
	if err != nil {
		return nil, stun.Result{}, err
	}
	// Without a TIME_WAIT the next run can ask the same server from the same
	// port at once, even when this one is killed.
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // helps only the next run
	}
	res, err := stun.Query(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, stun.Result{}, err
	}
	return conn, res, nil
}

// stunNetwork prefers IPv4, where there are mappings to be told: an IPv6 address
// is this host's own.
func stunNetwork(server string) string {
	host, _, err := net.SplitHostPort(server)
	if a, aerr := netip.ParseAddr(host); err == nil && aerr == nil && a.Is6() {
		return "tcp"
	}
	if slices.ContainsFunc(hostAddrs(), netip.Addr.Is4) {
		return "tcp4"
	}
	return "tcp"
}

// hostAddrs lists this machine's own addresses that another host may reach.
func hostAddrs() []netip.Addr {
	var hosts []netip.Addr
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if ip := p.Addr().Unmap(); err == nil && ip.IsGlobalUnicast() && len(hosts) < maxHosts {
				hosts = append(hosts, ip)
			}
		}
	}
	return hosts
}

// report says of this side what the other needs to know, in a room.
func (l *Local) report(known NAT) report {
	r := report{Hosts: l.hosts}
	for _, ln := range l.lanes {
		mapped := slices.DeleteFunc(slices.Clone(ln.mapped), func(a netip.AddrPort) bool { return !offerable(a) })
		r.Lanes = append(r.Lanes, laneReport{Port: ln.port.Number(), Mapped: mapped[:min(len(mapped), maxMapped)]})
	}
	r.NAT, r.Sequence = natOf(l.observed())
	r.NAT = r.NAT.with(known, r.publicV4())
	return r
}

// observed lists the local ports and what STUN servers said of each.
func (l *Local) observed() (ports []uint16, seen []observation) {
	for i, ln := range slices.Concat(l.lanes, l.feelers) {
		ports = append(ports, ln.port.Number())
		for _, o := range ln.seen {
			o.lane = i
			seen = append(seen, o)
		}
	}
	return ports, seen
}

func (l *Local) inSequence() bool {
	n, _ := natOf(l.observed())
	return n.Ports == Sequential
}

// Public returns the first port's public addresses, as STUN servers saw them.
func (l *Local) Public() []netip.AddrPort { return l.lanes[0].mapped }

// Hosts returns the first port's addresses on this machine itself.
func (l *Local) Hosts() []netip.AddrPort {
	var as []netip.AddrPort
	for _, h := range l.hosts {
		as = append(as, netip.AddrPortFrom(h, l.lanes[0].port.Number()))
	}
	return as
}

// STUNError tells why there is no public address: nil when there is one or
// when no server was to be asked.
func (l *Local) STUNError() error {
	if len(l.lanes[0].mapped) > 0 {
		return nil
	}
	return errors.Join(l.lanes[0].errs...)
}

// Close gives the ports back and lets the mappings go.
func (l *Local) Close() error {
	for _, ln := range l.lanes {
		ln.close()
	}
	return nil
}

func (l *lane) close() {
	l.port.Close()
	for _, c := range l.held {
		c.Close()
	}
}
