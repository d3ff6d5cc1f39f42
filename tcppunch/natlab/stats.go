package natlab

import (
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// Stats counts what a NAT did since the lab began. What one program cost is the difference of two of them:
//
//	before := lab.NAT("home").Stats()
//	lab.Host("a").Run("tcppunch", "send", …)
//	cost := lab.NAT("home").Stats().Since(before)
//
// A Linux NAT does not tell what it does inside: its mappings and sessions are those that packets which it sent out
// made visible, and it does not know Refused.
type Stats struct {
	// Packets is the number of packets that came in on either side.
	Packets uint64
	// Out and In are the packets that left at its outside, and that arrived there.
	Out, In uint64
	// SYNs is how many of Out were SYNs that open a connection, repeated ones included.
	SYNs uint64
	// Mappings is the number of mappings ever made: external ports for TCP, UDP and ICMP, and IPv6 endpoints.
	Mappings uint64
	// Sessions is the number of sessions ever made: pairs of a mapping and a remote endpoint.
	Sessions uint64
	// Refused is the number of inbound packets that were not let in.
	Refused uint64
	// Current is the number of mappings alive, or of connections tracked by a Linux NAT.
	Current int
	// Peak is the largest that Current has been. Of a Linux NAT it is the number of Sessions, as if none had ended.
	Peak int
}

// Since returns what was counted after before was taken. Current and Peak stay as they are.
func (s Stats) Since(before Stats) Stats {
	s.Packets -= before.Packets
	s.Out -= before.Out
	s.In -= before.In
	s.SYNs -= before.SYNs
	s.Mappings -= before.Mappings
	s.Sessions -= before.Sessions
	s.Refused -= before.Refused
	return s
}

// Stats returns its counters so far.
func (g *Gateway) Stats() Stats {
	if g.box == nil {
		return g.sys.stats(g.lab)
	}
	n := g.lab.net
	n.mu.Lock()
	defer n.mu.Unlock()
	now := int64(time.Since(n.began))
	t := g.box.table
	t.pruneAll(now)
	s := g.box.stats
	s.Mappings, s.Sessions, s.Current, s.Peak = t.made, t.sessions, len(t.byInside), t.peak
	return s
}

// flows is what can be seen of a Linux NAT at its outside. It is used under network.mu.
type flows struct {
	stats    Stats
	mappings map[outsideKey]bool
	sessions map[flow]bool
}

// flow is a session as the core sees it.
type flow struct {
	from   outsideKey
	remote netip.AddrPort
}

func newFlows() *flows {
	return &flows{mappings: make(map[outsideKey]bool), sessions: make(map[flow]bool)}
}

// came counts a packet that is for the NAT.
func (f *flows) came() { f.stats.In++ }

// went counts a packet that the NAT sent out. A RST makes no session: it is the NAT's own answer, or the end of one.
func (f *flows) went(p *ip.Packet) {
	h, ok := ip.Parse(p.IP(), false)
	if !ok || h.Src.Addr().IsLinkLocalUnicast() || h.Dst.Addr().IsMulticast() { // the kernel looking for its neighbours
		return
	}
	f.stats.Out++
	if h.PlainSYN() {
		f.stats.SYNs++
	}
	reply := h.IsICMP() && h.Dst.Port() != 0 // of an echo, whose session the other side began
	if !h.Ported || h.Proto == ip.TCP && h.Flags&ip.RST != 0 || reply {
		return
	}
	key := outsideKey{h.Proto, h.Src}
	f.mappings[key] = true
	f.sessions[flow{key, h.Dst}] = true
}

// count returns the counters.
func (f *flows) count() Stats {
	s := f.stats
	s.Mappings, s.Sessions, s.Peak = uint64(len(f.mappings)), uint64(len(f.sessions)), len(f.sessions)
	return s
}
