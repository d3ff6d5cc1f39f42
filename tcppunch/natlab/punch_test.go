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

// pair is two NATs 100 ms apart, there and back, with a host behind each.
func pair(home, office natlab.NAT) natlab.Topology {
	home.Name, home.Link.Delay = "home", 25*time.Millisecond
	office.Name, office.Link.Delay = "office", 25*time.Millisecond
	return natlab.Topology{
		NATs:  []natlab.NAT{home, office},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}},
	}
}

// ends returns the two hosts of a pair, with the endpoint that each must connect to.
func ends(t *testing.T, lab *natlab.Lab) (a, b client, toB, toA netip.AddrPort) {
	return client{t, lab.Host("a")}, client{t, lab.Host("b")},
		netip.AddrPortFrom(lab.NAT("office").Addr(), 7070), netip.AddrPortFrom(lab.NAT("home").Addr(), 7070)
}

// TestSimultaneousOpen is the fact that the whole project rests on: two connects that cross become one connection.
func TestSimultaneousOpen(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			a, b, toB, toA := ends(t, natlab.New(t, pair(natlab.NAT{Linux: linux}, natlab.NAT{Linux: linux})))
			begin := time.Now()
			one, other := a.attempt(t, 7070, toB, nil), b.attempt(t, 7070, toA, nil)
			for _, x := range []*attempt{one, other} {
				if err := x.outcome(within); err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(begin); took < 100*time.Millisecond || took > 250*time.Millisecond {
				t.Errorf("connected after %v, want 100 ms", took)
			}
		})
	}
}

// TestOpener: a low-TTL SYN opens its own NAT and never reaches the other. With IP_MINTTL above it the socket survives the
// ICMP time exceeded, and an ordinary connect of the other side meets it.
func TestOpener(t *testing.T) {
	answers := []natlab.Unsolicited{natlab.Drop, natlab.Accept, natlab.Reset}
	for _, u := range answers {
		for _, v := range answers {
			t.Run("linux "+u.String()+" "+v.String(), func(t *testing.T) {
				t.Parallel()
				testOpener(t, pair(natlab.NAT{Linux: true, Unsolicited: u}, natlab.NAT{Linux: true, Unsolicited: v}))
			})
		}
	}
	for name, n := range map[string]natlab.NAT{
		"drop":  {},
		"reset": {Unsolicited: natlab.Reset},
		"ends":  {Unsolicited: natlab.Reset, RSTEndsSession: true},
		"icmp":  {Unsolicited: natlab.ICMP},
	} {
		t.Run("emulated "+name, func(t *testing.T) {
			t.Parallel()
			testOpener(t, pair(n, n))
		})
	}
	t.Run("linux routers", func(t *testing.T) {
		t.Parallel()
		n := natlab.NAT{Linux: true, Unsolicited: natlab.Reset, Routers: 3, Link: natlab.Link{Hops: -1}}
		testOpener(t, pair(n, n))
	})
}

func testOpener(t *testing.T, top natlab.Topology) {
	const low = 4
	log := new(packets)
	a, b, toB, toA := ends(t, natlab.NewWith(t, top, &natlab.Options{Tap: log.add}))
	naked := a.attempt(t, 6060, toB, map[int]int{unix.IP_TTL: low})
	if err := naked.outcome(within); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a low TTL alone: %v, want EHOSTUNREACH", err)
	}
	opener := a.attempt(t, 7070, toB, map[int]int{unix.IP_TTL: low, unix.IP_MINTTL: low + 1})
	opener.set(map[int]int{unix.IP_TTL: 64})
	log.wait(t, "home", natlab.Outside, natlab.TCP, "S")
	if err := opener.outcome(200 * time.Millisecond); !errors.Is(err, errPending) {
		t.Fatalf("with IP_MINTTL: %v, want it to live on", err)
	}
	begin := time.Now()
	connector := b.attempt(t, 7070, toA, nil)
	for _, x := range []*attempt{connector, opener} {
		if err := x.outcome(within); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(begin); took > 300*time.Millisecond {
		t.Errorf("connected after %v, want one round trip of 100 ms", took)
	}
}

// TestOpenerIPv6: IPV6_MINHOPCOUNT is compared with the ICMPv6 packet itself, so 255 survives it, and has to be taken
// back before the peer's SYN comes.
func TestOpenerIPv6(t *testing.T) {
	for name, n := range map[string]natlab.NAT{
		"linux routers":    {Linux: true, Routers: 3, Link: natlab.Link{Hops: -1}},
		"emulated routers": {Unsolicited: natlab.Reset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testOpenerIPv6(t, n)
		})
	}
}

func testOpenerIPv6(t *testing.T, n natlab.NAT) {
	top := pair(n, n)
	top.IPv6 = true
	top.Hosts[0].Link.Delay = 10 * time.Millisecond
	lab := natlab.New(t, top)
	a, b := client{t, lab.Host("a")}, client{t, lab.Host("b")}
	toA, toB := netip.AddrPortFrom(a.m.Addr6(), 7070), netip.AddrPortFrom(b.m.Addr6(), 7070)
	naked := a.attempt(t, 6060, toB, map[int]int{unix.IPV6_UNICAST_HOPS: 4})
	if err := naked.outcome(within); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a low hop limit alone: %v, want EHOSTUNREACH", err)
	}
	opener := a.attempt(t, 7070, toB, map[int]int{unix.IPV6_UNICAST_HOPS: 4, unix.IPV6_MINHOPCOUNT: 255})
	if err := opener.outcome(100 * time.Millisecond); !errors.Is(err, errPending) {
		t.Fatalf("with IPV6_MINHOPCOUNT: %v, want it to live on", err)
	}
	opener.set(map[int]int{unix.IPV6_UNICAST_HOPS: 64, unix.IPV6_MINHOPCOUNT: 0})
	connector := b.attempt(t, 7070, toA, nil)
	for _, x := range []*attempt{connector, opener} {
		if err := x.outcome(within); err != nil {
			t.Error(err)
		}
	}
}

// TestPoison: after "SYN, close, then listen" a Linux NAT refuses the listener's SYN-ACK, which has another sequence
// number than the SYN. An emulated NAT does not look. Only real NATs show this.
func TestPoison(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			log := new(packets)
			lab := natlab.NewWith(t, pair(natlab.NAT{Linux: linux}, natlab.NAT{Linux: linux}), &natlab.Options{Tap: log.add})
			a, b, toB, toA := ends(t, lab)
			first := a.attempt(t, 7070, toB, nil)
			log.wait(t, "office", natlab.Outside, natlab.TCP, "S")
			first.close()
			a.listen(7070)
			err := b.attempt(t, 7070, toA, nil).outcome(1500 * time.Millisecond)
			if linux != errors.Is(err, errPending) || !linux && err != nil {
				t.Errorf("connecting to the listener: %v", err)
			}
		})
	}
}
