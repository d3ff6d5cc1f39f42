//go:build linux

package natlab_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"golang.org/x/sys/unix"
)

// twoPublic is two hosts on the core, a with the given link.
func twoPublic(k natlab.Link) natlab.Topology {
	return natlab.Topology{Hosts: []natlab.Host{{Name: "a", Link: k}, {Name: "s"}}}
}

// roundTrips measures n round trips to a reflector, one after the other.
func roundTrips(t *testing.T, pc *net.UDPConn, to netip.AddrPort, n int) []time.Duration {
	t.Helper()
	var all []time.Duration
	for range n {
		begin := time.Now()
		seenUDP(t, pc, to)
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return all
}

func TestDelay(t *testing.T) {
	lab := natlab.New(t, oneNAT(natlab.NAT{Link: natlab.Link{Delay: 20 * time.Millisecond}}))
	if err := lab.SetLink("a", natlab.Link{Delay: 1500 * time.Microsecond}); err != nil {
		t.Fatal(err)
	}
	to := reflector(t, lab.Host("s"), ":3478")
	all := roundTrips(t, client{t, lab.Host("a")}.udp(7070), to, 50)
	want := 2 * (20*time.Millisecond + 1500*time.Microsecond)
	if median := all[len(all)/2]; median < want || median > want+4*time.Millisecond { // the rest is for a busy machine
		t.Errorf("median round trip is %v, want %v and less than 4 ms more", median, want)
	}
	if all[0] < want {
		t.Errorf("a packet was early: %v, want %v", all[0], want)
	}
	t.Logf("want %v: least %v, median %v, most %v", want, all[0], all[len(all)/2], all[len(all)-1])
}

func TestJitter(t *testing.T) {
	lab := natlab.New(t, twoPublic(natlab.Link{Delay: 2 * time.Millisecond, Jitter: 4 * time.Millisecond}))
	to := reflector(t, lab.Host("s"), ":3478")
	all := roundTrips(t, client{t, lab.Host("a")}.udp(7070), to, 50)
	if all[0] < 4*time.Millisecond || all[0] > 9*time.Millisecond || all[len(all)-1] < 7*time.Millisecond {
		t.Errorf("round trips are from %v to %v, want them spread over 4 to 12 ms", all[0], all[len(all)-1])
	}
}

// burst sends count datagrams of 1000 bytes from a to s, pausing every now and then, and returns when each arrived.
func burst(t *testing.T, lab *natlab.Lab, log *packets, count, each int) []time.Duration {
	t.Helper()
	a, s := client{t, lab.Host("a")}.udp(7070), client{t, lab.Host("s")}.udp(7070)
	to := netip.AddrPortFrom(lab.Host("s").Addr(), 7070)
	for i := range count {
		if _, err := a.WriteToUDPAddrPort(make([]byte, 1000), to); err != nil {
			t.Fatal(err)
		}
		if i%each == each-1 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	for _ = s.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); ; {
		if _, err := s.Read(make([]byte, 2000)); err != nil {
			break
		}
	}
	var times []time.Duration
	for _, c := range log.at("s", natlab.AtHost, true) {
		times = append(times, c.Time)
	}
	return times
}

// TestReorderAndDuplicate: some packets are overtaken, and some come twice.
func TestReorderAndDuplicate(t *testing.T) {
	const count = 1000
	lab := natlab.New(t, twoPublic(natlab.Link{Delay: 10 * time.Millisecond, Reorder: 0.1, Duplicate: 0.05}))
	a, s := client{t, lab.Host("a")}.udp(7070), client{t, lab.Host("s")}.udp(7070)
	to := netip.AddrPortFrom(lab.Host("s").Addr(), 7070)
	go func() {
		for i := range count {
			a.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, uint32(i)), to) //nolint:errcheck // seen at the other end
			time.Sleep(200 * time.Microsecond)
		}
	}()
	seen := make(map[uint32]int)
	late, last := 0, uint32(0)
	for {
		s.SetReadDeadline(time.Now().Add(time.Second)) //nolint:errcheck // the read tells
		b := make([]byte, 8)
		if n, err := s.Read(b); err != nil || n != 4 {
			break
		}
		n := binary.BigEndian.Uint32(b)
		if seen[n]++; n < last && seen[n] == 1 {
			late++
		}
		last = max(last, n)
	}
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if len(seen) != count || late < count/20 || late > count/5 || twice < count/50 || twice > count/10 {
		t.Errorf("of %d packets %d arrived, %d were overtaken, %d came twice", count, len(seen), late, twice)
	}
}

func TestLoss(t *testing.T) {
	lost := func(seed uint64) int {
		top := twoPublic(natlab.Link{Loss: 0.1})
		top.Seed = seed
		log := new(packets)
		lab := natlab.NewWith(t, top, &natlab.Options{Tap: log.add})
		return 2000 - len(burst(t, lab, log, 2000, 100))
	}
	first, again, other := lost(1), lost(1), lost(2)
	if math.Abs(float64(first)-200) > 60 {
		t.Errorf("%d of 2000 packets were lost, want about 200", first)
	}
	if again != first {
		t.Errorf("the same seed lost %d and then %d packets", first, again)
	}
	if other == first {
		t.Logf("another seed lost %d packets too", other)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	log := new(packets)
	lab := natlab.NewWith(t, twoPublic(natlab.Link{Rate: 8e6, Queue: 1 << 20}), &natlab.Options{Tap: log.add})
	times := burst(t, lab, log, 200, 200)
	if len(times) != 200 {
		t.Fatalf("%d packets arrived, want 200", len(times))
	}
	took, want := times[199]-times[0], 199*1028*time.Microsecond
	if took < want*7/10 || took > want*3/2 { // the lab may come late to any packet, the first among them
		t.Errorf("200 KB at 8 Mbit/s took %v, want %v", took, want)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	log := new(packets)
	lab := natlab.NewWith(t, twoPublic(natlab.Link{Rate: 8e6, Queue: 20 << 10}), &natlab.Options{Tap: log.add})
	if got := len(burst(t, lab, log, 100, 100)); got < 19 || got > 30 {
		t.Errorf("%d packets of a burst arrived, want about the 20 that fit the queue", got)
	}
}

// TestBurst: what a host sends at once all gets to its link.
func TestBurst(t *testing.T) {
	lab := natlab.New(t, twoPublic(natlab.Link{}))
	a := client{t, lab.Host("a")}.udp(7070)
	const size, segments, writes = 1000, 60, 100
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel makes packets of this size of each write, faster than anybody could read them.
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
	if err != nil {
		t.Skipf("no UDP_SEGMENT: %v", err)
	}
	to := netip.AddrPortFrom(lab.Host("s").Addr(), 7070)
	for range writes {
		_, err := a.WriteToUDPAddrPort(make([]byte, size*segments), to)
		if errors.Is(err, unix.EIO) {
			t.Skip("before Linux 6.11 UDP_SEGMENT needs an interface that makes checksums")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sent, dropped := 0, 0
	for end := time.Now().Add(10 * time.Second); sent+dropped < segments*writes && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		sent, dropped = countSent(t, lab.Host("a"))
	}
	if dropped != 0 || sent < segments*writes {
		t.Errorf("of %d packets %d were sent and %d dropped", segments*writes, sent, dropped)
	}
}

// countSent is what a host's interface has sent, and what it could not.
func countSent(t *testing.T, host *natlab.Machine) (sent, dropped int) {
	t.Helper()
	r := host.Run("ip", "-j", "-s", "link", "show", "eth0")
	var links []struct {
		Stats struct {
			TX struct{ Packets, Dropped int }
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &links); err != nil || len(links) != 1 {
		t.Fatalf("%v\n%s%s", err, r.Stdout, r.Stderr)
	}
	return links[0].Stats.TX.Packets, links[0].Stats.TX.Dropped
}

func TestDown(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, twoPublic(natlab.Link{}))
	a, s := client{t, lab.Host("a")}.udp(7070), client{t, lab.Host("s")}.udp(7070)
	to := netip.AddrPortFrom(lab.Host("s").Addr(), 7070)
	for _, down := range []bool{false, true, false} {
		if err := lab.SetLink("a", natlab.Link{Down: down}); err != nil {
			t.Fatal(err)
		}
		if got := arrives(t, a, to, s); got == down {
			t.Errorf("link down %v: arrives %v", down, got)
		}
	}
	for name, k := range map[string]natlab.Link{"nobody": {}, "a": {Loss: 2}} {
		if err := lab.SetLink(name, k); err == nil {
			t.Errorf("no error for link %+v of %q", k, name)
		}
	}
}

// TestHops walks the path like traceroute, and looks at what the routers quote.
func TestHops(t *testing.T) {
	log := new(packets)
	lab := natlab.NewWith(t, oneNAT(natlab.NAT{Ports: natlab.Sequential, Link: natlab.Link{Delay: 20 * time.Millisecond}}), &natlab.Options{Tap: log.add})
	a, s := client{t, lab.Host("a")}.udp(7070), client{t, lab.Host("s")}.udp(7070)
	to := netip.AddrPortFrom(lab.Host("s").Addr(), 7070)
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const hops = 8 // the NAT, three routers on its link, three on the link of s, and s itself
	for ttl := 1; ttl <= hops; ttl++ {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) })
		if err != nil {
			t.Fatal(err)
		}
		if got := arrives(t, a, to, s); got != (ttl == hops) {
			t.Errorf("ttl %d arrives: %v", ttl, got)
		}
	}
	var routers []netip.Addr
	sent := log.at("a", natlab.AtHost, false)
	for i, c := range log.at("a", natlab.AtHost, true) {
		src, _ := c.Addrs()
		routers = append(routers, src.Addr())
		icmp := c.Data[20:]
		quoted := natlab.Capture{Data: icmp[8:]}
		if icmp[0] != 11 || quoted.TTL() != 1 {
			t.Errorf("%v: quotes ttl %d, want time exceeded that quotes 1", c, quoted.TTL())
		}
		was, remote := sent[i].Addrs()
		if q, r := quoted.Addrs(); q != was || r != remote {
			t.Errorf("%v: quotes %v to %v, want what a sent: %v to %v", c, q, r, was, remote)
		}
		if id := binary.BigEndian.Uint16(quoted.Data[4:]); id != binary.BigEndian.Uint16(sent[i].Data[4:]) {
			t.Errorf("%v: quotes packet %d", c, id)
		}
		if want := 2 * 20 * time.Millisecond * time.Duration(min(i, 4)) / 4; c.Time-sent[i].Time < want {
			t.Errorf("%v came after %v, want %v at least", c, c.Time-sent[i].Time, want)
		}
	}
	want := []string{"192.168.1.1", "198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.2.3", "198.18.2.2", "198.18.2.1"}
	if len(routers) != len(want) {
		t.Fatalf("the path is %v, want %v", routers, want)
	}
	for i := range want {
		if routers[i].String() != want[i] {
			t.Errorf("the path is %v, want %v", routers, want)
		}
	}
}
