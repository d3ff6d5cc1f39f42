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

// oneNAT is a host a behind a NAT, and two public hosts s and s2.
func oneNAT(n natlab.NAT) natlab.Topology {
	n.Name = "home"
	return natlab.Topology{
		NATs:  []natlab.NAT{n},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "s"}, {Name: "s2"}},
	}
}

func TestMapping(t *testing.T) {
	for _, test := range []struct {
		mapping              natlab.Behavior
		samePort, sameServer bool // whether another port, or another server, sees the same endpoint
	}{
		{natlab.EndpointIndependent, true, true},
		{natlab.AddressDependent, true, false},
		{natlab.AddressAndPortDependent, false, false},
	} {
		t.Run(test.mapping.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Mapping: test.mapping}))
			first := reflector(t, lab.Host("s"), ":3478")
			port := reflector(t, lab.Host("s"), ":3479")
			server := reflector(t, lab.Host("s2"), ":3478")
			a := client{t, lab.Host("a")}
			tcp := a.seen(7070, first)
			if tcp.Addr() != lab.NAT("home").Addr() || tcp.Port() != 7070 {
				t.Errorf("tcp: seen as %v, want port 7070 of %v", tcp, lab.NAT("home").Addr())
			}
			if got := a.seen(7070, port) == tcp; got != test.samePort {
				t.Errorf("tcp: same endpoint for another port is %v, want %v", got, test.samePort)
			}
			if got := a.seen(7070, server) == tcp; got != test.sameServer {
				t.Errorf("tcp: same endpoint for another server is %v, want %v", got, test.sameServer)
			}
			pc := a.udp(7071)
			udp := seenUDP(t, pc, first)
			if got := seenUDP(t, pc, port) == udp; got != test.samePort {
				t.Errorf("udp: same endpoint for another port is %v, want %v", got, test.samePort)
			}
			if got := seenUDP(t, pc, server) == udp; got != test.sameServer {
				t.Errorf("udp: same endpoint for another server is %v, want %v", got, test.sameServer)
			}
		})
	}
}

func TestFiltering(t *testing.T) {
	for _, test := range []struct {
		filtering              natlab.Behavior
		otherPort, otherServer bool // who may send to the mapping
	}{
		{natlab.EndpointIndependent, true, true},
		{natlab.AddressDependent, true, false},
		{natlab.AddressAndPortDependent, false, false},
	} {
		t.Run(test.filtering.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Filtering: test.filtering, Unsolicited: natlab.Reset}))
			s, s2 := client{t, lab.Host("s")}, client{t, lab.Host("s2")}
			to := reflector(t, lab.Host("s"), ":3478")
			a := client{t, lab.Host("a")}
			a.listen(7070)
			tcp := a.seen(7070, to)
			for from, want := range map[client]bool{s: test.otherPort, s2: test.otherServer} {
				_, err := from.tcp(3479, tcp)
				if got := err == nil; got != want || err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("tcp from %s, another port: %v, want let in %v", from.m.Name(), err, want)
				}
			}
			pc := a.udp(7071)
			udp := seenUDP(t, pc, to)
			if got := arrives(t, s.udp(3479), udp, pc); got != test.otherPort {
				t.Errorf("udp from another port arrives is %v, want %v", got, test.otherPort)
			}
			if got := arrives(t, s2.udp(3478), udp, pc); got != test.otherServer {
				t.Errorf("udp from another server arrives is %v, want %v", got, test.otherServer)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	mapped := func(t *testing.T, n natlab.NAT, seed uint64) []int {
		top := oneNAT(n)
		top.Seed = seed
		lab := natlab.New(t, top)
		to := reflector(t, lab.Host("s"), ":3478")
		var all []int
		for port := range 5 {
			all = append(all, int(seenUDP(t, client{t, lab.Host("a")}.udp(7070+10*port), to).Port()))
		}
		return all
	}
	t.Run("preserving", func(t *testing.T) {
		for i, port := range mapped(t, natlab.NAT{Ports: natlab.Preserving}, 0) {
			if port != 7070+10*i {
				t.Errorf("port %d became %d", 7070+10*i, port)
			}
		}
	})
	t.Run("sequential", func(t *testing.T) {
		got := mapped(t, natlab.NAT{Ports: natlab.Sequential, Step: 2}, 0)
		for i := range got[1:] {
			if got[i+1]-got[i] != 2 {
				t.Errorf("ports are %v, want a step of 2", got)
			}
		}
	})
	t.Run("churn", func(t *testing.T) {
		got := mapped(t, natlab.NAT{Ports: natlab.Sequential, Step: 2, Churn: 10}, 0)
		even := 0
		for i := range got[1:] {
			step := got[i+1] - got[i]
			if step%2 != 0 || step < 2 || step > 22 {
				t.Errorf("ports are %v, want steps from 2 to 22", got)
			}
			if step == 2 {
				even++
			}
		}
		if even == len(got)-1 {
			t.Errorf("ports are %v: nobody else took any", got)
		}
	})
	t.Run("random", func(t *testing.T) {
		got, again, other := mapped(t, natlab.NAT{Ports: natlab.Random}, 1), mapped(t, natlab.NAT{Ports: natlab.Random}, 1), mapped(t, natlab.NAT{Ports: natlab.Random}, 2)
		same := 0
		for i := range got {
			if got[i] != again[i] {
				t.Errorf("the same seed gives %v and %v", got, again)
			}
			if got[i] == other[i] || got[i] == 7070+10*i {
				same++
			}
		}
		if same > 1 {
			t.Errorf("ports are not random: %v, %v", got, other)
		}
	})
	t.Run("collision", func(t *testing.T) {
		top := oneNAT(natlab.NAT{})
		top.Hosts = append(top.Hosts, natlab.Host{Name: "b", Behind: "home"})
		lab := natlab.New(t, top)
		to := reflector(t, lab.Host("s"), ":3478")
		one, two := client{t, lab.Host("a")}.seen(7070, to), client{t, lab.Host("b")}.seen(7070, to)
		if one.Port() != 7070 || two.Port() != 7071 {
			t.Errorf("two hosts with port 7070 became %v and %v, want 7070 and the next one", one, two)
		}
	})
}

func TestUnsolicited(t *testing.T) {
	for _, test := range []struct {
		answer   natlab.Unsolicited
		tcp, udp error // nil means no answer
	}{
		{natlab.Drop, nil, nil},
		{natlab.Reset, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{natlab.ICMP, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{natlab.Prohibited, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
	} {
		t.Run(test.answer.String(), func(t *testing.T) {
			t.Parallel()
			log := new(packets)
			lab := natlab.NewWith(t, oneNAT(natlab.NAT{Unsolicited: test.answer}), &natlab.Options{Tap: log.add})
			to := netip.AddrPortFrom(lab.NAT("home").Addr(), 7070)
			tcp, udp := knock(t, lab.Host("s"), to)
			if !errors.Is(tcp, test.tcp) {
				t.Errorf("tcp: %v, want %v", tcp, test.tcp)
			}
			if !errors.Is(udp, test.udp) {
				t.Errorf("udp: %v, want %v", udp, test.udp)
			}
			if got, want := log.count("home", natlab.Outside, natlab.TCP, "RA") > 0, test.answer == natlab.Reset; got != want {
				t.Errorf("a RST was sent: %v, want %v", got, want)
			}
			if got := lab.NAT("home").Stats().Refused; got < 2 {
				t.Errorf("refused %d packets, want at least 2", got)
			}
		})
	}
}

func TestRSTEndsSession(t *testing.T) {
	for _, ends := range []bool{false, true} {
		t.Run(map[bool]string{false: "kept", true: "ended"}[ends], func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{RSTEndsSession: ends, Unsolicited: natlab.Reset}))
			a, s := client{t, lab.Host("a")}, client{t, lab.Host("s")}
			a.listen(7070)
			if _, err := a.tcp(7070, netip.AddrPortFrom(lab.Host("s").Addr(), 7070)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatalf("connecting to a closed port: %v", err)
			}
			if got, want := lab.NAT("home").Stats().Current, map[bool]int{false: 1, true: 0}[ends]; got != want {
				t.Errorf("%d mappings after the RST, want %d", got, want)
			}
			_, err := s.tcp(7070, netip.AddrPortFrom(lab.NAT("home").Addr(), 7070))
			if ends != errors.Is(err, syscall.ECONNREFUSED) || !ends && err != nil {
				t.Errorf("connecting back after the RST: %v", err)
			}
		})
	}
}

func TestRefuseInboundSYN(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		for _, linux := range []bool{false, true} {
			name := map[bool]string{false: "emulated", true: "linux"}[linux] + map[bool]string{false: " lets in", true: " refuses"}[refuses]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				top := oneNAT(natlab.NAT{RefuseInboundSYN: refuses, Unsolicited: natlab.Reset, Linux: linux})
				top.Hosts[1].Firewall = natlab.DropUnsolicited
				log := new(packets)
				lab := natlab.NewWith(t, top, &natlab.Options{Tap: log.add})
				a, s := client{t, lab.Host("a")}, client{t, lab.Host("s")}
				opened := make(chan error, 1)
				go func() {
					_, err := a.tcpWithin(time.Second, 7070, netip.AddrPortFrom(lab.Host("s").Addr(), 7070))
					opened <- err
				}()
				log.wait(t, "s", natlab.AtHost, natlab.TCP, "S")
				_, err := s.tcp(7070, netip.AddrPortFrom(lab.NAT("home").Addr(), 7070))
				if refuses != errors.Is(err, syscall.ECONNREFUSED) || !refuses && err != nil {
					t.Errorf("an inbound SYN to an open session: %v", err)
				}
				if err := <-opened; !refuses && err != nil {
					t.Errorf("the other side: %v", err)
				}
			})
		}
	}
}

func TestHairpin(t *testing.T) {
	for _, hairpin := range []bool{false, true} {
		t.Run(map[bool]string{false: "off", true: "on"}[hairpin], func(t *testing.T) {
			t.Parallel()
			top := oneNAT(natlab.NAT{Hairpin: hairpin, Filtering: natlab.EndpointIndependent, Unsolicited: natlab.Reset})
			top.Hosts = append(top.Hosts, natlab.Host{Name: "b", Behind: "home"})
			lab := natlab.New(t, top)
			a, b := client{t, lab.Host("a")}, client{t, lab.Host("b")}
			to := reflector(t, lab.Host("s"), ":3478")
			ln := a.listen(7070)
			conn, err := b.tcp(6060, a.seen(7070, to))
			if hairpin != (err == nil) {
				t.Fatalf("connecting to an external endpoint from inside: %v", err)
			}
			pc := a.udp(7071)
			if got := arrives(t, b.udp(6061), seenUDP(t, pc, to), pc); got != hairpin {
				t.Errorf("udp arrives is %v, want %v", got, hairpin)
			}
			if !hairpin {
				return
			}
			got := check(ln.Accept())(t)
			defer got.Close()
			if from := got.RemoteAddr().(*net.TCPAddr).AddrPort(); from.Addr() != lab.NAT("home").Addr() {
				t.Errorf("the connection comes from %v, want the external address", from)
			}
			if conn.RemoteAddr().String() != netip.AddrPortFrom(lab.NAT("home").Addr(), 7070).String() {
				t.Errorf("connected to %v", conn.RemoteAddr())
			}
		})
	}
}

func TestBlocked(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Linux: linux, Blocked: []natlab.Protocol{natlab.UDP}}))
			to := reflector(t, lab.Host("s"), ":3478")
			a := client{t, lab.Host("a")}
			a.seen(7070, to)
			pc := a.udp(7070)
			_, _ = pc.WriteToUDPAddrPort([]byte("?"), to)
			_ = pc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := pc.Read(make([]byte, 100)); !isTimeout(err) {
				t.Errorf("udp is blocked, but: %v", err)
			}
		})
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, oneNAT(natlab.NAT{Ports: natlab.Random, UDPLifetime: time.Second, TCPLifetime: time.Second}))
	to := reflector(t, lab.Host("s"), ":3478")
	a := client{t, lab.Host("a")}
	pc := a.udp(7070)
	first := seenUDP(t, pc, to)
	a.seen(7070, to)
	for range 5 { // traffic keeps it alive
		time.Sleep(250 * time.Millisecond)
		if again := seenUDP(t, pc, to); again != first {
			t.Fatalf("the endpoint changed from %v to %v under traffic", first, again)
		}
	}
	if got := lab.NAT("home").Stats(); got.Current != 1 || got.Mappings != 2 {
		t.Errorf("%d of %d mappings live, want the udp one of 2: the tcp session is idle", got.Current, got.Mappings)
	}
	time.Sleep(1300 * time.Millisecond)
	if again := seenUDP(t, pc, to); again == first {
		t.Errorf("the endpoint is %v still", again)
	}
}

// TestTransitoryLifetime: a mapping whose connection has been closed goes soon, one with an open connection stays.
func TestTransitoryLifetime(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(map[bool]string{false: "closed", true: "held"}[held], func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{TransitoryLifetime: 200 * time.Millisecond}))
			to := reflector(t, lab.Host("s"), ":3478")
			conn := check(client{t, lab.Host("a")}.tcp(7070, to))(t)
			readSeen(t, conn)
			if !held {
				conn.Close()
			}
			want := map[bool]int{false: 0, true: 1}[held]
			got := 1 - want
			for end := time.Now().Add(time.Second); got != want || held && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if got = lab.NAT("home").Stats().Current; time.Now().After(end.Add(within)) {
					break
				}
			}
			if got != want {
				t.Errorf("%d mappings are left, want %d", got, want)
			}
		})
	}
}

func TestReboot(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Linux: linux}))
			to := reflector(t, lab.Host("s"), ":3478")
			client{t, lab.Host("a")}.seen(7070, to)
			home := lab.NAT("home")
			if s := home.Stats(); s.Current != 1 || s.Packets < 3 {
				t.Errorf("before: %+v", s)
			}
			if err := home.Reboot(); err != nil {
				t.Fatal(err)
			}
			if s := home.Stats(); s.Current != 0 {
				t.Errorf("after: %+v", s)
			}
		})
	}
}

func TestCarrierNAT(t *testing.T) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			same := netip.MustParsePrefix("192.168.1.0/24")
			lab := natlab.New(t, natlab.Topology{
				NATs: []natlab.NAT{
					{Name: "carrier", Hairpin: true, Filtering: natlab.EndpointIndependent},
					{Name: "home", Behind: "carrier", LAN: same, Linux: linux},
					{Name: "neighbour", Behind: "carrier", LAN: same, Linux: linux},
				},
				Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "neighbour"}, {Name: "s"}},
			})
			a, b := client{t, lab.Host("a")}, client{t, lab.Host("b")}
			if a.m.Addr() != b.m.Addr() {
				t.Errorf("addresses are %v and %v, want the same", a.m.Addr(), b.m.Addr())
			}
			if got := lab.NAT("home").Addr().String(); got != "100.64.1.2" {
				t.Errorf("the home is %v, want 100.64.1.2", got)
			}
			to := reflector(t, lab.Host("s"), ":3478")
			if got := a.seen(7070, to).Addr(); got != lab.NAT("carrier").Addr() {
				t.Errorf("seen as %v, want the carrier's address", got)
			}
			pa, pb := a.udp(7071), b.udp(7072)
			ea, eb := seenUDP(t, pa, to), seenUDP(t, pb, to)
			if arrives(t, pa, eb, pb) {
				t.Error("the neighbour's NAT lets in whom nobody called")
			}
			if !arrives(t, pb, ea, pa) {
				t.Error("neighbours do not reach each other by the carrier's hairpin")
			}
		})
	}
}

// TestSymmetricPacketByPacket follows every packet of a sequential symmetric NAT (mapping and filtering by address and
// port) in and out.
func TestSymmetricPacketByPacket(t *testing.T) {
	log := new(packets)
	lab := natlab.NewWith(t, oneNAT(natlab.NAT{
		Mapping:     natlab.AddressAndPortDependent,
		Filtering:   natlab.AddressAndPortDependent,
		Ports:       natlab.Sequential,
		Step:        3,
		Unsolicited: natlab.Reset,
	}), &natlab.Options{Tap: log.add})
	a, s := client{t, lab.Host("a")}, client{t, lab.Host("s")}
	var seen []netip.AddrPort
	for _, address := range []string{":3478", ":3479"} {
		seen = append(seen, a.seen(7070, reflector(t, s.m, address)))
	}
	if seen[1].Port() != seen[0].Port()+3 {
		t.Errorf("two destinations see %v, want ports 3 apart", seen)
	}
	// The endpoint of the first destination refuses the second, and one that nobody has is refused as well.
	for _, to := range []netip.AddrPort{seen[0], netip.AddrPortFrom(seen[0].Addr(), seen[1].Port()+3)} {
		if _, err := s.tcp(3480, to); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("connecting to %v: %v", to, err)
		}
	}
	inside, outside := log.at("home", natlab.Inside, false), log.at("home", natlab.Outside, false)
	translated := 0
	for _, out := range outside {
		if out.Flags() == "RA" {
			continue // the NAT's own
		}
		in := inside[translated]
		translated++
		src, dst := in.Addrs()
		newSrc, newDst := out.Addrs()
		want := seen[0]
		if dst.Port() == 3479 {
			want = seen[1]
		}
		if src.String() != "192.168.1.2:7070" || newSrc != want || newDst != dst || out.TTL() != in.TTL()-1 || out.Flags() != in.Flags() {
			t.Errorf("%v became %v, want source %v", in, out, want)
		}
		if string(in.Data[24:36]) != string(out.Data[24:36]) {
			t.Errorf("%v became %v: the TCP header changed", in, out)
		}
	}
	if translated != len(inside) || translated < 4 {
		t.Errorf("%d packets went in and %d came out", len(inside), translated)
	}
	for i, in := range log.at("home", natlab.Inside, true) {
		src, dst := in.Addrs()
		if src.Addr() != s.m.Addr() || dst.String() != "192.168.1.2:7070" {
			t.Errorf("packet %d that came in: %v", i, in)
		}
	}
	if got := log.count("home", natlab.Outside, natlab.TCP, "RA"); got != 2 {
		t.Errorf("%d resets, want 2", got)
	}
	if got := lab.NAT("home").Stats(); got.Mappings != 2 || got.Sessions != 2 || got.Refused != 2 {
		t.Errorf("stats are %+v", got)
	}
}
