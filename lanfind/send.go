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

// errFull says that the system has no room for another datagram at the moment.
var errFull = errors.New("no room to send")

// goodbye takes leave of everybody who may know us.
func (n *node) goodbye() {
	if n.self == nil {
		return
	}
	for _, l := range n.links {
		n.multicast(l, n.self.Answer(dnssd.WantAll, l.announced4or6(), 0))
	}
	by := make(map[netip.Addr]int)
	for a := range n.askers {
		by[a.addr] = a.index
	}
	for _, s := range n.table.heard(Datagram) {
		by[s.from.addr] = s.from.index
	}
	for a, index := range by {
		_ = n.datagram(a, index, n.self.Answer(dnssd.WantAll, nil, 0))
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
		addrs = l.announced4or6()
	}
	_ = n.datagram(to, index, dnssd.Hello(n.self, addrs)) // it has been reported
}

func (n *node) datagram(to netip.Addr, index int, m *dns.Msg) error {
	b, err := dnssd.Encode(m)
	if err == nil {
		err = n.wire.Send(to, index, b)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ENOBUFS):
		return errFull // for a while
	case err != nil:
		err = fmt.Errorf("datagram to %v: %w", to, err)
		n.problem(err)
		return err
	}
	n.sent(netip.AddrPortFrom(to, n.o.Port), index, len(b))
	return nil
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
