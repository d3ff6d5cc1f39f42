//go:build linux

package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// stunOn runs a STUN server on a host and returns its address.
func stunOn(t *testing.T, m *natlab.Machine) netip.AddrPort {
	t.Helper()
	ln, err := m.Listen("tcp4", ":3478")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- (*stun.Server)(nil).Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-served })
	return netip.AddrPortFrom(m.Addr(), 3478)
}

// mapped asks STUN from a port for its endpoint. The connection stays open.
func mapped(t *testing.T, m *natlab.Machine, port *sock.Port, server netip.AddrPort) (netip.AddrPort, net.Conn) {
	t.Helper()
	var conn net.Conn
	err := m.Do(func() (err error) {
		conn, err = port.Dial(t.Context(), "tcp", server.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	res, err := stun.Query(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return res.Mapped, conn
}

// A sequential symmetric NAT is predicted from two STUN mappings taken from the
// punching port.
func TestFact6SequentialPortsArePredicted(t *testing.T) {
	t.Parallel()
	for _, mapping := range []natlab.Behavior{natlab.AddressDependent, natlab.AddressAndPortDependent} {
		for _, step := range []int{1, 2, 8} {
			t.Run(fmt.Sprintf("%v, step %d", mapping, step), func(t *testing.T) {
				t.Parallel()
				seen := new(wire)
				top := homes(natlab.NAT{Mapping: mapping, Ports: natlab.Sequential, Step: step}, natlab.NAT{})
				top.Hosts = append(top.Hosts, natlab.Host{Name: "stun2"})
				lab := natlab.NewWith(t, top, &natlab.Options{Tap: seen.add})
				a, b := lab.Host("a"), lab.Host("b")
				port := openPort(t, a, 7070)
				one, _ := mapped(t, a, port, stunOn(t, lab.Host("stun")))
				two, _ := mapped(t, a, port, stunOn(t, lab.Host("stun2")))
				if got := int(two.Port()) - int(one.Port()); got != step {
					t.Fatalf("mapped to %v and %v, want a step of %d", one, two, step)
				}
				next := netip.AddrPortFrom(two.Addr(), two.Port()+uint16(step))
				_, toB := public(lab, 7070)
				before := len(seen.segments("home", false, "S"))
				opener, opened := begin(t, a, port, toB, lowTTL)
				seen.wait(t, "home", false, "S", before+1)
				opener.Raise()
				_, connected := begin(t, b, openPort(t, b, 7070), next, 0)
				for _, c := range []<-chan error{opened, connected} {
					if err := <-c; err != nil {
						t.Errorf("connecting to the predicted %v: %v", next, err)
					}
				}
			})
		}
	}
}

// Random symmetric against endpoint-independent: openers on 256 ports of the
// one, up to 1024 connects to random ports from the other. TCP connects with a
// probability of 1-(1-256/64512)^1024 = 0.983.
func TestFact6BirthdayPunching(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, homes(natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}, natlab.NAT{}))
	toA, toB := public(lab, 7070)
	a, b := lab.Host("a"), lab.Host("b")
	var openers []*plain
	for range 256 {
		openers = append(openers, mustConnect(t, a, 0, toB, options{unix.IP_TTL: lowTTL, unix.IP_MINTTL: lowTTL + 1}))
	}
	for end := time.Now().Add(within); lab.NAT("home").Stats().Mappings < 256; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the openers have not opened")
		}
	}
	for _, p := range openers {
		if err := p.set(options{unix.IP_TTL: 64}); err != nil {
			t.Fatal(err)
		}
	}
	// All of three rounds of connects miss once in 200,000.
	ports := rand.Perm(65536 - 1024)
	for round := range 3 {
		start := time.Now()
		var connectors []*plain
		for _, n := range ports[1024*round : 1024*(round+1)] {
			connectors = append(connectors, mustConnect(t, b, 7070, netip.AddrPortFrom(toA.Addr(), uint16(1024+n)), nil))
		}
		if waitForOne(connectors, 2*time.Second) {
			took := time.Since(start)
			if !waitForOne(openers, within) {
				t.Fatal("connected on one side only")
			}
			time.Sleep(2 * labRTT) // what else has met is connected on both sides
			wantConnected(t, connectedOf(append(openers, connectors...))...)
			t.Logf("round %d: connected after %v", round, took)
			return
		}
		for _, p := range connectors {
			p.close()
		}
	}
	t.Error("256 openers and three times 1024 connects never met")
}

// waitForOne waits until one of the sockets is connected.
func waitForOne(all []*plain, limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if len(connectedOf(all)) > 0 {
			return true
		}
	}
	return false
}

func connectedOf(all []*plain) []*plain {
	var connected []*plain
	for _, p := range all {
		if p.outcome(0) == nil {
			connected = append(connected, p)
		}
	}
	return connected
}

// A socket that dials its own endpoint meets itself, which is legal TCP. The
// engine's sockets do not take that for a peer.
func TestFact7SelfConnectIsRejected(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a"}}})
	a := lab.Host("a")
	if err := mustConnect(t, a, 6060, netip.AddrPortFrom(a.Addr(), 6060), nil).outcome(within); err != nil {
		t.Errorf("a plain socket: %v, want it connected to itself", err)
	}
	port := openPort(t, a, 7070)
	port.Close() // else the listener may win
	_, result := begin(t, a, port, netip.AddrPortFrom(a.Addr(), 7070), 0)
	if err := <-result; err == nil || !strings.Contains(err.Error(), "itself") {
		t.Errorf("the engine's socket: %v, want it to say that it met itself", err)
	}
}

// Every socket of a port must share it, the STUN connection included.
func TestFact7EverySocketSharesThePort(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a"}, {Name: "b"}}})
	a, server := lab.Host("a"), stunOn(t, lab.Host("b"))
	err := a.Do(func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: 6060}}
		conn, err := d.DialContext(t.Context(), "tcp", server.String())
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(lab.Host("b").Addr(), 9)
	if _, err := connectFrom(a, 6060, to, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("beside a plain connection: %v, want EADDRINUSE", err)
	}
	mapped(t, a, openPort(t, a, 7070), server)
	mustConnect(t, a, 7070, to, nil)
}

// The STUN connection is held open, which holds the mapping where a NAT is
// quick to forget what has been closed.
func TestFact7HeldConnectionKeepsTheMapping(t *testing.T) {
	t.Parallel()
	const forgets = time.Second
	top := homes(natlab.NAT{Ports: natlab.Random, TransitoryLifetime: forgets}, natlab.NAT{})
	top.Hosts = append(top.Hosts, natlab.Host{Name: "stun2"})
	lab := natlab.New(t, top)
	a := lab.Host("a")
	one, two := stunOn(t, lab.Host("stun")), stunOn(t, lab.Host("stun2"))
	held, dropped := openPort(t, a, 7070), openPort(t, a, 7071)
	before, _ := mapped(t, a, held, one)
	lost, conn := mapped(t, a, dropped, one)
	conn.Close()
	time.Sleep(3 * forgets / 2)
	if after, _ := mapped(t, a, held, two); after != before {
		t.Errorf("held: mapped to %v, then to %v", before, after)
	}
	if after, _ := mapped(t, a, dropped, two); after == lost { // by chance once in 64512
		t.Errorf("dropped: mapped to %v again", after)
	}
}

// So does the engine: of the STUN connections that each of its ports has, one
// is held until the peers are connected. No SYN asks for Multipath TCP.
func TestFact7EngineHoldsSTUN(t *testing.T) {
	t.Parallel()
	seen := new(wire)
	lab := natlab.NewWith(t, homes(natlab.NAT{Unsolicited: natlab.Reset}, natlab.NAT{}), &natlab.Options{Tap: seen.add})
	a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second)
	wantOneConnection(t, a, b)
	server := lab.Host("stun").Addr()
	held := make(map[uint16]map[uint16]bool) // by local port, the server's
	connected := false
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, c := range seen.all {
		src, dst := c.Addrs()
		flags := c.Flags()
		if c.Where != "a" || c.Protocol() != natlab.TCP {
			continue
		}
		switch {
		case src.Addr() == server && flags == "PA":
			if held[dst.Port()] == nil {
				held[dst.Port()] = make(map[uint16]bool)
			}
			held[dst.Port()][src.Port()] = true
		case dst.Addr() == server && (flags == "FA" || flags == "RA" || flags == "R"):
			delete(held[src.Port()], dst.Port())
			if len(held[src.Port()]) == 0 && !connected {
				t.Errorf("the last STUN connection of a port ended before the peers met: %v", c)
			}
		case dst.Addr() != server && flags == "PA":
			connected = true
		}
		if hasOption(c.Data, 30) { // RFC 8684
			t.Errorf("asks for Multipath TCP: %v", c)
		}
	}
	if len(held) < 2 || !connected {
		t.Errorf("seen STUN on %d ports, the peers connected: %v", len(held), connected)
	}
}

// hasOption reports whether an IPv4 TCP segment has a TCP option of that kind.
func hasOption(ip []byte, kind byte) bool {
	if len(ip) < 40 || ip[0]>>4 != 4 || ip[9] != 6 {
		return false
	}
	tcp := ip[int(ip[0]&15)*4:]
	for o := tcp[20:min(len(tcp), int(tcp[12]>>4)*4)]; len(o) > 0; {
		switch {
		case o[0] == 0:
			return false
		case o[0] == kind:
			return true
		case o[0] == 1:
			o = o[1:]
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return false
		default:
			o = o[o[1]:]
		}
	}
	return false
}

// Private addresses may belong to another host: both homes have the same
// network, and in each of them a stranger has the address of the other side.
// He accepts every connection and is not taken for the peer.
func TestFact8StrangerAtThePrivateAddress(t *testing.T) {
	t.Parallel()
	lan := netip.MustParsePrefix("192.168.1.0/24")
	addrA, addrB := netip.MustParseAddr("192.168.1.50"), netip.MustParseAddr("192.168.1.60")
	link := natlab.Link{Delay: 10 * time.Millisecond}
	lab := natlab.New(t, natlab.Topology{
		NATs: []natlab.NAT{
			{Name: "carrier", Hairpin: true, Link: link},
			{Name: "home", Behind: "carrier", LAN: lan, Link: link}, {Name: "office", Behind: "carrier", LAN: lan, Link: link},
		},
		Hosts: []natlab.Host{
			{Name: "a", Behind: "home", Addr: addrA}, {Name: "notB", Behind: "home", Addr: addrB},
			{Name: "b", Behind: "office", Addr: addrB}, {Name: "notA", Behind: "office", Addr: addrA},
			{Name: "stun"},
		},
	})
	strangers := []*strangerOnAllPorts{listenOnAllPorts(t, lab.Host("notA")), listenOnAllPorts(t, lab.Host("notB"))}
	a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second)
	wantOneConnection(t, a, b)
	if a.Path.Kind != KindPublic || a.Path.Remote.Addr() != lab.NAT("carrier").Addr() {
		t.Errorf("took the %s path to %v", a.Path.Kind, a.Path.Remote)
	}
	if n := strangers[0].count() + strangers[1].count(); n == 0 {
		t.Error("nobody dialled the strangers, so this shows nothing")
	}
}

// A strangerOnAllPorts accepts connections to any port, and answers whatever it hears.
type strangerOnAllPorts struct {
	mu    sync.Mutex
	conns int
}

func listenOnAllPorts(t *testing.T, m *natlab.Machine) *strangerOnAllPorts {
	t.Helper()
	s := new(strangerOnAllPorts)
	redirect := "table ip any { chain in { type nat hook prerouting priority -100; meta l4proto tcp redirect to :9; }; }"
	if r := m.Run("nft", redirect); r.Err != nil {
		t.Fatalf("nft: %v: %s", r.Err, r.Stderr)
	}
	ln, err := m.Listen("tcp4", ":9")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(within)) //nolint:errcheck // a stranger
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					conn.Write(buf[:n]) //nolint:errcheck // a stranger
				}
			})
		}
	})
	return s
}

func (s *strangerOnAllPorts) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// A connection that nobody nominated is closed: two hosts that reach each other
// on every lane are left with one connection.
func TestFact8OnlyTheNominatedConnectionStays(t *testing.T) {
	t.Parallel()
	seen := new(wire)
	lab := natlab.NewWith(t, natlab.Topology{Hosts: []natlab.Host{
		{Name: "a", Link: natlab.Link{Delay: 25 * time.Millisecond}}, {Name: "b", Link: natlab.Link{Delay: 25 * time.Millisecond}}, {Name: "stun"},
	}}, &natlab.Options{Tap: seen.add})
	a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second) // which looks for sockets that are left
	wantOneConnection(t, a, b)
	established, toB := make(map[uint16]bool), lab.Host("b").Addr()
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, c := range seen.all {
		if src, dst := c.Addrs(); c.Where == "a" && c.Protocol() == natlab.TCP && c.Flags() == "PA" && dst.Addr() == toB {
			established[src.Port()] = true
		}
	}
	if len(established) < 2 {
		t.Errorf("connected on %d lanes, so this shows nothing", len(established))
	}
}

// The SYNs of a socket that is held go out at 0, 1, 2, 3, 4, 5 and 7 s: four
// retransmissions in even steps, and doubling after that.
func TestFact9ScheduleOfSYNs(t *testing.T) {
	t.Parallel()
	linear, err := os.ReadFile("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
	if err != nil || string(linear) != "4\n" {
		t.Skipf("this kernel is older than Linux 6.5, or set up in another way: %q, %v", linear, err)
	}
	seen := new(wire)
	lab := natlab.NewWith(t, homes(natlab.NAT{}, natlab.NAT{}), &natlab.Options{Tap: seen.add})
	_, toB := public(lab, 7070)
	p := mustConnect(t, lab.Host("a"), 7070, toB, nil)
	late := lateness()
	if err := p.outcome(8500 * time.Millisecond); !errors.Is(err, errPending) {
		t.Fatal(err)
	}
	// The packets of a busy machine are late, but not early.
	most := 500*time.Millisecond + 2*late()
	want := []time.Duration{0, 1, 2, 3, 4, 5, 7}
	syns := seen.segments("a", false, "S")
	if len(syns) != len(want) {
		t.Fatalf("%d SYNs went out in 8.5 s, want %d", len(syns), len(want))
	}
	for i, c := range syns {
		if at := c.Time - syns[0].Time; at < want[i]*time.Second-100*time.Millisecond || at > want[i]*time.Second+most {
			t.Errorf("SYN %d went out at %v, want %v", i, at, want[i]*time.Second)
		}
	}
}

// A socket that is held connects always, whenever the other side comes. What
// closing and opening again on a timer does is told, not asserted: it was seen
// to do worse, and to do as well.
func TestFact9HoldingASocket(t *testing.T) {
	t.Parallel()
	bothSorts(t, func(t *testing.T, linux bool) {
		lab := natlab.New(t, homes(natlab.NAT{Linux: linux}, natlab.NAT{Linux: linux}))
		var skews []time.Duration
		for range 10 {
			skews = append(skews, rand.N(2*time.Second))
		}
		hold := func() time.Duration { return 0 }
		again := func() time.Duration { return -200 * time.Millisecond }
		held, opened := meetAgain(lab, 7070, skews, within, hold), meetAgain(lab, 8080, skews, 4*time.Second, again)
		t.Logf("held: %d of %d, opened again every 200 ms: %d", held, len(skews), opened)
		if held != len(skews) {
			t.Errorf("held: %d of %d", held, len(skews))
		}
	})
}
