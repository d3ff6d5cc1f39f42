// Package sock makes TCP sockets that share one local port: listeners, plain
// connections and openers, as hole punching needs them.
//
//	port, err := sock.Open(ctx, 7070)       // listens on 7070, IPv4 and IPv6
//	defer port.Close()
//	p, err := port.Connect(peer, 4)         // SYN with TTL 4 is out: our NAT is open
//	p.Raise()                               // what follows goes all the way
//	conn, err := p.Wait(ctx)                // the peer's SYN completes it
//
// An opener is a socket in SYN_SENT whose SYN died on the way, on purpose:
//
//	socket ---SYN ttl=4---> our NAT ---> router ---> router X   (never at the peer's NAT)
//	socket <--ICMP time exceeded-------------------- router     (ignored: IP_MINTTL)
//	socket <-----------------SYN--------------------------------- peer's connect
//	socket ------------------SYN-ACK, ttl=64--------------------> peer
//
// What each operating system offers for it stands in the files ending in its name.
package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/libp2p/go-reuseport"
)

// ErrInUse says that another program has the local port.
var ErrInUse = errors.New("port is in use by another program")

// State is what the kernel says of a socket in connect.
type State int

// The states that decide what may be done with a socket in connect.
const (
	StateUnknown  State = iota // this system does not tell
	StateSynSent               // the SYN is out, nothing has come back
	StateSynRecv               // the peer's SYN has crossed ours: closing now would poison the tuple
	StateFinished              // connected, refused or closed
)

// defaultTTL is the TTL, or hop limit, of everything that shall arrive.
const defaultTTL = 64

// A Port is one local TCP port, listening on IPv4 and, where there is one,
// IPv6. All its sockets have SO_REUSEADDR and SO_REUSEPORT. The zero Port does
// not listen: its first Connect takes a free port, which the later ones share
// where the system tells its number. They must come one after the other.
type Port struct {
	num       uint16
	listeners []*net.TCPListener
}

// Open listens on a local port; 0 lets the system choose one. It returns an
// error that wraps ErrInUse when another program has the port: shared sockets
// alone would not show it.
func Open(ctx context.Context, num uint16) (*Port, error) {
	if err := checkFree(ctx, num); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: reuseport.Control}
	lc.SetMultipathTCP(false)
	p := &Port{num: num}
	var firstErr error
	for _, network := range []string{"tcp4", "tcp6"} {
		ln, err := lc.Listen(ctx, network, ":"+strconv.Itoa(int(p.num)))
		if err != nil {
			firstErr = errors.Join(firstErr, err)
			continue
		}
		l := ln.(*net.TCPListener)
		p.num = l.Addr().(*net.TCPAddr).AddrPort().Port()
		p.listeners = append(p.listeners, l)
	}
	if len(p.listeners) == 0 {
		return nil, fmt.Errorf("listening on port %d: %w", num, firstErr)
	}
	return p, nil
}

// checkFree binds without SO_REUSEPORT, because two sockets with it share a
// port without a word. Go's listener sets SO_REUSEADDR where that means "a
// connection in TIME_WAIT does not matter", which is what a second transfer
// right after the first one needs.
func checkFree(ctx context.Context, num uint16) error {
	if num == 0 {
		return nil
	}
	var lc net.ListenConfig
	for _, network := range []string{"tcp4", "tcp6"} {
		ln, err := lc.Listen(ctx, network, ":"+strconv.Itoa(int(num)))
		if err == nil {
			ln.Close()
			continue
		}
		if errors.Is(err, errAddrInUse) {
			return fmt.Errorf("port %d: %w", num, ErrInUse)
		}
	}
	return nil
}

// Number returns the local port's number.
func (p *Port) Number() uint16 { return p.num }

// Listeners returns the listeners, one per address family.
func (p *Port) Listeners() []*net.TCPListener { return p.listeners }

// Close closes the listeners. Connections live on.
func (p *Port) Close() error {
	var err error
	for _, l := range p.listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// Dial connects in the ordinary way from the port, as the STUN connection
// does. Where the address is a name, the first that answers is taken.
func (p *Port) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{Port: int(p.num)},
		Control:   reuseport.Control,
	}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, network, addr)
}

// local returns the wildcard address that a socket towards raddr binds.
func (p *Port) local(raddr netip.AddrPort) netip.AddrPort {
	if raddr.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), p.num)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), p.num)
}

// TupleTaken reports whether a connect failed because the 4-tuple exists
// already: the listener, or another connect, has won it.
func TupleTaken(err error) bool {
	return errors.Is(err, errAddrNotAvail) || errors.Is(err, errAddrInUse) || errors.Is(err, errAlreadyConn)
}

// Refused reports whether the other end, or a router on the way, answered
// that it does not want the connection.
func Refused(err error) bool {
	return errors.Is(err, errConnRefused) || HostUnreachable(err) || errors.Is(err, errConnReset)
}

// HostUnreachable reports whether a router said that it does not let the
// connection pass or, for an address on a network of this machine, that nobody
// has it.
func HostUnreachable(err error) bool { return errors.Is(err, errHostUnreach) }

// Unroutable reports whether this machine itself has no way to the address.
func Unroutable(err error) bool { return errors.Is(err, errNetUnreach) }

// Discard closes a connection that is not wanted, with a RST, so that it
// leaves no TIME_WAIT that would block its 4-tuple.
func Discard(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		t.SetLinger(0) //nolint:errcheck // closing anyway
	}
	c.Close()
}

// selfConnected reports whether a socket has met itself: a simultaneous open
// of one socket with itself is legal TCP (RFC 9293, section 3.5).
func selfConnected(c net.Conn) bool { return c.LocalAddr().String() == c.RemoteAddr().String() }

var errSelf = errors.New("connected to itself")
