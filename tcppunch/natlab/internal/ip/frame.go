package ip

import "encoding/binary"

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// Frame takes the n bytes in p.Buf as an Ethernet frame. It reports whether they are an IP packet.
func (p *Packet) Frame(n int) bool {
	if n < EtherLen+20 {
		return false
	}
	p.N = n - EtherLen
	b := p.IP()
	var length int
	switch binary.BigEndian.Uint16(p.Buf[12:]) {
	case etherIPv4:
		length = int(binary.BigEndian.Uint16(b[2:]))
	case etherIPv6:
		if len(b) < 40 {
			return false
		}
		length = int(binary.BigEndian.Uint16(b[4:])) + 40
	}
	if length < 20 || length > len(b) || int(b[0]>>4) != 4 && int(b[0]>>4) != 6 {
		return false
	}
	p.N = length // a frame may be padded
	return true
}

// SetFrame writes the Ethernet header for an interface with the given hardware address.
func (p *Packet) SetFrame(to [6]byte) {
	b := p.IP()
	dst := to
	var kind uint16 = etherIPv4
	if b[0]>>4 == 6 {
		kind = etherIPv6
		if b[24] == 0xff { // RFC 2464 section 7
			dst = [6]byte{0x33, 0x33, b[36], b[37], b[38], b[39]}
		}
	} else {
		switch {
		case b[16]>>4 == 14: // RFC 1112 section 6.4
			dst = [6]byte{1, 0, 0x5e, b[17] & 0x7f, b[18], b[19]}
		case b[16] == 255:
			dst = [6]byte{255, 255, 255, 255, 255, 255}
		}
	}
	copy(p.Buf[:6], dst[:])
	copy(p.Buf[6:12], []byte{2, 0xff, 0, 0, 0, 1}) // of no interface: all wires end in the lab
	binary.BigEndian.PutUint16(p.Buf[12:], kind)
}
