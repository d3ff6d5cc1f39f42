package tcppunch

import (
	"fmt"
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
	NAT   NAT          `json:"nat,omitzero"`
	// Sequence is where its external ports are, if they come in one.
	Sequence sequence `json:"sequence,omitzero"`
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
	brief     bool // ends with its round: the ports are others in the next
}

// A burst is many attempts of a round's plan, because a port is not known.
type burst struct {
	when      moment
	technique Technique
	ttl       int
	lane      int  // the local port, or
	fresh     bool // each dial has a local port of its own
	remotes   []netip.AddrPort
	random    netip.Addr // instead of remotes: ports of this address by chance,
	dials     int        // that many
	sockets   int        // at once
}

// A roundPlan is what one side does in a round.
type roundPlan struct {
	steps  []step
	bursts []burst
	// hopeless says why neither could lead to a public IPv4 address.
	hopeless string
}

// empty tells whether there is nothing to do, searches whether a port has to be
// found by chance.
func (p roundPlan) empty() bool    { return len(p.steps)+len(p.bursts) == 0 }
func (p roundPlan) searches() bool { return len(p.bursts) > 0 }

// over tells why no further round could do more than this one, "" if it could.
// Both sides come to the same end. On one network the private addresses get some
// rounds: hosts whose own firewalls refuse each other need luck.
func (s situation) over(p roundPlan) string {
	switch {
	case len(s.mine.Lanes) == 0 || len(s.theirs.Lanes) == 0:
		return unused
	case p.hopeless == "" || samePublicAddress(s.mine, s.theirs) && s.round < nearRounds-1:
		return ""
	}
	other := s
	other.side, other.mine, other.theirs = SideA+SideB-s.side, s.theirs, s.mine
	ipv6 := func(s step) bool { return s.kind == KindIPv6 }
	if slices.ContainsFunc(p.steps, ipv6) || slices.ContainsFunc(plan(other).steps, ipv6) {
		return ""
	}
	return p.hopeless
}

// unused is why a protocol that one of the two sides does not use leads nowhere.
const unused = "not used"

// impossible puts together why neither protocol leads anywhere, nil if one may.
func impossible(tcp, udp string) error {
	switch {
	case tcp == "" || udp == "":
		return nil
	case tcp == unused && udp == unused:
		return fmt.Errorf("%w: the two sides want different transports", ErrImpossible)
	case udp == unused || udp == tcp:
		return fmt.Errorf("%w: %s", ErrImpossible, tcp)
	case tcp == unused:
		return fmt.Errorf("%w: by UDP, %s", ErrImpossible, udp)
	}
	return fmt.Errorf("%w: by TCP, %s; by UDP, %s", ErrImpossible, tcp, udp)
}

// nearRounds is how many rounds two sides with one public address try, even when
// that address is known to lead nowhere.
const nearRounds = 4

// A situation is what a round's plan depends on.
type situation struct {
	side         Side // SideA has made the offer
	round        int
	ttl          int // of openers
	sockets      int // at once
	udp          bool
	answered     [2]bool // with udp: STUN servers have answered mine, theirs by TCP
	mine, theirs report
}

// plan decides what one side does in a round. On lane 0 the answerer opens, on
// lane 1 the offerer, on lane 2 both dial at one moment; private addresses are
// just dialled, on lane 0. Steps of one moment are in order: who opens does so
// before anything can come back.
func plan(s situation) roundPlan {
	p := roundPlan{hopeless: hopeless(s.mine, s.theirs)}
	if s.udp && p.hopeless == "" {
		p.hopeless = s.blocked()
	}
	opens, connects, opening, connecting := 0, 1, onOffer, onGo
	if s.side == SideA {
		opens, connects, opening, connecting = 1, 0, onAnswer, onAnswer
	}
	p.direct(s, opens, opening, Opener)
	p.mapped(s, opens, opening, Opener)
	near := samePublicAddress(s.mine, s.theirs)
	if near || !s.predicts() {
		p.direct(s, 0, opening, Plain)
	}
	p.direct(s, connects, connecting, Connector)
	p.mapped(s, connects, connecting, Connector)
	p.direct(s, 2, onSync, Simultaneous)
	p.mapped(s, 2, onSync, Simultaneous)
	if !near && s.predicts() { // a NAT may spend a port on it, so after all that depends on them
		p.direct(s, 0, onSync, Plain)
	}
	return p
}

// blocked tells on which side the STUN servers answer by TCP and not by UDP, "" if
// on none. One round's answers may be lost.
func (s situation) blocked() string {
	switch {
	case s.round == 0:
	case s.answered[0] && !s.mine.mapped():
		return "no server answers this side"
	case s.answered[1] && !s.theirs.mapped():
		return "no server answers the other side"
	}
	return ""
}

// mapped tells whether any STUN server has answered.
func (r report) mapped() bool {
	return slices.ContainsFunc(r.Lanes, func(l laneReport) bool { return len(l.Mapped) > 0 })
}

// direct adds the peer's own addresses: private ones with Plain, all others
// with another technique.
func (p *roundPlan) direct(s situation, lane int, when moment, t Technique) {
	if lane >= len(s.mine.Lanes) || lane >= len(s.theirs.Lanes) {
		return
	}
	l := s.theirs.Lanes[lane]
	for _, h := range s.theirs.Hosts {
		a := netip.AddrPortFrom(h, l.Port)
		kind := kindOf(h)
		if s.mine.reaches(h) && (kind == KindPrivate) == (t == Plain) && !slices.Contains(l.Mapped, a) {
			p.add(s, step{lane: lane, remote: a, kind: kind, when: when, technique: t})
		}
	}
	for _, a := range l.Mapped { // but for what mapped does
		kind := kindOf(a.Addr())
		if kind != KindPublic && s.mine.reaches(a.Addr()) && (kind == KindPrivate) == (t == Plain) {
			p.add(s, step{lane: lane, remote: a, kind: kind, when: when, technique: t})
		}
	}
}

// mapped adds what a lane does over IPv4 through the NATs. What is hopeless by a
// test that was made before is tried once all the same: a test may be wrong.
func (p *roundPlan) mapped(s situation, lane int, when moment, t Technique) {
	if lane >= len(s.mine.Lanes) || lane >= len(s.theirs.Lanes) || p.hopeless != "" && s.round > 0 ||
		!s.mine.reaches(s.theirs.publicV4()) {
		return
	}
	mine, theirs := s.mine.class(s.round), s.theirs.class(s.round)
	switch {
	case theirs == unmapped:
		return
	case mine == fixed && theirs == fixed && lane == 2:
	case lane == 2 || !s.useful(lane) || max(mine, theirs) == random && min(mine, theirs) >= perDial:
		return
	case mine == random || theirs == random:
		p.birthday(s, lane, when, t)
		return
	case mine == perDial && theirs == perDial && samePublicAddress(s.mine, s.theirs):
		return // both take ports out of one sequence, which is not foreseen
	case mine == perDial && theirs == perDial:
		remotes := openerBlocks(s.theirs, s.sockets)
		if t == Connector {
			remotes = connectorBlocks(s.theirs, s.sockets)
		}
		p.bursts = append(p.bursts, s.burst(burst{when: when, technique: t, lane: lane, fresh: t == Opener, remotes: remotes}))
		return
	}
	seen := map[netip.AddrPort]bool{}
	for _, g := range s.theirs.guesses(lane, s.round) {
		if seen[g.addr] {
			continue
		}
		seen[g.addr] = true
		kind := kindOf(g.addr.Addr())
		if g.predicted {
			kind = KindPredicted
		}
		brief := max(mine, theirs) > fixed
		p.add(s, step{lane: lane, remote: g.addr, kind: kind, when: when, technique: t, brief: brief})
	}
}

func (p *roundPlan) add(s situation, st step) {
	if st.technique == Opener {
		st.ttl = s.ttl
	}
	p.steps = append(p.steps, st)
}

// birthday adds a search for a random port. Whoever has one opens many, or
// dials from many; the other's port is known, or one of a few.
func (p *roundPlan) birthday(s situation, lane int, when moment, t Technique) {
	b := s.burst(burst{when: when, technique: t, lane: lane})
	if t == Connector {
		b.dials *= dialsPerSocket
	}
	if s.mine.class(s.round) != random {
		b.random = s.theirs.publicV4()
		p.bursts = append(p.bursts, b)
		return
	}
	b.fresh = true
	few := s.theirs.few(lane, s.round)
	if len(few) == 0 {
		return
	}
	for i := range b.dials {
		b.remotes = append(b.remotes, few[i%len(few)].addr)
	}
	p.bursts = append(p.bursts, b)
}

func (s situation) burst(b burst) burst {
	b.sockets, b.dials = s.sockets, s.sockets
	if b.remotes != nil {
		b.dials = len(b.remotes)
	}
	if b.technique == Opener {
		b.ttl = s.ttl
	}
	return b
}

// predicts tells whether either side's ports come in a sequence.
func (s situation) predicts() bool {
	for _, r := range []report{s.mine, s.theirs} {
		if c := r.class(s.round); c == perLane || c == perDial {
			return true
		}
	}
	return false
}

// useful tells whether a lane has its turn in a round. All have, but where each
// dial spends a port that the other side counts on, or hundreds of sockets are
// needed: then it is one, and not one whose opener's router is known to turn away
// every inbound SYN, if that can be helped.
func (s situation) useful(lane int) bool {
	offerer, answerer := s.mine, s.theirs
	if s.side == SideB {
		offerer, answerer = answerer, offerer
	}
	a, b := offerer.class(s.round), answerer.class(s.round)
	if max(a, b) < perDial || max(a, b) == perDial && min(a, b) == fixed {
		return true
	}
	turn := 0
	if a == random {
		turn = 1 // its open ports, the other's dials
	}
	refused := [...]bool{answerer.NAT.refuses(), offerer.NAT.refuses()} // by lane
	if s.round%2 == 1 {
		turn = 1 - turn
	}
	if refused[turn] {
		turn = 1 - turn
	}
	return lane == turn
}

// reaches tells whether this side has the address's family itself.
func (r report) reaches(a netip.Addr) bool {
	return slices.ContainsFunc(r.Hosts, func(h netip.Addr) bool { return h.Is4() == a.Is4() })
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
