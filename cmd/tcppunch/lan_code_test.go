package main

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// office is a network without a way out, with a real firewall in each host.
func office(t *testing.T, firewall natlab.Firewall, names ...string) []*side {
	t.Helper()
	top := natlab.Topology{IPv6: true, LANs: []natlab.LAN{{Name: "office"}}}
	for _, name := range names {
		top.Hosts = append(top.Hosts, natlab.Host{Name: name, Behind: "office", Firewall: firewall, Link: natlab.Link{Delay: time.Millisecond / 4}})
	}
	lab := natlab.New(t, top)
	var sides []*side
	for _, name := range names {
		sides = append(sides, newSide(t, lab.Host(name)))
	}
	return sides
}

// allowMulticast lets multicast DNS through the firewall of a host.
func (s *side) allowMulticast() {
	s.t.Helper()
	for _, group := range []string{"ip daddr 224.0.0.251", "ip6 daddr ff02::fb"} {
		rule := strings.Fields("nft insert rule inet filter input " + group + " udp dport 5353 accept")
		if r := s.host.Run(rule...); r.Err != nil {
			s.t.Fatal(r.Err, r.Stderr)
		}
	}
}

// TestLANCode: two hosts find each other by a code alone, with no server and no route to
// one, whatever their firewalls drop, and connect by simultaneous open.
func TestLANCode(t *testing.T) {
	const drop, reject = natlab.DropUnsolicited, natlab.RejectUnsolicited
	cases := []struct {
		name      string
		firewall  natlab.Firewall
		multicast [2]bool // is let in
		late      time.Duration
		within    time.Duration
	}{
		{"no firewall", natlab.NoFirewall, [2]bool{true, true}, 0, 2 * time.Second},
		{"drop but multicast", drop, [2]bool{true, true}, 0, 2 * time.Second},
		{"drop but multicast, one late", drop, [2]bool{true, true}, 4 * time.Second, 2 * time.Second},
		{"reject but multicast", reject, [2]bool{true, true}, 0, 2 * time.Second},
		{"drop", drop, [2]bool{}, 0, 5 * time.Second},
		{"drop, one late", drop, [2]bool{}, 5 * time.Second, 5 * time.Second},
		{"drop, one hears multicast", drop, [2]bool{true, false}, 0, 5 * time.Second},
		{"drop, the other hears multicast", drop, [2]bool{false, true}, 0, 5 * time.Second},
		{"reject", reject, [2]bool{}, 2 * time.Second, 5 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sides := office(t, c.firewall, "anna", "ben")
			for i, s := range sides {
				if c.multicast[i] && c.firewall != natlab.NoFirewall {
					s.allowMulticast()
				}
			}
			if r := sides[0].host.Run("ip", "route", "show", "default"); r.Stdout != "" {
				t.Fatalf("a default route: %s", r.Stdout)
			}
			file := sides[0].file("file.bin", fileSize)
			send := sides[0].start("send", "--timeout=30s", file)
			code := send.code()
			time.Sleep(c.late)
			recv := sides[1].start("recv", "--timeout=30s", "--out=out", code)
			took := wantKind(t, "lan", send, recv, file)
			t.Logf("found and connected %v after the start", took)
			if took > c.within {
				t.Errorf("found and connected after %v, want at most %v", took, c.within)
			}
		})
	}
}

// TestLANWrongCode: who has other words gets nothing, both sides hear of it, and whoever has
// mistyped can try again.
func TestLANWrongCode(t *testing.T) {
	t.Parallel()
	sides := office(t, natlab.DropUnsolicited, "anna", "ben")
	for _, s := range sides {
		s.allowMulticast()
	}
	file := sides[0].file("file.bin", fileSize)
	send := sides[0].start("send", "--timeout=30s", file)
	code := send.code()
	number, _, _ := strings.Cut(code, "-")
	wrong := sides[1].start("recv", "--timeout=4s", "--out=out", number+"-yogurt-abdomen")
	wrong.wantFailure(statusWrongCode, "wrong-code", " has other words. Compare the code")
	wantOnly(t, sides[1].dir)
	recv := sides[1].start("recv", "--timeout=30s", "--out=out", code)
	wantKind(t, "lan", send, recv, file)
	if n := strings.Count(send.Stderr.String(), ", tried a wrong code (1 of 16)."); n != 1 || strings.Count(send.Stderr.String(), "Warning") != 1 {
		t.Errorf("the sender does not tell of one wrong guess:\n%s", send.Stderr)
	}
}

// TestLANAndServer: with a server too, the local network is taken where there is one.
func TestLANAndServer(t *testing.T) {
	t.Parallel()
	p := newMeetingPlaceIn(t, natlab.Topology{
		NATs:  []natlab.NAT{{Name: "home", Hairpin: true, Link: natlab.Link{Delay: oneWay}}},
		Hosts: []natlab.Host{{Name: "a", Behind: "home", Firewall: natlab.DropUnsolicited}, {Name: "b", Behind: "home", Firewall: natlab.DropUnsolicited}},
	})
	for _, s := range []*side{p.a, p.b} {
		s.allowMulticast()
	}
	file := p.a.file("file.bin", fileSize)
	send := p.a.start("send", "--timeout=30s", file)
	code := send.code()
	time.Sleep(4500 * time.Millisecond) // its first announcements are past, within a second of which it would not answer at once
	recv := p.b.start("recv", "--timeout=30s", "--out=out", code)
	t.Logf("connected after %v", wantKind(t, "lan", send, recv, file))
}

// TestNothingLeaves: without a server not one packet goes to the default route.
func TestNothingLeaves(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var away []string // packets that went to the NAT, or further
	lan := netip.MustParsePrefix("192.168.1.0/24")
	lab := natlab.NewWith(t, natlab.Topology{
		NATs: []natlab.NAT{{Name: "home"}},
		Hosts: []natlab.Host{
			{Name: "anna", Behind: "home", Firewall: natlab.DropUnsolicited}, {Name: "ben", Behind: "home", Firewall: natlab.DropUnsolicited},
		},
	}, &natlab.Options{Tap: func(c natlab.Capture) {
		_, dst := c.Addrs()
		here := lan.Contains(dst.Addr()) || dst.Addr().IsMulticast()
		if c.Where == "home" && (c.Side == natlab.Outside || !c.Inbound && !here) {
			mu.Lock()
			defer mu.Unlock()
			away = append(away, c.String())
		}
	}})
	if got := lab.NAT("home").LAN(); got != lan {
		t.Fatalf("the network is %v", got)
	}
	anna, ben := newSide(t, lab.Host("anna")), newSide(t, lab.Host("ben"))
	anna.allowMulticast()
	if r := anna.host.Run("ip", "route", "show", "default"); r.Stdout == "" {
		t.Fatal("there is no default route")
	}
	// Another network of anna's, to which ben's way is the default route.
	for _, args := range []string{"link add other type bridge", "addr add 172.30.0.1/16 dev other", "link set other up"} {
		if r := anna.host.Run(strings.Fields("ip " + args)...); r.Err != nil {
			t.Fatalf("ip %s: %v\n%s", args, r.Err, r.Stderr)
		}
	}
	file := anna.file("file.bin", fileSize)
	send := anna.start("send", "--timeout=30s", "--streams=2", file)
	recv := ben.start("recv", "--timeout=30s", "--out=out", send.code())
	wantKind(t, "lan", send, recv, file)
	one := anna.start("bench", "--timeout=30s", "--time=200ms", "--stun=198.51.100.1")
	if other := ben.start("bench", "--timeout=30s", "--time=200ms", one.code()); one.status() != 0 || other.status() != 0 {
		t.Errorf("bench:\n%s\n%s", one.Stderr, other.Stderr)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(away) > 0 {
		t.Errorf("%d packets left the network: %q", len(away), away[:min(len(away), 5)])
	}
}

// TestCandidates: who announces much keeps nobody else out.
func TestCandidates(t *testing.T) {
	at := func(s string) []netip.AddrPort {
		var as []netip.AddrPort
		for f := range strings.FieldsSeq(s) {
			as = append(as, netip.MustParseAddrPort(f))
		}
		return as
	}
	now := time.Now()
	old, young := now.Add(-time.Minute), now.Add(-time.Millisecond)
	is := func(id string, found time.Time, addrs string) neighbour {
		return neighbour{Peer: lanfind.Peer{ID: id, Addrs: at(addrs)}, found: found}
	}
	not := is("x", old, "10.0.0.9:1")
	not.wrong = true
	other := is("y", old, "10.0.0.8:1")
	other.other = true
	cases := []struct {
		name string
		ns   []neighbour
		want string // in any order of hosts
		due  time.Duration
	}{
		{"nobody", nil, "", 0},
		{"an old one", []neighbour{is("a", old, "10.0.0.1:1 [fe80::1%e]:1"), not, other}, "10.0.0.1:1 [fe80::1%e]:1", 0},
		{"a young one", []neighbour{is("a", young, "10.0.0.1:1 [fe80::1%e]:1")}, "10.0.0.1:1", secondTime - time.Millisecond},
		{"a crowd on one host", []neighbour{
			is("a", old, "10.0.0.1:1 10.0.0.7:1"), is("b", old, "10.0.0.1:2"), is("c", old, "10.0.0.1:3"), is("d", now, "10.0.0.2:1 10.0.0.2:9"),
		}, "10.0.0.1:1 10.0.0.2:1 10.0.0.1:2 10.0.0.1:3 10.0.0.7:1", secondTime},
		{"twice the same", []neighbour{is("a", old, "10.0.0.1:1"), is("b", old, "10.0.0.1:1")}, "10.0.0.1:1", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			known := map[string]*neighbour{}
			for _, n := range c.ns {
				known[n.ID] = &n
			}
			got, due := candidates(known, now)
			if len(got) > 1 && got[0].Addr() == netip.MustParseAddr("10.0.0.2") {
				got[0], got[1] = got[1], got[0] // the order of hosts is one of chance
			}
			if !slices.Equal(got, at(c.want)) {
				t.Errorf("got %v, want %s", got, c.want)
			}
			if c.due == 0 != due.IsZero() || c.due != 0 && due.Sub(now) != c.due {
				t.Errorf("the next at %v, want %v", due.Sub(now), c.due)
			}
		})
	}
}

// TestCandidatesCrowd: of more hosts than are tried at once, each has its turn.
func TestCandidatesCrowd(t *testing.T) {
	now := time.Now()
	known := map[string]*neighbour{}
	for i := range 500 {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		known[a.String()] = &neighbour{Peer: lanfind.Peer{ID: a.String(), Addrs: []netip.AddrPort{a}}, found: now.Add(-time.Hour)}
	}
	seen := map[netip.AddrPort]bool{}
	turns := 0
	for at := now; len(seen) < len(known); turns++ {
		got, due := candidates(known, at)
		again, _ := candidates(known, at)
		if len(got) != maxCandidates || !slices.Equal(got, again) || !due.After(at) || due.Sub(at) > rotateTime {
			t.Fatalf("%d addresses, the next ones after %v", len(got), due.Sub(at))
		}
		for _, a := range got {
			seen[a] = true
		}
		if at = due; turns > 200 {
			t.Fatalf("after %d turns %d of %d hosts have had one", turns, len(seen), len(known))
		}
	}
}
