package natcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestMapping(t *testing.T) {
	const s1, s1b, s2, s2b = "198.51.100.1:3478", "198.51.100.1:3479", "198.51.100.2:3478", "198.51.100.2:3479"
	for _, tt := range []struct {
		name string
		seen []string // server and mapped, in turns
		want Behavior
	}{
		{"nobody", nil, ""},
		{"one server", []string{s1, "x:1"}, ""},
		{"one server twice", []string{s1, "x:1", s1, "x:2"}, ""},
		{"one server, no NAT", []string{s1, "l:9"}, NoNAT},
		{"two ports, same", []string{s1, "x:1", s1b, "x:1"}, NotPortDependent},
		{"two ports, not same", []string{s1, "x:1", s1b, "x:2"}, AddressAndPortDependent},
		{"two addresses, same", []string{s1, "x:1", s2, "x:1"}, EndpointIndependent},
		{"two addresses, not same", []string{s1, "x:1", s2, "x:2"}, NotEndpointIndependent},
		{"two addresses, not the same public address", []string{s1, "x:1", s2, "y:1"}, NotEndpointIndependent},
		{"all the same", []string{s1, "x:1", s1b, "x:1", s2, "x:1"}, EndpointIndependent},
		{"by address", []string{s1, "x:1", s1b, "x:1", s2, "x:2", s2b, "x:2"}, AddressDependent},
		{"by address, other port last", []string{s1, "x:1", s2, "x:2", s2b, "x:2"}, AddressDependent},
		{"by address and port", []string{s1, "x:1", s2, "x:2", s1b, "x:3"}, AddressAndPortDependent},
		{"no NAT", []string{s1, "l:9", s1b, "l:9", s2, "l:9"}, NoNAT},
		{"one mapping like the local port", []string{s1, "l:9", s1b, "l:10"}, AddressAndPortDependent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen []sighting
			for pair := range slices.Chunk(tt.seen, 2) {
				seen = append(seen, sighting{ap(pair[0]), ap(pair[1])})
			}
			if got := mapping(ap("l:9"), seen); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// ap reads an address and port; l, x and y stand for a local and two public addresses.
func ap(s string) netip.AddrPort {
	var port uint16
	for c, a := range map[byte]string{'l': "192.168.1.2", 'x': "203.0.113.10", 'y': "203.0.113.11"} {
		if s[0] == c {
			fmt.Sscanf(s[2:], "%d", &port)
			return netip.AddrPortFrom(netip.MustParseAddr(a), port)
		}
	}
	return netip.MustParseAddrPort(s)
}

func TestFiltering(t *testing.T) {
	for _, tt := range []struct {
		port, addr Answer
		want       Behavior
	}{
		{"", "", ""},
		{Yes, "", NotPortDependent},
		{No, "", AddressAndPortDependent},
		{Yes, Yes, EndpointIndependent},
		{"", Yes, EndpointIndependent},
		{No, Yes, EndpointIndependent}, // one answer was lost
		{Yes, No, AddressDependent},
		{No, No, AddressAndPortDependent},
		{"", No, ""},
	} {
		if got := filtering(tt.port, tt.addr); got != tt.want {
			t.Errorf("from another port %q, from another address %q: got %q, want %q", tt.port, tt.addr, got, tt.want)
		}
	}
}

func TestPorts(t *testing.T) {
	from := func(mapped ...uint16) (all []pair) {
		for i, m := range mapped {
			all = append(all, pair{uint16(40000 + 1000*i), m})
		}
		return all
	}
	for _, tt := range []struct {
		name        string
		pairs       []pair
		kind        Ports
		step, churn int
	}{
		{"too few", from(1, 2), "", 0, 0},
		{"preserving", from(40000, 41000, 42000, 43000), Preserving, 0, 0},
		{"preserving, one was taken", from(40000, 41000, 42001, 43000), Preserving, 0, 0},
		{"kept by chance", from(40000, 3, 9, 55, 57, 59), Sequential, 2, 22},
		{"sequential", from(20001, 20002, 20003, 20004, 20005), Sequential, 1, 0},
		{"in order, but too few", from(20001, 20002, 20003, 20004), "", 0, 0},
		{"in order by chance, and one far away", from(20001, 20300, 20303, 50000), "", 0, 0},
		{"step", from(20000, 20008, 20016, 20024, 20032), Sequential, 8, 0},
		{"churn", from(20000, 20004, 20006, 20018, 20020), Sequential, 2, 5},
		{"wrapped", from(65527, 65530, 65533, 1026, 1029, 1032), Sequential, 3, 0},
		{"wrapped, and too few", from(65530, 65533, 1026, 1029, 1032), "", 0, 0},
		{"down", from(20030, 20028, 20024, 20022, 20020), Sequential, -2, 1},
		{"up and down", from(20000, 20500, 20400, 20401, 20402), Contiguous, 0, 0},
		{"the same port for all", from(20000, 20000, 20000, 20000, 20000), Contiguous, 0, 0},
		{"block", from(2048, 5000, 3000, 6000, 2100), Contiguous, 0, 0},
		{"random", from(2048, 50000, 30000, 60000, 2100), Random, 0, 0},
		{"random, twice close", from(2048, 2050, 60000, 60002, 2100), Random, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind, step, churn := ports(tt.pairs)
			if kind != tt.kind || step != tt.step || churn != tt.churn {
				t.Errorf("got %q, %d, %d, want %q, %d, %d", kind, step, churn, tt.kind, tt.step, tt.churn)
			}
		})
	}
}

func TestInside(t *testing.T) {
	for _, tt := range []struct {
		name  string
		path  []string // "" is silent
		n     int
		clear bool
		end   int // at the end, or -1 for nothing known
	}{
		{"nothing yet", []string{"", "", ""}, 0, false, -1},
		{"public host", []string{"198.18.0.1", "", ""}, 0, true, 0},
		{"home", []string{"192.168.1.1", "198.18.0.1", ""}, 1, true, 1},
		{"carrier", []string{"192.168.1.1", "100.64.0.1", "198.18.0.1", ""}, 2, true, 2},
		{"carrier in private space", []string{"192.168.1.1", "10.1.1.1", "172.16.0.9", "198.18.0.1"}, 3, true, 3},
		{"link-local", []string{"192.168.1.1", "169.254.1.1", "198.18.0.1"}, 2, true, 2},
		{"a private address farther out", []string{"192.168.1.1", "198.18.0.1", "10.0.0.1"}, 1, true, 1},
		{"the first is silent", []string{"", "198.18.0.1"}, 1, false, 1},
		{"the second is silent", []string{"192.168.1.1", "", "198.18.0.1"}, 2, false, 2},
		{"no public one answers", []string{"192.168.1.1", "100.64.0.1", "", ""}, 0, false, -1},
		{"not yet", []string{"192.168.1.1", "", ""}, 0, false, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := make([]netip.Addr, maxHops)
			for i, s := range tt.path {
				if s != "" {
					path[i] = netip.MustParseAddr(s)
				}
			}
			n, clear := inside(path, false)
			if clear != tt.clear || clear && n != tt.n {
				t.Errorf("got %d, clear %v, want %d, %v", n, clear, tt.n, tt.clear)
			}
			if n, clear = inside(path, true); clear != (tt.end >= 0) || clear && n != tt.end {
				t.Errorf("at the end: got %d, clear %v, want %d", n, clear, tt.end)
			}
		})
	}
}

func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		name        string
		lived, died []int64
		least, most int64
	}{
		{"nothing", nil, nil, 0, 0},
		{"in between", []int64{5, 10}, []int64{30, 20}, 10, 20},
		{"to the end", []int64{5, 10, 30}, nil, 30, 0},
		{"none", nil, []int64{10, 5}, 0, 5},
		{"an answer was lost", []int64{5, 20}, []int64{10, 30}, 20, 30},
	} {
		if least, most := lifetime(tt.lived, tt.died); least != tt.least || most != tt.most {
			t.Errorf("%s: got %d, %d, want %d, %d", tt.name, least, most, tt.least, tt.most)
		}
	}
}

func TestPlausible(t *testing.T) {
	for _, tt := range []struct {
		server, other string
		want          bool
	}{
		{"198.51.100.1:3478", "198.51.100.2:3479", true},
		{"192.168.1.1:3478", "192.168.1.9:3479", true},
		{"127.0.0.1:3478", "127.0.0.2:3479", true},
		{"198.51.100.1:3478", "198.51.100.1:3479", false},
		{"198.51.100.1:3478", "192.168.1.1:3479", false},
		{"198.51.100.1:3478", "127.0.0.1:3479", false},
		{"198.51.100.1:3478", "224.0.0.1:3479", false},
		{"198.51.100.1:3478", "169.254.169.254:80", false},
		{"198.51.100.1:3478", "255.255.255.255:3479", false},
		{"198.51.100.1:3478", "198.51.100.2:0", false},
		{"198.51.100.1:3478", "[2001:db8::1]:3479", false},
		{"[2001:db8::1]:3478", "[2001:db8::2]:3479", true},
		{"[2001:db8::1]:3478", "[fe80::2]:3479", false},
		{"[2001:db8::1]:3478", "[fd00::2]:3479", false},
	} {
		if got := plausible(ap(tt.server), ap(tt.other)); got != tt.want {
			t.Errorf("%s tells of %s: got %v, want %v", tt.server, tt.other, got, tt.want)
		}
	}
	if plausible(ap("198.51.100.1:1"), netip.AddrPort{}) {
		t.Error("no address is plausible")
	}
}
