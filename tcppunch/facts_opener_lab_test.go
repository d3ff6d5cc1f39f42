//go:build linux

package tcppunch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// lowTTL passes a home's own NAT, and ends between it and the peer's.
const lowTTL = 4

// openPort is sock.Open on a lab's host.
func openPort(t *testing.T, m *natlab.Machine, num uint16) (p *sock.Port) {
	t.Helper()
	if err := m.Do(func() (err error) {
		p, err = sock.Open(t.Context(), num)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// begin connects from a port of the engine's on a lab's host, as an opener if
// low is not 0. The result comes when the connection does, or within is over.
func begin(t *testing.T, m *natlab.Machine, port *sock.Port, to netip.AddrPort, low int) (*sock.Pending, <-chan error) {
	t.Helper()
	var p *sock.Pending
	if err := m.Do(func() (err error) {
		p, err = port.Connect(to, low)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), within)
	wg.Go(func() {
		conn, err := p.Wait(ctx)
		if err == nil {
			err = sayHello(conn)
			conn.Close()
		}
		result <- err
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return p, result
}

// sayHello exchanges a byte.
func sayHello(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(within)) //nolint:errcheck // the reading tells
	if _, err := conn.Write([]byte{'!'}); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// A SYN of a low TTL opens its own NAT and dies on the way. The ICMP error that
// comes back ends a connecting socket, but not one with IP_MINTTL above the TTL
// that the error quotes.
func TestFact5OpenerOutlivesTimeExceeded(t *testing.T) {
	t.Parallel()
	bothSorts(t, func(t *testing.T, linux bool) {
		lab := natlab.New(t, homes(natlab.NAT{Linux: linux, Unsolicited: natlab.Reset}, natlab.NAT{Linux: linux, Unsolicited: natlab.Reset}))
		a := lab.Host("a")
		_, toB := public(lab, 7070)
		naked := mustConnect(t, a, 6060, toB, options{unix.IP_TTL: lowTTL})
		if err := naked.outcome(within); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("a low TTL alone: %v, want EHOSTUNREACH", err)
		}
		opener := mustConnect(t, a, 7070, toB, options{unix.IP_TTL: lowTTL, unix.IP_MINTTL: lowTTL + 1})
		ours, _ := begin(t, a, openPort(t, a, 7071), toB, lowTTL)
		// Three SYNs, at 0, 1 and 2 s, and three errors.
		if err := opener.outcome(2500 * time.Millisecond); !errors.Is(err, errPending) {
			t.Errorf("with IP_MINTTL: %v, want it to live on", err)
		}
		if got, again := ours.State(); got != sock.StateSynSent || again < 2 {
			t.Errorf("the engine's opener is in state %v and has sent its SYN %d times again, want SYN_SENT and 2", got, again)
		}
		if in := lab.NAT("office").Stats().In; in != 0 {
			t.Errorf("%d packets have reached the peer's NAT, want none", in)
		}
	})
}

// feasible are the pairs of NATs for which an opener needs one attempt.
func feasible() map[string]natlab.Topology {
	all := make(map[string]natlab.Topology)
	for _, u := range linuxAnswers() {
		for _, v := range linuxAnswers() {
			all[fmt.Sprintf("linux %v-%v", u, v)] = homes(natlab.NAT{Linux: true, Unsolicited: u}, natlab.NAT{Linux: true, Unsolicited: v})
		}
	}
	for name, n := range map[string]natlab.NAT{
		"drop":                {},
		"RST":                 {Unsolicited: natlab.Reset},
		"RST kills":           {Unsolicited: natlab.Reset, RSTEndsSession: true},
		"ICMP":                {Unsolicited: natlab.ICMP},
		"three Linux routers": {Linux: true, Unsolicited: natlab.Reset, Routers: 3, Link: natlab.Link{Hops: -1}},
	} {
		all[name] = homes(n, n)
	}
	return all
}

// An opener on one side, then an ordinary connect on the other: connected on
// the first attempt, after one round trip.
func TestFact5OpenerConnectsInOneRoundTrip(t *testing.T) {
	t.Parallel()
	for name, top := range feasible() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := new(wire)
			lab := natlab.NewWith(t, top, &natlab.Options{Tap: seen.add})
			inOneRoundTrip(t, func(n int) time.Duration { return openAndConnect(t, lab, seen, 7070+n) })
		})
	}
}

// openAndConnect returns how long the connector took.
func openAndConnect(t *testing.T, lab *natlab.Lab, seen *wire, num int) time.Duration {
	a, b := lab.Host("a"), lab.Host("b")
	toA, toB := public(lab, num)
	portA, portB := openPort(t, a, uint16(num)), openPort(t, b, uint16(num))
	before := len(seen.segments("home", false, "S"))
	opener, opened := begin(t, a, portA, toB, lowTTL)
	seen.wait(t, "home", false, "S", before+1)
	opener.Raise()
	answers, start := len(seen.segments("b", true, "SA")), time.Now()
	_, connected := begin(t, b, portB, toA, 0)
	seen.wait(t, "b", true, "SA", answers+1)
	took := time.Since(start)
	for _, c := range []<-chan error{connected, opened} {
		if err := <-c; err != nil {
			t.Error(err)
		}
	}
	return took
}

// The side that opens must be the one whose NAT lets an inbound SYN in: with
// roles reversed every pair works, but for two NATs that refuse any.
func TestFact5RolesReversed(t *testing.T) {
	t.Parallel()
	refuses := natlab.NAT{RefuseInboundSYN: true, Unsolicited: natlab.Reset}
	for _, c := range []struct {
		name                  string
		home, office          natlab.NAT
		homeOpens, officeDoes bool // whether that connects
	}{
		{"one refuses", refuses, natlab.NAT{Unsolicited: natlab.Reset}, false, true},
		{"both refuse", refuses, refuses, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := new(wire)
			lab := natlab.NewWith(t, homes(c.home, c.office), &natlab.Options{Tap: seen.add})
			a, b := lab.Host("a"), lab.Host("b")
			toA, toB := public(lab, 7070)
			for port, try := range []struct {
				from, to  *natlab.Machine
				near, far netip.AddrPort
				nat       string
				connects  bool
			}{{a, b, toA, toB, "home", c.homeOpens}, {b, a, toB, toA, "office", c.officeDoes}} {
				near := netip.AddrPortFrom(try.near.Addr(), uint16(7070+port))
				far := netip.AddrPortFrom(try.far.Addr(), uint16(7070+port))
				before := len(seen.segments(try.nat, false, "S"))
				opener := mustConnect(t, try.from, int(near.Port()), far, options{unix.IP_TTL: lowTTL, unix.IP_MINTTL: lowTTL + 1})
				seen.wait(t, try.nat, false, "S", before+1)
				if err := opener.set(options{unix.IP_TTL: 64}); err != nil {
					t.Fatal(err)
				}
				connector := mustConnect(t, try.to, int(far.Port()), near, nil)
				if try.connects {
					wantConnected(t, opener, connector)
				} else if err := connector.outcome(within); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("%s opens: %v, want refused", try.nat, err)
				}
				opener.close()
			}
		})
	}
}

// IPv6 differs: IPV6_MINHOPCOUNT is compared with the hop limit of the ICMPv6
// packet itself, so what lets the socket survive the error shuts out the peer
// too, and has to be taken back before the peer's SYN comes.
func TestFact5OpenerIPv6(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]natlab.NAT{
		"drop, three Linux routers":  {Linux: true, Routers: 3, Link: natlab.Link{Hops: -1}},
		"reset, three Linux routers": {Linux: true, Routers: 3, Link: natlab.Link{Hops: -1}, Unsolicited: natlab.Reset},
		"emulated":                   {Unsolicited: natlab.Reset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := homes(n, n)
			top.IPv6 = true
			// Without a delay the error meets a socket that is inside connect still.
			top.Hosts[0].Link.Delay = 10 * time.Millisecond
			testFact5IPv6(t, top)
		})
	}
}

func testFact5IPv6(t *testing.T, top natlab.Topology) {
	seen := new(wire)
	lab := natlab.NewWith(t, top, &natlab.Options{Tap: seen.add})
	a, b := lab.Host("a"), lab.Host("b")
	to := func(m *natlab.Machine, port int) netip.AddrPort { return netip.AddrPortFrom(m.Addr6(), uint16(port)) }
	low := func(hops int) options {
		return options{unix.IPV6_UNICAST_HOPS: lowTTL, unix.IPV6_MINHOPCOUNT: hops}
	}
	if err := mustConnect(t, a, 6060, to(b, 6060), low(0)).outcome(within); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a low hop limit alone: %v, want EHOSTUNREACH", err)
	}
	errs := seen.protocol("a", unix.IPPROTO_ICMPV6)
	if len(errs) == 0 {
		t.Fatal("no ICMPv6 error came back")
	}
	limit := errs[len(errs)-1].TTL()
	if err := mustConnect(t, a, 6061, to(b, 6061), low(limit)).outcome(within); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("at least %d hops, as many as the error had: %v, want EHOSTUNREACH", limit, err)
	}
	for _, hops := range []int{limit + 1, 64, 255} {
		opener := openIPv6(t, a, seen, 7000+hops, to(b, 7000+hops), low(hops))
		if err := opener.outcome(labRTT); !errors.Is(err, errPending) {
			t.Errorf("at least %d hops: %v, want it to live on", hops, err)
		}
		opener.close()
	}
	// 255, and taken back when the error has come. The design says after about 40 ms.
	takenBack := func(port int) error {
		opener := openIPv6(t, a, seen, port, to(b, port), low(255))
		if err := opener.set(options{unix.IPV6_UNICAST_HOPS: 64, unix.IPV6_MINHOPCOUNT: 0}); err != nil {
			t.Fatal(err)
		}
		return errors.Join(mustConnect(t, b, port, to(a, port), nil).outcome(within), opener.outcome(within))
	}
	// On a busy machine the kernel may have sent the SYN again, as low, before that.
	err := takenBack(7071)
	for try := 1; err != nil && try < 4; try++ {
		t.Logf("255 hops, taken back: %v, again", err)
		err = takenBack(7071 + try)
	}
	if err != nil {
		t.Errorf("255 hops, taken back: %v", err)
	}
	// 255, and left there: the peer's SYN finds nobody.
	stubborn := mustConnect(t, a, 7070, to(b, 7070), low(255))
	time.Sleep(labRTT)
	deaf := mustConnect(t, b, 7070, to(a, 7070), nil)
	if e, f := stubborn.outcome(5*labRTT), deaf.outcome(0); e == nil || f == nil {
		t.Errorf("left at 255 hops: %v and %v, want no connection", e, f)
	}
}

// openIPv6 begins to connect and waits until the kernel has had the error that
// the SYN of a low hop limit comes to.
func openIPv6(t *testing.T, m *natlab.Machine, seen *wire, port int, to netip.AddrPort, o options) *plain {
	t.Helper()
	p := mustConnect(t, m, port, to, o)
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Millisecond) {
		errs := seen.protocol(m.Name(), unix.IPPROTO_ICMPV6)
		for i, c := range errs {
			// The error quotes the SYN, whose header has the source port first.
			const quoted = 40 + 8 + 40
			if len(c.Data) > quoted+2 && int(binary.BigEndian.Uint16(c.Data[quoted:])) == port && timesExceeded(t, m) > i {
				time.Sleep(5 * time.Millisecond) // it is counted before the socket is looked for
				return p
			}
		}
	}
	t.Fatalf("no ICMPv6 error about the SYN of port %d came back", port)
	return nil
}

// timesExceeded returns how many ICMPv6 errors of that kind the kernel of a host
// has received.
func timesExceeded(t *testing.T, m *natlab.Machine) (n int) {
	t.Helper()
	err := m.Do(func() error {
		counters, err := os.ReadFile("/proc/thread-self/net/snmp6")
		for line := range strings.Lines(string(counters)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "Icmp6InTimeExcds" {
				n, err = strconv.Atoi(f[1])
				return err
			}
		}
		return errors.Join(err, errors.New("the kernel does not count Icmp6InTimeExcds"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
