package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

const (
	coreHops  = 3
	hostStep  = 10
	maxWires  = 511
	maxPublic = 125

	maxChurnRate = 100_000 // ports a second
)

// plan is a topology with every address decided.
type plan struct {
	nats  []natPlan
	lans  []lanPlan
	hosts []hostPlan
	ipv6  bool
	seed  uint64
}

// natPlan is a NAT with its addresses. The IPv6 ones are invalid when the topology has no IPv6.
type natPlan struct {
	NAT
	index   int        // its place among the NATs, from 0
	outside netip.Addr // on the core or in the network it is behind
	out6    netip.Addr
	inside  netip.Addr
	lan     netip.Prefix
	in6     netip.Addr
	lan6    netip.Prefix
	inner6  []netip.Prefix // lan6 and those of the NATs behind it
}

type lanPlan struct {
	LAN
	prefix  netip.Prefix
	prefix6 netip.Prefix
}

type hostPlan struct {
	Host
	addr, addr6       netip.Addr
	bits, bits6       int
	gateway, gateway6 netip.Addr // invalid on the core and on a LAN
}

// numbers hands out the addresses of one prefix in order.
type numbers struct {
	prefix, prefix6 netip.Prefix
	next, next6     netip.Addr
}

func newNumbers(p, p6 netip.Prefix) *numbers {
	n := &numbers{prefix: p.Masked(), prefix6: p6, next: p.Masked().Addr().Next()}
	if p6.IsValid() {
		n.next6 = p6.Masked().Addr().Next()
	}
	return n
}

// planner is the state while a plan is made.
type planner struct {
	plan
	top   Topology
	spots map[string]*numbers // by NAT or LAN name
	taken map[string]bool     // "network address"
	errs  []error
}

// makePlan checks the topology and decides all addresses. It returns every error it finds.
func makePlan(t Topology) (*plan, error) {
	pl := &planner{top: t, spots: make(map[string]*numbers), taken: make(map[string]bool)}
	pl.ipv6, pl.seed = t.IPv6, t.Seed
	pl.checkNames()
	if len(pl.errs) == 0 {
		pl.planNetworks()
		pl.planLinks()
	}
	if len(pl.errs) == 0 {
		pl.planOutsides()
		pl.planHosts()
	}
	if len(pl.errs) > 0 {
		return nil, fmt.Errorf("topology: %w", errors.Join(pl.errs...))
	}
	return &pl.plan, nil
}

func (pl *planner) errorf(format string, args ...any) {
	pl.errs = append(pl.errs, fmt.Errorf(format, args...))
}

// checkNames checks that names are unique, that every Behind is known, and that no NAT is behind itself.
func (pl *planner) checkNames() {
	names := make(map[string]bool)
	behind := make(map[string]string)
	use := func(what, name string) {
		switch {
		case name == "":
			pl.errorf("a %s has no name", what)
		case names[name]:
			pl.errorf("two nodes are named %q", name)
		}
		names[name] = true
	}
	for _, n := range pl.top.NATs {
		use("NAT", n.Name)
		behind[n.Name] = n.Behind
	}
	for _, l := range pl.top.LANs {
		use("LAN", l.Name)
	}
	for _, h := range pl.top.Hosts {
		use("host", h.Name)
		if h.Behind != "" && !pl.isNetwork(h.Behind) {
			pl.errorf("host %q is behind %q, which is no NAT or LAN", h.Name, h.Behind)
		}
	}
	if len(pl.top.Hosts) == 0 {
		pl.errorf("no hosts")
	}
	for _, n := range pl.top.NATs {
		if _, ok := behind[n.Behind]; n.Behind != "" && !ok {
			pl.errorf("NAT %q is behind %q, which is no NAT", n.Name, n.Behind)
		}
		at := n.Behind
		for range pl.top.NATs {
			if at == n.Name {
				pl.errorf("NAT %q is behind itself", n.Name)
				break
			}
			at = behind[at]
		}
	}
}

func (pl *planner) isNetwork(name string) bool {
	return slices.ContainsFunc(pl.top.NATs, func(n NAT) bool { return n.Name == name }) ||
		slices.ContainsFunc(pl.top.LANs, func(l LAN) bool { return l.Name == name })
}

// site6 is the IPv6 network number n.
func site6(n int) netip.Prefix {
	a := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0, byte(n >> 8), byte(n)})
	return netip.PrefixFrom(a, 64)
}

// planNetworks decides the inside networks and takes their first addresses for the NATs.
func (pl *planner) planNetworks() {
	for i, n := range pl.top.NATs {
		p := natPlan{NAT: n, index: i, lan: n.LAN}
		if !p.lan.IsValid() {
			base := [4]byte{192, 168, byte(i + 1), 0}
			if pl.hasNATBehind(n.Name) {
				base = [4]byte{100, 64, byte(i + 1), 0}
			}
			p.lan = netip.PrefixFrom(netip.AddrFrom4(base), 24)
		}
		if pl.ipv6 {
			p.lan6 = site6(i + 1)
		}
		pl.checkPrefix(n.Name, p.lan)
		pl.checkNAT(n)
		spot := newNumbers(p.lan, p.lan6)
		pl.spots[n.Name] = spot
		p.inside, p.in6 = pl.take(n.Name, netip.Addr{})
		pl.nats = append(pl.nats, p)
	}
	for i, l := range pl.top.LANs {
		p := lanPlan{LAN: l, prefix: l.Prefix}
		if !p.prefix.IsValid() {
			p.prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 0}), 24)
		}
		if pl.ipv6 {
			p.prefix6 = site6(0x1000 + i)
		}
		pl.checkPrefix(l.Name, p.prefix)
		pl.spots[l.Name] = newNumbers(p.prefix, p.prefix6)
		pl.lans = append(pl.lans, p)
	}
	for i := range pl.nats {
		pl.nats[i].inner6 = pl.inner6(pl.nats[i].Name)
	}
}

func (pl *planner) inner6(name string) []netip.Prefix {
	var all []netip.Prefix
	for _, n := range pl.nats {
		if n.Name == name && n.lan6.IsValid() {
			all = append(all, n.lan6)
		}
		if n.Behind == name {
			all = append(all, pl.inner6(n.Name)...)
		}
	}
	return all
}

func (pl *planner) hasNATBehind(name string) bool {
	return slices.ContainsFunc(pl.top.NATs, func(n NAT) bool { return n.Behind == name })
}

func (pl *planner) checkPrefix(name string, p netip.Prefix) {
	if !p.Addr().Is4() || p.Bits() > 29 || p.Bits() < 8 {
		pl.errorf("the network of %q is %v: want an IPv4 prefix of 8 to 29 bits", name, p)
	}
}

// checkNAT checks that the options of one NAT go together.
func (pl *planner) checkNAT(n NAT) {
	switch {
	case n.Linux && (n.Mapping != 0 || n.Filtering != 0 || n.Ports == Sequential || n.Step != 0 || n.Churn != 0 || n.ChurnRate != 0 ||
		n.Hairpin || n.RSTEndsSession || n.UDPLifetime != 0 || n.TCPLifetime != 0 || n.TransitoryLifetime != 0):
		pl.errorf("NAT %q is a Linux kernel: mapping, filtering, sequential ports, hairpin, RST ends session and lifetimes cannot be set", n.Name)
	case !n.Linux && n.Unsolicited == Accept:
		pl.errorf("NAT %q: accept is for Linux NATs only", n.Name)
	case n.Mapping < 0 || n.Mapping > AddressAndPortDependent || n.Filtering < 0 || n.Filtering > AddressAndPortDependent:
		pl.errorf("NAT %q: unknown behavior", n.Name)
	case n.Step < 0 || n.Churn < 0 || n.Routers < 0 || n.Routers > 50:
		pl.errorf("NAT %q: step, churn and routers must not be negative, and routers at most 50", n.Name)
	case !(n.ChurnRate >= 0 && n.ChurnRate <= maxChurnRate):
		pl.errorf("NAT %q: churn rate is %v: want 0 to %d", n.Name, n.ChurnRate, maxChurnRate)
	case (n.Step != 0 || n.Churn != 0 || n.ChurnRate != 0) && n.Ports != Sequential:
		pl.errorf("NAT %q: step and churn are for sequential ports only", n.Name)
	}
	for _, b := range n.Blocked {
		if b != TCP && b != UDP {
			pl.errorf("NAT %q: only TCP and UDP can be blocked", n.Name)
		}
	}
}

// planLinks checks links and puts in the default number of hops.
func (pl *planner) planLinks() {
	if len(pl.top.NATs)+len(pl.top.Hosts) > maxWires {
		pl.errorf("more than %d NATs and hosts", maxWires)
	}
	for i := range pl.nats {
		n := &pl.nats[i]
		n.Link = pl.checkLink(n.Name, n.Link, n.Behind == "")
	}
	for _, h := range pl.top.Hosts {
		h.Link = pl.checkLink(h.Name, h.Link, h.Behind == "")
		pl.hosts = append(pl.hosts, hostPlan{Host: h})
	}
}

func (pl *planner) checkLink(name string, k Link, core bool) Link {
	switch {
	case k.Hops < 0:
		k.Hops = 0
	case k.Hops == 0 && core:
		k.Hops = coreHops
	}
	if err := k.check(); err != nil {
		pl.errorf("link of %q: %w", name, err)
	}
	return k
}

// check reports values that mean nothing.
func (k Link) check() error {
	switch {
	case k.Delay < 0 || k.Jitter < 0 || k.Rate < 0 || k.Queue < 0:
		return errors.New("delay, jitter, rate and queue must not be negative")
	case !(k.Loss >= 0 && k.Loss <= 1):
		return fmt.Errorf("loss is %v: want 0 to 1", k.Loss)
	case !(k.Reorder >= 0 && k.Reorder <= 1 && k.Duplicate >= 0 && k.Duplicate <= 1):
		return fmt.Errorf("reorder is %v and duplicate %v: want 0 to 1", k.Reorder, k.Duplicate)
	case k.Hops > 60:
		return fmt.Errorf("%d hops: want 60 at most", k.Hops)
	}
	return nil
}
