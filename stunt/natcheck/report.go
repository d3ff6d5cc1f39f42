package natcheck

import (
	"encoding/json"
	"errors"
	"net/netip"
	"time"
)

// ErrNoAnswer means that no server answered at all, or that no router did.
var ErrNoAnswer = errors.New("no answer")

// Behavior says how much of the remote endpoint a NAT's mapping or filtering depends on, in the words of RFC 4787. It
// is empty where nothing is known.
type Behavior string

const (
	// NoNAT is the mapping where there is no NAT: this side is seen with the address and port that it has.
	NoNAT Behavior = "none"
	// EndpointIndependent: all remote endpoints see the same mapping, or may send to it.
	EndpointIndependent Behavior = "endpoint-independent"
	// AddressDependent: it depends on the remote address.
	AddressDependent Behavior = "address-dependent"
	// AddressAndPortDependent: it depends on the remote address and port. As a mapping it is also called symmetric.
	AddressAndPortDependent Behavior = "address-and-port-dependent"
	// NotPortDependent is one of the first two: to tell them apart takes a server's second address.
	NotPortDependent Behavior = "endpoint-independent or address-dependent"
	// NotEndpointIndependent is one of the last two: to tell them apart takes a server's second port.
	NotEndpointIndependent Behavior = "address-dependent or address-and-port-dependent"
)

// Ports says how a NAT chooses external ports. It is empty where that is not known.
type Ports string

const (
	// Preserving takes the internal port, where it is free.
	Preserving Ports = "preserving"
	// Sequential takes the last port plus a step; others may take some in between.
	Sequential Ports = "sequential"
	// Contiguous takes any port of a small block.
	Contiguous Ports = "contiguous"
	// Random takes any port.
	Random Ports = "random"
)

// Outcome says what a SYN met. It is empty where that was not tried, or is not certain: see the package comment.
type Outcome string

const (
	// Accepted: it was let in.
	Accepted Outcome = "accepted"
	// Silent: nothing came back.
	Silent Outcome = "silent"
	// RST: it was reset.
	RST Outcome = "RST"
	// ICMP: an ICMP error came back. A server that is not on Linux takes some of those for RSTs.
	ICMP Outcome = "ICMP"
)

// Answer is yes, no, or empty where that is not known.
type Answer string

// The answers that are known.
const (
	Yes Answer = "yes"
	No  Answer = "no"
)

// Report is what a network's NATs and firewalls were seen to do. A field is zero where that could not be found out.
type Report struct {
	// Server is the address of the one that made the tests which a plain STUN server does not; empty if there is none.
	Server string `json:"server,omitempty"`
	// TCP and UDP are over IPv4.
	TCP Transport `json:"tcp"`
	UDP Transport `json:"udp"`
	// IPv6 is the zero value if no server was reached by it.
	IPv6 IPv6 `json:"ipv6,omitzero"`
	// Routers is how many routers stand before the public side, or -1 if that is not known. See [Routers].
	Routers int `json:"routers"`
	// Skipped are the tests that could not be made, each with the reason.
	Skipped []string `json:"skipped,omitempty"`
}

// Transport is what was seen of one transport protocol.
type Transport struct {
	// Blocked: no server answered by this protocol, though one did by another.
	Blocked bool `json:"blocked,omitempty"`
	// Local is the address and port of a socket, and Mapped is how a server saw it.
	Local  netip.AddrPort `json:"local,omitzero"`
	Mapped netip.AddrPort `json:"mapped,omitzero"`
	// Mapping is over how many remote endpoints a mapping is reused (RFC 4787 section 4.1, RFC 5382 section 4.1). A NAT
	// that preserves ports looks endpoint-independent whatever it is, and is as good as that.
	Mapping Behavior `json:"mapping,omitempty"`
	// Filtering is who may send to a mapping, or begin a connection to it (RFC 4787 section 5, RFC 5382 section 4.3).
	Filtering Behavior `json:"filtering,omitempty"`
	// Ports is how external ports are chosen.
	Ports Ports `json:"ports,omitempty"`
	// Step is the distance between two sequential ports; it is negative if they go down.
	Step int `json:"step,omitempty"`
	// Churn is how many steps others took at most between two of ours, during the test.
	Churn int `json:"churn,omitempty"`
	// Unsolicited is what a SYN meets that nothing of ours preceded, from the most remote place that could be tried: the
	// server's other address, else its other port. Only TCP has it.
	Unsolicited Outcome `json:"unsolicited,omitempty"`
	// InboundSYN is what a SYN meets that one of ours preceded, in a simultaneous open: accepted, or how it was refused.
	// Only TCP has it.
	InboundSYN Outcome `json:"inbound_syn,omitempty"`
	// RSTEnds tells whether the session is gone after an inbound RST, so that a SYN which comes then is refused. It can
	// be seen only where it matters: with address and port-dependent filtering, and an InboundSYN that is accepted. Only
	// TCP has it.
	RSTEnds Answer `json:"rst_ends_session,omitempty"`
	// Hairpin tells whether two sockets behind the NAT can reach each other by their mapped addresses.
	Hairpin Answer `json:"hairpin,omitempty"`
	// LifetimeMin and LifetimeMax say how long an idle UDP mapping lives: it lived after the first, and not after the
	// second, which is 0 if it lived to the end of the test. Only Options.Slow sets them.
	LifetimeMin time.Duration `json:"-"`
	LifetimeMax time.Duration `json:"-"`
}

// MarshalJSON adds the lifetimes, in seconds.
func (t Transport) MarshalJSON() ([]byte, error) {
	type plain Transport
	return json.Marshal(struct {
		plain
		Min float64 `json:"lifetime_min_s,omitempty"`
		Max float64 `json:"lifetime_max_s,omitempty"`
	}{plain(t), t.LifetimeMin.Seconds(), t.LifetimeMax.Seconds()})
}

// IPv6 is what was seen of IPv6, where there is a firewall rather than a NAT.
type IPv6 struct {
	// Address is how a server saw this host.
	Address netip.Addr `json:"address,omitzero"`
	// Translated: that is not the address that this host has.
	Translated bool `json:"translated,omitempty"`
	// UDPBlocked and TCPBlocked: no server answered by this protocol, though one did by the other.
	UDPBlocked bool `json:"udp_blocked,omitempty"`
	TCPBlocked bool `json:"tcp_blocked,omitempty"`
	// Unsolicited and InboundSYN are as for Transport.
	Unsolicited Outcome `json:"unsolicited,omitempty"`
	InboundSYN  Outcome `json:"inbound_syn,omitempty"`
}
