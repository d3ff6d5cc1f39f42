package natlab

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// direction is the way a packet takes on a wire.
type direction int

const (
	up   direction = iota // towards the core
	down                  // towards the hosts
)

func (d direction) back() direction { return 1 - d }

// wire is a Link at work, with the plain routers on it.
type wire struct {
	net     *network
	link    Link
	routers []router // from the host end to the core end
	rng     *rand.Rand
	ends    [2]sink // ends[up] is at the core
	state   [2]struct {
		busy int64 // when the limited link has sent what it holds
		last int64 // when the last packet arrives
	}
}

// router is the addresses of a router on a wire.
type router struct{ addr, addr6 netip.Addr }

// wireEnd is a wire as a sink, for one direction.
type wireEnd struct {
	w *wire
	d direction
}

func (e wireEnd) accept(p *ip.Packet) { e.w.send(p, e.d) }

const (
	minQueue  = 32 << 10
	queueTime = 100 * time.Millisecond
)

// send puts p on the wire in direction d.
func (w *wire) send(p *ip.Packet, d direction) {
	k := &w.link
	if k.Down || k.Loss > 0 && w.rng.Float64() < k.Loss {
		w.net.drop(p)
		return
	}
	at, ok := w.transmitted(p.N, d)
	if !ok {
		w.net.drop(p)
		return
	}
	at += int64(k.Delay)
	if k.Jitter > 0 {
		at += w.rng.Int64N(int64(k.Jitter) + 1)
	}
	at = max(at, w.state[d].last)
	w.state[d].last = at
	if k.Duplicate > 0 && w.rng.Float64() < k.Duplicate {
		w.arrive(w.net.free.Clone(p), d, at)
	}
	if k.Reorder > 0 && w.rng.Float64() < k.Reorder {
		at += int64(max(k.Delay/2, time.Millisecond)) // those that follow do not wait for it
	}
	w.arrive(p, d, at)
}

// arrive has p at the other end at a time, unless its TTL is too low.
func (w *wire) arrive(p *ip.Packet, d direction, at int64) {
	hops, ttl := len(w.routers), int(ip.TTL(p.IP()))
	if ttl <= hops {
		w.expire(p, d, ttl, at)
		return
	}
	ip.SetTTL(p.IP(), byte(ttl-hops))
	w.net.after(at, w.ends[d], p)
}

// transmitted returns when a packet of n bytes has left the queue, or false when the queue has no room.
func (w *wire) transmitted(n int, d direction) (int64, bool) {
	k := &w.link
	if k.Rate <= 0 {
		return w.net.now, true
	}
	limit := int64(k.Queue)
	if limit <= 0 {
		limit = max(minQueue, int64(float64(k.Rate)/8*queueTime.Seconds()))
	}
	s := &w.state[d]
	begin := max(w.net.now, s.busy)
	waiting := int64(float64(begin-w.net.now) * float64(k.Rate) / 8e9)
	if waiting > 0 && waiting+int64(n) > limit {
		return 0, false
	}
	s.busy = begin + int64(float64(n)*8e9/float64(k.Rate))
	return s.busy, true
}

// expire carries p to the router where its TTL ends, the nth on its way. The routers divide the wire's time evenly.
func (w *wire) expire(p *ip.Packet, d direction, nth int, arrival int64) {
	if nth < 1 {
		w.net.drop(p)
		return
	}
	ip.SetTTL(p.IP(), 1)
	way := (arrival - w.net.now) * int64(nth) / int64(len(w.routers)+1)
	w.net.after(w.net.now+way, &expiry{w, d, nth, way}, p)
}

// expiry is a router that answers time exceeded to a packet that came in direction d and took the time way.
type expiry struct {
	w   *wire
	d   direction
	nth int
	way int64
}

func (e *expiry) accept(p *ip.Packet) {
	w := e.w
	defer w.net.drop(p)
	at := e.nth - 1
	if e.d == down {
		at = len(w.routers) - e.nth
	}
	from := w.routers[at].addr
	if p.IP()[0]>>4 == 6 {
		from = w.routers[at].addr6
	}
	answer := w.net.free.Take()
	if !ip.ICMPError(answer, ip.TimeExceeded, from, p.IP()) {
		w.net.drop(answer)
		return
	}
	ip.SetTTL(answer.IP(), byte(ip.InitialTTL-(e.nth-1)))
	w.net.after(w.net.now+e.way, w.ends[e.d.back()], answer)
}
