//go:build linux

package tcppunch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// The facts that the engine is built on, each shown again with real kernels:
// two NATs, 100 ms of round trip between two hosts. What the design says of
// other systems than Linux, its tenth fact, cannot be shown here.

// linuxAnswers are the three kinds of real Linux NATs.
func linuxAnswers() []natlab.Unsolicited {
	return []natlab.Unsolicited{natlab.Drop, natlab.Accept, natlab.Reset}
}

// linuxPairs runs f for the nine pairs of real Linux NATs, in labs of their own.
func linuxPairs(t *testing.T, f func(t *testing.T, top natlab.Topology)) {
	for _, a := range linuxAnswers() {
		for _, b := range linuxAnswers() {
			t.Run(fmt.Sprintf("%v-%v", a, b), func(t *testing.T) {
				t.Parallel()
				f(t, homes(natlab.NAT{Linux: true, Unsolicited: a}, natlab.NAT{Linux: true, Unsolicited: b}))
			})
		}
	}
}

// bothSorts runs f with emulated NATs and with real ones.
func bothSorts(t *testing.T, f func(t *testing.T, linux bool)) {
	for _, linux := range []bool{false, true} {
		t.Run(map[bool]string{false: "emulated", true: "linux"}[linux], func(t *testing.T) {
			t.Parallel()
			f(t, linux)
		})
	}
}

// public returns the endpoints by which the hosts a and b are known, if their
// NATs keep the port.
func public(lab *natlab.Lab, port int) (a, b netip.AddrPort) {
	return netip.AddrPortFrom(lab.NAT("home").Addr(), uint16(port)), netip.AddrPortFrom(lab.NAT("office").Addr(), uint16(port))
}

// A crossing SYN goes to the socket in SYN_SENT, and connect completes; a
// listener on the same port sees nothing.
func TestFact1CrossingSYNGoesToTheConnectingSocket(t *testing.T) {
	t.Parallel()
	bothSorts(t, func(t *testing.T, linux bool) {
		lab := natlab.New(t, homes(natlab.NAT{Linux: linux}, natlab.NAT{Linux: linux}))
		a, b := lab.Host("a"), lab.Host("b")
		listeners := []*net.TCPListener{listenShared(t, a, 7070), listenShared(t, b, 7070)}
		toA, toB := public(lab, 7070)
		wantConnected(t, mustConnect(t, a, 7070, toB, nil), mustConnect(t, b, 7070, toA, nil))
		for _, ln := range listeners {
			ln.SetDeadline(time.Now().Add(labRTT)) //nolint:errcheck // a test
			if conn, err := ln.Accept(); err == nil {
				conn.Close()
				t.Error("a listener got a connection")
			}
		}
	})
}

// When the listener does win, a connect of the same 4-tuple gets EADDRNOTAVAIL:
// the tuple is taken, look at accept.
func TestFact1ListenerThatWinsTakesTheTuple(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a"}, {Name: "b"}}})
	a, b := lab.Host("a"), lab.Host("b")
	ln := listenShared(t, a, 7070)
	p := mustConnect(t, b, 7070, netip.AddrPortFrom(a.Addr(), 7070), nil)
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := p.outcome(within); err != nil {
		t.Fatal(err)
	}
	_, err = connectFrom(a, 7070, netip.AddrPortFrom(b.Addr(), 7070), nil)
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !sock.TupleTaken(err) {
		t.Errorf("connecting over the accepted connection: %v, want EADDRNOTAVAIL", err)
	}
}

// Routers that drop an unsolicited SYN: plain simultaneous open connects one
// round trip after the later side starts, at any skew.
func TestFact2DroppingNATs(t *testing.T) {
	t.Parallel()
	skews := []time.Duration{0, 30 * time.Millisecond, 200 * time.Millisecond, 1700 * time.Millisecond}
	bothSorts(t, func(t *testing.T, linux bool) {
		for _, skew := range skews {
			t.Run(skew.String(), func(t *testing.T) {
				t.Parallel()
				lab := natlab.New(t, homes(natlab.NAT{Linux: linux}, natlab.NAT{Linux: linux}))
				inOneRoundTrip(t, func(n int) time.Duration {
					toA, toB := public(lab, 7070+n)
					earlier := mustConnect(t, lab.Host("a"), 7070+n, toB, nil)
					time.Sleep(skew)
					start := time.Now()
					later := mustConnect(t, lab.Host("b"), 7070+n, toA, nil)
					if err := later.outcome(within); err != nil {
						t.Error(err)
					}
					took := time.Since(start)
					wantConnected(t, earlier, later)
					return took
				})
			})
		}
	})
}

// resetting are two NATs that answer an unsolicited SYN with a RST, as OpenWrt does.
func resetting(linux, kills bool) natlab.Topology {
	n := natlab.NAT{Linux: linux, Unsolicited: natlab.Reset, RSTEndsSession: kills}
	return homes(n, n)
}

// Routers that reset it: a first attempt wins if the two starts differ by less
// than the one-way delay. Otherwise both are refused.
func TestFact3ResettingNATs(t *testing.T) {
	t.Parallel()
	bothSorts(t, func(t *testing.T, linux bool) {
		seen := new(wire)
		lab := natlab.NewWith(t, resetting(linux, false), &natlab.Options{Tap: seen.add})
		a, b := lab.Host("a"), lab.Host("b")
		toA, toB := public(lab, 7070)
		first := mustConnect(t, a, 7070, toB, nil)
		if err := first.outcome(within); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the first of two: %v, want refused", err)
		}
		first.close()
		if err := mustConnect(t, b, 7070, toA, nil).outcome(within); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the second of two: %v, want refused", err)
		}
		for try := range 20 { // a busy machine may not start both in time
			toA, toB := public(lab, 7071+try)
			from := [2]int{len(seen.segments("a", false, "S")), len(seen.segments("b", false, "S"))}
			pa, pb := mustConnect(t, a, 7071+try, toB, nil), mustConnect(t, b, 7071+try, toA, nil)
			seen.wait(t, "a", false, "S", from[0]+1)
			seen.wait(t, "b", false, "S", from[1]+1)
			skew := seen.segments("a", false, "S")[from[0]].Time - seen.segments("b", false, "S")[from[1]].Time
			if skew.Abs() < labRTT*4/10 {
				wantConnected(t, pa, pb)
				return
			}
		}
		t.Error("this machine cannot start two connects at once")
	})
}

// Then it depends on the re-dial: at once, or after a random time, brings two
// sides into phase. A NAT that forgets the session on a RST is none the worse
// for it: the re-dial makes the session again. A side that waits 50 ms on
// average is in SYN_SENT for two thirds of the time, so that a hundred dials
// in a row miss it never.
func TestFact3RedialAtOnceOrByChance(t *testing.T) {
	t.Parallel()
	const pairs = 12
	for name, pause := range map[string]func() time.Duration{
		"at once": func() time.Duration { return 0 },
		"random":  func() time.Duration { return rand.N(100 * time.Millisecond) },
	} {
		for _, kills := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, RST kills %v", name, kills), func(t *testing.T) {
				t.Parallel()
				bothSorts(t, func(t *testing.T, linux bool) {
					if linux && kills {
						return // Linux keeps it
					}
					var skews []time.Duration
					for range pairs {
						skews = append(skews, rand.N(time.Second))
					}
					var n int
					for try := range 3 { // where the machine was late, "at once" was not
						late := lateness()
						n = meetAgain(natlab.New(t, resetting(linux, kills)), 7070, skews, within, pause)
						most := late()
						t.Logf("try %d: %d of %d recovered, this machine was up to %v late", try, n, pairs, most)
						if n == pairs || most < labRTT/10 {
							break
						}
					}
					if n < pairs {
						t.Errorf("%d of %d recovered, want all", n, pairs)
					}
				})
			})
		}
	}
}

// Two sides that wait for the same fixed time and are out of phase stay so.
func TestFact3RedialAfterFixedTime(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{100 * time.Millisecond, 250 * time.Millisecond} {
		t.Run(pause.String(), func(t *testing.T) {
			t.Parallel()
			bothSorts(t, func(t *testing.T, linux bool) {
				testFixedPause(t, linux, pause)
			})
		})
	}
}

// testFixedPause starts the second side of each pair when the first is in the
// middle of its cycle, which is a round trip and the pause. On a machine with
// much to do the two drift into phase: what happens then does not count.
func testFixedPause(t *testing.T, linux bool, pause time.Duration) {
	const pairs = 6
	cycle := labRTT + pause
	for range 3 {
		lab := natlab.New(t, resetting(linux, false))
		late := lateness()
		met := meetAgain(lab, 7070, slices.Repeat([]time.Duration{cycle / 2}, pairs), 7*cycle, func() time.Duration { return pause })
		switch most := late(); {
		case met <= pairs/2:
			return
		case most < labRTT/10:
			t.Errorf("%d of %d recovered", met, pairs)
			return
		default:
			t.Logf("%d of %d recovered, but this machine was up to %v late", met, pairs, most)
		}
	}
	t.Skip("this machine has too much to do to keep two sides out of phase")
}

// "SYN, close, then listen", with an ordinary SYN (Machsend) or one of a low
// TTL (the second technique of STUNT), fails on every pair of Linux NATs: the
// listener answers with another sequence number than the SYN had. The 4-tuple
// stays dead; fresh ports on both sides help.
func TestFact4SYNThenListenPoisons(t *testing.T) {
	t.Parallel()
	linuxPairs(t, func(t *testing.T, top natlab.Topology) {
		seen := new(wire)
		lab := natlab.NewWith(t, top, &natlab.Options{Tap: seen.add})
		a, b := lab.Host("a"), lab.Host("b")
		var connecting []*plain
		for i, o := range []options{nil, {unix.IP_TTL: lowTTL}} {
			toA, toB := public(lab, 7070+i)
			first := mustConnect(t, a, 7070+i, toB, o)
			seen.wait(t, "home", false, "S", i+1)
			_ = first.outcome(2 * labRTT) // whatever the answer is
			first.close()
			listenShared(t, a, 7070+i)
			connecting = append(connecting, mustConnect(t, b, 7070+i, toA, nil))
		}
		time.Sleep(1300 * time.Millisecond) // the SYN and another one
		for i, name := range []string{"Machsend", "STUNT"} {
			if err := connecting[i].outcome(0); err == nil {
				t.Errorf("%s: connected, want nothing", name)
			}
			connecting[i].close()
		}
		// An opener on fresh ports: nothing was wrong with these NATs.
		toA, toB := public(lab, 7080)
		before := len(seen.segments("home", false, "S"))
		opener := mustConnect(t, a, 7080, toB, options{unix.IP_TTL: lowTTL, unix.IP_MINTTL: lowTTL + 1})
		seen.wait(t, "home", false, "S", before+1)
		if err := opener.set(options{unix.IP_TTL: 64}); err != nil {
			t.Fatal(err)
		}
		wantConnected(t, opener, mustConnect(t, b, 7080, toA, nil))
	})
}

// In general a tuple is poisoned when our own NAT sees the peer's SYN while no
// connecting socket of ours holds it, listener or not: so is that of a process
// that was killed and started again on the same port. Where the peer's NAT
// drops it stays so for two minutes. Where it answers, its RST has ended the
// entry, and nothing is lost.
func TestFact4RestartOnTheSamePort(t *testing.T) {
	t.Parallel()
	linuxPairs(t, func(t *testing.T, top natlab.Topology) {
		drops := top.NATs[1].Unsolicited == natlab.Drop
		for i := range top.Hosts {
			top.Hosts[i].Firewall = natlab.DropUnsolicited
		}
		seen := new(wire)
		lab := natlab.NewWith(t, top, &natlab.Options{Tap: seen.add})
		a, b := lab.Host("a"), lab.Host("b")
		toA, toB := public(lab, 7070)
		killed := mustConnect(t, a, 7070, toB, nil)
		seen.wait(t, "office", true, "S", 1)
		_ = killed.outcome(2 * labRTT) // a RST may come back
		killed.close()
		alone := mustConnect(t, b, 7070, toA, nil)
		seen.wait(t, "home", true, "S", 1)
		time.Sleep(labRTT)
		alone.close()
		limit := within
		if drops {
			limit = 3 * time.Second
		}
		atOnce := func() time.Duration { return 0 }
		if n := meetAgain(lab, 7070, []time.Duration{0}, limit, atOnce); n != map[bool]int{true: 0, false: 1}[drops] {
			t.Errorf("%d of 1 connected on the same ports; the peer's NAT drops: %v", n, drops)
		}
		if n := meetAgain(lab, 7080, []time.Duration{0}, within, atOnce); n != 1 {
			t.Error("not connected on fresh ports")
		}
	})
}
