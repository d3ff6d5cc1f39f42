package natcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
	"github.com/tcppunch/tcppunch/stunt/stun"
)

// ServerConfig says what a server listens on. The zero value and nil are useful.
type ServerConfig struct {
	// Host is the address to serve on. Default: all addresses of the machine, IPv4 and IPv6.
	Host netip.Addr
	// Alt is a second address of the machine, for tests that need answers from another address (RFC 5780). Default:
	// none.
	Alt netip.Addr
	// Ports are the two ports. Default: 3478 and 3479.
	Ports [2]uint16
	// Software is told to those who ask over TCP, cut to 127 bytes. Default: nothing is told.
	Software string
	// MaxConns limits the open connections of each listener; more are closed at once. Default: 8192.
	MaxConns int
	// MaxPerClient limits those of one client, which is an IPv4 /24 or an IPv6 /64. Default: 64.
	MaxPerClient int
	// IdleTimeout is how long a connection may go without a whole request; for the first it has 15 s. Default: 5 minutes.
	IdleTimeout time.Duration
	// MaxDials limits how many sockets clients may have the server dial from, or keep, at one time; one client, which is
	// an IPv4 /24 or an IPv6 /48, has 12 at most. Over it tests are not made, and clients are told so. Default: 256.
	MaxDials int
}

const (
	firstPort, secondPort = 3478, 3479
	defaultMaxDials       = 256

	testRate, testBurst     = 1, 40 // one check makes about fifteen
	answerRate, answerBurst = 100, 200
	detourRate, detourBurst = 10, 40
)

// Server answers the Binding requests of RFC 8489 and RFC 5780, over UDP and TCP, and dials back whoever asks it to.
type Server struct {
	cfg       ServerConfig
	packets   []*packetSocket
	listeners []net.Listener
	slots     *slots // for the sockets that clients cause
	tests     *limits
	answers   *limits // over UDP
	detours   *limits // answers over UDP from or to elsewhere, which are no use but for tests
	proofs    *proofs
}

// Listen opens the sockets of a server, so that what is wrong with an address or port comes to light before anything
// is served. The context bounds that only. A Server is not to be used but by Serve, or Close.
func Listen(ctx context.Context, c *ServerConfig) (*Server, error) {
	var cfg ServerConfig
	if c != nil {
		cfg = *c
	}
	if cfg.Ports == [2]uint16{} {
		cfg.Ports = [2]uint16{firstPort, secondPort}
	}
	if cfg.MaxDials <= 0 {
		cfg.MaxDials = defaultMaxDials
	}
	cfg.Host, cfg.Alt = cfg.Host.Unmap(), cfg.Alt.Unmap()
	if cfg.Host.IsUnspecified() {
		cfg.Host = netip.Addr{}
	}
	switch {
	case cfg.Ports[0] == cfg.Ports[1] || cfg.Ports[0] == 0 || cfg.Ports[1] == 0:
		return nil, fmt.Errorf("serving STUN: %d and %d are not two ports", cfg.Ports[0], cfg.Ports[1])
	case cfg.Alt.IsValid() && (cfg.Alt == cfg.Host || cfg.Alt.IsUnspecified()):
		return nil, fmt.Errorf("serving STUN: %v is no second address", cfg.Alt)
	}
	s := newServer(cfg)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("serving STUN: %w", err), s.Close())
	}
	return s, nil
}

// newServer makes a server without sockets.
func newServer(cfg ServerConfig) *Server {
	return &Server{
		cfg: cfg, slots: newSlots(cfg.MaxDials), proofs: newProofs(),
		tests:   newLimits(testRate, testBurst),
		answers: newLimits(answerRate, answerBurst),
		detours: newLimits(detourRate, detourBurst),
	}
}

// open binds each address and port, or the wildcard of each family that the machine has.
func (s *Server) open(ctx context.Context) error {
	type network struct{ tcp, udp, host string }
	var all []network
	switch {
	case !s.cfg.Host.IsValid():
		all = []network{{"tcp4", "udp4", "0.0.0.0"}, {"tcp6", "udp6", "::"}}
	default:
		all = []network{{"tcp", "udp", s.cfg.Host.String()}}
		if s.cfg.Alt.IsValid() {
			all = append(all, network{"tcp", "udp", s.cfg.Alt.String()})
		}
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	for _, n := range all {
		for _, port := range s.cfg.Ports {
			address := net.JoinHostPort(n.host, fmt.Sprint(port))
			ln, err := lc.Listen(ctx, n.tcp, address)
			if err != nil {
				if n.host == "::" && syn.NoSuchFamily(err) {
					break
				}
				return err
			}
			s.listeners = append(s.listeners, ln)
			pc, err := lc.ListenPacket(ctx, n.udp, address)
			if err != nil {
				return err
			}
			s.packets = append(s.packets, newPacketSocket(pc.(*net.UDPConn)))
		}
	}
	if alt := s.cfg.Alt; alt.IsValid() && !s.cfg.Host.IsValid() {
		// The wildcard sockets have the alternate address too, if the machine has it.
		pc, err := lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(alt, 0).String())
		if err != nil {
			return err
		}
		return pc.Close()
	}
	return nil
}

// Addrs returns what the server listens on, over UDP and TCP alike.
func (s *Server) Addrs() []netip.AddrPort {
	var all []netip.AddrPort
	for _, p := range s.packets {
		all = append(all, p.local)
	}
	return all
}

// Close closes the sockets of a server that is not going to serve.
func (s *Server) Close() error {
	var errs []error
	for _, ln := range s.listeners {
		errs = append(errs, ln.Close())
	}
	for _, p := range s.packets {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Serve answers until ctx ends, and then returns nil, or until a socket breaks. By then it has closed everything and
// ended its goroutines. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	streams := &stun.Server{
		MaxConns: s.cfg.MaxConns, MaxPerClient: s.cfg.MaxPerClient, IdleTimeout: s.cfg.IdleTimeout, NewSession: s.newSession,
	}
	for _, ln := range s.listeners {
		group.Go(func() error { return streams.Serve(ctx, ln) })
	}
	for _, p := range s.packets {
		group.Go(func() error { return s.servePackets(ctx, p) })
	}
	return group.Wait()
}

// otherPort is the port beside the one that was asked.
func (s *Server) otherPort(asked uint16) uint16 {
	if asked == s.cfg.Ports[0] {
		return s.cfg.Ports[1]
	}
	return s.cfg.Ports[0]
}

// otherAddr is the address beside the one that was asked, in the same family. It is invalid where there is none, as
// when the alternate address was asked of a server whose first one is any.
func (s *Server) otherAddr(asked netip.Addr) netip.Addr {
	other := s.cfg.Alt
	if asked == other {
		other = s.cfg.Host
	}
	if other.Is4() != asked.Is4() {
		return netip.Addr{}
	}
	return other
}

// abilities is what the server can do for whoever asked at local.
func (s *Server) abilities(local netip.AddrPort) byte {
	able := canRespond
	if syn.CanDialBack {
		able |= canDial
	}
	if syn.CanSilence {
		able |= canSilence
	}
	if s.otherAddr(local.Addr()).IsValid() {
		able |= canAlt
	}
	return able
}

// describe is what every answer says of the one who asked and where.
func (s *Server) describe(from, local netip.AddrPort) stun.Result {
	r := stun.Result{Mapped: from, Origin: local}
	// RFC 5780 section 7.4: only a server with two addresses may tell the other one.
	if a := s.otherAddr(local.Addr()); a.IsValid() {
		r.Other = netip.AddrPortFrom(a, s.otherPort(local.Port()))
	}
	return r
}
