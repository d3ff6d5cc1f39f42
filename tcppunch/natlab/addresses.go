package natlab

import "net/netip"

// public returns the nth address, from 0, of a public /24: .10, .20 … .250, then .11, .21 and so on.
func public(net [3]byte, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{net[0], net[1], net[2], byte(hostStep*(n%25+1) + n/25)})
}

// core6 is the IPv6 address of a node on the core.
func core6(group uint16, n int) netip.Addr {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, byte(group)}
	a[14], a[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(a)
}

// The groups of core6.
const (
	natGroup = iota
	hostGroup
	routerGroup
)

// routerAddrs is the addresses of the nth router on a wire. A router inside, behind a NAT, has a private IPv4 address, one
// on the core has not, so that a trace from a host shows where the public part of its path begins.
func (pl *plan) routerAddrs(wire, n int, inside bool) router {
	r := router{addr: netip.AddrFrom4([4]byte{198, byte(18 + wire>>8), byte(wire), byte(n)})}
	if inside {
		r.addr = netip.AddrFrom4([4]byte{10, byte(254 + wire>>8), byte(wire), byte(n)})
	}
	if pl.ipv6 {
		a := core6(routerGroup, n).As16()
		a[10], a[11] = byte(wire>>8), byte(wire)
		r.addr6 = netip.AddrFrom16(a)
	}
	return r
}

// take reserves an address on the named network: the given one, or the next free one.
func (pl *planner) take(network string, want netip.Addr) (a, a6 netip.Addr) {
	s := pl.spots[network]
	key := func(a netip.Addr) string { return network + " " + a.String() }
	a = want
	for !a.IsValid() && s.prefix.Contains(s.next) {
		if !pl.taken[key(s.next)] && s.next != lastAddr(s.prefix) {
			a = s.next
		}
		s.next = s.next.Next()
	}
	switch {
	case !a.IsValid():
		pl.errorf("the network of %q, %v, is full", network, s.prefix)
	case !s.prefix.Contains(a) || a == s.prefix.Addr() || a == lastAddr(s.prefix):
		pl.errorf("%v is no host address of the network of %q, %v", a, network, s.prefix)
	case pl.taken[key(a)]:
		pl.errorf("two nodes have the address %v behind %q", a, network)
	}
	pl.taken[key(a)] = true
	if s.prefix6.IsValid() {
		a6 = s.next6
		s.next6 = s.next6.Next()
	}
	return a, a6
}

// takePublic reserves an address on the core.
func (pl *planner) takePublic(name string, want netip.Addr, net [3]byte, n int) netip.Addr {
	a := want
	switch {
	case a.IsValid() && !a.Is4():
		pl.errorf("%q: address %v is not IPv4", name, a)
	case !a.IsValid() && n >= maxPublic:
		pl.errorf("%q: no default address left, set Addr", name)
	case !a.IsValid():
		a = public(net, n)
	}
	if pl.taken[" "+a.String()] {
		pl.errorf("two nodes have the public address %v", a)
	}
	pl.taken[" "+a.String()] = true
	return a
}

// planOutsides decides the outside addresses of the NATs; those with an address of their own choose first.
func (pl *planner) planOutsides() {
	onCore := 0
	for _, chosen := range []bool{true, false} {
		for i := range pl.nats {
			n := &pl.nats[i]
			if n.Addr.IsValid() != chosen {
				continue
			}
			if n.Behind != "" {
				n.outside, n.out6 = pl.take(n.Behind, n.Addr)
				continue
			}
			n.outside = pl.takePublic(n.Name, n.Addr, [3]byte{203, 0, 113}, onCore)
			if pl.ipv6 {
				n.out6 = core6(natGroup, n.index+1)
			}
			if !chosen {
				onCore++
			}
		}
	}
}

// planHosts decides the addresses of the hosts; those with an address of their own choose first.
func (pl *planner) planHosts() {
	onCore := 0
	for _, chosen := range []bool{true, false} {
		for i := range pl.hosts {
			h := &pl.hosts[i]
			if h.Addr.IsValid() != chosen {
				continue
			}
			if h.Behind != "" {
				if h.Also.IsValid() {
					pl.errorf("%q: only a host on the core has a second address", h.Name)
				}
				h.addr, h.addr6 = pl.take(h.Behind, h.Addr)
				h.bits, h.bits6 = pl.spots[h.Behind].prefix.Bits(), 64
				h.gateway, h.gateway6 = pl.gateway(h.Behind)
				continue
			}
			h.addr, h.bits, h.bits6 = pl.takePublic(h.Name, h.Addr, [3]byte{198, 51, 100}, onCore), 32, 128
			if h.Also.IsValid() {
				pl.takePublic(h.Name, h.Also, [3]byte{}, 0)
			}
			if pl.ipv6 {
				h.addr6 = core6(hostGroup, i+1)
			}
			if !chosen {
				onCore++
			}
		}
	}
}

func (pl *planner) gateway(network string) (a, a6 netip.Addr) {
	for _, n := range pl.nats {
		if n.Name == network {
			return n.inside, n.in6
		}
	}
	return a, a6
}
