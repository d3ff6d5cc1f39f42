package ip

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// datagram is a UDP packet of n payload bytes with right checksums.
func datagram(src, dst netip.AddrPort, n int) []byte {
	head := 28
	if src.Addr().Is6() {
		head = 48
	}
	b := make([]byte, head+n)
	l4 := WriteHeader(b, src.Addr().Is6(), UDP, src.Addr(), dst.Addr(), len(b))
	binary.BigEndian.PutUint16(b[l4:], src.Port())
	binary.BigEndian.PutUint16(b[l4+2:], dst.Port())
	binary.BigEndian.PutUint16(b[l4+4:], uint16(8+n))
	for i := range n {
		b[l4+8+i] = byte(i)
	}
	SealTransport(b, UDP, l4, l4+6)
	return b
}

func ends(v6 bool) (src, dst, other netip.AddrPort) {
	if v6 {
		return netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2"), netip.MustParseAddrPort("[2001:db8::ffff]:65535")
	}
	return netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"), netip.MustParseAddrPort("198.51.100.255:65535")
}

func TestSetEndpoint(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		src, dst, other := ends(v6)
		for n := range 5 {
			for _, source := range []bool{true, false} {
				b := datagram(src, dst, n)
				h, ok := Parse(b, false)
				if !ok || h.Src != src || h.Dst != dst || h.Proto != UDP || !Sound(b) {
					t.Fatalf("a datagram is read as %+v", h)
				}
				SetEndpoint(b, &h, source, other)
				again, _ := Parse(b, false)
				want := h
				if source && again.Src != other || !source && again.Dst != other || again != want || !Sound(b) {
					t.Errorf("set source %v: %+v, sound %v", source, again, Sound(b))
				}
			}
		}
	}
}

func TestSetTTL(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		src, dst, _ := ends(v6)
		b := datagram(src, dst, 3)
		for ttl := 255; ttl >= 0; ttl-- {
			SetTTL(b, byte(ttl))
			if int(TTL(b)) != ttl || !Sound(b) {
				t.Errorf("ttl %d: got %d, sound %v", ttl, TTL(b), Sound(b))
			}
		}
	}
}

// TestNoChecksum: a UDP checksum of zero means none (RFC 768), and stays.
func TestNoChecksum(t *testing.T) {
	src, dst, other := ends(false)
	b := datagram(src, dst, 3)
	b[26], b[27] = 0, 0
	h, _ := Parse(b, false)
	SetEndpoint(b, &h, true, other)
	if b[26] != 0 || b[27] != 0 {
		t.Errorf("a checksum came from nowhere: %x", b)
	}
}

// FuzzParse: reading and changing any bytes does no harm, and what was sound stays so.
func FuzzParse(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		src, dst, _ := ends(v6)
		f.Add(datagram(src, dst, 0), true, false)
		f.Add(datagram(src, dst, 9), false, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, source, quoted bool) {
		was, sound := bytes.Clone(b), Sound(b)
		h, ok := Parse(b, quoted)
		if !ok || len(b) > MTU {
			return
		}
		_, _, other := ends(h.V6)
		SetEndpoint(b, &h, source, other)
		SetTTL(b, 7)
		if sound && !Sound(b) {
			t.Errorf("%x became %x, which is not sound", was, b)
		}
		for _, m := range []Message{TimeExceeded, PortUnreachable, Prohibited} {
			if p := new(Packet); ICMPError(p, m, other.Addr(), b) && !Sound(p.IP()) {
				t.Errorf("the error about %x is %x", b, p.IP())
			}
		}
		if p := new(Packet); ResetFor(p, b) && !Sound(p.IP()) {
			t.Errorf("the reset for %x is %x", b, p.IP())
		}
	})
}
