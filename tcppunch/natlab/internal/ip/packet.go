// Package ip reads and changes IP packets: headers, endpoints with their checksums, and the answers of routers. It
// takes any bytes; what it does not understand it reports as such.
package ip

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// Sizes in bytes.
const (
	EtherLen  = 14   // of an Ethernet header
	MTU       = 1500 // the largest packet
	frameSize = 2048
)

// IP protocol numbers.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Flags of TCP.
const (
	FIN = 1
	SYN = 2
	RST = 4
	ACK = 16
)

// Packet is one IP packet, with room before it for an Ethernet header.
type Packet struct {
	Buf [frameSize]byte // the frame
	N   int             // bytes of the IP packet
}

// IP returns the IP packet, without the Ethernet header.
func (p *Packet) IP() []byte { return p.Buf[EtherLen : EtherLen+p.N] }

// Pool recycles packets.
type Pool struct{ free sync.Pool }

// Take returns a packet with any content.
func (o *Pool) Take() *Packet {
	if p, ok := o.free.Get().(*Packet); ok {
		return p
	}
	return new(Packet)
}

// Put gives a packet back.
func (o *Pool) Put(p *Packet) { o.free.Put(p) }

// Clone returns a copy of a packet.
func (o *Pool) Clone(p *Packet) *Packet {
	c := o.Take()
	c.N = copy(c.Buf[EtherLen:], p.IP())
	return c
}

// Header is what routers and NATs look at. The ports of an ICMP echo are its identifier on the side that asked and 0 on
// the side that answers, so that an echo looks like any other session.
type Header struct {
	V6        bool
	Proto     byte
	TTL       byte // or hop limit
	Flags     byte // of TCP
	ICMPType  byte
	L4        int // offset of the transport header
	Src, Dst  netip.AddrPort
	Fragment  bool // any part of a fragmented packet
	Ported    bool // Src and Dst have ports: TCP, UDP or an ICMP echo
	ICMPError bool // an ICMP error, which quotes another packet
}

// IsICMP reports whether the packet is ICMP or ICMPv6.
func (h *Header) IsICMP() bool { return h.Proto == ICMP || h.Proto == ICMPv6 }

// PlainSYN reports whether the packet opens a TCP connection.
func (h *Header) PlainSYN() bool {
	return h.Proto == TCP && h.Flags&(SYN|ACK|RST) == SYN
}

// Parse reads the headers of the IP packet b. A quoted packet may be cut after 8 bytes of its transport header.
func Parse(b []byte, quoted bool) (Header, bool) {
	if len(b) < 1 {
		return Header{}, false
	}
	var h Header
	var src, dst netip.Addr
	switch b[0] >> 4 {
	case 4:
		if len(b) < 20 {
			return Header{}, false
		}
		h.L4 = int(b[0]&15) * 4
		total := int(binary.BigEndian.Uint16(b[2:]))
		if h.L4 < 20 || total < h.L4 || !quoted && total != len(b) {
			return Header{}, false
		}
		h.TTL, h.Proto = b[8], b[9]
		h.Fragment = binary.BigEndian.Uint16(b[6:])&0x3fff != 0
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	case 6:
		if len(b) < 40 || !quoted && int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
			return Header{}, false
		}
		h.V6, h.L4 = true, 40
		h.TTL, h.Proto = b[7], b[6]
		h.Fragment = h.Proto == 44
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return Header{}, false
	}
	h.Src, h.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	if h.Fragment {
		return h, true
	}
	return h, h.parseTransport(b, quoted)
}

// minTransport is the least length of a transport header; a quoted one may be cut after 8 bytes (RFC 792).
func minTransport(proto byte, quoted bool) int {
	switch proto {
	case TCP:
		if !quoted {
			return 20
		}
		return 8
	case UDP, ICMP, ICMPv6:
		return 8
	}
	return 0
}

func (h *Header) parseTransport(b []byte, quoted bool) bool {
	if len(b) < h.L4+minTransport(h.Proto, quoted) {
		return false
	}
	t := b[h.L4:]
	switch {
	case h.Proto == TCP || h.Proto == UDP:
		h.Ported = true
		h.Src = netip.AddrPortFrom(h.Src.Addr(), binary.BigEndian.Uint16(t))
		h.Dst = netip.AddrPortFrom(h.Dst.Addr(), binary.BigEndian.Uint16(t[2:]))
		if h.Proto == TCP && len(t) > 13 {
			h.Flags = t[13]
		}
	case h.Proto == ICMP && !h.V6, h.Proto == ICMPv6 && h.V6:
		h.parseICMP(t)
	}
	return true
}

func (h *Header) parseICMP(t []byte) {
	id := binary.BigEndian.Uint16(t[4:])
	h.ICMPType = t[0]
	request, reply := byte(8), byte(0)
	if h.V6 {
		request, reply = 128, 129
		h.ICMPError = t[0] < 128
	} else {
		h.ICMPError = t[0] == 3 || t[0] == 4 || t[0] == 11 || t[0] == 12
	}
	switch t[0] {
	case request:
		h.Ported = true
		h.Src = netip.AddrPortFrom(h.Src.Addr(), id)
	case reply:
		h.Ported = true
		h.Dst = netip.AddrPortFrom(h.Dst.Addr(), id)
	}
}

// SetTTL writes the TTL or hop limit and keeps the checksum right.
func SetTTL(b []byte, ttl byte) {
	if b[0]>>4 == 6 {
		b[7] = ttl
		return
	}
	old := [2]byte{b[8], b[9]}
	b[8] = ttl
	adjust(b[10:12], old[:], b[8:10])
}

// TTL returns the TTL or hop limit.
func TTL(b []byte) byte {
	if b[0]>>4 == 6 {
		return b[7]
	}
	return b[8]
}

// SetEndpoint replaces the source or the destination of the packet b, whose header is h, and keeps its checksums
// right. It works on quoted packets too.
func SetEndpoint(b []byte, h *Header, source bool, to netip.AddrPort) {
	was, addrAt := h.Dst, 16
	if source {
		was, addrAt = h.Src, 12
	}
	if h.V6 {
		addrAt = 24
		if source {
			addrAt = 8
		}
	}
	if source {
		h.Src = to
	} else {
		h.Dst = to
	}
	old, now := was.Addr().AsSlice(), to.Addr().AsSlice()
	copy(b[addrAt:], now)
	if !h.V6 {
		adjust(b[10:12], old, now)
	}
	if h.Fragment {
		return
	}
	sum := transportSum(b, h)
	if sum != nil && (h.V6 || !h.IsICMP()) {
		adjust(sum, old, now)
	}
	if h.Ported && was.Port() != to.Port() {
		setPort(b, h, source, to.Port(), sum)
	}
	if h.Proto == UDP && sum != nil && sum[0] == 0 && sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff // RFC 768: zero means no checksum
	}
}

func setPort(b []byte, h *Header, source bool, port uint16, sum []byte) {
	at := h.L4 + 2
	switch {
	case h.IsICMP():
		at = h.L4 + 4
	case source:
		at = h.L4
	}
	old := [2]byte{b[at], b[at+1]}
	binary.BigEndian.PutUint16(b[at:], port)
	if sum != nil {
		adjust(sum, old[:], b[at:at+2])
	}
}

// transportSum is the checksum field of the transport header, or nil when there is none: cut off, or UDP without one.
func transportSum(b []byte, h *Header) []byte {
	at := -1
	switch h.Proto {
	case TCP:
		at = h.L4 + 16
	case UDP:
		at = h.L4 + 6
	case ICMP, ICMPv6:
		at = h.L4 + 2
	}
	if at < 0 || len(b) < at+2 || h.IsICMP() && h.V6 != (h.Proto == ICMPv6) {
		return nil
	}
	sum := b[at : at+2]
	if h.Proto == UDP && sum[0] == 0 && sum[1] == 0 {
		return nil
	}
	return sum
}
