package natlab

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

const (
	etherLen  = 14
	mtu       = 1500
	frameSize = 2048

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// packet is one IP packet on its way through the lab, with room before it for an Ethernet header.
type packet struct {
	buf [frameSize]byte
	n   int // bytes of the IP packet
}

func (p *packet) ip() []byte { return p.buf[etherLen : etherLen+p.n] }

// pool recycles packets of one lab.
type pool struct{ free sync.Pool }

func (o *pool) take() *packet {
	if p, ok := o.free.Get().(*packet); ok {
		return p
	}
	return new(packet)
}

func (o *pool) put(p *packet) { o.free.Put(p) }

func (o *pool) clone(p *packet) *packet {
	c := o.take()
	c.n = copy(c.buf[etherLen:], p.ip())
	return c
}

// header is what the lab needs to know of a packet. The ports of an ICMP echo are its identifier on the side that
// asked and 0 on the side that answers, so that an echo looks like any other session.
type header struct {
	v6       bool
	proto    byte
	ttl      byte
	flags    byte // of TCP
	icmpType byte
	l4       int // offset of the transport header
	src, dst netip.AddrPort
	fragment bool // any part of a fragmented packet
	ported   bool // src and dst have ports: TCP, UDP or an ICMP echo
	icmpErr  bool // an ICMP error, which quotes another packet
}

func (h *header) isICMP() bool { return h.proto == protoICMP || h.proto == protoICMPv6 }

// plainSYN reports whether the packet opens a TCP connection.
func (h *header) plainSYN() bool {
	return h.proto == protoTCP && h.flags&(flagSYN|flagACK|flagRST) == flagSYN
}

// parse reads the headers of the IP packet b. A quoted packet may be cut after 8 bytes of its transport header.
func parse(b []byte, quoted bool) (header, bool) {
	if len(b) < 1 {
		return header{}, false
	}
	var h header
	var src, dst netip.Addr
	switch b[0] >> 4 {
	case 4:
		if len(b) < 20 {
			return header{}, false
		}
		h.l4 = int(b[0]&15) * 4
		total := int(binary.BigEndian.Uint16(b[2:]))
		if h.l4 < 20 || total < h.l4 || !quoted && total != len(b) {
			return header{}, false
		}
		h.ttl, h.proto = b[8], b[9]
		h.fragment = binary.BigEndian.Uint16(b[6:])&0x3fff != 0
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	case 6:
		if len(b) < 40 || !quoted && int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
			return header{}, false
		}
		h.v6, h.l4 = true, 40
		h.ttl, h.proto = b[7], b[6]
		h.fragment = h.proto == 44
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return header{}, false
	}
	h.src, h.dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	if h.fragment {
		return h, true
	}
	return h, h.parseTransport(b, quoted)
}

// minTransport is the least length of a transport header; a quoted one may be cut after 8 bytes (RFC 792).
func minTransport(proto byte, quoted bool) int {
	switch proto {
	case protoTCP:
		if !quoted {
			return 20
		}
		return 8
	case protoUDP, protoICMP, protoICMPv6:
		return 8
	}
	return 0
}

func (h *header) parseTransport(b []byte, quoted bool) bool {
	if len(b) < h.l4+minTransport(h.proto, quoted) {
		return false
	}
	t := b[h.l4:]
	switch {
	case h.proto == protoTCP || h.proto == protoUDP:
		h.ported = true
		h.src = netip.AddrPortFrom(h.src.Addr(), binary.BigEndian.Uint16(t))
		h.dst = netip.AddrPortFrom(h.dst.Addr(), binary.BigEndian.Uint16(t[2:]))
		if h.proto == protoTCP && len(t) > 13 {
			h.flags = t[13]
		}
	case h.proto == protoICMP && !h.v6, h.proto == protoICMPv6 && h.v6:
		h.parseICMP(t)
	}
	return true
}

func (h *header) parseICMP(t []byte) {
	id := binary.BigEndian.Uint16(t[4:])
	h.icmpType = t[0]
	request, reply := byte(8), byte(0)
	if h.v6 {
		request, reply = 128, 129
		h.icmpErr = t[0] < 128
	} else {
		h.icmpErr = t[0] == 3 || t[0] == 4 || t[0] == 11 || t[0] == 12
	}
	switch t[0] {
	case request:
		h.ported = true
		h.src = netip.AddrPortFrom(h.src.Addr(), id)
	case reply:
		h.ported = true
		h.dst = netip.AddrPortFrom(h.dst.Addr(), id)
	}
}

// setTTL writes the TTL or hop limit and keeps the checksum right.
func setTTL(b []byte, ttl byte) {
	if b[0]>>4 == 6 {
		b[7] = ttl
		return
	}
	old := [2]byte{b[8], b[9]}
	b[8] = ttl
	adjust(b[10:12], old[:], b[8:10])
}

func ttlOf(b []byte) byte {
	if b[0]>>4 == 6 {
		return b[7]
	}
	return b[8]
}

// setEndpoint replaces the source or the destination of the packet b, whose header is h, and keeps its checksums
// right. It works on quoted packets too.
func setEndpoint(b []byte, h *header, source bool, to netip.AddrPort) {
	was, addrAt := h.dst, 16
	if source {
		was, addrAt = h.src, 12
	}
	if h.v6 {
		addrAt = 24
		if source {
			addrAt = 8
		}
	}
	if source {
		h.src = to
	} else {
		h.dst = to
	}
	old, now := was.Addr().AsSlice(), to.Addr().AsSlice()
	copy(b[addrAt:], now)
	if !h.v6 {
		adjust(b[10:12], old, now)
	}
	if h.fragment {
		return
	}
	sum := transportSum(b, h)
	if sum != nil && (h.v6 || !h.isICMP()) {
		adjust(sum, old, now)
	}
	if h.ported && was.Port() != to.Port() {
		setPort(b, h, source, to.Port(), sum)
	}
	if h.proto == protoUDP && sum != nil && sum[0] == 0 && sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff // RFC 768: zero means no checksum
	}
}

func setPort(b []byte, h *header, source bool, port uint16, sum []byte) {
	at := h.l4 + 2
	switch {
	case h.isICMP():
		at = h.l4 + 4
	case source:
		at = h.l4
	}
	old := [2]byte{b[at], b[at+1]}
	binary.BigEndian.PutUint16(b[at:], port)
	if sum != nil {
		adjust(sum, old[:], b[at:at+2])
	}
}

// transportSum is the checksum field of the transport header, or nil when there is none: cut off, or UDP without one.
func transportSum(b []byte, h *header) []byte {
	at := -1
	switch h.proto {
	case protoTCP:
		at = h.l4 + 16
	case protoUDP:
		at = h.l4 + 6
	case protoICMP, protoICMPv6:
		at = h.l4 + 2
	}
	if at < 0 || len(b) < at+2 || h.isICMP() && h.v6 != (h.proto == protoICMPv6) {
		return nil
	}
	sum := b[at : at+2]
	if h.proto == protoUDP && sum[0] == 0 && sum[1] == 0 {
		return nil
	}
	return sum
}
