package tcppunch

import (
	"fmt"
	"net/netip"
	"slices"
)

// Behavior is how far something depends on the remote endpoint (RFC 4787,
// sections 4.1 and 5). Empty means that it is not known.
type Behavior string

// The behaviors, in the terms of RFC 4787.
const (
	EndpointIndependent     Behavior = "endpoint-independent"
	AddressDependent        Behavior = "address-dependent"
	AddressAndPortDependent Behavior = "address-and-port-dependent"
)

// Ports is how a NAT chooses external ports (RFC 4787, section 4.2). Empty means
// that it is not known.
type Ports string

// The ways to choose an external port.
const (
	Preserving Ports = "preserving" // the inside host's own port number
	Sequential Ports = "sequential" // the last one plus a step, some of which other users take
	Random     Ports = "random"
)

// Answer is what a NAT does with an inbound SYN. Empty means that it is not
// known.
type Answer string

// The answers to a SYN.
const (
	LetsIn    Answer = "accepted"
	Silent    Answer = "silent"
	SendsRST  Answer = "rst"
	SendsICMP Answer = "icmp"
)

// A NAT is what is known of the routers before one side, all together. The zero
// value is nothing. A Dial with a Signaler finds out itself how the ports that
// it uses are mapped; the rest is for those to say who have tested it (package
// stunt/natcheck), so that no time is spent on what cannot work.
type NAT struct {
	Mapping Behavior `json:"mapping,omitempty"`
	Ports   Ports    `json:"ports,omitempty"`
	// Inbound is the answer to a SYN from where an outgoing one went, without
	// which there is no simultaneous open (RFC 5382, REQ-2).
	Inbound Answer `json:"inbound,omitempty"`
	// Hairpin is the answer to a SYN from inside to this NAT's own public address
	// (RFC 4787, section 6), which two hosts behind it depend on.
	Hairpin Answer `json:"hairpin,omitempty"`
	// Routers is how many routers stand before the public side: an opener's
	// SYN needs a TTL of one more to open them all. 0 means not known.
	Routers int `json:"routers,omitempty"`
	// Public, where it is set, is the public address that this was found out
	// with. With another one, on another network, it does not count.
	Public netip.Addr `json:"-"`
}

// maxRouters bounds what is believed of a path's inside part.
const maxRouters = 12

// noHairpin tells whether hosts behind it cannot reach each other by its public
// address.
func (n NAT) noHairpin() bool { return n.Hairpin != "" && n.Hairpin != LetsIn }

// refuses tells whether no connector of the peer can reach this NAT's opener.
func (n NAT) refuses() bool { return n.Inbound != "" && n.Inbound != LetsIn }

// ports says for an error how external ports are chosen.
func (n NAT) ports() string {
	switch {
	case n.Mapping == EndpointIndependent || n.Ports == Preserving:
		return "keeps one port for all destinations"
	case n.Ports == Random:
		return "gives every connection a random port"
	}
	return "gives every connection another port"
}

// known leaves of what a peer says of its NAT what this version knows the
// meaning of.
func (n NAT) known() NAT {
	if !slices.Contains([]Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent}, n.Mapping) {
		n.Mapping = ""
	}
	if !slices.Contains([]Ports{Preserving, Sequential, Random}, n.Ports) {
		n.Ports = ""
	}
	for _, a := range []*Answer{&n.Inbound, &n.Hairpin} {
		if !slices.Contains([]Answer{LetsIn, Silent, SendsRST, SendsICMP}, *a) {
			*a = ""
		}
	}
	n.Routers = min(max(n.Routers, 0), maxRouters)
	return n
}

// An observation is what one STUN server says of one lane.
type observation struct {
	lane   int
	server netip.AddrPort
	mapped netip.AddrPort
}

// A sequence is what a run of external ports looks like. The zero value is none.
type sequence struct {
	// Last is the latest port that is known, Step the distance to the next.
	Last uint16 `json:"last,omitempty"`
	Step int    `json:"step,omitempty"`
	// Gap is how many steps there are from one of our ports to the next, 1
	// where nobody else takes any.
	Gap float64 `json:"gap,omitempty"`
}

// check bounds what a peer says of its ports.
func (s sequence) check() error {
	if s.Step < 0 || s.Step > maxStep || !(s.Gap >= 0 && s.Gap <= maxSpan) { // also what is not a number
		return fmt.Errorf("ports with a step of %d and gaps of %v", s.Step, s.Gap)
	}
	return nil
}

const (
	// lowest is the lowest port that NATs give out.
	lowest = 1024
	// maxSpan is how far apart a few ports may be that came one after another.
	maxSpan = 1024
	maxStep = 64
	portsIn = 1 << 16
)

// next is the port n steps on. Ports below 1024 are skipped, as NATs do.
func (s sequence) next(n int) uint16 {
	const span = portsIn - lowest
	p := (int(s.Last) - lowest + n*s.Step) % span
	if p < 0 {
		p += span
	}
	return uint16(p + lowest)
}

// sequenceOf recognises ports that were given out one after another, in
// whatever order they were asked for. Random ones hardly ever lie that close
// together: six of them once in 10^8.
func sequenceOf(ports []uint16) (s sequence, ok bool) {
	ports = slices.DeleteFunc(slices.Clone(ports), func(p uint16) bool { return p < lowest })
	slices.Sort(ports)
	ports = slices.Compact(ports)
	n := len(ports)
	if n < 3 {
		return sequence{}, false
	}
	// They may have gone round the end: the largest gap is where they began.
	first, most := 0, 0
	for i := range ports {
		if gap := gapTo(ports, i); gap > most {
			first, most = (i+1)%n, gap
		}
	}
	span, step := 0, 0
	for i := range n - 1 {
		gap := gapTo(ports, (first+i)%n)
		span += gap
		step = divisor(step, gap)
	}
	if span > maxSpan || step > maxStep {
		return sequence{}, false
	}
	return sequence{Last: ports[(first+n-1)%n], Step: step, Gap: float64(span) / float64(step*(n-1))}, true
}

// gapTo is the distance from a sorted port to the next, round the end.
func gapTo(ports []uint16, i int) int {
	if i+1 < len(ports) {
		return int(ports[i+1]) - int(ports[i])
	}
	return int(ports[0]) + portsIn - lowest - int(ports[i])
}

func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// mappingOf recognises the mapping behavior. Two ports of one server's address
// cannot tell endpoint-independent from address-dependent: that is "".
func mappingOf(seen []observation) Behavior {
	known := Behavior("")
	for i, a := range seen {
		for _, b := range seen[:i] {
			if a.lane != b.lane || a.server == b.server || !a.mapped.Addr().Is4() || !b.mapped.Addr().Is4() {
				continue
			}
			same, oneAddr := a.mapped == b.mapped, a.server.Addr() == b.server.Addr()
			switch {
			case !same && oneAddr:
				return AddressAndPortDependent
			case !same:
				known = AddressDependent
			case !oneAddr && known == "":
				known = EndpointIndependent
			}
		}
	}
	return known
}

// natOf puts together what the lanes' mappings show.
func natOf(local []uint16, seen []observation) (NAT, sequence) {
	n := NAT{Mapping: mappingOf(seen)}
	preserved := 0 // not all need be: another host may have the port
	var ports []uint16
	for _, o := range seen {
		if !o.mapped.Addr().Is4() {
			continue
		}
		if o.mapped.Port() == local[o.lane] {
			preserved++
		}
		ports = append(ports, o.mapped.Port())
	}
	seq, inOrder := sequenceOf(ports)
	switch {
	case len(ports) == 0:
	case 2*preserved > len(ports):
		n.Ports = Preserving
		return n, sequence{} // neighbours, but by the choice of this host
	case inOrder:
		n.Ports = Sequential
	case len(ports) >= 3:
		n.Ports = Random
	}
	return n, seq
}

// with completes what the lanes show by what was known before, of the same
// network, and matters to the peer. Where the lanes show something, that is how
// it is now.
func (n NAT) with(known NAT, public netip.Addr) NAT {
	if known.Public.IsValid() && public.IsValid() && known.Public != public {
		return n
	}
	if n.Mapping == "" && (n.Ports == "" || known.Ports == n.Ports || known.Ports == "") {
		n.Mapping = known.Mapping
	}
	if n.Ports == "" && known.Ports != Sequential { // of which the lanes would have to show where it stands
		n.Ports = known.Ports
	}
	n.Inbound, n.Hairpin = known.Inbound, known.Hairpin
	return n
}
