package lanfind

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		addr        string
		n           int
		first, last string // after the broadcast address, if there is one
		broadcast   string
	}{
		{"10.0.1.10/24", 254, "10.0.1.10", "10.0.1.9", "10.0.1.255"},
		{"10.0.1.10/22", 1022, "10.0.1.10", "10.0.1.9", "10.0.3.255"},
		{"10.0.1.10/16", 1023, "10.0.1.10", "10.0.1.9", "10.0.255.255"}, // the /22 around it; all but 10.0.0.0 are hosts
		{"172.16.9.1/12", 1024, "172.16.9.1", "172.16.9.0", "172.31.255.255"},
		{"10.0.1.1/30", 2, "10.0.1.1", "10.0.1.2", "10.0.1.3"},
		{"10.0.1.0/31", 2, "10.0.1.0", "10.0.1.1", ""},
		{"10.0.1.1/32", 0, "", "", ""},
		{"fd00::1/64", 0, "", "", ""},
		{"255.255.255.254/24", 254, "255.255.255.254", "255.255.255.253", "255.255.255.255"},
		{"0.0.0.1/24", 254, "0.0.0.1", "0.0.0.254", "0.0.0.255"},
	} {
		p := netip.MustParsePrefix(tt.addr)
		f := &Interface{Index: 2, Addrs: []netip.Prefix{p}}
		all := targets(f, nil)
		if tt.broadcast != "" {
			if len(all) == 0 || all[0].addr.String() != tt.broadcast {
				t.Fatalf("%s: no broadcast first: %v", tt.addr, all)
			}
			all = all[1:]
		}
		if len(all) != tt.n || tt.n > 0 && (all[0].addr.String() != tt.first || all[len(all)-1].addr.String() != tt.last) {
			t.Errorf("%s: %d from %v to %v, want %+v", tt.addr, len(all), all[:min(1, len(all))], all[max(0, len(all)-1):], tt)
		}
		seen := make(map[netip.Addr]bool)
		for _, a := range all {
			if seen[a.addr] || !p.Contains(a.addr) || a.index != 2 {
				t.Errorf("%s: %v twice or outside", tt.addr, a)
			}
			seen[a.addr] = true
		}
	}
}

func TestSweeper(t *testing.T) {
	var s sweeper
	plans := 0
	f := &Interface{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.10/22")}}
	plan := func() []target { plans++; return targets(f, nil) }
	now, sent := t0, 0
	for now.Sub(t0) < time.Minute {
		n := len(s.hand(now, plan))
		if sent += n; n > sweepHand {
			t.Fatalf("%d at once", n)
		}
		if plans == 1 && len(s.left) == 0 {
			if took := now.Sub(t0); took > 6200*time.Millisecond {
				t.Errorf("a /22 takes %v", took)
			}
		}
		now = s.next
	}
	if plans != 6 || sent != 6*1023 {
		t.Errorf("%d sweeps, %d datagrams in a minute", plans, sent)
	}
	for now.Sub(t0) < time.Hour {
		s.hand(now, plan)
		now = s.next
	}
	if want := 33 + 25; plans < want-1 || plans > want+2 {
		t.Errorf("%d sweeps in an hour, want about %d", plans, want)
	}
}

// Of two hosts anywhere in a /22 one comes to the other in 3.2 s, and hosts that the system knows go first.
func TestSweepMeets(t *testing.T) {
	when := func(addr string) map[netip.Addr]time.Duration {
		var s sweeper
		f := &Interface{Addrs: []netip.Prefix{netip.MustParsePrefix(addr + "/22")}}
		at := make(map[netip.Addr]time.Duration)
		for now := t0; len(at) < 1023; now = s.next {
			for _, t := range s.hand(now, func() []target { return targets(f, nil) }) {
				at[t.addr] = now.Sub(t0)
			}
		}
		return at
	}
	a := netip.MustParseAddr("10.0.0.1")
	fromA := when(a.String())
	for _, b := range []string{"10.0.0.2", "10.0.1.254", "10.0.2.1", "10.0.2.2", "10.0.3.254"} {
		if at := min(fromA[netip.MustParseAddr(b)], when(b)[a]); at > 3200*time.Millisecond {
			t.Errorf("%v and %v meet after %v", a, b, at)
		}
	}
}

func TestHurry(t *testing.T) {
	var s sweeper
	f := &Interface{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.10/24")}}
	plan := func() []target { return targets(f, nil) }
	last := target{addr: netip.MustParseAddr("10.0.1.9")}
	s.hurry([]target{last}, t0)
	sent := len(s.hand(t0, plan))
	s.hurry([]target{last, last}, t0)
	s.hurry([]target{last}, t0)
	if due := s.hand(s.next, plan); len(due) != sweepHand || due[0] != last || due[1] == last {
		t.Errorf("got %v, not %v first", due, last)
	}
	for sent += sweepHand; !s.done(); {
		sent += len(s.hand(s.next, plan))
	}
	if sent != 255 {
		t.Errorf("%d datagrams in a sweep, want 255", sent)
	}
	again := s.next
	if s.hurry([]target{last}, again.Add(-time.Second)); s.next != again {
		t.Error("the same address again in one sweep")
	}
	other := target{addr: netip.MustParseAddr("10.0.1.77"), index: 3} // another interface
	now := again.Add(-time.Second)
	s.hurry([]target{other}, now)
	if due := s.hand(s.next, plan); len(due) != 1 || due[0] != other || s.next != again {
		t.Errorf("between sweeps: %v, and the next one after %v", due, s.next.Sub(again))
	}
}

func TestJudge(t *testing.T) {
	four := &net.IPNet{IP: net.IPv4(10, 0, 1, 1), Mask: net.CIDRMask(24, 32)}
	six := &net.IPNet{IP: net.ParseIP("fe80::1"), Mask: net.CIDRMask(64, 128)}
	const up = net.FlagUp | net.FlagRunning
	for _, tt := range []struct {
		name   string
		flags  net.Flags
		addrs  []net.Addr
		unfit  string
		tunnel bool
	}{
		{"eth0", up | net.FlagBroadcast | net.FlagMulticast, []net.Addr{four, six}, "", false},
		{"wlan0", up | net.FlagBroadcast | net.FlagMulticast, []net.Addr{six}, "", false},
		{"eth1", net.FlagBroadcast | net.FlagMulticast, []net.Addr{four}, "down", false},
		{"eth2", net.FlagUp | net.FlagBroadcast, []net.Addr{four}, "no carrier", false},
		{"eth3", up | net.FlagBroadcast, nil, "no address", false},
		{"lo", up | net.FlagLoopback, []net.Addr{four}, "loopback", false},
		{"wg0", up | net.FlagPointToPoint, []net.Addr{four}, "point-to-point", true},
		{"zt7nnig26", up | net.FlagBroadcast | net.FlagMulticast, []net.Addr{four}, "", true},
	} {
		f := judge(net.Interface{Index: 2, Name: tt.name, Flags: tt.flags}, tt.addrs)
		if f.Unfit != tt.unfit || f.Tunnel != tt.tunnel || len(f.Addrs) != len(tt.addrs) {
			t.Errorf("%s: %+v", tt.name, f)
		}
		if got := len(choose([]Interface{f}, nil)) == 1; got != (tt.unfit == "") {
			t.Errorf("%s: chosen: %v", tt.name, got)
		}
		named := len(choose([]Interface{f}, []string{tt.name})) == 1
		if want := tt.unfit != "down" && tt.unfit != "no address"; named != want {
			t.Errorf("%s: chosen by its name: %v", tt.name, named)
		}
	}
}

func TestReaches(t *testing.T) {
	f := &Interface{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("fe80::1/64")}}
	for s, want := range map[string]bool{
		"10.0.1.2": true, "10.0.1.1": true, "10.0.1.255": false, "10.0.1.0": false, "10.0.2.1": false, "8.8.8.8": false, "0.0.0.0": false,
		"127.0.0.1": false, "224.0.0.251": false, "255.255.255.255": false, "2001:db8::2": true, "2001:db8:0:1::2": false, "fe80::2": true,
		"::1": false, "::": false, "ff02::fb": false,
	} {
		if got := f.reaches(netip.MustParseAddr(s)); got != want {
			t.Errorf("reaches(%s) = %v", s, got)
		}
	}
}
