package natcheck

import "net/netip"

// A sighting is how the server at one address and port saw a socket of ours.
type sighting struct{ server, mapped netip.AddrPort }

// mapping classifies how several servers saw one socket (RFC 5780 section 4.3).
func mapping(local netip.AddrPort, seen []sighting) Behavior {
	if len(seen) == 0 {
		return ""
	}
	var ports, addrs bool        // whether pairs of servers were compared that differ in the port alone, or in the address
	samePort, same := true, true // and whether they saw the same
	for i, a := range seen {
		for _, b := range seen[:i] {
			switch {
			case a.server == b.server:
			case a.server.Addr() == b.server.Addr():
				ports = true
				samePort = samePort && a.mapped == b.mapped
			default:
				addrs = true
				same = same && a.mapped == b.mapped
			}
		}
	}
	switch {
	case ports && !samePort:
		return AddressAndPortDependent
	case addrs && !same && ports:
		return AddressDependent
	case addrs && !same:
		return NotEndpointIndependent
	case seen[0].mapped == local:
		return NoNAT
	case addrs:
		return EndpointIndependent
	case ports:
		return NotPortDependent
	}
	return ""
}

// filtering classifies by what came in from the server's other port, and from its other address.
func filtering(port, addr Answer) Behavior {
	switch {
	case addr == Yes:
		return EndpointIndependent
	case port == No:
		return AddressAndPortDependent
	case port == Yes && addr == No:
		return AddressDependent
	case port == Yes:
		return NotPortDependent
	}
	return ""
}

// let turns an outcome into whether a SYN was let in.
func (o Outcome) let() Answer {
	switch o {
	case "":
		return ""
	case Accepted:
		return Yes
	}
	return No
}

// A pair is a local port and the external one that it got.
type pair struct{ local, mapped uint16 }

const (
	maxStep  = 512  // farther apart, ports in order are no sequence
	maxBlock = 4096 // the size of blocks that carriers give to their customers, at most
	minPairs = 3    // fewer show no rule
	minSteps = 4    // fewer in order may be by chance
)

// ports classifies mappings that were made one right after the other. Of two sequences, step is the greatest common
// divisor of the distances, and churn the most steps in between that were not ours.
func ports(pairs []pair) (kind Ports, step, churn int) {
	if len(pairs) < minPairs {
		return "", 0, 0
	}
	kept := 0
	lo, hi := pairs[0].mapped, pairs[0].mapped
	for _, p := range pairs {
		if p.local == p.mapped {
			kept++
		}
		lo, hi = min(lo, p.mapped), max(hi, p.mapped)
	}
	if 2*kept > len(pairs) { // those that were not free went elsewhere
		return Preserving, 0, 0
	}
	step, churn, steps := sequence(pairs)
	switch {
	case steps >= minSteps:
		return Sequential, step, churn
	case steps > 0 || len(pairs) <= minSteps: // too few to tell
		return "", 0, 0
	}
	if int(hi)-int(lo) < maxBlock {
		return Contiguous, 0, 0
	}
	return Random, 0, 0
}

// sequence returns the step of ports that only go up, or only down, but for one new start where the range ends, and
// how many distances show it. These are 0 if they do not.
func sequence(pairs []pair) (step, churn, steps int) {
	var up, down, wraps, most int
	for i := range pairs[1:] {
		d := int(pairs[i+1].mapped) - int(pairs[i].mapped)
		switch {
		case d == 0:
			return 0, 0, 0
		case d > maxStep || d < -maxStep:
			wraps++
			continue
		case d > 0:
			up++
		default:
			down++
			d = -d
		}
		step, most = gcd(step, d), max(most, d)
	}
	switch {
	case wraps > 1 || up+down == 0 || up > 0 && down > 0:
		return 0, 0, 0
	case down > 0:
		return -step, most/step - 1, down
	}
	return step, most/step - 1, up
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// lifetime brackets the lifetime of mappings: lived are the idle times after which one was there, and died those after
// which it was not. A reply that was lost must not turn the order around.
func lifetime(lived, died []int64) (least, most int64) {
	for _, d := range lived {
		least = max(least, d)
	}
	for _, d := range died {
		if d > least && (most == 0 || d < most) {
			most = d
		}
	}
	return least, most
}
