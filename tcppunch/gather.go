package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

const (
	// stunTime bounds the search for a public address.
	stunTime = 4 * time.Second
	// maxHosts bounds this machine's addresses in an offer.
	maxHosts = 8
	// maxServers bounds how many STUN servers a lane asks.
	maxServers = 3
	// roomLanes is how many fresh local ports a round in a room has.
	roomLanes = 3
)

// A Local is this side, ready to punch: its local ports, listening, and what
// STUN says of their public addresses. Close it, or give it to Dial, which will.
type Local struct {
	lanes []*lane
	hosts []netip.Addr
}

// A lane is one local port with its mapping.
type lane struct {
	port *sock.Port

	mu     sync.Mutex
	mapped []netip.AddrPort
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
	var wg sync.WaitGroup
	for _, ln := range l.lanes {
		wg.Go(func() { ln.askSTUN(ctx, servers) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// askSTUN asks some servers at once and stops when one has answered.
func (l *lane) askSTUN(ctx context.Context, servers []string) {
	ctx, cancel := context.WithTimeout(ctx, stunTime)
	defer cancel()
	var wg sync.WaitGroup
	for i, server := range servers {
		if i == maxServers {
			break
		}
		wg.Go(func() {
			conn, mapped, err := queryFrom(ctx, l.port, server)
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil {
				l.errs = append(l.errs, fmt.Errorf("STUN server %s: %w", server, err))
				return
			}
			l.held = append(l.held, conn)
			l.mapped = append(l.mapped, mapped)
			cancel()
		})
	}
	wg.Wait()
}

func queryFrom(ctx context.Context, port *sock.Port, server string) (net.Conn, netip.AddrPort, error) {
	conn, err := port.Dial(ctx, "tcp", server)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	// Without a TIME_WAIT the next run can ask the same server from the same
	// port at once, even when this one is killed.
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // helps only the next run
	}
	res, err := stun.Query(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, netip.AddrPort{}, err
	}
	return conn, unmap(res.Mapped), nil
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
