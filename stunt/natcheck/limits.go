package natcheck

import (
	"net/netip"
	"sync"
	"time"
)

// clientOf is whom something is counted for: the network of an IPv4 /24 or an IPv6 /48, in which addresses are easily
// changed.
func clientOf(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits) // without an address, all are one client
	return p
}

// limits bound what each client may cause as time passes.
type limits struct {
	rate, burst float64 // a second, and at once

	mu   sync.Mutex
	by   map[netip.Prefix]*allowance // guarded by mu
	last time.Time                   // when those were thrown out that nobody needs; guarded by mu
}

// An allowance grows as time passes.
type allowance struct {
	left float64
	at   time.Time
}

const (
	maxClients = 65536 // of which something is remembered
	considered = 16    // of them when there is no room
)

func newLimits(rate, burst float64) *limits {
	return &limits{rate: rate, burst: burst, by: make(map[netip.Prefix]*allowance)}
}

// take reports whether the client at a may cause one more.
func (l *limits) take(a netip.Addr, now time.Time) bool {
	key := clientOf(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	c := l.by[key]
	if c == nil {
		if len(l.by) >= maxClients {
			l.evict(now)
		}
		c = &allowance{left: l.burst}
		l.by[key] = c
	} else {
		c.left = l.now(c, now)
	}
	c.at = now
	if c.left < 1 {
		return false
	}
	c.left--
	return true
}

// now is how much is left of an allowance.
func (l *limits) now(c *allowance, now time.Time) float64 {
	return min(l.burst, c.left+l.rate*now.Sub(c.at).Seconds())
}

// sweep forgets those whose allowance is full again.
func (l *limits) sweep(now time.Time) {
	full := time.Duration(l.burst / l.rate * float64(time.Second))
	if now.Sub(l.last) < full {
		return
	}
	l.last = now
	for key, c := range l.by {
		if now.Sub(c.at) >= full {
			delete(l.by, key)
		}
	}
}

// evict forgets the client, of a few, that gains least by it. So a crowd of clients shuts nobody out.
func (l *limits) evict(now time.Time) {
	var key netip.Prefix
	most, n := -1.0, 0
	for k, c := range l.by { // in an order that nobody can foresee
		if left := l.now(c, now); left > most {
			key, most = k, left
		}
		if n++; n == considered {
			break
		}
	}
	delete(l.by, key)
}

// slots bound the sockets that clients cause at one time, all of them and each.
type slots struct {
	max int

	mu  sync.Mutex
	all int                  // guarded by mu
	by  map[netip.Prefix]int // of each client that has any; guarded by mu
}

// maxSlots is how many one client may have: a check needs six, two of them at once have the same address if both peers
// are behind one NAT.
const maxSlots = 12

func newSlots(n int) *slots { return &slots{max: n, by: make(map[netip.Prefix]int)} }

func (s *slots) take(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.max || s.by[clientOf(a)] >= maxSlots {
		return false
	}
	s.all++
	s.by[clientOf(a)]++
	return true
}

func (s *slots) free(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client := clientOf(a)
	s.all--
	if s.by[client]--; s.by[client] == 0 {
		delete(s.by, client)
	}
}

func (s *slots) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// proofs remember from which of this machine's addresses its SYNs get out: one of them was answered. Without that,
// silence may be a firewall of this side, which would make every NAT look like one that drops.
type proofs struct {
	mu sync.Mutex
	at map[netip.Addr]time.Time // guarded by mu
}

const (
	proofLife = time.Hour
	maxProofs = 64 // addresses, of which a machine can have a whole prefix
)

func newProofs() *proofs { return &proofs{at: make(map[netip.Addr]time.Time)} }

func (p *proofs) add(local netip.Addr, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.at[local]; !known && len(p.at) >= maxProofs {
		for a := range p.at {
			delete(p.at, a)
			break
		}
	}
	p.at[local] = now
}

func (p *proofs) have(local netip.Addr, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.at[local]
	return ok && now.Sub(at) < proofLife
}
