package stunt

import (
	"container/list"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits say how much a server takes. A field of zero has the default, which suits a public server on a small machine.
// What is per network counts together all clients of one IPv4 /24 or IPv6 /64.
type Limits struct {
	// Rooms in all. Default: 100,000.
	Rooms int
	// Members of one network at the same time, waiting ones included. Default: 200.
	Members int
	// Conns of one network at the same time, whatever they do. Default: 4 times Members.
	Conns int
	// Joins of one network a minute; as many may come at once. Default: 120.
	Joins int
	// Misses of one network a minute: joins that name a room in which the other side is not, or that it is full. Five
	// times as many may come at once. It is what a guesser of room numbers meets. Default: 6.
	Misses int
	// Message is the size of a message in bytes. Clients of this package send up to MaxMessage. Default: MaxMessage.
	Message int
	// Messages of one member in one meeting. Default: 256.
	Messages int
	// RoomAge is how long a room may exist. Default: 24 hours.
	RoomAge time.Duration
	// Handshake is how long a client may take to send its request. Default: 10 seconds.
	Handshake time.Duration
	// Idle is how long a member may be silent; after half of it the server asks. Default: 1 minute.
	Idle time.Duration
	// Buffer is how many bytes may wait for one member to read them; who reads slower is disconnected. Default: 64 KiB.
	Buffer int
	// Buffers is how many bytes may wait for all members together; above it those who make most wait are disconnected.
	// Default: 64 MiB.
	Buffers int
}

// maxNetworks bounds how many networks are remembered beside those that have a connection.
const maxNetworks = 1 << 16

// DefaultLimits returns the limits with the defaults filled in.
func DefaultLimits() Limits { return Limits{}.orDefault() }

func (l Limits) orDefault() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.Rooms, 100_000}, {&l.Members, 200}, {&l.Joins, 120}, {&l.Misses, 6},
		{&l.Message, MaxMessage}, {&l.Messages, 256}, {&l.Buffer, 64 << 10}, {&l.Buffers, 64 << 20},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if l.Conns <= 0 {
		l.Conns = 4 * l.Members
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&l.RoomAge, 24 * time.Hour}, {&l.Handshake, 10 * time.Second}, {&l.Idle, time.Minute}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	// One whole message must fit.
	l.Buffer = max(l.Buffer, 2*frameLimit(l.Message))
	l.Buffers = max(l.Buffers, 2*frameLimit(l.Message))
	return l
}

// A network is what is remembered of an IPv4 /24 or an IPv6 /64.
type network struct {
	prefix  netip.Prefix
	conns   atomic.Int64 // a connection may be closed with or without the hub's mutex
	members int
	joins   *rate.Limiter
	misses  *rate.Limiter
	used    time.Time
	elem    *list.Element // in networks.byUse
}

// networks remembers those that have a connection, and for a while some that had one. The zero value is not useful.
type networks struct {
	limits Limits
	all    map[netip.Prefix]*network
	byUse  *list.List // the last used in front
}

func newNetworks(l Limits) *networks {
	return &networks{limits: l, all: make(map[netip.Prefix]*network), byUse: list.New()}
}

// of returns the network of an address.
func (ns *networks) of(a netip.Addr, now time.Time) *network {
	p := prefixOf(a)
	n := ns.all[p]
	if n == nil {
		perMinute := func(count int) rate.Limit { return rate.Limit(float64(count) / 60) }
		n = &network{
			prefix: p,
			joins:  rate.NewLimiter(perMinute(ns.limits.Joins), ns.limits.Joins),
			misses: rate.NewLimiter(perMinute(ns.limits.Misses), 5*ns.limits.Misses),
		}
		n.elem = ns.byUse.PushFront(n)
		ns.all[p] = n
	}
	n.used = now
	ns.byUse.MoveToFront(n.elem)
	ns.forget(now)
	return n
}

// forget drops networks of which nothing needs to be known, and when there are too many, those that were idle for
// longest. It looks at a few at a time, so that no call is slow.
func (ns *networks) forget(now time.Time) {
	// After this time every limiter is full again, as a new one is.
	const keep = 6 * time.Minute
	for range 4 {
		e := ns.byUse.Back()
		n := e.Value.(*network)
		switch {
		case now.Sub(n.used) < keep && ns.byUse.Len() <= maxNetworks:
			return
		case n.conns.Load() > 0 || n.members > 0:
			ns.byUse.MoveToFront(e) // bounded by the connections
		default:
			ns.byUse.Remove(e)
			delete(ns.all, n.prefix)
		}
	}
}

// prefixOf is what counts as one network.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address at all: they share one network
	}
	return p
}

// retryAfter is how long until a limiter lets one more through.
func retryAfter(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 || l.Limit() <= 0 {
		return 0
	}
	return time.Duration(missing/float64(l.Limit())*float64(time.Second)).Round(time.Second) + time.Second
}
