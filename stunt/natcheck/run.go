package natcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// Options are what [Run] is told.
type Options struct {
	// Servers are the STUN servers to ask, as host:port. Any will do. More than one port of a host, and more than one
	// host, make more tests possible; so does a [Server]. At most eight are used.
	Servers []string
	// Slow measures how long UDP mappings live too, which takes MaxLifetime.
	Slow bool
	// MaxLifetime is how long a lifetime is waited for. Default: 3 minutes.
	MaxLifetime time.Duration
	// Quick leaves all out but what decides whether a punch over IPv4 TCP can work: Mapped, Mapping, Ports, InboundSYN and
	// Hairpin of Report.TCP, and Report.Routers. Slow is passed over then. It takes about three seconds at 100 ms of round
	// trip.
	Quick bool
}

const (
	maxServers         = 8
	defaultMaxLifetime = 3 * time.Minute
	resolveTime        = 3 * time.Second
	reachTime          = 2500 * time.Millisecond // for servers to answer: two SYNs may be lost
	grace              = 300 * time.Millisecond  // for the others, once one has answered
	testsTime          = 6 * time.Second         // for the tests over TCP, and four round trips
	manyPorts          = 8                       // mappings from which the choice of ports is told
)

// Run finds out what the network does that this host is on. Tests that do not disturb each other run at the same time,
// on local ports of their own; without Slow all are done in about four seconds at 100 ms of round trip, and within
// fifteen whatever the servers do. If ctx ends before, Run returns what is known by then; what is not is empty. With no
// answer from any server the error is [ErrNoAnswer], or the reason why ctx ended.
func Run(ctx context.Context, o *Options) (*Report, error) {
	if o == nil {
		o = &Options{}
	}
	targets, err := resolve(ctx, o.Servers)
	if err != nil {
		return nil, fmt.Errorf("checking the network: %w", err)
	}
	r := &run{opt: *o}
	if r.opt.MaxLifetime <= 0 {
		r.opt.MaxLifetime = defaultMaxLifetime
	}
	v4, v6 := split(targets)
	report := &Report{Routers: -1}
	var tcp4, tcp6 *tcpCheck
	var udp4, udp6 *udpCheck
	var wg sync.WaitGroup
	others := v6
	if r.opt.Quick && len(v4) > 0 {
		others = nil
	}
	wg.Go(func() { tcp4 = r.checkTCP(ctx, v4) })
	wg.Go(func() { tcp6 = r.checkTCP(ctx, others) })
	if r.opt.Quick {
		udp4, udp6 = &udpCheck{run: r}, &udpCheck{run: r}
	} else {
		wg.Go(func() { udp4 = r.checkUDP(ctx, v4) })
		wg.Go(func() { udp6 = r.checkUDP(ctx, others) })
	}
	if len(v4) > 0 {
		wg.Go(func() {
			if n, err := Routers(ctx, v4[0].Addr()); err == nil {
				report.Routers = n
			}
		})
	}
	wg.Wait()
	if len(tcp4.contacts)+len(tcp6.contacts)+len(udp4.seen)+len(udp6.seen) == 0 {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("checking the network: %w", context.Cause(ctx))
		}
		return nil, fmt.Errorf("checking the network: %w from %d servers", ErrNoAnswer, len(o.Servers))
	}
	report.fill(tcp4, tcp6, udp4, udp6)
	if r.opt.Quick {
		report.UDP.Blocked, report.IPv6.UDPBlocked = false, false // nobody was asked
	}
	return report, nil
}

// run is what the checks of one Run share.
type run struct {
	opt Options
	// inOrder is held while mappings are made that must follow each other without others in between.
	inOrder sync.Mutex
}

// fill puts together what the four checks found.
func (r *Report) fill(tcp4, tcp6 *tcpCheck, udp4, udp6 *udpCheck) {
	r.TCP, r.UDP = tcp4.result, udp4.result
	reached4 := len(tcp4.contacts)+len(udp4.seen) > 0
	r.TCP.Blocked = reached4 && len(tcp4.contacts) == 0
	r.UDP.Blocked = reached4 && len(udp4.seen) == 0
	switch {
	case tcp4.prober != nil:
		r.Server = tcp4.prober.server.String()
	case tcp6.prober != nil:
		r.Server = tcp6.prober.server.String()
	}
	for _, s := range [][]string{tcp4.skipped, udp4.skipped} {
		r.Skipped = append(r.Skipped, s...)
	}
	if !reached4 {
		r.Skipped = append(r.Skipped, "all of IPv4: no server was reached by it")
	}
	if len(tcp6.contacts)+len(udp6.seen) == 0 {
		return
	}
	r.IPv6 = IPv6{
		TCPBlocked:  len(tcp6.contacts) == 0,
		UDPBlocked:  len(udp6.seen) == 0,
		Unsolicited: tcp6.result.Unsolicited,
		InboundSYN:  tcp6.result.InboundSYN,
	}
	seen := tcp6.result
	if r.IPv6.TCPBlocked {
		seen = udp6.result
	}
	r.IPv6.Address, r.IPv6.Translated = seen.Mapped.Addr(), seen.Mapped.Addr() != seen.Local.Addr()
}

// resolve looks the servers up, all at once. It fails only if none is found.
func resolve(ctx context.Context, servers []string) ([]netip.AddrPort, error) {
	if len(servers) == 0 {
		return nil, errors.New("no STUN server was given")
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	servers = servers[:min(len(servers), maxServers)]
	found := make([][]netip.AddrPort, len(servers))
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { found[i], errs[i] = lookUp(ctx, s) })
	}
	wg.Wait()
	var all []netip.AddrPort
	for _, a := range slices.Concat(found...) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// lookUp returns at most one address of each family.
func lookUp(ctx context.Context, server string) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(server)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("server %q: %q is no port", server, portText)
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	var found []netip.AddrPort
	var have4, have6 bool
	for _, a := range addrs {
		a = a.Unmap()
		have := &have6
		if a.Is4() {
			have = &have4
		}
		if !*have {
			*have = true
			found = append(found, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	return found, nil
}

func split(all []netip.AddrPort) (v4, v6 []netip.AddrPort) {
	for _, a := range all {
		if a.Addr().Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return v4, v6
}

// asking is a request to a server at an address.
type asking[T any] struct {
	addr netip.Addr
	ask  func(context.Context) (T, error)
}

// collect asks all at once. When one has answered, the others get as long again, and a little more. Those at an address
// that has answered, now or before, get a second more: one lost packet must not hide how a NAT maps to two ports of one address.
func collect[T any](ctx context.Context, asks []asking[T], known ...netip.Addr) []T {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	began := time.Now()
	var mu sync.Mutex
	var got []T
	answered := make(map[netip.Addr]bool)
	for _, a := range known {
		answered[a] = true
	}
	cancels := make([]context.CancelFunc, len(asks))
	giveUp := func() { // those at addresses that are silent
		mu.Lock()
		defer mu.Unlock()
		for i, a := range asks {
			if !answered[a.addr] {
				cancels[i]()
			}
		}
	}
	var others, last *time.Timer
	var wg sync.WaitGroup
	mu.Lock() // until all of cancels are there
	for i, a := range asks {
		mine, cancelMine := context.WithCancel(ctx)
		defer cancelMine()
		cancels[i] = cancelMine
		wg.Go(func() {
			v, err := a.ask(mine)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answered[a.addr] = true
			if got = append(got, v); len(got) == 1 {
				took := time.Since(began)
				others = time.AfterFunc(took+grace, giveUp)
				last = time.AfterFunc(max(took, resent)+grace, cancel)
			}
		})
	}
	mu.Unlock()
	wg.Wait()
	if others != nil {
		others.Stop()
		last.Stop()
	}
	return got
}

// maxFurther bounds how many servers are asked of which other servers told.
const maxFurther = 4

// further are the other addresses and ports that servers tell of, in what they answered, and that are not known yet.
func further(known []netip.AddrPort, server netip.AddrPort, res stun.Response) []netip.AddrPort {
	var told []netip.AddrPort
	if p, ok := findProbe(res.Extra); ok && p.op == opHello && p.port != 0 {
		told = append(told, netip.AddrPortFrom(server.Addr(), p.port))
	}
	if plausible(server, res.Other) {
		told = append(told, netip.AddrPortFrom(res.Other.Addr(), server.Port()), res.Other)
	}
	return slices.DeleteFunc(told, func(a netip.AddrPort) bool { return slices.Contains(known, a) })
}

// plausible reports whether a server's other address, which it names itself, may be asked too.
func plausible(server, other netip.AddrPort) bool {
	return other.Addr() != server.Addr() && other.Port() != 0 && alike(server.Addr(), other.Addr())
}

// alike reports whether packets may be sent to an address because a server has named it: a public server must not send
// us to hosts on our own networks.
func alike(server, a netip.Addr) bool {
	switch {
	case a.Is4() != server.Is4():
		return false
	case server.IsLoopback() || a.IsLoopback():
		return server.IsLoopback() && a.IsLoopback()
	}
	return a.IsGlobalUnicast() && internal(a) == internal(server)
}

// wildcard is the address that sockets towards to are bound to.
func wildcard(to netip.Addr) netip.Addr {
	if to.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
