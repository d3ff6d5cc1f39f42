package natlab

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// Side says on which side of a node a packet was seen.
type Side int

const (
	// AtHost is the one interface of a host.
	AtHost Side = iota
	// Inside is the side of a NAT where its hosts are.
	Inside
	// Outside is the side of a NAT where the core is.
	Outside
)

// String returns "host", "inside" or "outside".
func (s Side) String() string {
	switch s {
	case Inside:
		return "inside"
	case Outside:
		return "outside"
	}
	return "host"
}

// A Capture is one packet seen at a host or a NAT. A packet that crosses a NAT is seen twice: as it was and as it
// became.
type Capture struct {
	// Time is when, since the lab began.
	Time time.Duration
	// Where is the name of the host or NAT.
	Where string
	// Side is which of its interfaces.
	Side Side
	// Inbound is true when the packet moves from the core towards the hosts: into a host, into the outside of a NAT,
	// out of its inside.
	Inbound bool
	// Data is the IP packet. It is only valid during the call.
	Data []byte
}

// Addrs returns source and destination, with ports when the packet is TCP or UDP, or the identifier of an ICMP echo.
func (c Capture) Addrs() (src, dst netip.AddrPort) {
	h, _ := ip.Parse(c.Data, false)
	return h.Src, h.Dst
}

// Protocol returns the IP protocol number: 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
func (c Capture) Protocol() Protocol {
	h, _ := ip.Parse(c.Data, false)
	return Protocol(h.Proto)
}

// TTL returns the TTL or hop limit.
func (c Capture) TTL() int {
	if len(c.Data) < 20 {
		return 0
	}
	return int(ip.TTL(c.Data))
}

// Flags returns the flags of a TCP segment as letters, such as "S", "SA", "RA" or "PA", and "" when it is not TCP.
func (c Capture) Flags() string {
	h, _ := ip.Parse(c.Data, false)
	var s strings.Builder
	for i, letter := range "FSRPA" {
		if h.Flags&(1<<i) != 0 {
			s.WriteRune(letter)
		}
	}
	return s.String()
}

// String describes the packet on one line.
func (c Capture) String() string {
	src, dst := c.Addrs()
	arrow := "<-"
	if !c.Inbound {
		arrow = "->"
	}
	what := fmt.Sprintf("protocol %d", c.Protocol())
	switch p := c.Protocol(); p {
	case TCP:
		what = "tcp " + c.Flags()
	case UDP:
		what = "udp"
	case ip.ICMP, ip.ICMPv6:
		h, _ := ip.Parse(c.Data, false)
		what = fmt.Sprintf("icmp %d", h.ICMPType)
	}
	return fmt.Sprintf("%9.3fms %s %s %s %s > %s %s ttl %d, %d bytes", float64(c.Time)/1e6, c.Where, c.Side, arrow, src, dst,
		what, c.TTL(), len(c.Data))
}

// observe shows a packet to the tap. It runs under network.mu.
func (n *network) observe(where string, side Side, inbound bool, p *ip.Packet) {
	if n.tap != nil && side >= 0 {
		n.tap(Capture{time.Duration(n.now), where, side, inbound, p.IP()})
	}
}
