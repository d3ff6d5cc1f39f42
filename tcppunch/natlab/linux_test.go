//go:build linux

package natlab_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// refusals is what knocking is answered under each rule of a Linux firewall.
func refusals() map[natlab.Unsolicited]error {
	return map[natlab.Unsolicited]error{
		natlab.Drop:       nil,
		natlab.Accept:     syscall.ECONNREFUSED,
		natlab.Reset:      syscall.ECONNREFUSED,
		natlab.ICMP:       syscall.ECONNREFUSED,
		natlab.Prohibited: syscall.EHOSTUNREACH,
	}
}

func TestLinuxNATUnsolicited(t *testing.T) {
	for answer, want := range refusals() {
		t.Run(answer.String(), func(t *testing.T) {
			t.Parallel()
			log := new(packets)
			lab := natlab.NewWith(t, oneNAT(natlab.NAT{Linux: true, Unsolicited: answer}), &natlab.Options{Tap: log.add})
			tcp, udp := knock(t, lab.Host("s"), netip.AddrPortFrom(lab.NAT("home").Addr(), 7070))
			if !errors.Is(tcp, want) || !errors.Is(udp, want) {
				t.Errorf("tcp: %v, udp: %v, want %v", tcp, udp, want)
			}
			reset := answer == natlab.Reset || answer == natlab.Accept
			if got := log.count("home", natlab.Outside, natlab.TCP, "RA") > 0; got != reset {
				t.Errorf("a RST was sent: %v, want %v", got, reset)
			}
		})
	}
}

// TestLinuxNATPorts: masquerading keeps ports, per 4-tuple: the same port serves many destinations.
func TestLinuxNATPorts(t *testing.T) {
	for _, ports := range []natlab.Ports{natlab.Preserving, natlab.Random} {
		t.Run(ports.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Linux: true, Ports: ports}))
			one, two := reflector(t, lab.Host("s"), ":3478"), reflector(t, lab.Host("s2"), ":3478")
			a := client{t, lab.Host("a")}
			first, second := a.seen(7070, one), a.seen(7070, two)
			if first.Addr() != lab.NAT("home").Addr() {
				t.Errorf("seen as %v", first)
			}
			if kept := first.Port() == 7070 && second == first; kept != (ports == natlab.Preserving) {
				t.Errorf("port 7070 is seen as %v and %v", first, second)
			}
		})
	}
}

func TestHostFirewall(t *testing.T) {
	for firewall, want := range map[natlab.Firewall]error{
		natlab.NoFirewall:        syscall.ECONNREFUSED, // nobody listens
		natlab.DropUnsolicited:   nil,
		natlab.RejectUnsolicited: syscall.ECONNREFUSED,
	} {
		t.Run(firewall.String(), func(t *testing.T) {
			t.Parallel()
			top := twoPublic(natlab.Link{})
			top.Hosts[0].Firewall = firewall
			lab := natlab.New(t, top)
			tcp, udp := knock(t, lab.Host("s"), netip.AddrPortFrom(lab.Host("a").Addr(), 7070))
			if !errors.Is(tcp, want) || !errors.Is(udp, want) {
				t.Errorf("tcp: %v, udp: %v, want %v", tcp, udp, want)
			}
			ln := client{t, lab.Host("a")}.listen(7071)
			defer ln.Close()
			_, err := client{t, lab.Host("s")}.tcpWithin(within/10, 0, netip.AddrPortFrom(lab.Host("a").Addr(), 7071))
			if got := err == nil; got != (firewall == natlab.NoFirewall) {
				t.Errorf("connecting to a listener: %v", err)
			}
			client{t, lab.Host("a")}.seen(0, reflector(t, lab.Host("s"), ":3478")) // outwards all is free
		})
	}
}

// TestICMP: echoes, and errors about what came in, cross both kinds of NAT.
func TestICMP(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			log := new(packets)
			lab := natlab.NewWith(t, oneNAT(natlab.NAT{Linux: linux}), &natlab.Options{Tap: log.add})
			if _, err := ping(t, lab.Host("a"), lab.Host("s").Addr()); err != nil {
				t.Errorf("ping from inside: %v", err)
			}
			if _, err := ping(t, lab.Host("a"), lab.NAT("home").InsideAddr()); err != nil {
				t.Errorf("ping of the NAT: %v", err)
			}
			if _, err := ping(t, lab.Host("s"), lab.NAT("home").Addr()); err == nil {
				t.Error("a NAT that drops what is unsolicited answers a ping")
			}
			// A datagram to a port that has been closed inside is answered by the host, and the NAT brings the answer out.
			a, s := client{t, lab.Host("a")}, client{t, lab.Host("s")}
			to := netip.AddrPortFrom(s.m.Addr(), 3478)
			pc := a.udp(7070)
			_, _ = pc.WriteToUDPAddrPort([]byte("opening my NAT"), to)
			pc.Close()
			log.wait(t, "s", natlab.AtHost, natlab.UDP, "")
			var c net.Conn
			err := s.m.Do(func() (err error) {
				d := net.Dialer{LocalAddr: &net.UDPAddr{Port: 3478}}
				c, err = d.Dial("udp", netip.AddrPortFrom(lab.NAT("home").Addr(), 7070).String())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write([]byte("?"))
			_ = c.SetReadDeadline(time.Now().Add(within))
			for err == nil { // the opening datagram may have come first
				_, err = c.Read(make([]byte, 100))
			}
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a datagram to a closed port inside: %v, want refused", err)
			}
		})
	}
}
