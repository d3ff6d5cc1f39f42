package stunt

import (
	"container/list"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits say how much a server takes. A field of zero has the default, which suits a public server on a small machine.
// What is per network counts together all clients of one IPv4 /24 or IPv6 /64, and an IPv6 /48 may have 16 times as much.
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
	// times as many may come at once. It is what a guesser of room numbers meets; who has missed no more than four times
	// as often still gets in where somebody waits. In the first minutes of a server, members that rejoin rooms which it
	// cannot know are counted apart, and may be ten times as many. Default: 6.
	Misses int
	// Message is the size of a message in bytes. Clients of this package send up to MaxMessage. Default: MaxMessage.
	Message int
	// Messages of one member in one meeting. Of all its frames, pings included, twice as many may come at once, and a
	// tenth as many each second. Default: 256.
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

// The kinds of what is counted by the minute.
type kind int

const (
	joins   kind = iota
	misses       // charged as Limits.Misses says
	far          // misses too, as many as somebody may have and still get in where somebody waits
	returns      // rejoins to rooms that a new server does not know
	kinds
)

// farTimes and returnTimes are how many times Limits.Misses the others are.
const (
	farTimes    = 4
	returnTimes = 10
	wideTimes   = 16 // how many times the limits of an IPv6 /64 a /48 has
)

// A network is what is remembered of an IPv4 /24, an IPv6 /64, or the IPv6 /48 around it.
type network struct {
	prefix  netip.Prefix
	wide    *network     // around it, or nil; never changed
	inner   int          // networks of which it is the wide one
	times   int          // how many times the limits it has
	conns   atomic.Int64 // a connection may be closed with or without the hub's mutex
	members int
	buckets [kinds]*rate.Limiter
	used    time.Time
	elem    *list.Element // in networks.byUse
}

func newNetwork(p netip.Prefix, l Limits, times int) *network {
	n := &network{prefix: p, times: times}
	bucket := func(perMinute, burst int) *rate.Limiter {
		return rate.NewLimiter(rate.Limit(float64(perMinute*times)/60), burst*times)
	}
	n.buckets[joins] = bucket(l.Joins, l.Joins)
	n.buckets[misses] = bucket(l.Misses, 5*l.Misses)
	n.buckets[far] = bucket(farTimes*l.Misses, farTimes*5*l.Misses)
	n.buckets[returns] = bucket(returnTimes*l.Misses, returnTimes*5*l.Misses)
	return n
}

// widest is the largest network that this one is in.
func (n *network) widest() *network {
	for n.wide != nil {
		n = n.wide
	}
	return n
}

// has reports whether one more of a kind is within the limits.
func (n *network) has(k kind, now time.Time) bool {
	for ; n != nil; n = n.wide {
		if n.buckets[k].TokensAt(now) < 1 {
			return false
		}
	}
	return true
}

// take counts one of a kind, unless that is too many already.
func (n *network) take(k kind, now time.Time) {
	for ; n != nil; n = n.wide {
		n.buckets[k].AllowN(now, 1)
	}
}

// retryAfter is how long until one more of a kind is within the limits.
func (n *network) retryAfter(k kind, now time.Time) (wait time.Duration) {
	for ; n != nil; n = n.wide {
		wait = max(wait, retryAfter(n.buckets[k], now))
	}
	return wait
}

// add counts members.
func (n *network) add(members int) {
	for ; n != nil; n = n.wide {
		n.members += members
	}
}

// addConns counts connections.
func (n *network) addConns(conns int64) {
	for ; n != nil; n = n.wide {
		n.conns.Add(conns)
	}
}

// crowded reports whether there is no place for another member.
func (n *network) crowded(l Limits) bool {
	for ; n != nil; n = n.wide {
		if n.members >= l.Members*n.times {
			return true
		}
	}
	return false
}

// busy reports whether there is no place for another connection.
func (n *network) busy(l Limits) bool {
	for ; n != nil; n = n.wide {
		if n.conns.Load() >= int64(l.Conns)*int64(n.times) {
			return true
		}
	}
	return false
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
	n := ns.get(prefixOf(a, 64), 1, now)
	if a.Unmap().Is6() { // after the other, so that it is forgotten after it
		wide := ns.get(prefixOf(a, 48), wideTimes, now)
		if n.wide == nil {
			n.wide = wide
			wide.inner++
		}
	}
	ns.forget(now)
	return n
}

// get returns the network of a prefix, and notes that it is used.
func (ns *networks) get(p netip.Prefix, times int, now time.Time) *network {
	n := ns.all[p]
	if n == nil {
		n = newNetwork(p, ns.limits, times)
		n.elem = ns.byUse.PushFront(n)
		ns.all[p] = n
	}
	n.used = now
	ns.byUse.MoveToFront(n.elem)
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
		case n.conns.Load() > 0 || n.members > 0 || n.inner > 0:
			ns.byUse.MoveToFront(e) // bounded by the connections
		default:
			if n.wide != nil {
				n.wide.inner--
			}
			ns.byUse.Remove(e)
			delete(ns.all, n.prefix)
		}
	}
}

// prefixOf is what counts as one network: an IPv4 /24, or so many bits of an IPv6 address.
func prefixOf(a netip.Addr, bits int) netip.Prefix {
	a = a.Unmap().WithZone("")
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
