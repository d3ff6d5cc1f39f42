package tcppunch

import (
	"fmt"
	"net/netip"
	"time"
)

// Kind says what sort of address a connection goes to.
type Kind string

// The kinds, in order of preference.
const (
	KindLAN     Kind = "lan"     // a neighbour on the local network, see Near
	KindPrivate Kind = "private" // a private address: the same network, or one routed to
	KindIPv6    Kind = "ipv6"    // a global IPv6 address
	KindPublic  Kind = "public"  // the peer's public IPv4 address, with a port that STUN has told
	// KindPredicted is that address with a port that was foreseen, or found by
	// trying many.
	KindPredicted Kind = "predicted"
)

// rank orders kinds; less is better.
func (k Kind) rank() int {
	switch k {
	case KindLAN:
		return 0
	case KindPrivate:
		return 1
	case KindIPv6:
		return 2
	case KindPublic:
		return 3
	}
	return 4
}

// rank orders paths; less is better.
func (p Path) rank() int {
	if p.Network == "kcp" {
		return p.Kind.rank() + 5
	}
	return p.Kind.rank()
}

// sharedSpace is RFC 6598's: behind a carrier's NAT.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// kindOf tells a peer's address by its range (RFC 1918, 3927, 4193, 6598).
func kindOf(a netip.Addr) Kind {
	switch {
	case a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || sharedSpace.Contains(a):
		return KindPrivate
	case a.Is6():
		return KindIPv6
	}
	return KindPublic
}

// Technique says what this side's socket did to get its connection.
type Technique string

// The techniques.
const (
	// Opener sent a low-TTL SYN first and was connected to.
	Opener Technique = "opener"
	// Connector dialled into the hole that the peer's opener had made.
	Connector Technique = "connector"
	// Simultaneous means that both dialled at the same moment.
	Simultaneous Technique = "simultaneous"
	// Plain is an ordinary dial, on private addresses.
	Plain Technique = "dial"
	// Accepted means that a listener got the connection.
	Accepted Technique = "accept"
)

// An Attempt is one socket's try to reach the peer, or a connection that a
// listener accepted.
type Attempt struct {
	Network   string         // "tcp" or "kcp"
	Local     netip.AddrPort // the address may be unspecified until connected
	Remote    netip.AddrPort
	Kind      Kind
	Technique Technique
	TTL       int // of an opener's SYN; 0 is the system's own
	Lane      int // which local port, or for which of them a fresh one stands; -1: Near's
	Round     int // in a room the round, else the slot since the start
	Start     time.Time
	Connected time.Time // zero until TCP is connected
}

func (a Attempt) String() string {
	s := fmt.Sprintf("%s %s to %v from port %d, round %d", a.Kind, a.Technique, a.Remote, a.Local.Port(), a.Round)
	if a.Network == "kcp" {
		s = "UDP, " + s
	}
	if a.TTL > 0 {
		s += fmt.Sprintf(", TTL %d", a.TTL)
	}
	return s
}

// Path tells which way a connection goes and how it came about.
type Path struct {
	Network       string // "tcp", or "kcp" for a stream over UDP
	Kind          Kind
	Local, Remote netip.AddrPort
	Technique     Technique
	Lane, Round   int
	// Punch is, with a Signaler, the time from knowing the peer's addresses
	// to the authenticated connection; serverless, from this side's first SYN
	// of the slot that succeeded; on the local network, from the first SYN to this
	// address, or from when it was accepted.
	Punch time.Duration
	// RTT is the round trip, as the TLS handshake took it: a little too long
	// rather than too short.
	RTT time.Duration
}

func (p Path) String() string {
	return fmt.Sprintf("%s, %s, %v, %s, round %d, %v", p.Network, p.Kind, p.Remote, p.Technique, p.Round,
		p.Punch.Round(time.Millisecond))
}
