// Package sock has the sockets of discovery: one or two for multicast DNS on each interface, and one for datagrams on a
// port that programs of one host share. Strangers that send too much are not read.
package sock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
	"github.com/tcppunch/tcppunch/lanfind/internal/limit"
)

// MulticastPort is the port of multicast DNS.
const MulticastPort = 5353

const (
	mdnsTTL = 255 // RFC 6762, section 11
	waiting = 256 // packets read and not handled yet, at most

	floodPause = 20 * time.Millisecond // of reading, when even looking at addresses is too much

	sendWait   = 20 * time.Millisecond // for room in a socket's buffer
	sendBuffer = 1 << 20               // wished for; the system gives what it allows
)

// The groups of multicast DNS.
const (
	group4 = "224.0.0.251"
	group6 = "ff02::fb"
)

// A Packet is what a socket received.
type Packet struct {
	Data  []byte
	From  netip.AddrPort
	Index int  // of the interface, or 0 when the system does not say
	Group bool // whether it came by multicast
}

// Sockets are those of one program. One goroutine at a time opens, closes and writes, but for what a reader relays; each has a
// reader.
type Sockets struct {
	ctx     context.Context
	packets chan Packet
	gate    *limit.Gate
	readers sync.WaitGroup
	groups  map[int][]*net.UDPConn // by interface
	plain   *ipv4.PacketConn       // for datagrams, or nil
	port    uint16
	tag     [8]byte                             // in what is relayed to other programs on this host
	own     atomic.Pointer[map[netip.Addr]bool] // addresses of this host
}

// New returns no sockets yet. What they read waits until ctx ends.
func New(ctx context.Context) *Sockets {
	s := &Sockets{ctx: ctx, packets: make(chan Packet, waiting), gate: limit.NewGate(time.Now()), groups: make(map[int][]*net.UDPConn)}
	rand.Read(s.tag[:])
	return s
}

// Packets are those that come. What comes while many wait is lost.
func (s *Sockets) Packets() <-chan Packet { return s.packets }

// Plain reports whether there is a socket for datagrams.
func (s *Sockets) Plain() bool { return s.plain != nil }

// Owns says which addresses are this host's.
func (s *Sockets) Owns(own map[netip.Addr]bool) { s.own.Store(&own) }

// Listen opens the socket for datagrams.
func (s *Sockets) Listen(port uint16) error {
	c, err := listenShared(port)
	if err != nil {
		return fmt.Errorf("opening UDP port %d for datagrams: %w", port, err)
	}
	_ = c.SetWriteBuffer(sendBuffer)
	s.plain, s.port = ipv4.NewPacketConn(c), port
	_ = s.plain.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true) // not on Windows, where addresses must tell
	s.readers.Go(s.readPlain)
	return nil
}

// Join opens sockets for multicast on an interface. One of IPv4 and IPv6 is enough.
func (s *Sockets) Join(index int, name string) error {
	i := &net.Interface{Index: index, Name: name}
	var errs []error
	for _, open := range []func(*net.Interface) (*net.UDPConn, error){join4, join6} {
		c, err := open(i)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.groups[index] = append(s.groups[index], c)
		s.readers.Go(func() { s.readGroup(c, index) })
	}
	if len(s.groups[index]) == 0 {
		return fmt.Errorf("multicast on %s: %w", name, errors.Join(errs...))
	}
	return nil
}

func join4(i *net.Interface) (*net.UDPConn, error) {
	c, err := listenGroup(i, netip.MustParseAddr(group4))
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(c)
	err = errors.Join(p.JoinGroup(i, &net.UDPAddr{IP: net.ParseIP(group4)}), p.SetMulticastInterface(i),
		p.SetMulticastTTL(mdnsTTL), p.SetMulticastLoopback(true)) // other programs on this host listen too
	return orClose(c, err)
}

func join6(i *net.Interface) (*net.UDPConn, error) {
	c, err := listenGroup(i, netip.MustParseAddr(group6))
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(c)
	err = errors.Join(p.JoinGroup(i, &net.UDPAddr{IP: net.ParseIP(group6)}), p.SetMulticastInterface(i),
		p.SetMulticastHopLimit(mdnsTTL), p.SetMulticastLoopback(true))
	return orClose(c, err)
}

func orClose(c *net.UDPConn, err error) (*net.UDPConn, error) {
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Leave closes the sockets of an interface.
func (s *Sockets) Leave(index int) {
	for _, c := range s.groups[index] {
		c.Close()
	}
	delete(s.groups, index)
}

// Close closes all sockets and waits for the readers.
func (s *Sockets) Close() {
	for _, all := range s.groups {
		for _, c := range all {
			c.Close()
		}
	}
	if s.plain != nil {
		s.plain.Close()
	}
	s.readers.Wait()
}

// Multicast sends b to the groups on an interface. One way that works is enough.
func (s *Sockets) Multicast(index int, name string, b []byte) ([]netip.AddrPort, error) {
	var sent []netip.AddrPort
	var errs []error
	for _, c := range s.groups[index] {
		to := groupOf(c, name)
		_ = c.SetWriteDeadline(time.Now().Add(sendWait))
		if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
			errs = append(errs, fmt.Errorf("multicast on %s: %w", name, err))
			continue
		}
		sent = append(sent, to)
	}
	if len(sent) > 0 {
		return sent, nil
	}
	return nil, errors.Join(errs...)
}

// groupOf is the group that a socket is for.
func groupOf(c *net.UDPConn, zone string) netip.AddrPort {
	if c.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		return netip.AddrPortFrom(netip.MustParseAddr(group4), MulticastPort)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(group6).WithZone(zone), MulticastPort)
}

// Reply answers who asked from another port than that of multicast DNS, from that port.
func (s *Sockets) Reply(index int, to netip.AddrPort, b []byte) error {
	for _, c := range s.groups[index] {
		if groupOf(c, "").Addr().Is4() == to.Addr().Is4() {
			_ = c.SetWriteDeadline(time.Now().Add(sendWait)) // or that of the last multicast counts
			_, err := c.WriteToUDPAddrPort(b, to)
			return err
		}
	}
	return net.ErrClosed
}

// Send sends a datagram, by an interface unless index is 0.
func (s *Sockets) Send(to netip.Addr, index int, b []byte) error {
	if s.plain == nil {
		return net.ErrClosed
	}
	var by *ipv4.ControlMessage
	if index != 0 && runtime.GOOS != "windows" {
		by = &ipv4.ControlMessage{IfIndex: index} // no route, of a VPN say, leads it elsewhere
	}
	_ = s.plain.SetWriteDeadline(time.Now().Add(sendWait))
	_, err := s.plain.WriteTo(b, by, &net.UDPAddr{IP: to.AsSlice(), Port: int(s.port)})
	return err
}

// readGroup reads a socket for multicast until it is closed.
func (s *Sockets) readGroup(c *net.UDPConn, index int) {
	buf := make([]byte, dnssd.MaxMessage+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if s.failed(err) {
			return
		}
		if err == nil && s.admit(from.Addr()) {
			s.put(Packet{append([]byte(nil), buf[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), index, true})
		}
	}
}

// readPlain reads the socket for datagrams until it is closed.
func (s *Sockets) readPlain() {
	buf := make([]byte, dnssd.MaxMessage+1)
	for {
		n, cm, src, err := s.plain.ReadFrom(buf)
		if s.failed(err) {
			return
		}
		u, ok := src.(*net.UDPAddr)
		if err != nil || !ok {
			continue
		}
		from := u.AddrPort()
		p := Packet{buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), 0, false}
		if cm != nil {
			p.Index = cm.IfIndex
		}
		relayed, ok := unrelay(p, s.tag)
		if ok {
			p = relayed
		}
		if p.From.Addr().IsLoopback() || !s.admit(p.From.Addr()) {
			continue
		}
		if !ok && cm != nil && s.isOwn(cm.Dst) {
			s.relay(p)
		}
		p.Data = append([]byte(nil), p.Data...)
		s.put(p)
	}
}

// failed reports whether a reader has to end. Other errors are those of ICMP messages, and pass.
func (s *Sockets) failed(err error) bool {
	return err != nil && (errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil)
}

// admit reports whether a packet is to be looked at. In a flood it waits.
func (s *Sockets) admit(from netip.Addr) bool {
	ok, pause := s.gate.Pass(from, time.Now())
	if pause {
		select {
		case <-time.After(floodPause):
		case <-s.ctx.Done():
		}
	}
	return ok
}

func (s *Sockets) put(p Packet) {
	select {
	case s.packets <- p:
	default: // they come faster than they are handled: as if lost on the way
	}
}
