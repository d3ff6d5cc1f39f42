package natlab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// A Topology is the plan of a lab. It is plain data: write it as a literal in a test, or read it from JSON with
// ReadTopology. Names are unique over NATs, LANs and hosts together.
type Topology struct {
	// NATs are the routers that translate addresses. Those that are not behind another are on the core.
	NATs []NAT `json:"nats,omitempty"`
	// LANs are local networks with no way out, to test what happens on one network alone.
	LANs []LAN `json:"lans,omitempty"`
	// Hosts are the machines in which programs run.
	Hosts []Host `json:"hosts"`
	// IPv6 gives every host and NAT an IPv6 address beside its IPv4 address. It is routed, not translated; NATs then
	// are stateful IPv6 firewalls with the same filtering and the same answers.
	IPv6 bool `json:"ipv6,omitempty"`
	// Seed makes losses, jitter and random ports repeat from run to run.
	Seed uint64 `json:"seed,omitempty"`
}

// A NAT is a router between a local network and the core, or between a local network and the one of another NAT.
type NAT struct {
	// Name is how hosts, and Lab.NAT, refer to it.
	Name string `json:"name"`
	// Behind names the NAT in front of this one (a carrier NAT). Empty means that this one is on the core.
	Behind string `json:"behind,omitempty"`
	// Addr is its IPv4 address on the core, or on the network that it is behind. The default for the first NAT on the
	// core is 203.0.113.10, for the second 203.0.113.20, and so on.
	Addr netip.Addr `json:"addr,omitzero"`
	// LAN is its inside network. The default for the Nth NAT of the topology is 192.168.N.0/24, or 100.64.N.0/24
	// when another NAT is behind it. The NAT takes the first address, its hosts take the ones that follow.
	LAN netip.Prefix `json:"lan,omitzero"`

	// Linux makes it a Linux kernel of its own that forwards and masquerades. Mapping, Filtering, Step, Churn,
	// ChurnRate, Hairpin, RSTEndsSession and the lifetimes then are the kernel's and must be left out, and Ports can be Preserving or Random.
	Linux bool `json:"linux,omitempty"`
	// Mapping is how far external ports are reused over destinations. The default is EndpointIndependent.
	Mapping Behavior `json:"mapping,omitzero"`
	// Filtering is who may send to a mapping. The default is AddressAndPortDependent.
	Filtering Behavior `json:"filtering,omitzero"`
	// Ports is how external ports are chosen. The default is Preserving.
	Ports Ports `json:"ports,omitzero"`
	// Step is the distance between two Sequential ports. The default is 1.
	Step int `json:"step,omitempty"`
	// Churn is the largest number of ports that other users take between two of our Sequential mappings.
	// Each time it is drawn between 0 and Churn.
	Churn int `json:"churn,omitempty"`
	// ChurnRate is how many ports a second other users take from a Sequential NAT as time passes, on average: they come at
	// random (a Poisson process), whether we make mappings or not.
	ChurnRate float64 `json:"churn_rate,omitempty"`
	// Unsolicited is what inbound packets that belong to nothing are answered. The default is Drop.
	Unsolicited Unsolicited `json:"unsolicited,omitzero"`
	// RSTEndsSession makes an inbound RST delete the session after it has been forwarded, and the mapping with its
	// last session.
	RSTEndsSession bool `json:"rst_ends_session,omitempty"`
	// RefuseInboundSYN refuses every inbound SYN, as Unsolicited says, even when a session would let it in.
	RefuseInboundSYN bool `json:"refuse_inbound_syn,omitempty"`
	// Hairpin lets inside hosts reach each other by their external endpoints.
	Hairpin bool `json:"hairpin,omitempty"`
	// Blocked protocols are dropped silently on their way out and in.
	Blocked []Protocol `json:"blocked,omitempty"`
	// UDPLifetime is how long an idle UDP mapping lives. The default is 2 minutes.
	UDPLifetime time.Duration `json:"-"`
	// TCPLifetime is how long an idle TCP session lives once it is open. The default is 124 minutes (RFC 5382).
	TCPLifetime time.Duration `json:"-"`
	// TransitoryLifetime is how long an idle TCP session lives, at most, that is not open yet, or that has seen a FIN or a
	// RST. The default is 4 minutes (RFC 5382).
	TransitoryLifetime time.Duration `json:"-"`

	// Routers puts that many Linux kernels that forward, and nothing else, between the NAT and its Link.
	Routers int `json:"routers,omitempty"`
	// Link joins the NAT to the core, or to the network that it is behind.
	Link Link `json:"link,omitzero"`
}

// A LAN is a local network with no way out.
type LAN struct {
	// Name is how hosts refer to it.
	Name string `json:"name"`
	// Prefix is its network. The default for the Nth LAN is 10.0.N.0/24.
	Prefix netip.Prefix `json:"prefix,omitzero"`
}

// A Host is a machine: a network namespace with one network interface, in which real programs run.
type Host struct {
	// Name is how Lab.Host finds it.
	Name string `json:"name"`
	// Behind names the NAT or the LAN that it is on. Empty means that it is on the core, with a public address.
	Behind string `json:"behind,omitempty"`
	// Addr is its IPv4 address. The default on the core is 198.51.100.10 for the first public host, 198.51.100.20 for
	// the second, and so on; behind a NAT it is the next one of the NAT's network.
	Addr netip.Addr `json:"addr,omitzero"`
	// Also is a second IPv4 address, which only a host on the core can have. The default is none.
	Also netip.Addr `json:"also,omitzero"`
	// Firewall is the packet filter in the host itself. The default is NoFirewall.
	Firewall Firewall `json:"firewall,omitzero"`
	// Link joins the host to its network.
	Link Link `json:"link,omitzero"`
}

// A Link is a wire and what it does to packets, alike in both directions. The zero value is a perfect wire.
type Link struct {
	// Delay is the time that a packet takes in one direction.
	Delay time.Duration
	// Jitter adds up to that much to Delay, drawn for every packet. Packets keep their order.
	Jitter time.Duration
	// Loss is the share of packets lost, from 0 to 1.
	Loss float64
	// Reorder is the share of packets, from 0 to 1, that are overtaken: they take half of Delay longer, at least 1 ms.
	Reorder float64
	// Duplicate is the share of packets, from 0 to 1, that arrive twice.
	Duplicate float64
	// Rate is the capacity in bits per second. Zero means no limit.
	Rate int64
	// Queue is how many bytes may wait for a limited link; what comes then is lost. The default is 100 ms worth of
	// Rate, 32 KiB at least.
	Queue int
	// Down loses everything.
	Down bool
	// Hops is the number of plain routers on the link, each with an address of its own, private when the link is behind a
	// NAT, that count down TTLs and answer with ICMP time exceeded. The default is 3 on the core and none elsewhere, so NATs on the core are six routers apart. Negative
	// means none. Lab.SetLink does not change it.
	Hops int
}

// linkJSON is Link with durations as text.
type linkJSON struct {
	Delay     string  `json:"delay,omitempty"`
	Jitter    string  `json:"jitter,omitempty"`
	Loss      float64 `json:"loss,omitempty"`
	Reorder   float64 `json:"reorder,omitempty"`
	Duplicate float64 `json:"duplicate,omitempty"`
	Rate      int64   `json:"rate,omitempty"`
	Queue     int     `json:"queue,omitempty"`
	Down      bool    `json:"down,omitempty"`
	Hops      int     `json:"hops,omitempty"`
}

// MarshalJSON writes durations as text, such as "25ms".
func (k Link) MarshalJSON() ([]byte, error) {
	return json.Marshal(linkJSON{
		durationText(k.Delay), durationText(k.Jitter), k.Loss, k.Reorder, k.Duplicate, k.Rate, k.Queue, k.Down, k.Hops,
	})
}

// UnmarshalJSON reads durations as text, such as "25ms".
func (k *Link) UnmarshalJSON(data []byte) error {
	var j linkJSON
	if err := decodeStrict(data, &j); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	delay, err := parseDuration("delay", j.Delay)
	if err != nil {
		return err
	}
	jitter, err := parseDuration("jitter", j.Jitter)
	if err != nil {
		return err
	}
	*k = Link{
		Delay: delay, Jitter: jitter, Loss: j.Loss, Reorder: j.Reorder, Duplicate: j.Duplicate,
		Rate: j.Rate, Queue: j.Queue, Down: j.Down, Hops: j.Hops,
	}
	return nil
}

// plainNAT is NAT without its methods; natJSON adds the lifetimes as text.
type plainNAT NAT

type natJSON struct {
	plainNAT
	UDP        string `json:"udp_lifetime,omitempty"`
	TCP        string `json:"tcp_lifetime,omitempty"`
	Transitory string `json:"transitory_lifetime,omitempty"`
}

// MarshalJSON writes durations as text, such as "2m0s".
func (n NAT) MarshalJSON() ([]byte, error) {
	return json.Marshal(natJSON{plainNAT(n), durationText(n.UDPLifetime), durationText(n.TCPLifetime), durationText(n.TransitoryLifetime)})
}

// UnmarshalJSON reads durations as text, such as "2m".
func (n *NAT) UnmarshalJSON(data []byte) error {
	var j natJSON
	if err := decodeStrict(data, &j); err != nil {
		return fmt.Errorf("nat: %w", err)
	}
	udp, err := parseDuration("udp_lifetime", j.UDP)
	if err != nil {
		return err
	}
	tcp, err := parseDuration("tcp_lifetime", j.TCP)
	if err != nil {
		return err
	}
	transitory, err := parseDuration("transitory_lifetime", j.Transitory)
	if err != nil {
		return err
	}
	*n = NAT(j.plainNAT)
	n.UDPLifetime, n.TCPLifetime, n.TransitoryLifetime = udp, tcp, transitory
	return nil
}

// ReadTopology reads a topology written in JSON. Field names are those of the Go types in lower case with underscores,
// enumerations and durations are text; an unknown field is an error.
func ReadTopology(r io.Reader) (Topology, error) {
	var t Topology
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return Topology{}, fmt.Errorf("reading topology: %w", err)
	}
	return t, nil
}
