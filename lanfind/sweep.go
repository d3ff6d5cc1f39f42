package lanfind

import (
	"net/netip"
	"slices"
	"time"
)

const (
	sweepBits  = 22                    // no network of more addresses than a /22 is swept, but the part around our own
	sweepTick  = 20 * time.Millisecond // between two handfuls
	sweepHand  = 5                     // datagrams in a handful
	sweepMost  = 500                   // datagrams in sweepWait
	sweepWait  = 3 * time.Second
	sweepAgain = 3 * time.Second  // after each of the first three, in case packets were lost
	sweepEvery = 20 * time.Second // so that no firewall forgets: Linux's do, of a datagram without answer, after 30 s
	sweepSlow  = 2 * time.Minute  // the same after sweepLong
	sweepLong  = 10 * time.Minute
	sweepLook  = 200 * time.Millisecond // between looks at the table of neighbours, while addresses are left
)

// A datagram to an address that nobody has waits in the kernel for 3 s, until ARP gives up. So long it takes room in the
// buffer of the socket, which by default holds 554 of the smallest on Linux, and in the table of neighbours, which holds
// 1024 of all programs together. So a /24 is through in 1 s, and a /22 in 6 s: faster would mean to wait for room, and
// errors for others. But hosts that are in the table go first, those too that come into it meanwhile, as everybody does
// who asks by ARP for us: one of two that sweep is enough.

// A target is an address to which a datagram goes, by an interface. An index of 0 leaves it to the system.
type target struct {
	addr  netip.Addr
	index int
}

// targets are the addresses to sweep on one interface: broadcast first, then its own networks. network is called for each.
func targets(f *Interface, network func(p netip.Prefix, n int)) []target {
	var all []target
	seen := make(map[netip.Addr]bool)
	for _, p := range f.Addrs {
		if p.Addr().Is4() && p.Bits() < 31 && !seen[lastOf(p)] {
			seen[lastOf(p)] = true
			all = append(all, target{lastOf(p), f.Index})
		}
	}
	for _, p := range f.Addrs {
		if !p.Addr().Is4() || p.IsSingleIP() {
			continue
		}
		n := 0
		for _, a := range around(p) {
			if !seen[a] && len(all) < 4<<(32-sweepBits) {
				seen[a] = true
				all = append(all, target{a, f.Index})
				n++
			}
		}
		if network != nil {
			network(p.Masked(), n)
		}
	}
	return all
}

// around are the addresses of hosts in a network: from our own, since another program on this host may be who is looked
// for, upwards, and after the highest from the lowest. So of two hosts that sweep, one comes to the other in half the
// time at most; and the other, by whose ARP the first has shown that it is there, need not come to it by itself.
func around(p netip.Prefix) []netip.Addr {
	self := p.Addr()
	block := p.Masked()
	if block.Bits() < sweepBits {
		block = netip.PrefixFrom(self, sweepBits).Masked()
	}
	host := func(a netip.Addr) bool { return p.Bits() >= 31 || a != p.Masked().Addr() && a != lastOf(p) }
	all := []netip.Addr{self}
	for a := next(block, self); a != self; a = next(block, a) {
		if host(a) {
			all = append(all, a)
		}
	}
	return all
}

// next is the address in a block that follows a, which the first does after the last.
func next(block netip.Prefix, a netip.Addr) netip.Addr {
	if a = a.Next(); block.Contains(a) {
		return a
	}
	return block.Addr()
}

// sweeper goes through the targets of all interfaces, over and over.
type sweeper struct {
	began   time.Time // of the first sweep
	next    time.Time // of the next handful; zero when not sweeping
	again   time.Time // when the next sweep begins, unless this one takes longer
	count   int       // of sweeps so far
	left    []target
	first   []target        // before those
	hurried map[target]bool // in this sweep
	window  time.Time       // of sweepWait
	sent    int             // in it
}

// hand returns the targets that are due. plan is called when a sweep begins.
func (s *sweeper) hand(now time.Time, plan func() []target) []target {
	if s.next.IsZero() {
		s.began = now
	}
	if s.done() && !now.Before(s.again) {
		s.count++
		s.left, s.again, s.hurried = plan(), now.Add(s.every(now)), make(map[target]bool)
	}
	if now.Sub(s.window) >= sweepWait {
		s.window, s.sent = now, 0
	}
	var due []target
	for len(due) < sweepHand && s.sent < sweepMost && !s.done() {
		from := &s.left
		if len(s.first) > 0 {
			from = &s.first
		}
		t := (*from)[0]
		*from = (*from)[1:]
		if from == &s.left && s.hurried[t] {
			continue
		}
		due = append(due, t)
		s.sent++
	}
	switch {
	case s.done():
		s.next = s.again
	case s.sent == sweepMost:
		s.next = s.window.Add(sweepWait)
	default:
		s.next = now.Add(sweepTick)
	}
	return due
}

func (s *sweeper) done() bool { return len(s.left)+len(s.first) == 0 }

// every is the time from the beginning of this sweep to that of the next.
func (s *sweeper) every(now time.Time) time.Duration {
	switch {
	case s.count <= 3:
		return sweepAgain
	case now.Sub(s.began) > sweepLong:
		return sweepSlow
	}
	return sweepEvery
}

// hurry has the targets go before all others, once in a sweep.
func (s *sweeper) hurry(all []target, now time.Time) {
	if s.next.IsZero() {
		return // the first handful makes the plan
	}
	for _, t := range all {
		if !s.hurried[t] {
			s.hurried[t] = true
			s.first = append(s.first, t)
		}
	}
	if len(s.first) > 0 && s.sent < sweepMost {
		s.next = earlier(s.next, now)
	}
}

// full says that there was no room for all that hand returned.
func (s *sweeper) full(unsent []target, now time.Time) {
	s.first = append(slices.Clip(unsent), s.first...)
	s.next = now.Add(sweepWait / 10)
}

// stop ends sweeping.
func (s *sweeper) stop() { *s = sweeper{} }
