package main

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// oneWay is the delay between each of the two NATs and the core: 100 ms of
// round trip from host to host.
const oneWay = 25 * time.Millisecond

// twoNATs is the usual lab: two homes far apart.
func twoNATs(a, b natlab.NAT) natlab.Topology {
	a.Name, b.Name = "home", "office"
	a.Link.Delay, b.Link.Delay = oneWay, oneWay
	return natlab.Topology{
		NATs:  []natlab.NAT{a, b},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}},
	}
}

// A trial is how two commands behind two NATs are started.
type trial struct {
	late    time.Duration // how much later the second side starts
	offset  time.Duration // by which the second side's clock differs
	bFirst  bool
	timeout time.Duration
	ipv6    bool // by IPv6 addresses, instead of the NATs' public ones
}

func (tr trial) String() string {
	first := "a"
	if tr.bFirst {
		first = "b"
	}
	return fmt.Sprintf("%s first, other %v late, clock %v apart", first, tr.late, tr.offset)
}

// result is what came of a trial.
type result struct {
	sent, received int // exit statuses
	connected      bool
	event          event
	afterBoth      time.Duration // from both being up to connected on both sides
}

const (
	words    = "/otter-lamp-sofa"
	fileSize = 64 << 10
)

// transferOnce runs send on a and recv on b.
func transferOnce(t *testing.T, lab *natlab.Lab, tr trial) result {
	t.Helper()
	a := newSide(t, lab.Host("a"))
	b := newSide(t, lab.Host("b"), "TCPPUNCH_CLOCK_OFFSET="+tr.offset.String())
	name := a.file("file.bin", fileSize)
	timeout := "--timeout=" + tr.timeout.String()
	toA, toB := lab.NAT("home").Addr(), lab.NAT("office").Addr()
	if tr.ipv6 {
		toA, toB = lab.Host("a").Addr6(), lab.Host("b").Addr6()
	}
	send := func() *peer {
		return a.start("send", "--peer", netip.AddrPortFrom(toB, 7070).String()+words, timeout, "--via=tcp", name)
	}
	recv := func() *peer {
		return b.start("recv", "--peer", netip.AddrPortFrom(toA, 7070).String()+words, timeout, "--via=tcp", "--out", "out")
	}
	var ps, pr *peer
	if tr.bFirst {
		pr = recv()
		time.Sleep(tr.late)
		ps = send()
	} else {
		ps = send()
		time.Sleep(tr.late)
		pr = recv()
	}
	both := time.Now()
	res := result{}
	if e, err := ps.waitEvent("connected", tr.timeout+5*time.Second); err == nil {
		if _, err := pr.waitEvent("connected", 5*time.Second); err == nil {
			res.connected, res.event, res.afterBoth = true, e, time.Since(both)
		}
	}
	res.sent, res.received = ps.status(), pr.status()
	if res.connected {
		wantSame(t, name, b.dir)
	}
	return res
}

// wantTCP checks that a trial led to a direct connection in time.
func (r result) wantTCP(t *testing.T, kind tcppunch.Kind, within time.Duration) {
	t.Helper()
	if r.sent != 0 || r.received != 0 || !r.connected {
		t.Errorf("send ended with %d, recv with %d, connected %v", r.sent, r.received, r.connected)
		return
	}
	if r.event.Network != "tcp" || r.event.Kind != string(kind) {
		t.Errorf("connected by %s, %s", r.event.Network, r.event.Kind)
	}
	if r.afterBoth > within {
		t.Errorf("connected %v after both were up, want at most %v", r.afterBoth, within)
	}
	t.Logf("%v after both were up: %s, round %d, %.0f ms punch, %.0f ms round trip",
		r.afterBoth.Round(time.Millisecond), r.event.Technique, r.event.Round, r.event.PunchMS, r.event.RTTMS)
}

// TestIPv6: two stateful firewalls, without translation.
func TestIPv6(t *testing.T) {
	for _, linux := range []bool{false, true} {
		for _, u := range []natlab.Unsolicited{natlab.Drop, natlab.Reset} {
			t.Run(fmt.Sprintf("linux %v, %v", linux, u), func(t *testing.T) {
				t.Parallel()
				top := twoNATs(natlab.NAT{Linux: linux, Unsolicited: u}, natlab.NAT{Linux: linux, Unsolicited: u})
				top.IPv6 = true
				tr := trial{ipv6: true, late: 3 * time.Second, offset: time.Second, timeout: 60 * time.Second}
				transferOnce(t, natlab.New(t, top), tr).wantTCP(t, tcppunch.KindIPv6, 10*time.Second)
			})
		}
	}
}

// TestLoss: links that lose one packet in fifty.
func TestLoss(t *testing.T) {
	for _, k := range [][2]natlab.Unsolicited{{natlab.Drop, natlab.Reset}, {natlab.Reset, natlab.Reset}, {natlab.Accept, natlab.Drop}} {
		t.Run(fmt.Sprintf("%v-%v", k[0], k[1]), func(t *testing.T) {
			t.Parallel()
			top := twoNATs(natlab.NAT{Linux: true, Unsolicited: k[0]}, natlab.NAT{Linux: true, Unsolicited: k[1]})
			top.Seed = uint64(time.Now().UnixNano())
			for i := range top.NATs {
				top.NATs[i].Link.Loss = 0.02
			}
			tr := trial{late: 2 * time.Second, offset: 3 * time.Second, timeout: 60 * time.Second}
			transferOnce(t, natlab.New(t, top), tr).wantTCP(t, tcppunch.KindPublic, 15*time.Second)
		})
	}
}
