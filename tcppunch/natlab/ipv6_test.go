//go:build linux

package natlab_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestIPv6: a NAT does not translate IPv6, but is a firewall with the same answers.
func TestIPv6(t *testing.T) {
	for _, linux := range []bool{false, true} {
		for _, answer := range []natlab.Unsolicited{natlab.Drop, natlab.Reset, natlab.ICMP, natlab.Prohibited} {
			want := refusals()[answer]
			if answer == natlab.Prohibited {
				want = syscall.EACCES // as ICMPv6 says it
			}
			t.Run(map[bool]string{false: "emulated ", true: "linux "}[linux]+answer.String(), func(t *testing.T) {
				t.Parallel()
				top := oneNAT(natlab.NAT{Linux: linux, Unsolicited: answer})
				top.IPv6 = true
				lab := natlab.New(t, top)
				a, s := client{t, lab.Host("a")}, client{t, lab.Host("s")}
				to := netip.AddrPortFrom(s.m.Addr6(), reflector(t, s.m, ":3478").Port())
				if got := a.seen(7070, to); got.Addr() != a.m.Addr6() || got.Port() != 7070 {
					t.Errorf("seen as %v, want %v", got, a.m.Addr6())
				}
				a.listen(7071)
				tcp, udp := knock(t, s.m, netip.AddrPortFrom(a.m.Addr6(), 7071))
				if !errors.Is(tcp, want) || !errors.Is(udp, want) {
					t.Errorf("unsolicited tcp: %v, udp: %v, want %v", tcp, udp, want)
				}
			})
		}
	}
}

func TestIPv6SimultaneousOpen(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			top := pair(natlab.NAT{Linux: linux, Behind: "carrier"}, natlab.NAT{Linux: linux})
			top.IPv6 = true
			top.NATs = append(top.NATs, natlab.NAT{Name: "carrier", Linux: linux})
			lab := natlab.New(t, top)
			a, b := client{t, lab.Host("a")}, client{t, lab.Host("b")}
			one := a.attempt(t, 7070, netip.AddrPortFrom(b.m.Addr6(), 7070), nil)
			other := b.attempt(t, 7070, netip.AddrPortFrom(a.m.Addr6(), 7070), nil)
			for _, x := range []*attempt{one, other} {
				if err := x.outcome(within); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
