package natlab

import "net/netip"

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

func (n natInside) accept(p *packet) {
	n.stats.Packets++
	n.net.observe(n.cfg.Name, Inside, false, p)
	if h, ok := parse(p.ip(), false); ok && n.fromInside(p, &h) {
		return
	}
	n.net.drop(p)
}

func (n natOutside) accept(p *packet) {
	n.stats.Packets++
	n.net.observe(n.cfg.Name, Outside, true, p)
	if h, ok := parse(p.ip(), false); ok && n.fromOutside(p, &h) {
		return
	}
	n.net.drop(p)
}

// toInside and toOutside send p on. They own it.
func (n *natBox) toInside(p *packet) {
	n.net.observe(n.cfg.Name, Inside, true, p)
	n.lan.forward(p, nil)
}

func (n *natBox) toOutside(p *packet) {
	n.net.observe(n.cfg.Name, Outside, false, p)
	n.up.accept(p)
}

// fromInside handles a packet of an inside host. It reports whether p was sent on; if not, the caller recycles it.
func (n *natBox) fromInside(p *packet, h *header) bool {
	to := h.dst.Addr()
	if to == n.lan4 || to == n.lan6 {
		return n.answer(p, h, Reset, n.toInside)
	}
	if n.blocks(h) || h.fragment || h.src.Addr().IsLinkLocalUnicast() {
		return false
	}
	if h.ttl <= 1 {
		n.reply(timeExceeded, n.ownAddr(h, true), p, n.toInside)
		return false
	}
	if h.icmpErr {
		return n.errorFromInside(p, h)
	}
	if !h.ported {
		return false
	}
	if to == n.addr || to == n.addr6 {
		return n.hairpin(p, h)
	}
	m := n.table.outbound(n.net.now, h)
	if m == nil {
		return false
	}
	setEndpoint(p.ip(), h, true, m.outside)
	setTTL(p.ip(), h.ttl-1)
	n.toOutside(p)
	return true
}

// fromOutside handles a packet from the core. It reports whether p was sent on.
func (n *natBox) fromOutside(p *packet, h *header) bool {
	to := h.dst.Addr()
	own := to == n.addr || to == n.addr6
	if !own && !n.hasSite(to) || n.blocks(h) || h.fragment {
		return false
	}
	if h.icmpErr {
		return n.errorFromOutside(p, h)
	}
	if !h.ported {
		return false
	}
	m := n.table.inbound(n.net.now, h.proto, h.dst, h.src)
	if m == nil || n.cfg.RefuseInboundSYN && h.plainSYN() {
		n.stats.Refused++
		return n.answer(p, h, n.cfg.Unsolicited, n.toOutside)
	}
	if h.ttl <= 1 {
		n.reply(timeExceeded, n.ownAddr(h, false), p, n.toOutside)
		return false
	}
	n.table.refresh(n.net.now, h, m)
	setEndpoint(p.ip(), h, false, m.key.inside)
	setTTL(p.ip(), h.ttl-1)
	n.toInside(p)
	return true
}

// hairpin sends a packet from inside to an external endpoint of this very NAT back in.
func (n *natBox) hairpin(p *packet, h *header) bool {
	if !n.cfg.Hairpin {
		return n.answer(p, h, n.cfg.Unsolicited, n.toInside)
	}
	from := n.table.outbound(n.net.now, h)
	if from == nil {
		return false
	}
	to := n.table.inbound(n.net.now, h.proto, h.dst, from.outside)
	if to == nil || n.cfg.RefuseInboundSYN && h.plainSYN() {
		n.stats.Refused++
		return n.answer(p, h, n.cfg.Unsolicited, n.toInside)
	}
	setEndpoint(p.ip(), h, true, from.outside)
	n.table.refresh(n.net.now, h, to)
	setEndpoint(p.ip(), h, false, to.key.inside)
	setTTL(p.ip(), h.ttl-1)
	n.toInside(p)
	return true
}

// answer refuses a packet that belongs to nothing, sending the refusal back by the given way. An echo request to an
// address of the NAT itself is answered unless it drops. It reports whether p itself was sent.
func (n *natBox) answer(p *packet, h *header, how Unsolicited, back func(*packet)) bool {
	to := h.dst.Addr()
	own := to == n.addr || to == n.addr6 || to == n.lan4 || to == n.lan6
	switch {
	case how == Drop || to.IsMulticast() || h.icmpErr:
		return false
	case own && h.isICMP() && h.ported && h.dst.Port() == 0:
		echoReply(p)
		back(p)
		return true
	case how == Reset && h.proto == protoTCP:
		r := n.net.free.take()
		if !resetFor(r, p.ip()) {
			n.net.drop(r)
			return false
		}
		back(r)
		return false
	}
	m := portUnreachable
	if how == Prohibited {
		m = prohibited
	}
	from := n.ownAddr(h, false)
	if to == n.lan4 || to == n.lan6 {
		from = n.ownAddr(h, true)
	}
	n.reply(m, from, p, back)
	return false
}

// reply sends the ICMP error m about the packet p.
func (n *natBox) reply(m icmpMessage, from netip.Addr, p *packet, back func(*packet)) {
	r := n.net.free.take()
	if !icmpError(r, m, from, p.ip()) {
		n.net.drop(r)
		return
	}
	back(r)
}

// ownAddr is the NAT's address on the inside or outside in the family of the packet.
func (n *natBox) ownAddr(h *header, inside bool) netip.Addr {
	switch {
	case inside && h.v6:
		return n.lan6
	case inside:
		return n.lan4
	case h.v6:
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

func (n *natBox) blocks(h *header) bool {
	for _, b := range n.cfg.Blocked {
		if byte(b) == h.proto {
			return true
		}
	}
	return false
}

// errorFromOutside translates an ICMP error about a packet that left by this NAT (RFC 5508 section 4.2).
func (n *natBox) errorFromOutside(p *packet, h *header) bool {
	b := p.ip()
	quote := b[h.l4+8:]
	q, ok := parse(quote, true)
	if !ok || !q.ported || q.v6 != h.v6 || h.ttl <= 1 {
		return false
	}
	m := n.table.byOutside[outsideKey{q.proto, q.src}]
	if m == nil || n.table.prune(m, n.net.now) {
		return false
	}
	setEndpoint(quote, &q, true, m.key.inside)
	setEndpoint(b, h, false, netip.AddrPortFrom(m.key.inside.Addr(), 0))
	sealTransport(b, h.proto, h.l4, h.l4+2)
	setTTL(b, h.ttl-1)
	n.toInside(p)
	return true
}

// errorFromInside translates an ICMP error that an inside host or router sends about a packet that came in.
func (n *natBox) errorFromInside(p *packet, h *header) bool {
	b := p.ip()
	quote := b[h.l4+8:]
	q, ok := parse(quote, true)
	if !ok || !q.ported || q.v6 != h.v6 {
		return false
	}
	m := n.table.byInside[n.table.keyFor(q.proto, q.dst, q.src)]
	if m == nil || n.table.prune(m, n.net.now) {
		return false
	}
	setEndpoint(quote, &q, false, m.outside)
	if !h.v6 {
		setEndpoint(b, h, true, netip.AddrPortFrom(n.addr, 0))
	}
	sealTransport(b, h.proto, h.l4, h.l4+2)
	setTTL(b, h.ttl-1)
	n.toOutside(p)
	return true
}
