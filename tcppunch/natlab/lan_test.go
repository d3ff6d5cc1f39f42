//go:build linux

package natlab_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

func TestLAN(t *testing.T) {
	tops := map[string]natlab.Topology{
		"emulated": {NATs: []natlab.NAT{{Name: "lan"}}},
		"linux":    {NATs: []natlab.NAT{{Name: "lan", Linux: true}}},
		"alone":    {LANs: []natlab.LAN{{Name: "lan"}}},
	}
	for name, top := range tops {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top.IPv6 = true
			top.Hosts = []natlab.Host{{Name: "a", Behind: "lan"}, {Name: "b", Behind: "lan"}, {Name: "c", Behind: "lan"}, {Name: "s"}}
			log := new(packets)
			lab := natlab.NewWith(t, top, &natlab.Options{Tap: log.add})
			a, b, c := client{t, lab.Host("a")}, client{t, lab.Host("b")}, client{t, lab.Host("c")}
			if got := a.seen(7070, reflector(t, b.m, ":3478")); got != netip.AddrPortFrom(a.m.Addr(), 7070) {
				t.Errorf("seen as %v on the same network", got)
			}
			for _, p := range log.at("b", natlab.AtHost, true) {
				if p.Protocol() == natlab.TCP && p.TTL() != 64 {
					t.Errorf("not direct: %v", p)
				}
			}
			testGroups(t, a, b, c)
			out, err := a.tcpWithin(300*time.Millisecond, 0, reflector(t, lab.Host("s"), ":3478"))
			if alone := name == "alone"; alone != (err != nil) {
				t.Errorf("connecting to the outside: %v, %v", out, err)
			}
		})
	}
}

// What goes to an address of a network that nobody has stays there, and is not taken out by the NAT.
func TestNobody(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, natlab.Topology{NATs: []natlab.NAT{{Name: "lan"}}, Hosts: []natlab.Host{{Name: "a", Behind: "lan"}}})
	c, err := lab.Host("a").ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 10 {
		nobody := lab.Host("a").Addr().As4()
		nobody[3] = byte(100 + i)
		if _, err := c.WriteTo([]byte("hello"), &net.UDPAddr{IP: nobody[:], Port: 7}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	if s := lab.NAT("lan").Stats(); s.Packets != 0 {
		t.Errorf("the NAT had %+v", s)
	}
}

// testGroups sends from a to groups that b and c are in, and by broadcast.
func testGroups(t *testing.T, a, b, c client) {
	iface := &net.Interface{Name: "eth0", Index: 2}
	for _, group := range []*net.UDPAddr{
		{IP: net.IPv4(224, 0, 0, 251), Port: 5353},
		{IP: net.ParseIP("ff02::fb"), Port: 5353, Zone: "eth0"},
		{IP: net.IPv4bcast, Port: 5354},
		{IP: lastOf(a.m.Addr()), Port: 5355},
	} {
		var all []*net.UDPConn
		for _, x := range []client{b, c} {
			err := x.m.Do(func() error {
				i, err := net.InterfaceByName(iface.Name)
				if err != nil {
					return err
				}
				var pc *net.UDPConn
				if group.IP.IsMulticast() {
					pc, err = net.ListenMulticastUDP("udp", i, group)
				} else {
					pc, err = net.ListenUDP("udp4", &net.UDPAddr{Port: group.Port})
				}
				if err == nil {
					all = append(all, pc)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		err := a.m.Do(func() error {
			pc, err := net.ListenUDP("udp", nil)
			if err != nil {
				return err
			}
			defer pc.Close()
			_, err = pc.WriteToUDP([]byte("hello"), group)
			return err
		})
		if err != nil {
			t.Errorf("sending to %v: %v", group, err)
		}
		for i, pc := range all {
			_ = pc.SetReadDeadline(time.Now().Add(time.Second))
			if _, _, err := pc.ReadFrom(make([]byte, 100)); err != nil {
				t.Errorf("receiver %d of %v: %v", i, group, err)
			}
			pc.Close()
		}
	}
}

// lastOf is the directed broadcast address of a /24.
func lastOf(a netip.Addr) net.IP {
	b := a.As4()
	return net.IPv4(b[0], b[1], b[2], 255)
}
