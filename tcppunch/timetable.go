package tcppunch

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A role is what a socket shall be for a while.
type role struct {
	technique Technique
	ttl       int       // of an opener
	round     int       // for Path and Trace
	began     time.Time // of this role, also where it was taken up late
	until     time.Time // zero: for good
}

// A timetable tells which role a tuple has at a time.
type timetable func(now time.Time) role

const (
	// slotTime is how long a serverless role lasts.
	slotTime = 2 * time.Second
	// freshSYN is how young the last SYN may be for a socket to be kept at a
	// slot's end: the answer may be on its way.
	freshSYN = 900 * time.Millisecond
	// spareTime is how long a serverless Dial stays with a spare port after
	// it has seen the peer and is not connected.
	spareTime = 4 * time.Second
	// chanceTime is how long it stays with one that was drawn by chance.
	chanceTime = cycle * slotTime
	// cycle is how many slots it takes until every pairing of roles came up.
	cycle = 4
)

// slots is the serverless timetable. Every pairing of the two patterns comes up
// within a cycle, whatever the offset between the two clocks:
//
//	SideA  opener connector opener    connector
//	SideB  opener opener    connector connector
//
// Spare ports have the roles reversed, so that whenever one side opens and the
// other connects, it is tried both ways round. The offset is added to this
// machine's clock.
func slots(opens func(slot int64) bool, spare bool, ttl int, start time.Time, offset time.Duration) timetable {
	slot := func(t time.Time) int64 { return t.Add(offset).UnixNano() / int64(slotTime) }
	begin := func(n int64) time.Time { return time.Unix(0, n*int64(slotTime)).Add(-offset) }
	first := slot(start)
	return func(now time.Time) role {
		n := slot(now)
		r := role{round: int(n - first), began: begin(n), until: begin(n + 1)}
		if opens(n) != spare {
			r.technique = Opener
			r.ttl = slotTTL(ttl, n)
			return r
		}
		r.technique = Connector
		return r
	}
}

// opensByChance draws each slot's role, where the two sides cannot be told apart.
func opensByChance(seed uint64) func(slot int64) bool {
	return func(slot int64) bool { return rand.New(rand.NewPCG(seed, uint64(slot))).IntN(2) == 0 }
}

func opensIn(side Side, slot int64) bool {
	if side == SideA {
		return slot == 0 || slot == 2
	}
	return slot == 0 || slot == 1
}

// slotTTL is the given TTL but for the first slot of every third cycle: a path
// of unusual length gets its chance, and all others lose little. Much higher
// TTLs are left to rounds with fresh ports: a SYN that reaches the peer's NAT
// with the last of its TTL may spoil the tuple.
func slotTTL(ttl int, slot int64) int {
	c := slot / cycle
	if slot%cycle != 0 || c%3 != 2 {
		return ttl
	}
	guesses := [...]int{2, ttl + 1, 3, ttl + 2}
	return guesses[(c/3)%int64(len(guesses))]
}

// openerTTL is what an opener's SYN has in a round of a room: what was asked for,
// or enough to open this side's routers, if it is known how many there are, else
// what is enough for most. Later rounds try others, and come back to what is known.
func openerTTL(wanted int, n NAT, round int) int {
	ttl := defaultTTL
	switch {
	case wanted > 0:
		ttl = wanted
	case n.Routers > 0:
		ttl = n.Routers + 1
	}
	if wanted == 0 && n.Routers > 0 {
		if round%2 == 0 {
			return ttl
		}
		round = 1 + round/2
	}
	if round == 0 {
		return ttl
	}
	guesses := slices.DeleteFunc([]int{2, 7, ttl + 1, 3, 10}, func(g int) bool { return g == ttl })
	return guesses[(round-1)%len(guesses)]
}

// forGood is the timetable of a tuple whose role does not change.
func forGood(t Technique, ttl, round int, now time.Time) timetable {
	return func(time.Time) role { return role{technique: t, ttl: ttl, round: round, began: now} }
}

// retransmissions are the moments, after the first, at which Linux 6.5 and
// later sends a SYN again; older kernels use some of them.
var retransmissions = [...]time.Duration{1 * time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second,
	5 * time.Second, 7 * time.Second, 11 * time.Second, 15 * time.Second, 31 * time.Second}

// lastSYN tells when, after connect, the youngest SYN went out: the kernel says
// how often it has sent it again, or by the clock where that is -1.
func lastSYN(elapsed time.Duration, again int) time.Duration {
	var last time.Duration
	for i, r := range retransmissions {
		if again == i || again < 0 && r > elapsed {
			break
		}
		last = r
	}
	return last
}

// openerTime is the most that an opener's socket is kept: the kernel would
// send its SYN again after a second, and the TTL would have to be low at that
// moment. Whatever answers the peer's SYN then is lost, for seconds, and with it
// the tuple; measured, that spoiled one punch in ten. The socket's own SYN has
// reached nobody, so a fresh one in its place loses nothing.
const openerTime = 900 * time.Millisecond

// openerEnd tells when an opener that starts now makes way for the next one:
// at the role's end, or at an equal part of the time until then.
func openerEnd(now, until time.Time) time.Time {
	if until.IsZero() {
		return now.Add(openerTime)
	}
	left := until.Sub(now)
	parts := (left + openerTime - 1) / openerTime
	return now.Add(left / max(parts, 1))
}

// How long an opener's TTL stays low. Where connect returns before the SYN is
// out, that takes a moment. On IPv6 the socket shuts the peer out meanwhile, so
// it lasts until the ICMPv6 error has come back, no longer.
const (
	lowV4 = 3 * time.Millisecond
	lowV6 = 40 * time.Millisecond
)
