//go:build linux

package lanfind

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// allowMulticast lets queries and answers of multicast DNS through a host's firewall.
func allowMulticast(t *testing.T, hosts ...*natlab.Machine) {
	t.Helper()
	for _, h := range hosts {
		for _, rule := range []string{"ip daddr 224.0.0.251", "ip6 daddr ff02::fb"} {
			if r := h.Run(append(append([]string{"nft", "insert", "rule", "inet", "filter", "input"}, strings.Fields(rule)...),
				"udp", "dport", "5353", "accept")...); r.Err != nil {
				t.Fatal(r.Err, r.Stderr)
			}
		}
	}
}

func TestTwoHosts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		firewall  [2]natlab.Firewall
		multicast [2]bool // allowed by the firewall
		later     time.Duration
		sweep     Sweep
		within    time.Duration
		via       Via
	}{
		{name: "no firewall", within: 2 * time.Second},
		{name: "multicast allowed", firewall: both(natlab.DropUnsolicited), multicast: [2]bool{true, true}, within: 2 * time.Second},
		{name: "multicast allowed, rejecting", firewall: both(natlab.RejectUnsolicited), multicast: [2]bool{true, true}, within: 2 * time.Second},
		{name: "multicast dropped", firewall: both(natlab.DropUnsolicited), within: 5 * time.Second, via: Datagram},
		{name: "multicast dropped, one later", firewall: both(natlab.DropUnsolicited), later: 2500 * time.Millisecond, within: 5 * time.Second, via: Datagram},
		{name: "multicast rejected", firewall: both(natlab.RejectUnsolicited), within: 5 * time.Second, via: Datagram},
		{name: "multicast dropped by one", firewall: both(natlab.DropUnsolicited), multicast: [2]bool{true, false}, within: 5 * time.Second},
		{name: "firewall of one", firewall: [2]natlab.Firewall{natlab.DropUnsolicited}, within: 5 * time.Second},
		{name: "sweep from the start", firewall: both(natlab.DropUnsolicited), sweep: SweepOn, within: 3 * time.Second, via: Datagram},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			top := lan(0, "a", "b")
			top.Hosts[0].Firewall, top.Hosts[1].Firewall = tt.firewall[0], tt.firewall[1]
			lab := natlab.New(t, top)
			for i, h := range lab.Hosts() {
				if tt.multicast[i] {
					allowMulticast(t, h)
				}
			}
			if r := lab.Host("a").Run("ip", "route", "show", "default"); r.Stdout != "" {
				t.Fatalf("a default route: %s", r.Stdout)
			}
			a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "4821"), Sweep: tt.sweep}})
			time.Sleep(tt.later)
			began := time.Now()
			b := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", "4821"), Room: "4821", Sweep: tt.sweep}})
			inB := b.finds(tt.within, "anna")
			a.finds(tt.within-time.Since(began), "ben")
			t.Logf("found by %v, both after %v", inB.Event.Peer.Via, time.Since(began).Round(time.Millisecond))
			p := inB.Event.Peer
			if p.Room != "4821" || !slices.Contains(p.Addrs, netip.AddrPortFrom(lab.Host("a").Addr(), 7070)) || tt.via != 0 && p.Via&tt.via == 0 {
				t.Errorf("got %+v", p)
			}
			a.end()
			b.wait(2*time.Second, "goodbye", func(e Event) bool { return e.Kind == Gone })
			b.end()
		})
	}
}

func both(f natlab.Firewall) [2]natlab.Firewall { return [2]natlab.Firewall{f, f} }

// Only who looks has a firewall that drops all, and only who is looked for.
func TestOnlyLooks(t *testing.T) {
	t.Parallel()
	for _, firewall := range []natlab.Firewall{natlab.NoFirewall, natlab.DropUnsolicited} {
		t.Run(firewall.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, lan(firewall, "a", "b"))
			a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "")}, Only: true})
			b := start(t, lab.Host("b"), role{})
			l := b.finds(5*time.Second, "anna")
			t.Logf("found by %v after %v", l.Event.Peer.Via, l.After)
			b.end()
			a.end()
		})
	}
}

// Without IPv4 and without IPv6 it works too.
func TestOneFamily(t *testing.T) {
	t.Parallel()
	for _, flush := range []string{"-4", "-6"} {
		t.Run(flush, func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, lan(natlab.NoFirewall, "a", "b"))
			for _, h := range lab.Hosts() {
				if r := h.Run("ip", flush, "addr", "flush", "dev", "eth0"); r.Err != nil {
					t.Fatal(r.Stderr)
				}
			}
			a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "")}})
			b := start(t, lab.Host("b"), role{})
			l := b.finds(2*time.Second, "anna")
			for _, ap := range l.Event.Peer.Addrs {
				if ap.Addr().Is4() == (flush == "-4") {
					t.Errorf("found at %v", ap)
				}
			}
			b.end()
			a.end()
		})
	}
}

func TestInterfaceComesAndGoes(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, lan(natlab.NoFirewall, "a", "b"))
	b := lab.Host("b")
	if r := b.Run("ip", "link", "set", "eth0", "down"); r.Err != nil {
		t.Fatal(r.Stderr)
	}
	x := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "")}})
	y := start(t, b, role{Options: Options{Announce: service("ben", ""), Sweep: SweepOff}})
	time.Sleep(1500 * time.Millisecond)
	if r := b.Run("ip", "link", "set", "eth0", "up"); r.Err != nil {
		t.Fatal(r.Stderr)
	}
	began := time.Now()
	y.finds(3*time.Second, "anna")
	x.finds(3*time.Second, "ben")
	t.Logf("found %v after the interface came up", time.Since(began).Round(time.Millisecond))
	b.Run("ip", "link", "set", "eth0", "down")
	y.wait(3*time.Second, "end of anna", func(e Event) bool { return e.Kind == Gone })
	x.end()
	y.end()
}

// Addresses come and go without anybody leaving.
func TestAddressComes(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, lan(natlab.NoFirewall, "a", "b"))
	a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "")}})
	b := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", "")}})
	a.finds(2*time.Second, "ben")
	b.finds(2*time.Second, "anna")
	for _, h := range lab.Hosts() {
		if r := h.Run("ip", "addr", "add", "10.0.7."+fmt.Sprint(h.Addr().As4()[3])+"/24", "dev", "eth0"); r.Err != nil {
			t.Fatal(r.Stderr)
		}
	}
	b.wait(4*time.Second, "new address", func(e Event) bool {
		return e.Kind == Changed && slices.Contains(e.Peer.Addrs, netip.MustParseAddrPort("10.0.7.1:7070"))
	})
	for _, l := range append(a.lines(), b.lines()...) {
		if l.Event != nil && l.Event.Kind == Gone {
			t.Errorf("left: %+v", l.Event)
		}
	}
	a.end()
	b.end()
}

// Where there is no network at all, programs on one host find each other if they are told to use the loopback device.
func TestLoopback(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, lan(natlab.DropUnsolicited, "a"))
	if r := lab.Host("a").Run("ip", "link", "set", "eth0", "down"); r.Err != nil {
		t.Fatal(r.Stderr)
	}
	lo := []string{"lo"}
	a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", ""), Interfaces: lo}})
	b := start(t, lab.Host("a"), role{Options: Options{Announce: service("ben", ""), Interfaces: lo}})
	l := a.finds(2*time.Second, "ben")
	b.finds(2*time.Second, "anna")
	if !slices.Contains(l.Event.Peer.Addrs, netip.MustParseAddrPort("127.0.0.1:7070")) {
		t.Errorf("got %+v", l.Event.Peer)
	}
	a.end()
	b.end()
}

// Behind a NAT, with a default route, no packet goes out.
func TestStaysInside(t *testing.T) {
	t.Parallel()
	top := natlab.Topology{IPv6: true, NATs: []natlab.NAT{{Name: "home"}}, Hosts: []natlab.Host{
		{Name: "a", Behind: "home", Firewall: natlab.DropUnsolicited}, {Name: "b", Behind: "home", Firewall: natlab.DropUnsolicited},
	}}
	lab := natlab.New(t, top)
	for _, h := range lab.Hosts() {
		if r := h.Run("ip", "route", "show", "default"); r.Stdout == "" {
			t.Fatal("no default route")
		}
	}
	a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", ""), Sweep: SweepOn}})
	b := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", ""), Sweep: SweepOn}})
	a.finds(5*time.Second, "ben")
	b.finds(5*time.Second, "anna")
	time.Sleep(2 * time.Second)
	a.end()
	b.end()
	if s := lab.NAT("home").Stats(); s.Out != 0 || s.Mappings != 0 {
		t.Errorf("the NAT translated: %+v", s)
	}
}

// A program that starts again with the same ID is the same peer, changed.
func TestChange(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, lan(natlab.NoFirewall, "a", "b"))
	watch := start(t, lab.Host("b"), role{})
	s := service("anna", "")
	s.ID = "00112233445566aa"
	a := start(t, lab.Host("a"), role{Options: Options{Announce: s}})
	watch.finds(2*time.Second, "anna")
	s.Room = "4821"
	a.end()
	again := start(t, lab.Host("a"), role{Options: Options{Announce: s}})
	// If starting takes long it is found again.
	watch.wait(2*time.Second, "change", func(e Event) bool { return e.Kind != Gone && e.Peer.Room == "4821" && e.Peer.ID == s.ID })
	again.end()
	watch.wait(2*time.Second, "goodbye", func(e Event) bool { return e.Kind == Gone && e.Peer.Room == "4821" })
	watch.end()
}

func TestTwentyHosts(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("h%d", i))
	}
	top := lan(natlab.DropUnsolicited, names...)
	for i := range 10 { // half of them drop multicast too
		top.Hosts[i].Firewall = natlab.NoFirewall
	}
	lab := natlab.New(t, top)
	began := time.Now()
	var all []*actor
	for i, h := range lab.Hosts() {
		room := fmt.Sprint(4000 + i/2) // ten pairs, of one kind each
		all = append(all, start(t, h, role{Options: Options{Announce: service(h.Name(), room), Room: room}}))
	}
	for i, a := range all {
		a.finds(10*time.Second, names[i^1])
	}
	t.Logf("ten pairs found after %v", time.Since(began).Round(time.Millisecond))
	for _, a := range all {
		a.end()
		for _, e := range a.lines() {
			if e.Event != nil && e.Event.Kind == Found && e.Event.Peer.Name != names[slices.Index(all, a)^1] {
				t.Errorf("%s found %+v", a.host.Name(), e.Event.Peer)
			}
		}
	}
}

// cabled are two hosts with firewalls and a cable between them, as Ethernet knows them.
func cabled(t *testing.T, addrA, addrB string) (a, b *natlab.Machine) {
	t.Helper()
	lab := natlab.New(t, lan(natlab.DropUnsolicited, "a", "b"))
	a, b = lab.Host("a"), lab.Host("b")
	for _, c := range []struct {
		host *natlab.Machine
		args string
	}{
		{a, "link set eth0 down"}, {b, "link set eth0 down"}, {a, "link add v0 type veth peer name v0 netns " + b.Namespace()},
		{a, "addr add " + addrA + " dev v0"}, {b, "addr add " + addrB + " dev v0"}, {a, "link set v0 up"}, {b, "link set v0 up"},
	} {
		if r := c.host.Run(append([]string{"ip"}, strings.Fields(c.args)...)...); r.Err != nil {
			t.Fatal(c.args, r.Stderr)
		}
	}
	return a, b
}

// On a real Ethernet, datagrams to addresses that nobody has wait for ARP, in limited room: all hosts of one machine share
// one table of neighbours, so there is one lab at a time.
func TestEthernet(t *testing.T) {
	for _, tt := range []struct {
		a, b string
	}{
		{"10.9.1.1/24", "10.9.1.254/24"},
		{"10.9.0.10/22", "10.9.2.10/22"}, // as far from each other as can be
	} {
		t.Run(tt.a, func(t *testing.T) {
			a, b := cabled(t, tt.a, tt.b)
			x := start(t, a, role{Options: Options{Announce: service("anna", "")}})
			y := start(t, b, role{Options: Options{Announce: service("ben", "")}})
			l := y.finds(5*time.Second, "anna")
			x.finds(5*time.Second, "ben")
			neighbours := strings.Count(b.Run("ip", "neigh").Stdout, "\n")
			e := y.end()
			t.Logf("found after %v; %d neighbours in the table; sent %v", l.After.Round(time.Millisecond), neighbours, e.Sent)
			if len(e.Troubl) > 0 {
				t.Errorf("trouble: %v", e.Troubl)
			}
			x.end()
		})
	}
}

// Lost packets are made up for.
func TestLoss(t *testing.T) {
	t.Parallel()
	for _, firewall := range []natlab.Firewall{natlab.NoFirewall, natlab.DropUnsolicited} {
		t.Run(firewall.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, lan(firewall, "a", "b"))
			for _, h := range lab.Hosts() {
				if err := lab.SetLink(h.Name(), natlab.Link{Loss: 0.2}); err != nil {
					t.Fatal(err)
				}
			}
			a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "")}})
			b := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", "")}})
			l := a.finds(30*time.Second, "ben")
			m := b.finds(30*time.Second, "anna")
			t.Logf("found after %v and %v", l.After.Round(time.Millisecond), m.After.Round(time.Millisecond))
			a.end()
			b.end()
		})
	}
}

// Two programs of one host share the ports, and both see and are seen.
func TestTwoPrograms(t *testing.T) {
	t.Parallel()
	for _, firewall := range []natlab.Firewall{natlab.NoFirewall, natlab.DropUnsolicited} {
		t.Run(firewall.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, lan(firewall, "a", "b"))
			a1 := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "1"), Sweep: SweepOn}})
			a2 := start(t, lab.Host("a"), role{Options: Options{Announce: service("alan", "2"), Sweep: SweepOn}})
			b1 := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", "1"), Sweep: SweepOn}})
			b2 := start(t, lab.Host("b"), role{Options: Options{Announce: service("bea", "2"), Sweep: SweepOn}})
			for _, x := range []struct {
				who   *actor
				finds []string
			}{
				{a1, []string{"alan", "ben", "bea"}}, {a2, []string{"anna", "ben", "bea"}},
				{b1, []string{"anna", "alan", "bea"}}, {b2, []string{"anna", "alan", "ben"}},
			} {
				for _, name := range x.finds {
					x.who.finds(8*time.Second, name)
				}
			}
			for _, x := range []*actor{a1, a2, b1, b2} {
				x.end()
			}
		})
	}
}

// An address that a person names is asked on another network too.
func TestNamedAddress(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{
		{Name: "a", Firewall: natlab.DropUnsolicited}, {Name: "b", Firewall: natlab.DropUnsolicited}, {Name: "c"},
	}})
	a, b := lab.Host("a"), lab.Host("b")
	x := start(t, a, role{Options: Options{Announce: service("anna", ""), Sweep: SweepOff, Addrs: []netip.Addr{b.Addr()}}})
	y := start(t, b, role{Options: Options{Announce: service("ben", ""), Sweep: SweepOff, Addrs: []netip.Addr{a.Addr()}}})
	z := start(t, lab.Host("c"), role{Options: Options{Addrs: []netip.Addr{a.Addr()}}})
	if l := x.finds(3*time.Second, "ben"); len(l.Event.Peer.Addrs) != 1 || l.Event.Peer.Addrs[0].Addr() != b.Addr() {
		t.Errorf("got %+v", l.Event.Peer)
	}
	y.finds(3*time.Second, "anna")
	x.end()
	y.end()
	z.end()
	for _, l := range z.lines() {
		if l.Event != nil {
			t.Errorf("found without being named: %+v", l.Event)
		}
	}
}

// TestOtherNetworks: what comes by one interface is heard though there are others, as every
// host has that runs containers.
func TestOtherNetworks(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, lan(natlab.NoFirewall, "a", "b"))
	for _, h := range lab.Hosts() {
		script := "ip -6 addr flush dev eth0"
		for i := range 3 {
			script += fmt.Sprintf("\nip link add other%d type bridge\nip addr add 172.%d.0.1/16 dev other%d\nip link set other%d up", i, 17+i, i, i)
		}
		if r := h.Run("sh", "-ec", script); r.Err != nil {
			t.Fatal(r.Err, r.Stderr)
		}
	}
	a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", ""), Sweep: SweepOff}})
	b := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", ""), Sweep: SweepOff}})
	a.finds(3*time.Second, "ben")
	if l := b.finds(3*time.Second, "anna"); !slices.Contains(l.Event.Peer.Addrs, netip.AddrPortFrom(lab.Host("a").Addr(), 7070)) {
		t.Errorf("got %+v", l.Event.Peer)
	}
	b.end()
	a.end()
}
