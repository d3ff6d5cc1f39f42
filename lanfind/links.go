package lanfind

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

// link is an interface in use.
type link struct {
	Interface
	since     time.Time
	announced int         // times
	want      dnssd.Wants // to be answered
	answerAt  time.Time
	answered  time.Time
}

// poll looks at the interfaces.
func (n *node) poll(now time.Time) {
	all, err := n.system.interfaces()
	if err != nil {
		n.problem(err)
		return
	}
	n.owns(all)
	fit := choose(all, n.o.Interfaces)
	for _, l := range n.links {
		if !slices.ContainsFunc(fit, func(f Interface) bool { return f.Index == l.Index && f.Name == l.Name }) {
			n.drop(l, now)
		}
	}
	for _, f := range fit {
		l := n.links[f.Index]
		if l != nil && l.same(&f) {
			continue
		}
		if l != nil { // it has other addresses: whoever was heard stays
			n.sockets.Leave(l.Index)
		}
		_ = n.use(f, now) // it has been reported
		n.askAt, n.askIn = earlier(n.askAt, now.Add(soon(firstAsk))), time.Second
		n.sweep.stop()
	}
}

// owns tells the sockets which addresses are this host's.
func (n *node) owns(all []Interface) {
	own := make(map[netip.Addr]bool)
	for _, f := range all {
		for _, p := range f.Addrs {
			own[p.Addr()] = true
		}
	}
	n.sockets.Owns(own)
}

// use takes an interface into use, or one that has changed. Where multicast does not work there still are datagrams.
func (n *node) use(f Interface, now time.Time) (err error) {
	if f.groups() {
		if err = n.sockets.Join(f.Index, f.Name); err != nil {
			n.problem(err)
		}
	}
	if n.links[f.Index] == nil {
		n.report(f, true)
	}
	n.links[f.Index] = &link{Interface: f, since: now}
	return err
}

func (n *node) drop(l *link, now time.Time) {
	n.sockets.Leave(l.Index)
	delete(n.links, l.Index)
	n.table.lose(l.Index, now)
	n.report(l.Interface, false)
}
