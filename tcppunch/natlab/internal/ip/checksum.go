package ip

import "encoding/binary"

// adjust corrects the checksum for bytes that changed from old to now, by RFC 1624 equation 3. Both are of the same
// even length.
func adjust(sum, old, now []byte) {
	acc := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i+1 < len(old); i += 2 {
		acc += uint32(^binary.BigEndian.Uint16(old[i:]))
		acc += uint32(binary.BigEndian.Uint16(now[i:]))
	}
	binary.BigEndian.PutUint16(sum, ^fold(acc))
}

func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// onesSum adds b to acc in ones' complement.
func onesSum(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

// pseudoSum is the sum of the pseudo header of the packet b, whose transport header is at l4.
func pseudoSum(b []byte, proto byte, l4 int) uint32 {
	length := uint32(len(b) - l4)
	acc := uint32(proto) + length>>16 + length&0xffff
	if b[0]>>4 == 6 {
		return onesSum(acc, b[8:40])
	}
	return onesSum(acc, b[12:20])
}

// sealIPv4 writes the header checksum of a packet with a 20-byte header.
func sealIPv4(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^fold(onesSum(0, b[:20])))
}

// SealTransport writes the checksum at field, an offset into b, over the transport part that begins at l4.
func SealTransport(b []byte, proto byte, l4, field int) {
	b[field], b[field+1] = 0, 0
	var acc uint32
	if proto != ICMP {
		acc = pseudoSum(b, proto, l4)
	}
	binary.BigEndian.PutUint16(b[field:], ^fold(onesSum(acc, b[l4:])))
}

// Sound reports whether b is a whole packet whose checksums are right.
func Sound(b []byte) bool {
	h, ok := Parse(b, false)
	if !ok || !h.V6 && fold(onesSum(0, b[:h.L4])) != 0xffff {
		return false
	}
	sum := transportSum(b, &h)
	if h.Fragment || sum == nil {
		return true
	}
	var acc uint32
	if h.Proto != ICMP {
		acc = pseudoSum(b, h.Proto, h.L4)
	}
	return fold(onesSum(acc, b[h.L4:])) == 0xffff
}
