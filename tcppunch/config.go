package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

// Side tells the two peers apart. Both must know it before they meet: who
// dialled and who accepted is chance.
type Side int

// The sides. SideA makes the offer in a room, and is the controller. Where both programs are the same and there is no room, both may say
// SideEither: then each draws its role by chance, which takes somewhat longer.
const (
	SideA Side = 1 + iota
	SideB
	SideEither
)

// Via is a choice of the transport.
type Via string

// The choices. ViaAuto prefers TCP, and takes KCP, a stream over UDP, where that
// alone gets through.
const (
	ViaAuto Via = ""
	ViaTCP  Via = "tcp"
	ViaKCP  Via = "kcp"
)

// A Signaler carries messages between the two peers, in order, whole, and
// authenticated: a room. Dial trusts what it receives from it to be from the
// peer. Recv returns an error when no more will come. Both must return when
// ctx ends; when Dial ends it leaves no Recv behind.
type Signaler interface {
	Send(ctx context.Context, msg []byte) error
	Recv(ctx context.Context) ([]byte, error)
}

// DefaultPort is the first local port of a serverless Dial.
const DefaultPort = 7070

// SparePorts is how many ports after Config.Port, and after each port of
// Config.Peer, a serverless Dial may use besides the port itself.
const SparePorts = 3

// Config says who to connect to and how. Side, and one of Signaler, Meet, Peer and
// Near, must be set; the zero value of everything else is a sensible default.
type Config struct {
	// Side must differ between the two peers.
	Side Side
	// Signaler exchanges addresses with the peer.
	Signaler Signaler
	// Meet is for a Signaler that is there only when the peer is. It is called once,
	// waits for that, and returns it with what Gather gave for it. It must return
	// when ctx ends; any other error ends the Dial, and is found in its own.
	Meet func(ctx context.Context) (Signaler, *Local, error)
	// Near is where the peer is looked for on the local network, alone or beside
	// the other ways. Dial closes it in every case.
	Near *Near
	// Peer is the peer's addresses, most trusted first: the first one is
	// where a wrong peer means that the Dial has failed.
	Peer []netip.AddrPort

	// Local is what Gather returned for this configuration; Dial closes it in
	// every case. Default: Dial gathers.
	Local *Local
	// Via says which transports are tried. Default: both.
	Via Via
	// HeadStart is how long TCP has priority over KCP, from when the peer's
	// addresses are known in a room, else from when UDP has got through.
	// Negative means none. Default 2 s, or 5 s where a port has to be found by
	// chance; where TCP is known to be impossible, nobody waits for it.
	HeadStart time.Duration
	// Hosts are the addresses of this machine that the peer is told of. Default: those
	// of all interfaces. Where both sides give the one by which they know each other,
	// nothing is sent to any other.
	Hosts []netip.Addr
	// Public is this side's public address if it is known and no STUN server
	// tells the ports: they are taken for preserved then. Default: not known.
	Public netip.Addr
	// Congestion names the congestion control of a TCP connection, such as "cubic",
	// where the system lets a program choose (Linux): of use to measure. Default:
	// the system's, and BBR where that does better; see Conn.Write.
	Congestion string
	// Port is the first local port of a serverless Dial. Default 7070.
	Port uint16
	// Spare, 1 to SparePorts, is which of the spare ports after Port is used
	// too, as long as that serves. A process that is killed may leave its
	// ports unusable in its own NAT for two minutes, so the next one should
	// begin with another Spare. Default: by chance, and in turns.
	Spare int
	// STUN servers, host:port, of which the first three are asked. A Dial
	// with a Signaler needs one to be found from afar; a serverless one none.
	STUN []string

	// Auth runs on every connection, inside TLS, before one is nominated. The
	// exporter is 32 bytes that both sides, and nobody else, know of this
	// connection (RFC 8446, section 7.5): bind what you prove to it. An error
	// that wraps ErrRejected says that the peer is a wrong one; any other
	// counts as a broken connection, of which there may be any number: what
	// tests a guess at a secret must be rejected, or counted by Auth itself.
	// Auth must read no byte too many and end within 15 seconds. Default:
	// everybody passes.
	Auth func(ctx context.Context, conn net.Conn, exporter []byte) error

	// NAT tells, in a room, what is known of this side's routers besides what
	// the lanes show. It is called before each round, from 0, takes its ports;
	// in round 0 time is short. Default: nothing is known.
	NAT func(ctx context.Context, round int) NAT
	// Sockets is how many connections may be tried at once where a port has to
	// be found by chance: punch storms kill small routers. Default 256.
	Sockets int
	// TTL is what openers try first; later rounds vary it. It must clear this
	// side's routers and end before the peer's. Default: one more than
	// NAT.Routers where that is known, else 4.
	TTL int
	// Rounds of fresh ports in a room before Dial gives up. Default 6.
	Rounds int
	// RoundTime is how long a round in a room lasts. Default 1.8 s.
	RoundTime time.Duration
	// ClockOffset is added to this machine's clock where a serverless Dial
	// goes by it. Any clock will do; tests, whose hosts have one, set it apart.
	ClockOffset time.Duration
	// Trace reports what happens. Default: nothing.
	Trace *Trace
}

// Trace has functions that Dial calls, when they are not nil, from several
// goroutines. They must return soon.
type Trace struct {
	// PeerKnown is called when the peer's addresses are known.
	PeerKnown func()
	// AttemptStart is called before a new socket sends its SYN.
	AttemptStart func(Attempt)
	// AttemptDone is called when an attempt has a TCP connection (nil) or failed.
	AttemptDone func(Attempt, error)
	// Authenticated is called for each connection that passed TLS and Auth.
	Authenticated func(Attempt)
	// Failed is called for each connection that did not, also for accepted ones.
	Failed func(Attempt, error)
	// Nominated is called once, for the connection that Dial will return.
	Nominated func(Path)
}

// Err values that callers test for.
var (
	// ErrRejected says that whoever answered failed Config.Auth.
	ErrRejected = errors.New("the peer failed authentication")
	// ErrPortInUse says that another program has the local port.
	ErrPortInUse = sock.ErrInUse
	// ErrNoNetwork says that this machine has no address to connect from.
	ErrNoNetwork = errors.New("this machine has no network")
	// ErrNoPath says that no attempt led to a connection.
	ErrNoPath = errors.New("no direct path to the peer")
	// ErrImpossible says that the two NATs allow no direct connection, whatever is
	// tried. The error wraps ErrNoPath too.
	ErrImpossible = errors.New("no direct connection is possible")
)

const (
	defaultTTL    = 4
	defaultRounds = 6
	roundTime     = 1800 * time.Millisecond
	maxSockets    = 4096

	headStart       = 2 * time.Second
	searchHeadStart = 5 * time.Second
)

// withDefaults checks the configuration and returns a filled-in copy.
func (c *Config) withDefaults() (*Config, error) {
	if c == nil {
		return nil, errors.New("tcppunch: no configuration")
	}
	d := *c
	if err := d.checkPorts(); err != nil {
		return nil, err
	}
	switch {
	case d.Side < SideA || d.Side > SideEither:
		return nil, fmt.Errorf("tcppunch: side %d is none of SideA, SideB and SideEither", d.Side)
	case d.Side == SideEither && d.room():
		return nil, errors.New("tcppunch: with a Signaler the sides must differ")
	case d.Via != ViaAuto && d.Via != ViaTCP && d.Via != ViaKCP:
		return nil, fmt.Errorf("tcppunch: there is no transport %q", d.Via)
	case !d.room() && len(d.Peer) == 0 && d.Near == nil:
		return nil, errors.New("tcppunch: no Signaler, no Meet, no Peer address and no Near")
	case d.room() && len(d.Peer) > 0:
		return nil, errors.New("tcppunch: both a Signaler and Peer addresses")
	case d.Meet != nil && (d.Signaler != nil || d.Local != nil):
		return nil, errors.New("tcppunch: Meet brings a Signaler and a Local, and there is one already")
	case d.Near != nil && (d.Near.port == nil || d.Near.Peers == nil):
		return nil, errors.New("tcppunch: Near without ListenNear, or without Peers")
	case d.TTL < 0 || d.TTL > 32:
		return nil, fmt.Errorf("tcppunch: opener TTL %d is not 0 to 32", d.TTL)
	case d.Sockets < 0 || d.Sockets > maxSockets:
		return nil, fmt.Errorf("tcppunch: %d sockets are not 0 to %d", d.Sockets, maxSockets)
	case d.Rounds < 0 || d.Rounds > maxRound+1 || d.RoundTime < 0:
		return nil, fmt.Errorf("tcppunch: %d rounds of %v are not 0 to %d of 0 or more", d.Rounds, d.RoundTime, maxRound+1)
	}
	d.Peer = make([]netip.AddrPort, 0, len(c.Peer))
	for _, a := range c.Peer {
		a = unmap(a)
		if !dialable(a) {
			return nil, fmt.Errorf("tcppunch: %v cannot be a peer's address", a)
		}
		d.Peer = append(d.Peer, a)
	}
	if d.Sockets == 0 {
		d.Sockets = defaultSockets
	}
	if d.Rounds == 0 {
		d.Rounds = defaultRounds
	}
	if d.RoundTime == 0 {
		d.RoundTime = roundTime
	}
	if d.Trace == nil {
		d.Trace = &Trace{}
	}
	return &d, nil
}

// room tells whether the peers have a Signaler, or will.
func (c *Config) room() bool { return c.Signaler != nil || c.Meet != nil }

// headStart is how long TCP has priority, where it searches for a port and else.
func (c *Config) headStart(searches bool) time.Duration {
	switch {
	case c.HeadStart < 0 || c.Via == ViaKCP:
		return 0
	case c.HeadStart > 0:
		return c.HeadStart
	case searches:
		return searchHeadStart
	}
	return headStart
}

// know asks the caller what it knows of this side's routers.
func (c *Config) know(ctx context.Context, round int) NAT {
	if c.NAT == nil {
		return NAT{}
	}
	n := c.NAT(ctx, round)
	n.Routers = min(max(n.Routers, 0), maxRouters)
	return n
}

// checkPorts checks what Gather needs.
func (c *Config) checkPorts() error {
	if c.Spare < 0 || c.Spare > SparePorts {
		return fmt.Errorf("tcppunch: spare port %d is not 0 to %d", c.Spare, SparePorts)
	}
	if int(c.Port)+SparePorts > 65535 {
		return fmt.Errorf("tcppunch: port %d leaves no room for %d spare ports after it", c.Port, SparePorts)
	}
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// dialable refuses addresses that cannot be another host's. Loopback is
// allowed: two programs of one machine may meet there.
func dialable(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.IsValid() && a.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
