package ip

import (
	"encoding/binary"
	"net/netip"
)

// A Message is an ICMP message that routers send.
type Message int

// The messages.
const (
	TimeExceeded Message = iota
	PortUnreachable
	Prohibited
)

// code returns type and code of the message in ICMP (RFC 792, RFC 1812) or ICMPv6 (RFC 4443).
func (m Message) code(v6 bool) (typ, code byte) {
	switch {
	case m == TimeExceeded && v6:
		return 3, 0
	case m == TimeExceeded:
		return 11, 0
	case m == PortUnreachable && v6:
		return 1, 4
	case m == PortUnreachable:
		return 3, 3
	case v6:
		return 1, 1
	}
	return 3, 13
}

// InitialTTL is the TTL of the answers.
const InitialTTL = 64

// WriteHeader writes an IP header without options for a packet of n bytes and returns where its payload begins.
func WriteHeader(b []byte, v6 bool, proto byte, src, dst netip.Addr, n int) int {
	if v6 {
		clear(b[:40])
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(n-40))
		b[6], b[7] = proto, InitialTTL
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return 40
	}
	clear(b[:20])
	b[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	b[8], b[9] = InitialTTL, proto
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	sealIPv4(b)
	return 20
}

// ICMPError writes to p the ICMP error that from sends to the source of the packet cause, which it quotes as it
// arrived. It reports false when RFC 1122 section 3.2.2 forbids an answer.
func ICMPError(p *Packet, m Message, from netip.Addr, cause []byte) bool {
	h, ok := Parse(cause, false)
	if !ok || h.ICMPError || h.Dst.Addr().IsMulticast() || h.Src.Addr().IsUnspecified() || !from.IsValid() {
		return false
	}
	head, limit, proto, field := 20, 576, byte(ICMP), 22
	if h.V6 {
		head, limit, proto, field = 40, 1280, ICMPv6, 42
	}
	quote := cause[:min(len(cause), limit-head-8)]
	p.N = head + 8 + len(quote)
	b := p.IP()
	l4 := WriteHeader(b, h.V6, proto, from, h.Src.Addr(), p.N)
	clear(b[l4 : l4+8])
	b[l4], b[l4+1] = m.code(h.V6)
	copy(b[l4+8:], quote)
	SealTransport(b, proto, l4, field)
	return true
}

// ResetFor writes to p the RST that answers the TCP segment cause (RFC 9293 section 3.5.2, CLOSED).
func ResetFor(p *Packet, cause []byte) bool {
	h, ok := Parse(cause, false)
	if !ok || h.Proto != TCP || h.Fragment || h.Flags&RST != 0 {
		return false
	}
	t := cause[h.L4:]
	head := 20
	if h.V6 {
		head = 40
	}
	p.N = head + 20
	b := p.IP()
	l4 := WriteHeader(b, h.V6, TCP, h.Dst.Addr(), h.Src.Addr(), p.N)
	r := b[l4:]
	clear(r[:20])
	binary.BigEndian.PutUint16(r, h.Dst.Port())
	binary.BigEndian.PutUint16(r[2:], h.Src.Port())
	r[12] = 5 << 4
	if h.Flags&ACK != 0 {
		copy(r[4:8], t[8:12])
		r[13] = RST
	} else {
		offset := int(t[12]>>4) * 4
		length := uint32(max(0, len(t)-offset))
		if h.Flags&SYN != 0 {
			length++
		}
		if h.Flags&FIN != 0 {
			length++
		}
		binary.BigEndian.PutUint32(r[8:], binary.BigEndian.Uint32(t[4:])+length)
		r[13] = RST | ACK
	}
	SealTransport(b, TCP, l4, l4+16)
	return true
}

// EchoReply turns the ICMP echo request in p into its reply.
func EchoReply(p *Packet) {
	b := p.IP()
	h, ok := Parse(b, false)
	if !ok || !h.IsICMP() {
		return
	}
	src, dst := h.Src.Addr(), h.Dst.Addr()
	l4 := h.L4
	if h.V6 {
		copy(b[8:], dst.AsSlice())
		copy(b[24:], src.AsSlice())
		b[7], b[l4] = InitialTTL, 129
	} else {
		copy(b[12:], dst.AsSlice())
		copy(b[16:], src.AsSlice())
		b[l4] = 0
		SetTTL(b, InitialTTL)
	}
	SealTransport(b, h.Proto, l4, l4+2)
}
