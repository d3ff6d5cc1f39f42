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
)

// A datagram to an address that nobody has waits in the kernel for 3 s, until ARP gives up. So long it takes room in the
// buffer of the socket, which by default holds 554 of the smallest on Linux, and in the table of neighbours, which holds
// 1024 of all programs together. So a /24 is through in 1 s, and a /22 in 6 s: faster would mean to wait for room, and
// errors for others.

// A target is an address to which a datagram goes, by an interface. An index of 0 leaves it to the system.
type target struct {
	addr  netip.Addr
	index int
}

// targets are the addresses to sweep on one interface: broadcast first, then its own networks from its own addresses
// outwards, since neighbours often have addresses near to each other. network is called for each.
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

// around are the addresses of hosts in a network, with our own first: another program on this host may be who is
// looked for.
func around(p netip.Prefix) []netip.Addr {
	self := p.Addr()
	block := p
	if block.Bits() < sweepBits {
		block = netip.PrefixFrom(self, sweepBits)
	}
	host := func(a netip.Addr) bool {
		return block.Contains(a) && (p.Bits() >= 31 || a != p.Masked().Addr() && a != lastOf(p))
	}
	all := []netip.Addr{self}
	up, down := self.Next(), self.Prev()
	for block.Contains(up) || block.Contains(down) {
		if host(up) {
			all = append(all, up)
		}
		if host(down) {
			all = append(all, down)
		}
		if block.Contains(up) {
			up = up.Next()
		}
		if block.Contains(down) {
			down = down.Prev()
		}
	}
	return all
}

// sweeper goes through the targets of all interfaces, over and over.
type sweeper struct {
	began  time.Time // of the first sweep
	next   time.Time // of the next handful; zero when not sweeping
	from   time.Time // of this sweep
	count  int       // of sweeps so far
	left   []target
	window time.Time // of sweepWait
	sent   int       // in it
}

// hand returns the targets that are due. plan is called when a sweep begins.
func (s *sweeper) hand(now time.Time, plan func() []target) []target {
	if s.next.IsZero() {
		s.began = now
	}
	if len(s.left) == 0 {
		s.left, s.from = plan(), now
		s.count++
	}
	if now.Sub(s.window) >= sweepWait {
		s.window, s.sent = now, 0
	}
	n := min(sweepHand, len(s.left), sweepMost-s.sent)
	due := s.left[:n]
	s.left = s.left[n:]
	s.sent += n
	switch {
	case len(s.left) == 0:
		every := sweepEvery
		switch {
		case s.count <= 3:
			every = sweepAgain
		case now.Sub(s.began) > sweepLong:
			every = sweepSlow
		}
		s.next = s.from.Add(every)
	case s.sent == sweepMost:
		s.next = s.window.Add(sweepWait)
	default:
		s.next = now.Add(sweepTick)
	}
	return due
}

// full says that there was no room for all that hand returned.
func (s *sweeper) full(unsent []target, now time.Time) {
	s.left = append(slices.Clip(unsent), s.left...)
	s.next = now.Add(sweepWait / 10)
}

// stop ends sweeping.
func (s *sweeper) stop() { *s = sweeper{} }
