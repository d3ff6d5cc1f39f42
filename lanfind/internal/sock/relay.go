package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"time"
)

// Of several programs on this host that share the port for datagrams, the kernel gives one that comes to a single
// address to only one. That one relays it to the others, and to itself, by a broadcast that does not leave the host.
// A relayed packet begins with the bytes below, the program's tag, and source and interface as it saw them.
const (
	relayMark = "tcppunch relay\n"
	relayHead = len(relayMark) + 8 + 4 + 2 + 4
)

func (s *Sockets) relay(p Packet) {
	if runtime.GOOS != "linux" || !p.From.Addr().Is4() {
		return // elsewhere the loopback network has no broadcast
	}
	b := append([]byte(relayMark), s.tag[:]...)
	b = append(b, p.From.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, p.From.Port())
	b = binary.BigEndian.AppendUint32(b, uint32(p.Index))
	_ = s.plain.SetWriteDeadline(time.Now().Add(sendWait)) // or that of the last datagram counts
	_, _ = s.plain.WriteTo(append(b, p.Data...), nil, &net.UDPAddr{IP: net.IPv4(127, 255, 255, 255), Port: int(s.port)})
}

// unrelay returns the packet that another program relayed.
func unrelay(p Packet, tag [8]byte) (Packet, bool) {
	b := p.Data
	if !p.From.Addr().IsLoopback() || len(b) < relayHead || string(b[:len(relayMark)]) != relayMark {
		return p, false
	}
	b = b[len(relayMark):]
	if [8]byte(b[:8]) == tag {
		return p, false // our own
	}
	b = b[8:]
	p.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
	p.Index = int(binary.BigEndian.Uint32(b[6:]))
	p.Data = b[10:]
	return p, true
}

// isOwn reports whether an address is one of this host. What goes to any other, by broadcast, comes to all programs anyway.
func (s *Sockets) isOwn(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip.To4())
	own := s.own.Load()
	return ok && own != nil && (*own)[a]
}
