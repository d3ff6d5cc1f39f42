package natcheck

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

var (
	near = natlab.Link{Delay: 25 * time.Millisecond} // two of these are 100 ms of round trip
	also = netip.MustParseAddr("198.51.100.99")
)

// behind is a host behind a NAT, and a server with two addresses on the core. A friend there, whom it can dial, has the
// server know that its SYNs get out.
func behind(n natlab.NAT) natlab.Topology {
	n.Name, n.Link = "home", near
	return natlab.Topology{
		NATs:  []natlab.NAT{n},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "s", Link: near, Also: also}, {Name: "friend"}},
	}
}

// report runs a server with two addresses and a client.
func report(t *testing.T, lab *natlab.Lab, o Options) *Report {
	t.Helper()
	startServer(t, lab.Host("s"), ServerConfig{Alt: also})
	if o.Servers == nil {
		o.Servers = serversAt(lab.Host("s").Addr())
	}
	for _, h := range lab.Hosts() {
		if h.Name() == "friend" {
			if res := runClient(t, h, Options{Servers: o.Servers}); res.Err != "" {
				t.Fatal(res.Err)
			}
		}
	}
	res := runClient(t, lab.Host("a"), o)
	if res.Err != "" {
		t.Fatal(res.Err)
	}
	t.Logf("after %v: %+v", res.Took, *res.Report)
	return res.Report
}

// want compares what a report says, by name.
func want(t *testing.T, wants map[string][2]any) {
	t.Helper()
	for name, w := range wants {
		if got, want := fmt.Sprint(w[0]), fmt.Sprint(w[1]); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestRouters(t *testing.T) {
	for _, tt := range []struct {
		name string
		top  natlab.Topology
		want int
	}{
		{"public", natlab.Topology{}, 0},
		{"home", natlab.Topology{NATs: []natlab.NAT{{Name: "n"}}}, 1},
		{"linux", natlab.Topology{NATs: []natlab.NAT{{Name: "n", Linux: true}}}, 1},
		{"routers beyond", natlab.Topology{NATs: []natlab.NAT{{Name: "n", Routers: 2}}}, 1},
		{"carrier", natlab.Topology{NATs: []natlab.NAT{{Name: "c"}, {Name: "n", Behind: "c"}}}, 2},
		{"linux carrier", natlab.Topology{NATs: []natlab.NAT{{Name: "c", Linux: true}, {Name: "n", Behind: "c", Linux: true}}}, 2},
		{"without UDP", natlab.Topology{NATs: []natlab.NAT{{Name: "n", Blocked: []natlab.Protocol{natlab.UDP}}}}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host := natlab.Host{Name: "a"}
			if len(tt.top.NATs) > 0 {
				host.Behind = "n"
			}
			tt.top.Hosts = []natlab.Host{host, {Name: "s", Link: near}}
			lab := natlab.New(t, tt.top)
			res := finish(t, start(t, lab.Host("a"), role{Routers: lab.Host("s").Addr()}, nil))
			if tt.want < 0 {
				if !strings.Contains(res.Err, ErrNoAnswer.Error()) {
					t.Errorf("got %d, %q, want no answer", res.Routers, res.Err)
				}
				return
			}
			if res.Err != "" || res.Routers != tt.want {
				t.Errorf("got %d, %q, want %d", res.Routers, res.Err, tt.want)
			}
			t.Logf("%d in %v", res.Routers, res.Took)
		})
	}
}

func TestRoutersUnsupported(t *testing.T) {
	to := netip.MustParseAddr("2001:db8::1")
	if runtime.GOOS != "linux" {
		to = netip.MustParseAddr("198.51.100.1")
	}
	if n, err := Routers(t.Context(), to); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestLifetimeOfMappings(t *testing.T) {
	for _, tt := range []struct {
		life, least, most time.Duration
	}{
		{3 * time.Second, 2 * time.Second, 4 * time.Second},
		{time.Minute, 8 * time.Second, 0},
	} {
		t.Run(tt.life.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, behind(natlab.NAT{UDPLifetime: tt.life}))
			r := report(t, lab, Options{Slow: true, MaxLifetime: 8 * time.Second})
			if got := r.UDP; got.LifetimeMin < tt.least/2 || got.LifetimeMin > tt.life || (tt.most == 0) != (got.LifetimeMax == 0) || got.LifetimeMax > 2*tt.life {
				t.Errorf("between %v and %v, want %v", got.LifetimeMin, got.LifetimeMax, tt.life)
			}
		})
	}
}

func TestBlocked(t *testing.T) {
	for _, p := range []natlab.Protocol{natlab.UDP, natlab.TCP} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, behind(natlab.NAT{Blocked: []natlab.Protocol{p}}))
			r := report(t, lab, Options{})
			want(t, map[string][2]any{
				"UDP is blocked": {r.UDP.Blocked, p == natlab.UDP},
				"TCP is blocked": {r.TCP.Blocked, p == natlab.TCP},
				"UDP mapping":    {r.UDP.Mapping, map[bool]Behavior{false: EndpointIndependent}[p == natlab.UDP]},
				"TCP mapping":    {r.TCP.Mapping, map[bool]Behavior{false: EndpointIndependent}[p == natlab.TCP]},
			})
		})
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, behind(natlab.NAT{}))
	res := runClient(t, lab.Host("a"), Options{Servers: serversAt(lab.Host("s").Addr())})
	if !strings.Contains(res.Err, ErrNoAnswer.Error()) {
		t.Errorf("got %q, want no answer", res.Err)
	}
}

func TestHairpin(t *testing.T) {
	for _, hairpin := range []bool{true, false} {
		for _, answer := range []natlab.Unsolicited{natlab.Drop, natlab.Reset} {
			t.Run(fmt.Sprint(hairpin, answer), func(t *testing.T) {
				t.Parallel()
				lab := natlab.New(t, behind(natlab.NAT{Hairpin: hairpin, Unsolicited: answer}))
				r := report(t, lab, Options{})
				expected := map[bool]Answer{true: Yes, false: No}[hairpin]
				want(t, map[string][2]any{"TCP": {r.TCP.Hairpin, expected}, "UDP": {r.UDP.Hairpin, expected}})
			})
		}
	}
}

func TestPublicHost(t *testing.T) {
	for _, firewall := range []natlab.Firewall{natlab.NoFirewall, natlab.DropUnsolicited, natlab.RejectUnsolicited} {
		t.Run(firewall.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, natlab.Topology{
				IPv6: true,
				Hosts: []natlab.Host{
					{Name: "a", Firewall: firewall, Link: near}, {Name: "s", Link: near, Also: also}, {Name: "friend"},
				},
			})
			r := report(t, lab, Options{Servers: serversAt(lab.Host("s").Addr(), lab.Host("s").Addr6())})
			met := map[natlab.Firewall]Outcome{natlab.NoFirewall: Accepted, natlab.DropUnsolicited: Silent, natlab.RejectUnsolicited: RST}[firewall]
			filtering := map[bool]Behavior{true: EndpointIndependent, false: AddressAndPortDependent}[firewall == natlab.NoFirewall]
			want(t, map[string][2]any{
				"TCP mapping": {r.TCP.Mapping, NoNAT}, "UDP mapping": {r.UDP.Mapping, NoNAT},
				"TCP filtering": {r.TCP.Filtering, filtering}, "UDP filtering": {r.UDP.Filtering, filtering},
				"unsolicited": {r.TCP.Unsolicited, met}, "inbound SYN": {r.TCP.InboundSYN, Accepted},
				"IPv6":    {r.IPv6, IPv6{Address: lab.Host("a").Addr6(), Unsolicited: met, InboundSYN: Accepted}},
				"routers": {r.Routers, 0},
			})
		})
	}
}

func TestIPv6Firewall(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		nat                  natlab.NAT
		unsolicited, inbound Outcome
	}{
		{"drop", natlab.NAT{}, Silent, Accepted},
		{"reset", natlab.NAT{Unsolicited: natlab.Reset}, RST, Accepted},
		{"refuses", natlab.NAT{Unsolicited: natlab.ICMP, RefuseInboundSYN: true}, ICMP, ICMP},
		{"refuses silently", natlab.NAT{RefuseInboundSYN: true}, Silent, Silent},
		{"linux", natlab.NAT{Linux: true, Unsolicited: natlab.Prohibited}, ICMP, Accepted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			top := behind(tt.nat)
			top.IPv6 = true
			lab := natlab.New(t, top)
			r := report(t, lab, Options{Servers: serversAt(lab.Host("s").Addr(), lab.Host("s").Addr6())})
			want(t, map[string][2]any{
				"IPv6":          {r.IPv6, IPv6{Address: lab.Host("a").Addr6(), Unsolicited: tt.unsolicited, InboundSYN: tt.inbound}},
				"over IPv4 too": {r.TCP.Mapped.Addr(), lab.NAT("home").Addr()},
			})
		})
	}
}
