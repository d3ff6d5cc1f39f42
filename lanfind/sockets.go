package lanfind

import (
	"context"
	"crypto/rand"
	"encoding/binary"
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
)

const (
	mdnsPort = 5353
	mdnsTTL  = 255 // RFC 6762, section 11
	waiting  = 256 // packets read and not handled yet, at most

	sendWait   = 20 * time.Millisecond // for room in a socket's buffer
	sendBuffer = 1 << 20               // wished for; the system gives what it allows
)

// The groups of multicast DNS.
const (
	group4 = "224.0.0.251"
	group6 = "ff02::fb"
)

// A packet is what a socket received.
type packet struct {
	data  []byte
	from  netip.AddrPort
	index int // of the interface, or 0 when the system does not say
	via   Via
}

// sockets are one or two for multicast on each interface, and one for datagrams. The goroutine that opened them
// writes; each has a reader.
type sockets struct {
	ctx     context.Context
	packets chan packet
	gate    *gate
	readers sync.WaitGroup
	groups  map[int][]*net.UDPConn // by interface
	plain   *ipv4.PacketConn       // for datagrams, or nil
	port    uint16
	tag     [8]byte                             // in what is relayed to other programs on this host
	own     atomic.Pointer[map[netip.Addr]bool] // addresses of this host
}

func newSockets(ctx context.Context) *sockets {
	s := &sockets{ctx: ctx, packets: make(chan packet, waiting), gate: newGate(time.Now()), groups: make(map[int][]*net.UDPConn)}
	rand.Read(s.tag[:])
	return s
}

// listen opens the socket for datagrams.
func (s *sockets) listen(port uint16) error {
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

// join opens sockets for multicast on an interface. One of IPv4 and IPv6 is enough.
func (s *sockets) join(f *Interface) error {
	i := &net.Interface{Index: f.Index, Name: f.Name}
	var errs []error
	for _, open := range []func(*net.Interface) (*net.UDPConn, error){join4, join6} {
		c, err := open(i)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.groups[f.Index] = append(s.groups[f.Index], c)
		s.readers.Go(func() { s.readGroup(c, f.Index) })
	}
	if len(s.groups[f.Index]) == 0 {
		return fmt.Errorf("multicast on %s: %w", f.Name, errors.Join(errs...))
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

// leave closes the sockets of an interface.
func (s *sockets) leave(f *Interface) {
	for _, c := range s.groups[f.Index] {
		c.Close()
	}
	delete(s.groups, f.Index)
}

// close closes all sockets and waits for the readers.
func (s *sockets) close() {
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

// multicast sends b to the groups on an interface. One way that works is enough.
func (s *sockets) multicast(f *Interface, b []byte) ([]netip.AddrPort, error) {
	var sent []netip.AddrPort
	var errs []error
	for _, c := range s.groups[f.Index] {
		to := groupOf(c, f)
		_ = c.SetWriteDeadline(time.Now().Add(sendWait))
		if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
			errs = append(errs, fmt.Errorf("multicast on %s: %w", f.Name, err))
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
func groupOf(c *net.UDPConn, f *Interface) netip.AddrPort {
	if c.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		return netip.AddrPortFrom(netip.MustParseAddr(group4), mdnsPort)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(group6).WithZone(f.Name), mdnsPort)
}

// reply answers who asked from another port than that of multicast DNS, from that port.
func (s *sockets) reply(f *Interface, to netip.AddrPort, b []byte) error {
	for _, c := range s.groups[f.Index] {
		if groupOf(c, f).Addr().Is4() == to.Addr().Is4() {
			_, err := c.WriteToUDPAddrPort(b, to)
			return err
		}
	}
	return net.ErrClosed
}

// send sends a datagram, by an interface unless index is 0.
func (s *sockets) send(to netip.Addr, index int, b []byte) error {
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
func (s *sockets) readGroup(c *net.UDPConn, index int) {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if s.failed(err) {
			return
		}
		if err == nil && s.admit(from.Addr()) {
			s.put(packet{append([]byte(nil), buf[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), index, Multicast})
		}
	}
}

// readPlain reads the socket for datagrams until it is closed.
func (s *sockets) readPlain() {
	buf := make([]byte, maxMessage+1)
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
		p := packet{buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), 0, Datagram}
		if cm != nil {
			p.index = cm.IfIndex
		}
		relayed, ok := unrelay(p, s.tag)
		if ok {
			p = relayed
		}
		if p.from.Addr().IsLoopback() || !s.admit(p.from.Addr()) {
			continue
		}
		if !ok && cm != nil && s.isOwn(cm.Dst) {
			s.relay(p)
		}
		p.data = append([]byte(nil), p.data...)
		s.put(p)
	}
}

// failed reports whether a reader has to end. Other errors are those of ICMP messages, and pass.
func (s *sockets) failed(err error) bool {
	return err != nil && (errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil)
}

// admit reports whether a packet is to be looked at. In a flood it waits.
func (s *sockets) admit(from netip.Addr) bool {
	ok, pause := s.gate.pass(from, time.Now())
	if pause {
		select {
		case <-time.After(floodPause):
		case <-s.ctx.Done():
		}
	}
	return ok
}

func (s *sockets) put(p packet) {
	select {
	case s.packets <- p:
	default: // they come faster than they are handled: as if lost on the way
	}
}

// Of several programs on this host that share the port for datagrams, the kernel gives one that comes to a single
// address to only one. That one relays it to the others, and to itself, by a broadcast that does not leave the host.
// A relayed packet begins with the bytes below, the program's tag, and source and interface as it saw them.
const (
	relayMark = "tcppunch relay\n"
	relayHead = len(relayMark) + 8 + 4 + 2 + 4
)

func (s *sockets) relay(p packet) {
	if runtime.GOOS != "linux" || !p.from.Addr().Is4() {
		return // elsewhere the loopback network has no broadcast
	}
	b := append([]byte(relayMark), s.tag[:]...)
	b = append(b, p.from.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, p.from.Port())
	b = binary.BigEndian.AppendUint32(b, uint32(p.index))
	_ = s.plain.SetWriteDeadline(time.Now().Add(sendWait)) // or that of the last datagram counts
	_, _ = s.plain.WriteTo(append(b, p.data...), nil, &net.UDPAddr{IP: net.IPv4(127, 255, 255, 255), Port: int(s.port)})
}

// unrelay returns the packet that another program relayed.
func unrelay(p packet, tag [8]byte) (packet, bool) {
	b := p.data
	if !p.from.Addr().IsLoopback() || len(b) < relayHead || string(b[:len(relayMark)]) != relayMark {
		return p, false
	}
	b = b[len(relayMark):]
	if [8]byte(b[:8]) == tag {
		return p, false // our own
	}
	b = b[8:]
	p.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
	p.index = int(binary.BigEndian.Uint32(b[6:]))
	p.data = b[10:]
	return p, true
}

// isOwn reports whether an address is one of this host. What goes to any other, by broadcast, comes to all programs anyway.
func (s *sockets) isOwn(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip.To4())
	own := s.own.Load()
	return ok && own != nil && (*own)[a]
}
