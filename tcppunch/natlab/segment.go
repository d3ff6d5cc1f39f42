package natlab

import (
	"net/netip"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// segment is where packets meet: the core, or a local network. It is not a router and counts down no TTL.
type segment struct {
	net     *network
	core    bool
	prefix  netip.Prefix // the IPv4 network, unless it is the core
	members map[netip.Addr]*member
	list    []*member // in the order of joining, for multicast
	routes  []route
	gateway sink // where everything else goes, or nil
}

// member is what is attached to a segment by a wire.
type member struct {
	seg  *segment
	wire *wire
}

// route leads to a prefix behind a member.
type route struct {
	to  netip.Prefix
	via *member
}

// join attaches a wire under the given addresses.
func (s *segment) join(w *wire, addrs ...netip.Addr) *member {
	m := &member{s, w}
	for _, a := range addrs {
		if a.IsValid() {
			s.members[a] = m
		}
	}
	s.list = append(s.list, m)
	w.ends[up] = m
	return m
}

// accept takes a packet that the member sends. Link-local addresses, and those of the network
// that a host has given itself, are learnt, as a switch does it.
func (m *member) accept(p *ip.Packet) {
	s := m.seg
	if src := source(p.IP()); !s.core && s.members[src] == nil && (isLinkLocal6(src) || s.prefix.Contains(src)) {
		s.members[src] = m
	}
	s.forward(p, m)
}

// forward brings p to the member that has its destination. from is the member that sent it, or nil.
func (s *segment) forward(p *ip.Packet, from *member) {
	dst := destination(p.IP())
	if m := s.find(dst); m != nil && m != from {
		m.wire.send(p, down)
		return
	}
	switch {
	case dst.IsMulticast() || s.isBroadcast(dst):
		s.flood(p, from)
	case isLinkLocal6(dst):
		s.net.drop(p) // nobody has it, and no router forwards it
	case s.prefix.Contains(dst) && dst != s.prefix.Masked().Addr().Next(): // the gateway's own
		s.net.drop(p) // for an address of the network that nobody has, the gateway does not answer ARP either
	case s.gateway != nil && from != nil:
		s.gateway.accept(p)
	default:
		s.net.drop(p)
	}
}

func (s *segment) find(dst netip.Addr) *member {
	if m := s.members[dst]; m != nil {
		return m
	}
	for _, r := range s.routes {
		if r.to.Contains(dst) {
			return r.via
		}
	}
	return nil
}

// flood copies p to every other member of a local network.
func (s *segment) flood(p *ip.Packet, from *member) {
	if !s.core {
		for _, m := range s.list {
			if m != from {
				m.wire.send(s.net.free.Clone(p), down)
			}
		}
	}
	s.net.drop(p)
}

func source(b []byte) netip.Addr {
	if b[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(b[8:24]))
	}
	return netip.AddrFrom4([4]byte(b[12:16]))
}

func destination(b []byte) netip.Addr {
	if b[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(b[24:40]))
	}
	return netip.AddrFrom4([4]byte(b[16:20]))
}

func isLinkLocal6(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

func (s *segment) isBroadcast(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || s.prefix.IsValid() && a == lastAddr(s.prefix)
}

// lastAddr is the directed broadcast address of an IPv4 network.
func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}
