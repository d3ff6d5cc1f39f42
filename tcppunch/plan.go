package tcppunch

import (
	"net/netip"
	"slices"
)

// A target is an address to dial.
type target struct {
	remote netip.AddrPort
	kind   Kind
	spare  bool // from this side's spare port
}

// serverlessTuples pairs local ports with the peer's. Port and port always
// meet. The spare port goes to all of the peer's spare ports, because neither
// side knows which one the other uses in this run:
//
//	7070 ─────────── 7070
//	       ┌──────── 7071
//	7072 ──┼──────── 7072
//	       └──────── 7073
func serverlessTuples(peer []netip.AddrPort) []target {
	var ts []target
	for _, a := range peer {
		kind := kindOf(a.Addr())
		ts = append(ts, target{remote: a, kind: kind})
		for i := uint16(1); i <= SparePorts && a.Port() <= 65535-i; i++ {
			ts = append(ts, target{remote: netip.AddrPortFrom(a.Addr(), a.Port()+i), kind: kind, spare: true})
		}
	}
	return ts
}

// A report is what one side tells the other about itself in a round.
type report struct {
	Hosts []netip.Addr `json:"hosts"`
	Lanes []laneReport `json:"lanes"`
}

// A laneReport is one local port.
type laneReport struct {
	Port   uint16           `json:"port"`
	Mapped []netip.AddrPort `json:"mapped,omitempty"` // as STUN servers saw it
}

// A moment is when a step is due.
type moment int

const (
	onOffer  moment = iota // the answerer knows the offer, and has not answered
	onAnswer               // the offerer knows the answer
	onGo                   // the offerer's openers are out
	onSync                 // both sides, at the same time
)

// A step is one attempt of a round's plan.
type step struct {
	lane      int
	remote    netip.AddrPort
	kind      Kind
	when      moment
	technique Technique
	ttl       int
}

// plan decides what one side does in a round. SideA has made the offer. On
// lane 0 the answerer opens, on lane 1 the offerer, on lane 2 both dial at one
// moment; private addresses are just dialled, on lane 0. Steps of one moment
// are in order: who opens does so before anything can come back.
func plan(side Side, ttl int, mine, theirs report) []step {
	var steps []step
	add := func(lane int, when moment, technique Technique) {
		if lane >= len(mine.Lanes) || lane >= len(theirs.Lanes) {
			return
		}
		for _, a := range candidates(mine, theirs, lane) {
			s := step{lane: lane, remote: a, kind: kindOf(a.Addr()), when: when, technique: technique}
			if private := s.kind == KindPrivate; private != (technique == Plain) {
				continue
			}
			if technique == Opener {
				s.ttl = ttl
			}
			steps = append(steps, s)
		}
	}
	if side == SideA {
		add(1, onAnswer, Opener)
		add(0, onAnswer, Plain)
		add(0, onAnswer, Connector)
	} else {
		add(0, onOffer, Opener)
		add(0, onOffer, Plain)
		add(1, onGo, Connector)
	}
	add(2, onSync, Simultaneous)
	return steps
}

// candidates lists the addresses of one of the peer's lanes that this side can
// dial: those with a family that it has itself.
func candidates(mine, theirs report, lane int) []netip.AddrPort {
	l := theirs.Lanes[lane]
	all := slices.Clone(l.Mapped)
	for _, h := range theirs.Hosts {
		all = append(all, netip.AddrPortFrom(h, l.Port))
	}
	var v4, v6 bool
	for _, h := range mine.Hosts {
		v4 = v4 || h.Is4()
		v6 = v6 || h.Is6()
	}
	var out []netip.AddrPort
	for _, a := range all {
		if ok := a.Addr().Is4() && v4 || a.Addr().Is6() && v6; ok && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// samePublicAddress tells whether the two sides are behind one NAT, or two
// behind the same carrier's.
func samePublicAddress(a, b report) bool {
	for _, la := range a.Lanes {
		for _, ma := range la.Mapped {
			for _, lb := range b.Lanes {
				for _, mb := range lb.Mapped {
					if ma.Addr() == mb.Addr() {
						return true
					}
				}
			}
		}
	}
	return false
}
