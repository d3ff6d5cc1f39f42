package natcheck

import "net/netip"

// maxHops is how far [Routers] looks.
const maxHops = 8

// inside counts the routers before the first one with a public address, given the addresses of those that answered, by
// distance. It reports whether more answers could not change that: the first public one is known, and all before it;
// or, at the end, that a public one is known.
func inside(path []netip.Addr, end bool) (n int, clear bool) {
	known := true
	for i, a := range path {
		switch {
		case !a.IsValid():
			known = false
		case internal(a):
		default:
			// One that is silent, between those inside and this, is taken for one inside: a TTL that is too high by one
			// does less harm than one that is too low.
			return i, known || end
		}
	}
	return 0, false // there may be more inside than have answered
}

// internal reports whether an address is of a network behind a NAT, or of none.
func internal(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || shared(a)
}

// shared reports whether an address is between a carrier's NAT and its customers (RFC 6598).
func shared(a netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a)
}
