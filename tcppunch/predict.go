package tcppunch

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// A portClass is how one side's public IPv4 ports can be known to the other.
type portClass int

const (
	unmapped portClass = iota // no public IPv4 address is known
	fixed                     // each lane has one public port, and STUN has told it
	perLane                   // each lane gets another one towards the peer, in sequence
	perDial                   // each dial gets another one, in sequence
	random                    // each dial gets another one, by chance
)

// class tells what this side's ports are in a round. What two ports of one STUN
// server cannot tell apart is taken for the better kind in two rounds and for
// the worse in the next two.
func (r report) class(round int) portClass {
	if !r.publicV4().IsValid() {
		return unmapped
	}
	n, worse := r.NAT, round%4 >= 2
	switch {
	case n.Mapping == EndpointIndependent, n.Ports == Preserving, n.Ports == "":
		return fixed
	case n.Ports == Random && n.Mapping == "" && !worse:
		return fixed
	case n.Ports == Random:
		return random
	case r.Sequence.Step == 0: // it is in none
		return fixed
	case r.Sequence.Gap > maxGap:
		return random
	case n.Mapping == AddressAndPortDependent, n.Mapping == "" && worse:
		return perDial
	}
	return perLane
}

// publicV4 returns the public IPv4 address, the first that a lane has. Others
// are not searched through or predicted on: they are nobody's NAT.
func (r report) publicV4() netip.Addr {
	for _, l := range r.Lanes {
		for _, a := range l.Mapped {
			if a.Addr().Is4() && kindOf(a.Addr()) == KindPublic {
				return a.Addr()
			}
		}
	}
	return netip.Addr{}
}

// Bounds of how many ports are tried where one is predicted.
const (
	minGuesses = 8
	maxGuesses = 24 // in the first round, as many more in each that follows
	// maxGap is from where on a port is sooner found by chance.
	maxGap = 6
	// maxGuessed bounds all of them.
	maxGuessed = 96
)

// A guess is where a lane of the peer may be met.
type guess struct {
	addr      netip.AddrPort
	predicted bool
}

// guesses lists where one of a side's lanes may be met over IPv4, the likeliest
// first. The sequence goes on from the last port that STUN has told.
func (r report) guesses(lane, round int) []guess {
	var gs []guess
	c := r.class(round)
	if c == fixed || c == perLane && r.NAT.Mapping == "" {
		for _, a := range r.Lanes[lane].Mapped {
			if a.Addr().Is4() && kindOf(a.Addr()) == KindPublic {
				gs = append(gs, guess{a, false})
			}
		}
		if len(gs) == 0 && c == fixed { // STUN's answer was lost
			gs = append(gs, guess{netip.AddrPortFrom(r.publicV4(), r.Lanes[lane].Port), true})
		}
	}
	if c != perLane && c != perDial {
		return gs
	}
	steps := max(int(math.Ceil(4*r.Sequence.Gap))+4, minGuesses)
	for n := range min(steps*(1+round), maxGuesses*(1+round), maxGuessed) {
		gs = append(gs, guess{netip.AddrPortFrom(r.publicV4(), r.Sequence.next(n+1)), true})
	}
	return gs
}

// few are the likeliest guesses only, for where each of them costs as much as
// any other dial: as many as other users may have taken since, and one.
func (r report) few(lane, round int) []guess {
	gs := r.guesses(lane, round)
	if c := r.class(round); c == perLane {
		n := int(math.Ceil(2*r.Sequence.Gap)) - 1 // from 1 to 2*Gap-1, Gap in the middle
		if r.NAT.Mapping == "" {
			n++
		}
		gs = gs[:min(max(n, 1), len(gs))]
	}
	return gs
}

// hopeless tells why no direct connection over IPv4 can come about between two
// sides, or "". It is the same for both of them, but for who "you" are. What
// is not certain is taken for the better kind.
func hopeless(mine, theirs report) string {
	a, b := mine.class(0), theirs.class(0)
	switch {
	case a == unmapped || b == unmapped:
		return ""
	case mine.NAT.refuses() && theirs.NAT.refuses():
		return fmt.Sprintf("both routers turn away incoming TCP, even in answer to an outgoing one (yours: %s; theirs: %s)",
			mine.NAT.Inbound, theirs.NAT.Inbound)
	case samePublicAddress(mine, theirs) && mine.NAT.noHairpin() && theirs.NAT.noHairpin():
		return "both sides are behind one public address, and the router there does not connect its own users with each other (no hairpin)"
	case max(a, b) == random && min(a, b) >= perDial:
		return fmt.Sprintf("your router %s; theirs %s", mine.NAT.ports(), theirs.NAT.ports())
	}
	return ""
}

// Sizes of a search for a random port: of 256 open ports, 1024 dials meet one
// with a probability of 98 % (1-(1-256/64512)^1024).
const (
	defaultSockets = 256
	dialsPerSocket = 4
	// blockSize is how many dials of a block go to one predicted port.
	blockSize = 16
	maxBlocks = 12
)

// openerBlocks and connectorBlocks are for two sides of which each dial gets
// another port, while other users take some in between. A connection needs a
// dial of one side that has the port to which the other's went, and the other
// way round. So the opener sends a block of dials to each of the ports that the
// connector's dials are likely to get; and the connector's dials go, one each,
// into the middle of the run of ports that each block is likely to have got:
//
//	opener     x1 … x16 → y1     x17 … x32 → y2     x33 … x48 → y3
//	connector  y1 → x8           y2 → x24           y3 → x40
func openerBlocks(connector report, sockets int) []netip.AddrPort {
	var out []netip.AddrPort
	for b := range blocks(sockets) {
		p := connector.Sequence.next(int(math.Round(float64(b+1) * connector.Sequence.Gap)))
		out = append(out, slices.Repeat([]netip.AddrPort{netip.AddrPortFrom(connector.publicV4(), p)}, blockSize)...)
	}
	return out[:min(len(out), sockets)]
}

func connectorBlocks(opener report, sockets int) []netip.AddrPort {
	var out []netip.AddrPort
	for b := range blocks(sockets) {
		middle := (float64(b) + 0.5) * blockSize * opener.Sequence.Gap
		out = append(out, netip.AddrPortFrom(opener.publicV4(), opener.Sequence.next(int(math.Round(middle)))))
	}
	return out
}

func blocks(sockets int) int { return min(max(sockets/blockSize, 1), maxBlocks) }
