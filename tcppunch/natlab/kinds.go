package natlab

import (
	"fmt"
	"strings"
)

// A Behavior says how much of the remote endpoint a NAT's mapping or filtering depends on, in the words of RFC 4787.
// The zero value means EndpointIndependent for NAT.Mapping and AddressAndPortDependent for NAT.Filtering, which is what
// most home routers do.
type Behavior int

// The behaviors of RFC 4787, sections 4.1 and 5.
const (
	EndpointIndependent Behavior = iota + 1
	AddressDependent
	AddressAndPortDependent
)

// Ports says how a NAT chooses the external port of a new mapping. The zero value is Preserving.
type Ports int

const (
	// Preserving takes the internal port when it is free, else the next free one.
	Preserving Ports = iota
	// Sequential takes the last port plus NAT.Step, whatever the internal port.
	Sequential
	// Random takes any free port.
	Random
)

// Unsolicited says what a NAT answers to an inbound packet that belongs to nothing. The zero value is Drop.
type Unsolicited int

const (
	// Drop answers nothing.
	Drop Unsolicited = iota
	// Reset answers TCP with a RST and everything else with ICMP port unreachable.
	Reset
	// ICMP answers with ICMP port unreachable, TCP included.
	ICMP
	// Prohibited answers with ICMP communication administratively prohibited, TCP included.
	Prohibited
	// Accept hands the packet to the router's own kernel, which has nothing there and refuses. Only with NAT.Linux.
	Accept
)

// A Firewall is a stateful packet filter inside a host, made of nftables rules. The zero value is NoFirewall.
type Firewall int

const (
	// NoFirewall lets everything in.
	NoFirewall Firewall = iota
	// DropUnsolicited drops what is not part of, or related to, something the host began.
	DropUnsolicited
	// RejectUnsolicited answers the same packets with a RST, or with ICMP when they are not TCP.
	RejectUnsolicited
)

// A Protocol is a transport protocol that a NAT can block.
type Protocol int

// The protocols of NAT.Blocked. Their values are the IP protocol numbers.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// kind names one value of an enumeration; the first name is the one that is printed.
type kind struct {
	value int
	names []string
}

func behaviors() []kind {
	return []kind{
		{0, []string{"default", ""}},
		{int(EndpointIndependent), []string{"endpoint-independent", "eim", "eif"}},
		{int(AddressDependent), []string{"address-dependent", "adm", "adf"}},
		{int(AddressAndPortDependent), []string{"address-and-port-dependent", "apdm", "apdf"}},
	}
}

func portKinds() []kind {
	return []kind{
		{int(Preserving), []string{"preserving", ""}},
		{int(Sequential), []string{"sequential"}},
		{int(Random), []string{"random"}},
	}
}

func unsolicitedKinds() []kind {
	return []kind{
		{int(Drop), []string{"drop", ""}},
		{int(Reset), []string{"reset", "reject"}},
		{int(ICMP), []string{"icmp"}},
		{int(Prohibited), []string{"prohibited"}},
		{int(Accept), []string{"accept", "open"}},
	}
}

func firewalls() []kind {
	return []kind{
		{int(NoFirewall), []string{"none", ""}},
		{int(DropUnsolicited), []string{"drop"}},
		{int(RejectUnsolicited), []string{"reject"}},
	}
}

func protocols() []kind {
	return []kind{{int(TCP), []string{"tcp"}}, {int(UDP), []string{"udp"}}}
}

func kindName(kinds []kind, value int) string {
	for _, k := range kinds {
		if k.value == value {
			return k.names[0]
		}
	}
	return fmt.Sprintf("unknown(%d)", value)
}

func kindValue(kinds []kind, what, text string) (int, error) {
	var known []string
	for _, k := range kinds {
		for _, name := range k.names {
			if strings.EqualFold(name, text) {
				return k.value, nil
			}
		}
		known = append(known, k.names[0])
	}
	return 0, fmt.Errorf("unknown %s %q: want one of %s", what, text, strings.Join(known, ", "))
}

// String returns the behavior as it is written in JSON, such as "endpoint-independent".
func (b Behavior) String() string { return kindName(behaviors(), int(b)) }

// MarshalText writes the behavior as String does.
func (b Behavior) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a behavior by its name, or by its short name such as "eim" or "apdf".
func (b *Behavior) UnmarshalText(text []byte) error {
	v, err := kindValue(behaviors(), "behavior", string(text))
	*b = Behavior(v)
	return err
}

// String returns the port allocation as it is written in JSON, such as "sequential".
func (p Ports) String() string { return kindName(portKinds(), int(p)) }

// MarshalText writes the port allocation as String does.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a port allocation by its name.
func (p *Ports) UnmarshalText(text []byte) error {
	v, err := kindValue(portKinds(), "port allocation", string(text))
	*p = Ports(v)
	return err
}

// String returns the answer as it is written in JSON, such as "drop".
func (u Unsolicited) String() string { return kindName(unsolicitedKinds(), int(u)) }

// MarshalText writes the answer as String does.
func (u Unsolicited) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads an answer by its name.
func (u *Unsolicited) UnmarshalText(text []byte) error {
	v, err := kindValue(unsolicitedKinds(), "answer to unsolicited packets", string(text))
	*u = Unsolicited(v)
	return err
}

// String returns the firewall as it is written in JSON, such as "drop".
func (f Firewall) String() string { return kindName(firewalls(), int(f)) }

// MarshalText writes the firewall as String does.
func (f Firewall) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads a firewall by its name.
func (f *Firewall) UnmarshalText(text []byte) error {
	v, err := kindValue(firewalls(), "firewall", string(text))
	*f = Firewall(v)
	return err
}

// String returns the protocol as it is written in JSON, such as "tcp".
func (p Protocol) String() string { return kindName(protocols(), int(p)) }

// MarshalText writes the protocol as String does.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a protocol by its name.
func (p *Protocol) UnmarshalText(text []byte) error {
	v, err := kindValue(protocols(), "protocol", string(text))
	*p = Protocol(v)
	return err
}
