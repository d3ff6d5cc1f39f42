package natlab

import (
	"encoding/binary"
	"net/netip"
)

// The ICMP messages that routers here send.
type icmpMessage int

const (
	timeExceeded icmpMessage = iota
	portUnreachable
	prohibited
)

// code returns type and code of the message in ICMP (RFC 792, RFC 1812) or ICMPv6 (RFC 4443).
func (m icmpMessage) code(v6 bool) (typ, code byte) {
	switch {
	case m == timeExceeded && v6:
		return 3, 0
	case m == timeExceeded:
		return 11, 0
	case m == portUnreachable && v6:
		return 1, 4
	case m == portUnreachable:
		return 3, 3
	case v6:
		return 1, 1
	}
	return 3, 13
}

const initialTTL = 64

// writeIP writes an IP header without options for a packet of n bytes and returns where its payload begins.
func writeIP(b []byte, v6 bool, proto byte, src, dst netip.Addr, n int) int {
	if v6 {
		clear(b[:40])
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(n-40))
		b[6], b[7] = proto, initialTTL
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return 40
	}
	clear(b[:20])
	b[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	b[8], b[9] = initialTTL, proto
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	sealIPv4(b)
	return 20
}

// icmpError writes to p the ICMP error that from sends to the source of the packet cause, which it quotes as it
// arrived. It reports false when RFC 1122 section 3.2.2 forbids an answer.
func icmpError(p *packet, m icmpMessage, from netip.Addr, cause []byte) bool {
	h, ok := parse(cause, false)
	if !ok || h.icmpErr || h.dst.Addr().IsMulticast() || h.src.Addr().IsUnspecified() || !from.IsValid() {
		return false
	}
	head, limit, proto, field := 20, 576, byte(protoICMP), 22
	if h.v6 {
		head, limit, proto, field = 40, 1280, protoICMPv6, 42
	}
	quote := cause[:min(len(cause), limit-head-8)]
	p.n = head + 8 + len(quote)
	b := p.ip()
	l4 := writeIP(b, h.v6, proto, from, h.src.Addr(), p.n)
	clear(b[l4 : l4+8])
	b[l4], b[l4+1] = m.code(h.v6)
	copy(b[l4+8:], quote)
	sealTransport(b, proto, l4, field)
	return true
}

// resetFor writes to p the RST that answers the TCP segment cause (RFC 9293 section 3.5.2, CLOSED).
func resetFor(p *packet, cause []byte) bool {
	h, ok := parse(cause, false)
	if !ok || h.proto != protoTCP || h.fragment || h.flags&flagRST != 0 {
		return false
	}
	t := cause[h.l4:]
	head := 20
	if h.v6 {
		head = 40
	}
	p.n = head + 20
	b := p.ip()
	l4 := writeIP(b, h.v6, protoTCP, h.dst.Addr(), h.src.Addr(), p.n)
	r := b[l4:]
	clear(r[:20])
	binary.BigEndian.PutUint16(r, h.dst.Port())
	binary.BigEndian.PutUint16(r[2:], h.src.Port())
	r[12] = 5 << 4
	if h.flags&flagACK != 0 {
		copy(r[4:8], t[8:12])
		r[13] = flagRST
	} else {
		offset := int(t[12]>>4) * 4
		length := uint32(max(0, len(t)-offset))
		if h.flags&flagSYN != 0 {
			length++
		}
		if h.flags&flagFIN != 0 {
			length++
		}
		binary.BigEndian.PutUint32(r[8:], binary.BigEndian.Uint32(t[4:])+length)
		r[13] = flagRST | flagACK
	}
	sealTransport(b, protoTCP, l4, l4+16)
	return true
}

// echoReply turns the ICMP echo request in p into its reply.
func echoReply(p *packet) {
	b := p.ip()
	h, ok := parse(b, false)
	if !ok || !h.isICMP() {
		return
	}
	src, dst := h.src.Addr(), h.dst.Addr()
	l4 := h.l4
	if h.v6 {
		copy(b[8:], dst.AsSlice())
		copy(b[24:], src.AsSlice())
		b[7], b[l4] = initialTTL, 129
	} else {
		copy(b[12:], dst.AsSlice())
		copy(b[16:], src.AsSlice())
		b[l4] = 0
		setTTL(b, initialTTL)
	}
	sealTransport(b, h.proto, l4, l4+2)
}
