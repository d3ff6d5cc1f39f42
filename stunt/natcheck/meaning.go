package natcheck

import "fmt"

// Meaning says in whole sentences what the report means for direct connections. The first one is about TCP.
func (r *Report) Meaning() []string {
	says := []string{r.TCP.outlook()}
	if r.TCP.Mapping == "" && !r.TCP.Blocked && !r.IPv6.TCPBlocked && r.IPv6.InboundSYN == Accepted {
		says[0] = "Direct TCP will work with those who have IPv6 too: over IPv4, no server was reached."
	}
	add := func(format string, args ...any) { says = append(says, fmt.Sprintf(format, args...)) }
	switch {
	case !r.IPv6.Address.IsValid() || r.IPv6.Translated:
	case r.IPv6.InboundSYN == Accepted && r.TCP.Mapping != "" && r.TCP.Mapping != NoNAT:
		add("IPv6 is there, without a NAT in the way: with others who have it, direct TCP will work.")
	case r.IPv6.InboundSYN != "" && r.IPv6.InboundSYN != Accepted:
		add("Over IPv6, incoming connections are refused, even those that answer an outgoing one.")
	}
	switch {
	case r.UDP.Blocked:
		add("UDP is blocked here, so it cannot serve where TCP fails.")
	case !r.TCP.good() && r.UDP.predictable():
		add("UDP gets through where this router stops TCP.")
	}
	if r.Routers > 1 {
		add("%d routers stand before the public side, the last of them probably your provider's: opening a port on your own does not reach the Internet.", r.Routers)
	}
	if r.TCP.Blocked || !r.TCP.good() && r.TCP.Mapping != "" {
		add("What helps: another network, such as a telephone's; IPv6; or a router setting named full cone or endpoint-independent.")
	}
	return says
}

// outlook says whom direct TCP will work with.
func (t *Transport) outlook() string {
	refuses := t.InboundSYN != "" && t.InboundSYN != Accepted
	switch {
	case t.Blocked:
		return "TCP to other machines seems blocked here, so direct TCP will hardly work."
	case t.Mapping == "" && !t.predictable():
		return "Whether direct TCP will work could not be found out: for that, servers have to answer at two ports."
	case t.Mapping == NoNAT && t.Unsolicited == Accepted:
		return "Direct TCP will work with everybody: others can simply connect to this machine."
	case t.predictable() && refuses:
		return "Direct TCP works unless the other router also refuses incoming connections: " +
			"here they are refused even when they answer an outgoing one."
	case t.predictable() && t.InboundSYN == "":
		return "Direct TCP will work with almost everybody, if a simultaneous open is let in, which could not be tried."
	case t.predictable():
		return "Direct TCP will work with almost everybody."
	case t.Ports == Sequential && refuses:
		return "Direct TCP works with routers that keep their ports and let in what answers an outgoing connection: " +
			"this one gives each connection a new port, in order, and refuses all that come in."
	case t.Ports == Sequential:
		return "Direct TCP works with most: this router gives each connection a new port, but in order, so that the next can be predicted."
	case refuses:
		return "Direct TCP will hardly work: this router is symmetric, with random ports, and refuses incoming connections."
	case t.Ports == "":
		return "Direct TCP works with some: this router gives each connection a new port."
	}
	return "This router is symmetric, with random ports: direct TCP works with routers that keep their ports (by birthday punching), " +
		"not with another one like this."
}

// predictable reports whether others can know which port this side will be seen with.
func (t *Transport) predictable() bool {
	switch t.Mapping {
	case NoNAT, EndpointIndependent, NotPortDependent:
		return true
	}
	return t.Ports == Preserving
}

// good reports whether a simultaneous open works with most peers, as far as is known.
func (t *Transport) good() bool {
	return t.predictable() && (t.InboundSYN == "" || t.InboundSYN == Accepted)
}
