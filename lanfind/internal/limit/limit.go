// Package limit bounds what strangers can cause as time passes, each of them and all together, in bounded memory.
package limit

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
	quietRate, quietBurst   = 1, 8      // and of one source even when all together send too much
	restRate, restBurst     = 300, 600  // of all together in this way
	floodRate, floodBurst   = 10_000, 20_000
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

// Sources bound what each source may cause as time passes.
type Sources struct {
	rate, burst float64 // a second, and at once
	by          map[netip.Addr]*bucket
	swept       time.Time // when those were thrown out that nobody needs
}

// New returns the allowances of sources that may cause rate things a second, and burst at once.
func New(rate, burst float64) *Sources {
	return &Sources{rate: rate, burst: burst, by: make(map[netip.Addr]*bucket)}
}

// Take reports whether the source may cause one more.
func (l *Sources) Take(a netip.Addr, now time.Time) bool {
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
func (l *Sources) evict(now time.Time) {
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
type Gate struct {
	mu     sync.Mutex
	source *Sources // guarded by mu, like the rest
	all    bucket
	quiet  *Sources
	rest   bucket
	flood  bucket
}

// NewGate returns a gate that nobody has passed.
func NewGate(now time.Time) *Gate {
	return &Gate{
		source: New(sourceRate, sourceBurst),
		quiet:  New(quietRate, quietBurst),
		all:    bucket{allBurst, now}, rest: bucket{restBurst, now}, flood: bucket{floodBurst, now},
	}
}

// Pass reports whether a packet of a source is to be looked at, and whether the reader shall pause, so that the kernel,
// which does it for less, throws away what comes meanwhile.
func (g *Gate) Pass(a netip.Addr, now time.Time) (ok, pause bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.flood.take(floodRate, floodBurst, now) {
		return false, true
	}
	a = a.WithZone("")
	return g.source.Take(a, now) && g.all.take(allRate, allBurst, now) ||
		g.quiet.Take(a, now) && g.rest.take(restRate, restBurst, now), false
}
