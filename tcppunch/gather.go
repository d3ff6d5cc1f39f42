package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/internal/udppunch"
)

const (
	// maxHosts bounds this machine's addresses in an offer.
	maxHosts = 8
	// roomLanes is how many fresh local ports a round in a room has.
	roomLanes = 3
	// feelers is how many more there are where public ports come in a sequence.
	feelers = 4
)

// A Local is this side, ready to punch: its local ports, listening, and what
// STUN says of their public addresses. Close it, or give it to Dial, which will.
type Local struct {
	tcp, udp laneSet
	hosts    []netip.Addr
	mesh     *udppunch.Mesh // of the UDP ports, nil where there are none
	later    bool           // the mesh is that of an earlier round
	rest     func()         // ends what keeps mappings alive; may be nil
}

// A laneSet is the local ports of one protocol.
type laneSet struct {
	lanes   []*lane
	feelers []*lane // closed; they have shown how the NAT chooses ports
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
	if cfg.room() {
		return gatherFresh(ctx, cfg, nil)
	}
	l := &Local{hosts: cfg.hosts()}
	if err := l.openServerless(ctx, cfg); err != nil {
		l.Close()
		return nil, err
	}
	if err := l.ask(ctx, cfg); err != nil {
		return nil, err
	}
	l.refresh()
	return l, nil
}

// refreshEvery is how often a UDP mapping is used that people are telling each other:
// routers forget it after 30 s or more.
const refreshEvery = 20 * time.Second

// refresh keeps the mappings of UDP ports until Close. An open connection does that
// for those of TCP.
func (l *Local) refresh() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, ln := range l.udp.lanes {
		if len(ln.seen) == 0 {
			continue
		}
		wg.Go(func() {
			for sleep(ctx, refreshEvery) == nil {
				limited, cancel := context.WithTimeout(ctx, stunTime)
				ln.udp.Query(limited, ln.seen[0].server) //nolint:errcheck // that it was sent is enough
				cancel()
			}
		})
	}
	l.rest = func() {
		cancel()
		wg.Wait()
	}
}

// openServerless takes the port that the peer knows, and the spare ones.
func (l *Local) openServerless(ctx context.Context, cfg *Config) error {
	base, spare := cfg.Port, cfg.Spare
	if base == 0 {
		base = DefaultPort
	}
	if spare == 0 {
		spare = 1 + rand.IntN(SparePorts)
	}
	if cfg.Via != ViaKCP {
		port, err := sock.Open(ctx, base)
		if err != nil {
			return err
		}
		l.tcp.lanes = append(l.tcp.lanes, &lane{port: port})
		for i := range SparePorts {
			port, err := sock.Open(ctx, base+uint16(1+(spare-1+i)%SparePorts))
			if err == nil { // else another program has that one
				l.tcp.lanes = append(l.tcp.lanes, &lane{port: port})
			}
		}
	}
	if cfg.Via == ViaTCP {
		return nil
	}
	l.mesh = udppunch.New()
	port, err := l.mesh.Listen(ctx, base)
	switch {
	case err == nil:
		l.udp.lanes = append(l.udp.lanes, &lane{udp: port})
	case cfg.Via == ViaKCP && errors.Is(err, udppunch.ErrInUse):
		return fmt.Errorf("port %d: %w", base, ErrPortInUse)
	case cfg.Via == ViaKCP:
		return fmt.Errorf("listening on port %d: %w", base, err)
	}
	return nil
}

// gatherFresh takes ports that the system chooses, and asks STUN about each. The
// UDP ones belong to a mesh, a new one if there is none.
func gatherFresh(ctx context.Context, cfg *Config, mesh *udppunch.Mesh) (*Local, error) {
	l := &Local{hosts: cfg.hosts(), mesh: mesh, later: mesh != nil}
	if mesh == nil && cfg.Via != ViaTCP {
		l.mesh = udppunch.New()
	}
	for range roomLanes {
		if err := l.openFresh(ctx, cfg); err != nil {
			l.Close()
			return nil, err
		}
	}
	if err := l.ask(ctx, cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// openFresh takes one more port of each protocol, of the same number if possible.
func (l *Local) openFresh(ctx context.Context, cfg *Config) error {
	num := uint16(0)
	if cfg.Via != ViaKCP {
		port, err := sock.Open(ctx, 0)
		if err != nil {
			return err
		}
		l.tcp.lanes = append(l.tcp.lanes, &lane{port: port})
		num = port.Number()
	}
	if l.mesh == nil || cfg.Via == ViaTCP {
		return nil
	}
	port, err := l.mesh.Listen(ctx, num)
	if err != nil && num != 0 {
		port, err = l.mesh.Listen(ctx, 0)
	}
	switch {
	case err == nil:
		l.udp.lanes = append(l.udp.lanes, &lane{udp: port})
	case cfg.Via == ViaKCP:
		return err
	}
	return nil
}

// ask asks STUN about all ports; where these come in a sequence, about a few more.
// It closes l when ctx ends.
func (l *Local) ask(ctx context.Context, cfg *Config) error {
	late := udpLate
	if l.later {
		late = udpLateAgain
	}
	askBoth(ctx, l.tcp.lanes, l.udp.lanes, cfg.STUN, late)
	if cfg.room() {
		var wg sync.WaitGroup
		wg.Go(func() { l.tcp.feel(ctx, cfg.STUN, func() (*lane, error) { return openTCP(ctx) }) })
		wg.Go(func() { l.udp.feel(ctx, cfg.STUN, func() (*lane, error) { return l.openUDP(ctx) }) })
		wg.Wait()
	}
	for _, ln := range slices.Concat(l.tcp.lanes, l.udp.lanes) {
		if len(ln.mapped) == 0 && cfg.Public.IsValid() {
			ln.mapped = []netip.AddrPort{netip.AddrPortFrom(cfg.Public.Unmap(), ln.number())}
		}
	}
	if err := ctx.Err(); err != nil {
		l.Close()
		return err
	}
	return nil
}

func openTCP(ctx context.Context) (*lane, error) {
	port, err := sock.Open(ctx, 0)
	return &lane{port: port}, err
}

func (l *Local) openUDP(ctx context.Context) (*lane, error) {
	port, err := l.mesh.ListenV4(ctx)
	return &lane{udp: port}, err
}

// feel asks about a few ports more, if ports come in a sequence: they tell its
// step, and how many ports other users take of it.
func (s *laneSet) feel(ctx context.Context, servers []string, open func() (*lane, error)) {
	if nat, _ := natOf(s.observed()); nat.Ports != Sequential {
		return
	}
	for range feelers {
		if ln, err := open(); err == nil {
			s.feelers = append(s.feelers, ln)
		}
	}
	askAll(ctx, s.feelers, servers)
	for _, ln := range s.feelers {
		ln.close()
	}
}

// hosts lists the addresses that the peer is told of.
func (c *Config) hosts() []netip.Addr {
	if len(c.Hosts) > 0 {
		return c.Hosts[:min(len(c.Hosts), maxHosts)]
	}
	return hostAddrs()
}

// hostAddrs lists this machine's own addresses that another host may reach.
func hostAddrs() []netip.Addr {
	return slices.DeleteFunc(ownAddrs(), func(a netip.Addr) bool { return !a.IsGlobalUnicast() })
}

// ownAddrs lists this machine's addresses, those of a single link among them.
func ownAddrs() []netip.Addr {
	var hosts, links []netip.Addr
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, p := range prefixesOf(i) {
			switch ip := p.Addr(); {
			case ip.IsGlobalUnicast() && len(hosts) < maxHosts:
				hosts = append(hosts, ip)
			case ip.IsLinkLocalUnicast() && len(links) < maxHosts:
				links = append(links, ip)
			}
		}
	}
	return append(hosts, links...)
}

// prefixesOf are an interface's addresses, with the lengths of their networks.
func prefixesOf(i net.Interface) (all []netip.Prefix) {
	addrs, _ := i.Addrs() // it may just have gone
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
		}
	}
	return all
}

// reports say of this side what the other needs to know, in a room, of TCP and
// of UDP. What was found out before is about TCP, but for the hairpin.
func (l *Local) reports(known NAT) (tcp report, udp *report) {
	tcp = l.tcp.report(l.hosts)
	tcp.NAT = tcp.NAT.with(known, tcp.publicV4())
	if len(l.udp.lanes) > 0 {
		u := l.udp.report(l.hosts)
		u.NAT = u.NAT.with(NAT{Hairpin: known.Hairpin, Public: known.Public}, u.publicV4())
		udp = &u
	}
	return tcp, udp
}

func (s *laneSet) report(hosts []netip.Addr) report {
	r := report{Hosts: hosts}
	for _, ln := range s.lanes {
		mapped := slices.DeleteFunc(slices.Clone(ln.mapped), func(a netip.AddrPort) bool { return !offerable(a) })
		r.Lanes = append(r.Lanes, laneReport{Port: ln.number(), Mapped: mapped[:min(len(mapped), maxMapped)]})
	}
	r.NAT, r.Sequence = natOf(s.observed())
	return r
}

// observed lists the local ports and what STUN servers said of each.
func (s *laneSet) observed() (ports []uint16, seen []observation) {
	for i, ln := range slices.Concat(s.lanes, s.feelers) {
		ports = append(ports, ln.number())
		for _, o := range ln.seen {
			o.lane = i
			seen = append(seen, o)
		}
	}
	return ports, seen
}

// first is the first port, of TCP if that is used.
func (l *Local) first() *lane {
	return slices.Concat(l.tcp.lanes, l.udp.lanes)[0]
}

// Public returns the first port's public addresses for TCP, as STUN servers saw
// them.
func (l *Local) Public() []netip.AddrPort { return l.tcp.public() }

// PublicUDP returns them for UDP.
func (l *Local) PublicUDP() []netip.AddrPort { return l.udp.public() }

func (s *laneSet) public() []netip.AddrPort {
	if len(s.lanes) == 0 {
		return nil
	}
	return s.lanes[0].mapped
}

// Hosts returns the first port's addresses on this machine itself.
func (l *Local) Hosts() []netip.AddrPort {
	var as []netip.AddrPort
	for _, h := range l.hosts {
		as = append(as, netip.AddrPortFrom(h, l.first().number()))
	}
	return as
}

// STUNError tells why there is no public address: nil when there is one or
// when no server was to be asked.
func (l *Local) STUNError() error {
	if len(l.Public())+len(l.PublicUDP()) > 0 {
		return nil
	}
	return errors.Join(l.first().errs...)
}

// Close gives the ports back and lets the mappings go.
func (l *Local) Close() error {
	if l.rest != nil {
		l.rest()
	}
	for _, ln := range slices.Concat(l.tcp.lanes, l.udp.lanes) {
		ln.close()
	}
	if l.mesh != nil && !l.later {
		l.mesh.Close()
	}
	return nil
}
