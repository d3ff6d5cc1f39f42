package natlab

import (
	"net/netip"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// natBox is an emulated NAT: a router between a segment and a wire.
type natBox struct {
	net   *network
	cfg   NAT
	addr  netip.Addr     // outside
	addr6 netip.Addr     // outside
	lan4  netip.Addr     // inside
	lan6  netip.Addr     // inside
	site6 []netip.Prefix // everything inside that has an IPv6 address
	table *mappings
	lan   *segment
	up    sink // towards the core
	stats Stats
}

// natInside and natOutside are the two sides of a NAT, as sinks.
type (
	natInside  struct{ *natBox }
	natOutside struct{ *natBox }
)

func (n natInside) accept(p *ip.Packet) {
	n.stats.Packets++
	n.net.observe(n.cfg.Name, Inside, false, p)
	if h, ok := ip.Parse(p.IP(), false); ok && n.fromInside(p, &h) {
		return
	}
	n.net.drop(p)
}

func (n natOutside) accept(p *ip.Packet) {
	n.stats.Packets++
	n.stats.In++
	n.net.observe(n.cfg.Name, Outside, true, p)
	if h, ok := ip.Parse(p.IP(), false); ok && n.fromOutside(p, &h) {
		return
	}
	n.net.drop(p)
}

// toInside and toOutside send p on. They own it.
func (n *natBox) toInside(p *ip.Packet) {
	n.net.observe(n.cfg.Name, Inside, true, p)
	n.lan.forward(p, nil)
}

func (n *natBox) toOutside(p *ip.Packet) {
	n.stats.Out++
	n.net.observe(n.cfg.Name, Outside, false, p)
	n.up.accept(p)
}

// fromInside handles a packet of an inside host. It reports whether p was sent on; if not, the caller recycles it.
func (n *natBox) fromInside(p *ip.Packet, h *ip.Header) bool {
	to := h.Dst.Addr()
	if to == n.lan4 || to == n.lan6 {
		return n.answer(p, h, Reset, n.toInside)
	}
	if n.blocks(h) || h.Fragment || h.Src.Addr().IsLinkLocalUnicast() {
		return false
	}
	if h.TTL <= 1 {
		n.reply(ip.TimeExceeded, n.ownAddr(h, true), p, n.toInside)
		return false
	}
	if h.ICMPError {
		return n.errorFromInside(p, h)
	}
	if !h.Ported {
		return false
	}
	if to == n.addr || to == n.addr6 {
		return n.hairpin(p, h)
	}
	m := n.table.outbound(n.net.now, h)
	if m == nil {
		return false
	}
	if h.PlainSYN() {
		n.stats.SYNs++
	}
	ip.SetEndpoint(p.IP(), h, true, m.outside)
	ip.SetTTL(p.IP(), h.TTL-1)
	n.toOutside(p)
	return true
}

// fromOutside handles a packet from the core. It reports whether p was sent on.
func (n *natBox) fromOutside(p *ip.Packet, h *ip.Header) bool {
	to := h.Dst.Addr()
	own := to == n.addr || to == n.addr6
	if !own && !n.hasSite(to) || n.blocks(h) || h.Fragment {
		return false
	}
	if h.ICMPError {
		return n.errorFromOutside(p, h)
	}
	if !h.Ported {
		return false
	}
	m := n.table.inbound(n.net.now, h.Proto, h.Dst, h.Src)
	if m == nil || n.cfg.RefuseInboundSYN && h.PlainSYN() {
		n.stats.Refused++
		return n.answer(p, h, n.cfg.Unsolicited, n.toOutside)
	}
	if h.TTL <= 1 {
		n.reply(ip.TimeExceeded, n.ownAddr(h, false), p, n.toOutside)
		return false
	}
	n.table.refresh(n.net.now, h, m)
	ip.SetEndpoint(p.IP(), h, false, m.key.inside)
	ip.SetTTL(p.IP(), h.TTL-1)
	n.toInside(p)
	return true
}

// hairpin sends a packet from inside to an external endpoint of this very NAT back in.
func (n *natBox) hairpin(p *ip.Packet, h *ip.Header) bool {
	if !n.cfg.Hairpin {
		return n.answer(p, h, n.cfg.Unsolicited, n.toInside)
	}
	from := n.table.outbound(n.net.now, h)
	if from == nil {
		return false
	}
	to := n.table.inbound(n.net.now, h.Proto, h.Dst, from.outside)
	if to == nil || n.cfg.RefuseInboundSYN && h.PlainSYN() {
		n.stats.Refused++
		return n.answer(p, h, n.cfg.Unsolicited, n.toInside)
	}
	ip.SetEndpoint(p.IP(), h, true, from.outside)
	n.table.refresh(n.net.now, h, to)
	ip.SetEndpoint(p.IP(), h, false, to.key.inside)
	ip.SetTTL(p.IP(), h.TTL-1)
	n.toInside(p)
	return true
}

// answer refuses a packet that belongs to nothing, sending the refusal back by the given way. An echo request to an
// address of the NAT itself is answered unless it drops. It reports whether p itself was sent.
func (n *natBox) answer(p *ip.Packet, h *ip.Header, how Unsolicited, back func(*ip.Packet)) bool {
	to := h.Dst.Addr()
	own := to == n.addr || to == n.addr6 || to == n.lan4 || to == n.lan6
	switch {
	case how == Drop || to.IsMulticast() || h.ICMPError:
		return false
	case own && h.IsICMP() && h.Ported && h.Dst.Port() == 0:
		ip.EchoReply(p)
		back(p)
		return true
	case how == Reset && h.Proto == ip.TCP:
		r := n.net.free.Take()
		if !ip.ResetFor(r, p.IP()) {
			n.net.drop(r)
			return false
		}
		back(r)
		return false
	}
	m := ip.PortUnreachable
	if how == Prohibited {
		m = ip.Prohibited
	}
	from := n.ownAddr(h, false)
	if to == n.lan4 || to == n.lan6 {
		from = n.ownAddr(h, true)
	}
	n.reply(m, from, p, back)
	return false
}

// reply sends the ICMP error m about the packet p.
func (n *natBox) reply(m ip.Message, from netip.Addr, p *ip.Packet, back func(*ip.Packet)) {
	r := n.net.free.Take()
	if !ip.ICMPError(r, m, from, p.IP()) {
		n.net.drop(r)
		return
	}
	back(r)
}

// ownAddr is the NAT's address on the inside or outside in the family of the packet.
func (n *natBox) ownAddr(h *ip.Header, inside bool) netip.Addr {
	switch {
	case inside && h.V6:
		return n.lan6
	case inside:
		return n.lan4
	case h.V6:
		return n.addr6
	}
	return n.addr
}

// hasSite reports whether an IPv6 address is inside.
func (n *natBox) hasSite(a netip.Addr) bool {
	for _, p := range n.site6 {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (n *natBox) blocks(h *ip.Header) bool {
	for _, b := range n.cfg.Blocked {
		if byte(b) == h.Proto {
			return true
		}
	}
	return false
}

// errorFromOutside translates an ICMP error about a packet that left by this NAT (RFC 5508 section 4.2).
func (n *natBox) errorFromOutside(p *ip.Packet, h *ip.Header) bool {
	b := p.IP()
	quote := b[h.L4+8:]
	q, ok := ip.Parse(quote, true)
	if !ok || !q.Ported || q.V6 != h.V6 || h.TTL <= 1 {
		return false
	}
	m := n.table.byOutside[outsideKey{q.Proto, q.Src}]
	if m == nil || n.table.prune(m, n.net.now) {
		return false
	}
	ip.SetEndpoint(quote, &q, true, m.key.inside)
	ip.SetEndpoint(b, h, false, netip.AddrPortFrom(m.key.inside.Addr(), 0))
	ip.SealTransport(b, h.Proto, h.L4, h.L4+2)
	ip.SetTTL(b, h.TTL-1)
	n.toInside(p)
	return true
}

// errorFromInside translates an ICMP error that an inside host or router sends about a packet that came in.
func (n *natBox) errorFromInside(p *ip.Packet, h *ip.Header) bool {
	b := p.IP()
	quote := b[h.L4+8:]
	q, ok := ip.Parse(quote, true)
	if !ok || !q.Ported || q.V6 != h.V6 {
		return false
	}
	m := n.table.lookUp(n.table.keyFor(q.Proto, q.Dst, q.Src), q.Src)
	if m == nil || n.table.prune(m, n.net.now) {
		return false
	}
	ip.SetEndpoint(quote, &q, false, m.outside)
	if !h.V6 {
		ip.SetEndpoint(b, h, true, netip.AddrPortFrom(n.addr, 0))
	}
	ip.SealTransport(b, h.Proto, h.L4, h.L4+2)
	ip.SetTTL(b, h.TTL-1)
	n.toOutside(p)
	return true
}
