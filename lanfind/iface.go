package lanfind

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

// maxInterfaces bounds those in use: a machine full of containers has hundreds.
const maxInterfaces = 16

// An Interface is a network interface of this host, and whether peers are looked for there.
type Interface struct {
	// Name and Index are the system's.
	Name  string
	Index int
	// Addrs are its addresses, with the lengths of their networks.
	Addrs []netip.Prefix
	// Multicast says whether it carries multicast. Without, there are only datagrams.
	Multicast bool
	// Tunnel says that it looks like a VPN: it is point-to-point, or has the name of one.
	Tunnel bool
	// Unfit says why it is not used unless Options.Interfaces names it: "loopback", "down", "no carrier", "no address" or
	// "point-to-point". Empty means that it is used.
	Unfit string
}

// Interfaces returns all network interfaces, with what is thought of each.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network interfaces: %w", err)
	}
	var found []Interface
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		found = append(found, judge(i, addrs))
	}
	return found, nil
}

// judge decides what to think of an interface.
func judge(i net.Interface, addrs []net.Addr) Interface {
	f := Interface{Name: i.Name, Index: i.Index, Multicast: i.Flags&net.FlagMulticast != 0, Tunnel: i.Flags&net.FlagPointToPoint != 0}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if p := netip.PrefixFrom(addr.Unmap(), bits); ok && p.IsValid() && !slices.Contains(f.Addrs, p) {
			f.Addrs = append(f.Addrs, p)
		}
	}
	slices.SortFunc(f.Addrs, func(p, q netip.Prefix) int { return p.Addr().Compare(q.Addr()) })
	for _, prefix := range []string{"wg", "tun", "utun", "tailscale", "zt", "ppp", "ipsec", "nordlynx", "proton"} {
		f.Tunnel = f.Tunnel || strings.HasPrefix(strings.ToLower(i.Name), prefix)
	}
	switch {
	case i.Flags&net.FlagUp == 0:
		f.Unfit = "down"
	case i.Flags&net.FlagLoopback != 0:
		f.Unfit = "loopback"
	case i.Flags&net.FlagRunning == 0:
		f.Unfit = "no carrier"
	case len(f.Addrs) == 0:
		f.Unfit = "no address"
	case i.Flags&net.FlagPointToPoint != 0:
		f.Unfit = "point-to-point"
	}
	return f
}

// choose returns the interfaces to use: those with the given names, or those that are fit.
func choose(all []Interface, names []string) []Interface {
	var chosen []Interface
	for _, f := range all {
		named := slices.Contains(names, f.Name) && f.Unfit != "down" && f.Unfit != "no address"
		if (named || len(names) == 0 && f.Unfit == "") && len(chosen) < maxInterfaces {
			chosen = append(chosen, f)
		}
	}
	return chosen
}

// same reports whether nothing has changed between two looks at one interface.
func (f *Interface) same(g *Interface) bool {
	return f.Index == g.Index && f.Name == g.Name && f.Multicast == g.Multicast && slices.Equal(f.Addrs, g.Addrs)
}

// has reports whether a is an address of the interface.
func (f *Interface) has(a netip.Addr) bool {
	return slices.ContainsFunc(f.Addrs, func(p netip.Prefix) bool { return p.Addr() == a.WithZone("") })
}

// reaches reports whether a, without a zone, is on the network of the interface, and no group or broadcast address.
func (f *Interface) reaches(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() && f.Unfit != "loopback" {
		return false
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range f.Addrs {
		if p.Contains(a) && !(a.Is4() && p.Bits() < 31 && (a == lastOf(p) || a == p.Masked().Addr())) {
			return true
		}
	}
	return false
}

// groups reports whether there are multicast groups to join on the interface.
func (f *Interface) groups() bool { return f.Multicast || f.Unfit == "loopback" }

// zoned adds the zone to an address that needs one.
func (f *Interface) zoned(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(f.Name)
	}
	return a
}

// toAnnounce are the addresses to announce on the interface, IPv4 first.
func (f *Interface) toAnnounce() []netip.Addr {
	var addrs []netip.Addr
	for _, p := range f.Addrs {
		if len(addrs) < dnssd.MaxAddrs {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// lastOf is the last address of a network: the directed broadcast address, if it is IPv4.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
