package lanfind

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/miekg/dns"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

// goodbye takes leave of everybody who may know us.
func (n *node) goodbye() {
	if n.self == nil {
		return
	}
	for _, l := range n.links {
		n.multicast(l, n.self.Answer(dnssd.WantAll, l.toAnnounce(), 0))
	}
	by := make(map[netip.Addr]int)
	for a := range n.askers {
		by[a.addr] = a.index
	}
	for _, s := range n.table.heard(Datagram) {
		by[s.from.addr] = s.from.index
	}
	for a, index := range by {
		n.datagram(a, index, n.self.Answer(dnssd.WantAll, nil, 0))
	}
}

func (n *node) multicast(l *link, m *dns.Msg) {
	b, err := dnssd.Encode(m)
	if err == nil {
		var sent []netip.AddrPort
		sent, err = n.wire.Multicast(l.Index, l.Name, b)
		for _, to := range sent {
			n.sent(to, l.Index, len(b))
		}
	}
	n.problem(err)
}

// greet sends a datagram that asks, and says what we announce.
func (n *node) greet(to netip.Addr, index int) {
	if !to.Is4() {
		return
	}
	var addrs []netip.Addr
	if l := n.links[index]; l != nil {
		addrs = l.toAnnounce()
	}
	n.datagram(to, index, dnssd.Hello(n.self, addrs))
}

// datagram sends one, and reports whether the system has no room for it at the moment.
func (n *node) datagram(to netip.Addr, index int, m *dns.Msg) (full bool) {
	b, err := dnssd.Encode(m)
	if err == nil {
		err = n.wire.Send(to, index, b)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ENOBUFS):
		return true // for a while
	case err != nil:
		n.problem(fmt.Errorf("datagram to %v: %w", to, err))
		return false
	}
	n.sent(netip.AddrPortFrom(to, n.o.Port), index, len(b))
	return false
}

func (n *node) sent(to netip.AddrPort, index, bytes int) {
	if n.o.Trace != nil && n.o.Trace.Sent != nil {
		n.o.Trace.Sent(to, index, bytes)
	}
}

func (n *node) report(f Interface, used bool) {
	if n.o.Trace != nil && n.o.Trace.Interface != nil {
		n.o.Trace.Interface(f, used)
	}
}

func (n *node) problem(err error) {
	if err != nil && n.o.Trace != nil && n.o.Trace.Problem != nil {
		n.o.Trace.Problem(err)
	}
}
