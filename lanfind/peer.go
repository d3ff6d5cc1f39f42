package lanfind

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Peer is a program of a neighbour, as it describes itself. Nothing of that is proven, but all of it is fit for a
// screen: control characters and the like are gone.
type Peer struct {
	// ID tells it from other programs. When two claim the same one, the one heard later has "#2" at its end, and so on.
	ID string
	// Name is its nickname, or empty.
	Name string
	// Room is the room in which it waits, or empty.
	Room string
	// Key is the fingerprint of its key, or empty.
	Key string
	// Addrs are where it may be reached by TCP, at most 8: addresses from which it has been heard first, IPv4 before IPv6.
	// All are in a subnet of this host or link-local with a zone, unless they are among Options.Addrs.
	Addrs []netip.AddrPort
	// Since is when it began to announce itself by its own clock, or when it was first heard, if it does not say or that is later.
	Since time.Time
	// Via is how it was heard.
	Via Via
}

// Via is a set of ways to hear of a peer.
type Via uint8

const (
	// Multicast is DNS-SD over multicast DNS.
	Multicast Via = 1 << iota
	// Datagram is a datagram sent to this host, or by broadcast.
	Datagram
)

// String returns "multicast", "datagram" or both with a plus between.
func (v Via) String() string {
	switch v {
	case Multicast:
		return "multicast"
	case Datagram:
		return "datagram"
	case Multicast | Datagram:
		return "multicast+datagram"
	}
	return fmt.Sprintf("Via(%d)", uint8(v))
}

// UnmarshalText reads what String returns.
func (v *Via) UnmarshalText(text []byte) error {
	for _, known := range []Via{Multicast, Datagram, Multicast | Datagram} {
		if known.String() == string(text) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("unknown way to hear of a peer: %q", text)
}

// MarshalText writes what String returns.
func (v Via) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// An Event is something that happened to a peer.
type Event struct {
	// Kind is what happened.
	Kind Kind
	// Peer is what the peer is like now, or was like when it left.
	Peer Peer
}

// Kind is what can happen to a peer.
type Kind int

const (
	// Found is that it appeared.
	Found Kind = iota + 1
	// Changed is that something about it changed. It has the same ID as before.
	Changed
	// Gone is that it took leave, or was not heard for long.
	Gone
)

// String returns "found", "changed" or "gone".
func (k Kind) String() string {
	switch k {
	case Found:
		return "found"
	case Changed:
		return "changed"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// MarshalText writes what String returns.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String returns.
func (k *Kind) UnmarshalText(text []byte) error {
	for _, known := range []Kind{Found, Changed, Gone} {
		if known.String() == string(text) {
			*k = known
			return nil
		}
	}
	return fmt.Errorf("unknown kind of event: %q", text)
}

func (p *Peer) equal(q *Peer) bool {
	return p.ID == q.ID && p.Name == q.Name && p.Room == q.Room && p.Key == q.Key && p.Since.Equal(q.Since) && p.Via == q.Via &&
		slices.Equal(p.Addrs, q.Addrs)
}
