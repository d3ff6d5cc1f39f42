//go:build linux

package natlab_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"golang.org/x/sys/unix"
)

// TestStats: what four connections cost, two of them from one port, on each kind of NAT.
func TestStats(t *testing.T) {
	for _, test := range []struct {
		name     string
		nat      natlab.NAT
		mappings uint64
	}{
		{"endpoint-independent", natlab.NAT{}, 3},
		{"address-and-port-dependent", natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Sequential}, 4},
		{"linux", natlab.NAT{Linux: true}, 3},
		{"linux random", natlab.NAT{Linux: true, Ports: natlab.Random}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(test.nat))
			to, other := reflector(t, lab.Host("s"), ":3478"), reflector(t, lab.Host("s2"), ":3478")
			a, home := client{t, lab.Host("a")}, lab.NAT("home")
			a.seen(7069, to)
			before := home.Stats()
			a.seen(7070, to)
			a.seen(7070, other)
			a.seen(7071, to)
			a.seen(7072, to)
			got := home.Stats().Since(before)
			if got.SYNs != 4 || got.Sessions != 4 || got.Mappings != test.mappings {
				t.Errorf("%d SYNs, %d sessions and %d mappings, want 4, 4 and %d", got.SYNs, got.Sessions, got.Mappings, test.mappings)
			}
			// SYN, SYN-ACK, ACK and the answer: at least two packets each way.
			if got.Out < 8 || got.In < 8 || got.Packets < 16 {
				t.Errorf("%d packets, %d out and %d in, of 4 connections", got.Packets, got.Out, got.In)
			}
			if got.Current < int(test.mappings)+1 || got.Peak < got.Current {
				t.Errorf("%d current and %d at the peak, after %d mappings", got.Current, got.Peak, test.mappings+1)
			}
			if got.Refused != 0 {
				t.Errorf("refused %d packets", got.Refused)
			}
		})
	}
}

// TestStatsOfAnswers: a router that resets strangers makes no session by it.
func TestStatsOfAnswers(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Linux: linux, Unsolicited: natlab.Reset}))
			home := lab.NAT("home")
			before := home.Stats()
			to := netip.AddrPortFrom(home.Addr(), 7070)
			if _, err := (client{t, lab.Host("s")}).tcp(0, to); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatalf("knocking: %v", err)
			}
			if got := home.Stats().Since(before); got.In != 1 || got.Out != 1 || got.SYNs+got.Sessions+got.Mappings != 0 {
				t.Errorf("one SYN in and one RST out counts as %+v", got)
			}
		})
	}
}

// TestPeak: what has ended counts in the peak and in the total, but not in what is current.
func TestPeak(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, oneNAT(natlab.NAT{UDPLifetime: 50 * time.Millisecond}))
	to := netip.AddrPortFrom(lab.Host("s").Addr(), 9)
	for range 5 {
		_, _ = client{t, lab.Host("a")}.udp(0).WriteToUDPAddrPort([]byte("?"), to)
	}
	var got natlab.Stats
	for end := time.Now().Add(within); got.Mappings < 5 || got.Current > 0; time.Sleep(10 * time.Millisecond) {
		if got = lab.NAT("home").Stats(); time.Now().After(end) {
			break
		}
	}
	if got.Mappings != 5 || got.Current != 0 || got.Peak < 1 || got.Peak > 5 {
		t.Errorf("%d mappings made, %d at the peak, %d left, want 5, 1 to 5, 0", got.Mappings, got.Peak, got.Current)
	}
}

// TestStorm: the SYNs of a birthday punch, 1024 from one side and 256 from the other, all cross both NATs, and the two
// that fit connect. Every SYN costs what it must and no more.
func TestStorm(t *testing.T) {
	t.Parallel()
	random := natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}
	top := pair(random, natlab.NAT{})
	top.NATs[0].Link.Delay, top.NATs[1].Link.Delay = 0, 0
	lab := natlab.New(t, top)
	a, b, toB, toA := ends(t, lab)
	home, office := lab.NAT("home"), lab.NAT("office")
	for range 256 {
		a.attempt(t, 0, toB, map[int]int{unix.IP_TTL: 4, unix.IP_MINTTL: 5})
	}
	for port := range 1024 {
		b.attempt(t, 7070, netip.AddrPortFrom(toA.Addr(), uint16(20000+port)), nil)
	}
	var one, other natlab.Stats
	for end := time.Now().Add(within); one.SYNs < 256 || other.SYNs < 1024; time.Sleep(10 * time.Millisecond) {
		one, other = home.Stats(), office.Stats()
		if time.Now().After(end) {
			break
		}
	}
	if one.SYNs < 256 || one.Mappings != 256 || one.Sessions != 256 {
		t.Errorf("256 openers: %d SYNs, %d mappings, %d sessions", one.SYNs, one.Mappings, one.Sessions)
	}
	if other.SYNs < 1024 || other.Mappings != 1 || other.Sessions != 1024 {
		t.Errorf("1024 connects from one port: %d SYNs, %d mappings, %d sessions", other.SYNs, other.Mappings, other.Sessions)
	}
}

// TestHopAddresses: a trace sees private addresses up to the outermost NAT, and others from there.
func TestHopAddresses(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			log := new(packets)
			lab := natlab.NewWith(t, natlab.Topology{
				NATs: []natlab.NAT{
					{Name: "carrier", Linux: linux},
					{Name: "home", Linux: linux, Behind: "carrier", Link: natlab.Link{Hops: 2}},
				},
				Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "s"}},
			}, &natlab.Options{Tap: log.add})
			to := netip.AddrPortFrom(lab.Host("s").Addr(), 7070)
			// home, two routers of the carrier's, the carrier's NAT, and then the core.
			for ttl, private := range []bool{true, true, true, true, false, false, false} {
				client{t, lab.Host("a")}.attempt(t, 0, to, map[int]int{unix.IP_TTL: ttl + 1})
				var from netip.Addr
				for end := time.Now().Add(within); time.Now().Before(end) && !from.IsValid(); time.Sleep(time.Millisecond) {
					if seen := log.protocol("a", 1); len(seen) > ttl {
						src, _ := seen[ttl].Addrs()
						from = src.Addr()
					}
				}
				shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
				if got := from.IsPrivate() || shared.Contains(from); !from.IsValid() || got != private {
					t.Errorf("router %d is %v, want a private address: %v", ttl+1, from, private)
				}
			}
		})
	}
}

// BenchmarkStorm measures how long the lab takes over 1024 SYNs through two NATs and the RSTs that answer them.
func BenchmarkStorm(b *testing.B) {
	lab := natlab.New(b, natlab.Topology{
		NATs:  []natlab.NAT{{Name: "home"}, {Name: "office", Unsolicited: natlab.Reset}},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}},
	})
	a, to := client{b, lab.Host("a")}, lab.NAT("office").Addr()
	b.ResetTimer()
	for i := range b.N {
		var all []*attempt
		for port := range 1024 {
			all = append(all, a.attempt(b, 2000+i%60000, netip.AddrPortFrom(to, uint16(20000+port)), nil))
		}
		for _, x := range all {
			if err := x.outcome(within); !errors.Is(err, syscall.ECONNREFUSED) {
				b.Fatal(err)
			}
			x.close()
		}
	}
	b.ReportMetric(1024*float64(b.N)/b.Elapsed().Seconds(), "SYN/s")
}
