package natlab

import (
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPlanAddresses(t *testing.T) {
	f, err := os.Open("testdata/carrier.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	top, err := ReadTopology(f)
	if err != nil {
		t.Fatal(err)
	}
	top.IPv6 = true
	p, err := makePlan(top)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, n := range p.nats {
		got[n.Name] = n.outside.String() + " " + n.lan.String() + " " + n.lan6.String()
	}
	for _, h := range p.hosts {
		got[h.Name] = netip.PrefixFrom(h.addr, h.bits).String() + " " + h.addr6.String()
	}
	want := map[string]string{
		"carrier":   "203.0.113.10 100.64.1.0/24 2001:db8:0:1::/64",
		"home":      "100.64.1.2 192.168.1.0/24 2001:db8:0:2::/64",
		"neighbour": "100.64.1.3 192.168.1.0/24 2001:db8:0:3::/64",
		"far":       "192.0.2.1 192.168.4.0/24 2001:db8:0:4::/64",
		"a":         "192.168.1.2/24 2001:db8:0:2::2",
		"b":         "192.168.1.2/24 2001:db8:0:3::2",
		"c":         "192.168.4.2/24 2001:db8:0:4::2",
		"d":         "10.0.1.1/24 2001:db8:0:1000::1",
		"e":         "10.0.1.2/24 2001:db8:0:1000::2",
		"stun":      "192.0.2.53/32 2001:db8:ff01::6",
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s: got %s, want %s", name, got[name], w)
		}
	}
	if n := p.nats[0]; n.UDPLifetime != 30*time.Second || n.Link.Hops != 5 || n.Link.Jitter != 2*time.Millisecond || n.Filtering != AddressAndPortDependent {
		t.Errorf("carrier is %+v", n.NAT)
	}
	if hops := p.nats[3].Link.Hops; hops != coreHops {
		t.Errorf("a NAT on the core has %d hops by default, want %d", hops, coreHops)
	}
	if hops := p.nats[1].Link.Hops; hops != 0 {
		t.Errorf("a NAT behind another has %d hops by default, want none", hops)
	}
}

func TestPublic(t *testing.T) {
	seen := make(map[netip.Addr]bool)
	for n := range maxPublic {
		a := public([3]byte{203, 0, 113}, n)
		if last := a.As4()[3]; seen[a] || last == 0 || last == 255 {
			t.Errorf("address %d is %v", n, a)
		}
		seen[a] = true
	}
}

func TestBadTopologies(t *testing.T) {
	host := []Host{{Name: "a"}}
	nat := func(n NAT) Topology {
		n.Name = "home"
		return Topology{NATs: []NAT{n}, Hosts: host}
	}
	for _, test := range []struct {
		name string
		top  Topology
		want string
	}{
		{"no hosts", Topology{}, "no hosts"},
		{"no name", Topology{Hosts: []Host{{}}}, "a host has no name"},
		{"same name", Topology{NATs: []NAT{{Name: "a"}}, Hosts: host}, `two nodes are named "a"`},
		{"unknown network", Topology{Hosts: []Host{{Name: "a", Behind: "x"}}}, `host "a" is behind "x", which is no NAT or LAN`},
		{"unknown carrier", nat(NAT{Behind: "x"}), `NAT "home" is behind "x", which is no NAT`},
		{"loop", nat(NAT{Behind: "home"}), `NAT "home" is behind itself`},
		{"same address", Topology{Hosts: []Host{{Name: "a", Addr: netip.MustParseAddr("192.0.2.1")}, {Name: "b", Addr: netip.MustParseAddr("192.0.2.1")}}},
			"two nodes have the public address 192.0.2.1"},
		{"same inside address", Topology{NATs: []NAT{{Name: "home"}}, Hosts: []Host{{Name: "a", Behind: "home", Addr: netip.MustParseAddr("192.168.1.1")}}},
			`two nodes have the address 192.168.1.1 behind "home"`},
		{"second address behind a NAT", Topology{NATs: []NAT{{Name: "home"}}, Hosts: []Host{{Name: "a", Behind: "home", Also: netip.MustParseAddr("192.0.2.1")}}},
			"only a host on the core has a second address"},
		{"same second address", Topology{Hosts: []Host{{Name: "a", Addr: netip.MustParseAddr("192.0.2.1"), Also: netip.MustParseAddr("192.0.2.1")}}},
			"two nodes have the public address 192.0.2.1"},
		{"foreign address", Topology{NATs: []NAT{{Name: "home"}}, Hosts: []Host{{Name: "a", Behind: "home", Addr: netip.MustParseAddr("192.168.2.2")}}},
			`192.168.2.2 is no host address of the network of "home", 192.168.1.0/24`},
		{"full", Topology{LANs: []LAN{{Name: "l", Prefix: netip.MustParsePrefix("10.0.0.0/29")}}, Hosts: []Host{{Name: "1", Behind: "l"}, {Name: "2", Behind: "l"},
			{Name: "3", Behind: "l"}, {Name: "4", Behind: "l"}, {Name: "5", Behind: "l"}, {Name: "6", Behind: "l"}, {Name: "7", Behind: "l"}}}, `the network of "l", 10.0.0.0/29, is full`},
		{"prefix", nat(NAT{LAN: netip.MustParsePrefix("10.0.0.0/30")}), "want an IPv4 prefix of 8 to 29 bits"},
		{"linux", nat(NAT{Linux: true, Hairpin: true}), "is a Linux kernel"},
		{"accept", nat(NAT{Unsolicited: Accept}), "accept is for Linux NATs only"},
		{"churn rate", nat(NAT{Ports: Sequential, ChurnRate: -1}), "churn rate is -1: want 0 to 100000"},
		{"step", nat(NAT{Step: 2}), "step and churn are for sequential ports only"},
		{"negative", nat(NAT{Ports: Sequential, Step: -2}), "must not be negative"},
		{"blocked", nat(NAT{Blocked: []Protocol{99}}), "only TCP and UDP can be blocked"},
		{"loss", nat(NAT{Link: Link{Loss: 1.5}}), "loss is 1.5: want 0 to 1"},
		{"reorder", nat(NAT{Link: Link{Reorder: -1}}), "reorder is -1 and duplicate 0: want 0 to 1"},
		{"delay", nat(NAT{Link: Link{Delay: -1}}), "must not be negative"},
		{"hops", nat(NAT{Link: Link{Hops: 100}}), "100 hops"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := makePlan(test.top)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTopologyJSON(t *testing.T) {
	for _, file := range []string{"testdata/home-office.json", "testdata/carrier.json"} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		top, err := ReadTopology(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := makePlan(top); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		data, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadTopology(strings.NewReader(string(data)))
		if err != nil || !reflect.DeepEqual(top, again) {
			t.Errorf("%s: written and read again it is %+v, %v, was %+v", file, again, err, top)
		}
	}
	for text, want := range map[string]string{
		`{"hosts": [{"nam": "a"}]}`:                       "nam",
		`{"nats": [{"mapping": "cone"}]}`:                 `unknown behavior "cone"`,
		`{"nats": [{"ports": "odd"}]}`:                    `unknown port allocation "odd"`,
		`{"nats": [{"unsolicited": "maybe"}]}`:            `unknown answer to unsolicited packets "maybe"`,
		`{"nats": [{"blocked": ["sctp"]}]}`:               `unknown protocol "sctp"`,
		`{"hosts": [{"firewall": "big"}]}`:                `unknown firewall "big"`,
		`{"hosts": [{"link": {"delay": "5"}}]}`:           "missing unit",
		`{"hosts": [{"link": {"speed": 5}}]}`:             "speed",
		`{"nats": [{"transitory_lifetime": "1"}]}`:        "transitory_lifetime",
		`{"nats": [{"churn_rate": "much"}]}`:              "churn_rate",
		`{"nats": [{"udp_lifetime": "long"}]}`:            "udp_lifetime",
		`{"nats": [{"name": "x", "lan": "192.168.1.0"}]}`: "no '/'",
	} {
		if _, err := ReadTopology(strings.NewReader(text)); err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
