package lanfind

import (
	"net/netip"
	"sync"
	"time"
)

const (
	maxLimited = 1024 // sources of which something is remembered
	considered = 16   // of them when there is no room

	sourceRate, sourceBurst = 20, 60    // packets a second that are read of one source
	allRate, allBurst       = 500, 1000 // and of all together
	floodRate, floodBurst   = 10_000, 20_000
	floodPause              = 20 * time.Millisecond // of reading, when even looking at addresses is too much
)

// bucket is an allowance that grows as time passes.
type bucket struct {
	left float64
	at   time.Time
}

func (b *bucket) grown(rate, burst float64, now time.Time) float64 {
	return min(burst, b.left+rate*now.Sub(b.at).Seconds())
}

func (b *bucket) take(rate, burst float64, now time.Time) bool {
	b.left, b.at = b.grown(rate, burst, now), now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// limits bound what each source may cause as time passes.
type limits struct {
	rate, burst float64 // a second, and at once
	by          map[netip.Addr]*bucket
	swept       time.Time // when those were thrown out that nobody needs
}

func newLimits(rate, burst float64) *limits {
	return &limits{rate: rate, burst: burst, by: make(map[netip.Addr]*bucket)}
}

// take reports whether the source may cause one more.
func (l *limits) take(a netip.Addr, now time.Time) bool {
	b := l.by[a]
	if b == nil {
		if len(l.by) >= maxLimited {
			l.evict(now)
		}
		b = &bucket{left: l.burst, at: now}
		l.by[a] = b
	}
	return b.take(l.rate, l.burst, now)
}

// evict forgets those whose allowance is full again, or else the one, of a few, that gains least by it.
func (l *limits) evict(now time.Time) {
	if full := time.Duration(l.burst / l.rate * float64(time.Second)); now.Sub(l.swept) >= full {
		l.swept = now
		for a, b := range l.by {
			if b.grown(l.rate, l.burst, now) >= l.burst {
				delete(l.by, a)
			}
		}
	}
	if len(l.by) < maxLimited {
		return
	}
	var victim netip.Addr
	most, n := -1.0, 0
	for a, b := range l.by { // in an order that nobody can foresee
		if left := b.grown(l.rate, l.burst, now); left > most {
			victim, most = a, left
		}
		if n++; n == considered {
			break
		}
	}
	delete(l.by, victim)
}

// A gate bounds what all readers let in together.
type gate struct {
	mu     sync.Mutex
	source *limits // guarded by mu, like the rest
	all    bucket
	flood  bucket
}

func newGate(now time.Time) *gate {
	return &gate{
		source: newLimits(sourceRate, sourceBurst),
		all:    bucket{allBurst, now}, flood: bucket{floodBurst, now},
	}
}

// pass reports whether a packet of a source is to be looked at, and whether the reader shall pause, so that the kernel,
// which does it for less, throws away what comes meanwhile.
func (g *gate) pass(a netip.Addr, now time.Time) (ok, pause bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.flood.take(floodRate, floodBurst, now) {
		return false, true
	}
	return g.source.take(a.WithZone(""), now) && g.all.take(allRate, allBurst, now), false
}
