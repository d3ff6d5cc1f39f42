package lanfind

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
	"github.com/tcppunch/tcppunch/lanfind/internal/sock"
)

const maxBare = 8 // instances that are asked for at once

// handle does what a packet asks for, and notes what it says.
func (n *node) handle(p sock.Packet, now time.Time) {
	via := Datagram
	if p.Group {
		via = Multicast
	}
	if n.o.Trace != nil && n.o.Trace.Heard != nil {
		n.o.Trace.Heard(p.From, p.Index, via, len(p.Data))
	}
	l, from := n.origin(p)
	if l == nil && !slices.Contains(n.o.Addrs, from.Addr()) {
		return // no neighbour
	}
	m, err := dnssd.Parse(p.Data)
	if err != nil {
		return
	}
	for i := range m.Found {
		n.hear(&m.Found[i], l, from.Addr(), via, now)
	}
	n.askFor(m.Bare, l, from.Addr(), now)
	switch {
	case m.Response:
	case via == Datagram:
		n.answerDatagram(m, l, from, now)
	case l != nil:
		n.answerMulticast(m, l, from, now)
	}
}

// origin is the interface on which a packet came, or nil if the sender is not on its network, and where from.
func (n *node) origin(p sock.Packet) (*link, netip.AddrPort) {
	a := p.From.Addr().WithZone("")
	l := n.links[p.Index]
	if l != nil && l.Unfit == "loopback" && !l.reaches(a) {
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // Linux gives multicast there the source of another interface, or none
	}
	for _, o := range n.links {
		// Either the system does not say, or it is another program on this host, which comes by the loopback interface.
		if l == nil && (p.Index == 0 && o.reaches(a) || o.has(a)) {
			l = o
		}
	}
	if l == nil || !l.reaches(a) {
		return nil, netip.AddrPortFrom(a, p.From.Port())
	}
	return l, netip.AddrPortFrom(l.zoned(a), p.From.Port())
}

// hear notes what a packet said of an instance, unless it is our own.
func (n *node) hear(i *dnssd.Instance, l *link, from netip.Addr, via Via, now time.Time) {
	if n.self != nil && i.Label == n.self.Label {
		return
	}
	src := source{addr: from}
	var addrs []netip.Addr
	if l != nil {
		src.index = l.Index
		for _, a := range i.Addrs {
			// Nobody leads us to hosts elsewhere.
			if a := l.zoned(a); l.reaches(a.WithZone("")) && !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	}
	if len(i.Addrs) == 0 || l == nil {
		addrs = []netip.Addr{from}
	}
	if len(addrs) > 0 || i.TTL == 0 {
		n.table.hear(i, src, addrs, via, now)
	}
}

// askFor has the next query ask for instances that were only mentioned, unless they are known.
func (n *node) askFor(bare []string, l *link, from netip.Addr, now time.Time) {
	if l == nil {
		return
	}
	src := source{from, l.Index}
	for _, label := range bare {
		known := slices.ContainsFunc(n.table.sources[src], func(s *sighting) bool { return s.label == label })
		if known || len(n.bare) >= maxBare || slices.Contains(n.bare, label) || n.self != nil && label == n.self.Label {
			continue
		}
		if len(n.bare) == 0 && n.hellos.Take(from.WithZone(""), now) {
			n.askAt = earlier(n.askAt, now.Add(answerFirst))
		}
		n.bare = append(n.bare, label)
	}
}

// answerMulticast has a query answered, and opens our firewall for whoever does not know us: it may hear no multicast.
func (n *node) answerMulticast(m *dnssd.Message, l *link, from netip.AddrPort, now time.Time) {
	if n.self == nil {
		return
	}
	if w := n.self.Asked(m); w != 0 && from.Port() != sock.MulticastPort {
		n.answerLegacy(m, w, l, from, now)
	} else if w != 0 {
		at := now.Add(answerFirst + rand.N(answerRest))
		if next := l.answered.Add(answerEvery); at.Before(next) {
			at = next
		}
		if l.want == 0 {
			l.answerAt = at
		}
		l.want |= w
	}
	a := from.Addr()
	switch {
	case l.has(a): // this host
	case m.Known[n.self.Label]:
		n.known = true
	case n.o.Sweep != SweepOff && a.Is4() && from.Port() == sock.MulticastPort && m.AsksForType() && n.hellos.Take(a, now):
		n.greet(a, l.Index)
	}
}

func (n *node) answerLegacy(m *dnssd.Message, w dnssd.Wants, l *link, from netip.AddrPort, now time.Time) {
	if !n.replies.Take(from.Addr().WithZone(""), now) {
		return
	}
	b, err := dnssd.Encode(n.self.Legacy(m, w, l.toAnnounce()))
	if err == nil {
		if err = n.wire.Reply(l.Index, from, b); err == nil {
			n.sent(from, l.Index, len(b))
		}
	}
	n.problem(err)
}

// answerDatagram answers a datagram from the port that all use, and no other: nobody else wants an answer. Who does
// not introduce itself is asked in the same breath: there may be more than one program at that address.
func (n *node) answerDatagram(m *dnssd.Message, l *link, from netip.AddrPort, now time.Time) {
	a := from.Addr()
	if from.Port() != n.o.Port || l != nil && l.has(a) && n.self == nil || n.o.Sweep == SweepOff && !slices.Contains(n.o.Addrs, a) {
		return
	}
	index := 0
	var addrs []netip.Addr
	if l != nil {
		index, addrs = l.Index, l.toAnnounce()
	}
	switch {
	case len(m.Found) == 0 && n.hellos.Take(a, now):
		n.greet(a, index)
	case n.self != nil && n.replies.Take(a, now):
		n.datagram(a, index, n.self.Answer(dnssd.WantAll, addrs, dnssd.TTL))
	default:
		return
	}
	if src := (source{a, index}); len(n.askers) < maxAskers {
		n.askers[src] += 0 // from now on, unless it is there
	}
}
