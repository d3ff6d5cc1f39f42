package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// An axis of the picture: every mapping with every answer.
type mappingKind struct {
	name string
	nat  natlab.NAT
}

var mappingKinds = []mappingKind{
	{"EIM", natlab.NAT{}},
	{"ADM sequential", natlab.NAT{Mapping: natlab.AddressDependent, Ports: natlab.Sequential}},
	{"APDM sequential", natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Sequential}},
	{"APDM random", natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}},
}

var answerKinds = []natKind{
	{"drop", natlab.NAT{}},
	{"RST", natlab.NAT{Unsolicited: natlab.Reset}},
	{"RST kills", natlab.NAT{Unsolicited: natlab.Reset, RSTEndsSession: true}},
	{"ICMP", natlab.NAT{Unsolicited: natlab.ICMP}},
	{"refuses SYN", natlab.NAT{RefuseInboundSYN: true}},
}

// allKinds are the twenty rows, and columns, of the picture.
func allKinds() []natKind {
	var all []natKind
	for _, m := range mappingKinds {
		for _, k := range answerKinds {
			n := k.nat
			n.Mapping, n.Ports = m.nat.Mapping, m.nat.Ports
			all = append(all, natKind{m.name + ", " + k.name, n})
		}
	}
	return all
}

// What errors must say, for each reason why TCP cannot connect two NATs.
const (
	bothRefuse = "both routers"
	tooRandom  = "random port"
	noHairpin  = "hairpin"
)

// impossiblePair lists the reasons why no TCP connection can come about between
// two NATs:
//
//   - each refuses every inbound SYN, even where its own side has begun;
//   - each dial of both sides gets a port of its own, and one of the two
//     chooses by chance. A search needs many dials that keep one port on one
//     side: of 256 dials to a port that is found, none comes from the port that
//     the finder was told (2 in 100,000 for each, and for two random ones the
//     square of that).
func impossiblePair(a, b natlab.NAT) (reasons []string) {
	perDial := func(n natlab.NAT) bool {
		return n.Mapping == natlab.AddressAndPortDependent && n.Ports != natlab.Preserving
	}
	if a.RefuseInboundSYN && b.RefuseInboundSYN {
		reasons = append(reasons, bothRefuse)
	}
	if perDial(a) && perDial(b) && (a.Ports == natlab.Random || b.Ports == natlab.Random) {
		reasons = append(reasons, tooRandom)
	}
	return reasons
}

func TestImpossiblePair(t *testing.T) {
	kinds := allKinds()
	reasons := make(map[string]int)
	for i, a := range kinds {
		for _, b := range kinds[i:] {
			got := impossiblePair(a.nat, b.nat)
			reasons[strings.Join(got, " and ")]++
			if back := impossiblePair(b.nat, a.nat); !slices.Equal(back, got) {
				t.Errorf("%s with %s: %q, the other way round %q", a.name, b.name, got, back)
			}
		}
	}
	// 10 pairs of the 4 that refuse, 2 of which are too random as well. Of the other pairs 15-1 of two random ones, and 25-1 of
	// a random and a sequential one.
	for why, want := range map[string]int{bothRefuse: 8, bothRefuse + " and " + tooRandom: 2, tooRandom: 14 + 24, "": 210 - 10 - 38} {
		if reasons[why] != want {
			t.Errorf("%d pairs %q, want %d", reasons[why], why, want)
		}
	}
}

// emulatedPairs are all ordered pairs of the twenty kinds.
func emulatedPairs() []*scenario {
	var all []*scenario
	kinds := allKinds()
	for i, a := range kinds {
		for j, b := range kinds {
			s := &scenario{
				family: "pairs", name: a.name + " - " + b.name, top: twoNATs(a.nat, b.nat), row: i, column: j,
				impossible: impossiblePair(a.nat, b.nat), always: max(i, j) < len(answerKinds),
			}
			low, high := min(i, j)/len(answerKinds), max(i, j)/len(answerKinds)
			s.class = fmt.Sprintf("%s - %s", mappingKinds[low].name, mappingKinds[high].name)
			if len(s.impossible) > 0 && s.impossible[0] == bothRefuse {
				s.class = bothRefuse
			}
			all = append(all, s)
		}
	}
	return all
}

// realPairs are the nine pairs of real Linux NATs.
func realPairs() []*scenario {
	var all []*scenario
	for _, a := range realNATs {
		for _, b := range realNATs {
			all = append(all, &scenario{
				family: "linux", name: a.name + " - " + b.name, class: "linux", top: twoNATs(a.nat, b.nat), kind: "public", always: true,
			})
		}
	}
	return all
}

// steppedNATs are sequential NATs of every step, from which other users take
// ports between two of ours and as time passes.
func steppedNATs() []*scenario {
	var all []*scenario
	for _, m := range mappingKinds[1:3] {
		for step := 1; step <= 8; step++ {
			n := m.nat
			n.Step, n.Churn, n.ChurnRate = step, 3, 5
			all = append(all, &scenario{
				family: "steps", name: fmt.Sprintf("%s, step %d - EIM", m.name, step), class: "steps, " + m.name,
				top: twoNATs(n, natlab.NAT{}),
			})
		}
	}
	return all
}

// topologies are the networks that are no pair of home NATs.
func topologies() []*scenario {
	var all []*scenario
	add := func(name, kind, impossible string, always bool, top natlab.Topology) {
		s := &scenario{family: "topologies", name: name, class: name, top: top, kind: kind, always: always}
		if impossible != "" {
			s.impossible = []string{impossible}
		}
		all = append(all, s)
	}
	add("same LAN", "private", "", true, oneNAT(natlab.NAT{}, natlab.NoFirewall))
	add("same LAN, hosts drop", "private", "", true, oneNAT(natlab.NAT{}, natlab.DropUnsolicited))
	// Their round trip is short, and they must start within half of it: see fact 3 of the engine's.
	add("same LAN, hosts reject", "private", "", false, oneNAT(natlab.NAT{}, natlab.RejectUnsolicited))
	add("same LAN, hairpin", "private", "", true, oneNAT(natlab.NAT{Hairpin: true}, natlab.NoFirewall))
	add("same LAN, Linux NAT", "private", "", true, oneNAT(natlab.NAT{Linux: true}, natlab.NoFirewall))

	eim, reset, linux := natlab.NAT{}, natlab.NAT{Unsolicited: natlab.Reset}, natlab.NAT{Linux: true}
	sequential, random := mappingKinds[1].nat, mappingKinds[3].nat
	add("carrier NAT, one side", "public", "", true, carriers(eim, nil, reset))
	add("carrier NAT, both sides", "public", "", true, carriers(eim, &eim, reset))
	add("carrier NAT that resets, both sides", "public", "", true, carriers(reset, &reset, reset))
	add("carrier NAT, both sides, all Linux", "public", "", true, carriers(linux, &linux, linux))
	add("sequential carrier NAT, one side", "", "", false, carriers(sequential, nil, reset))
	add("sequential carrier NAT, both sides", "", "", false, carriers(sequential, &sequential, reset))
	add("random carrier NAT, one side", "", "", false, carriers(random, nil, eim))
	add("two homes behind one carrier NAT, hairpin", "public", "", true, oneCarrier(natlab.NAT{Hairpin: true}))
	add("two homes behind one carrier NAT, no hairpin", "", noHairpin, false, oneCarrier(natlab.NAT{}))

	// IPv4 alone would be impossible.
	six := func(answer natlab.Unsolicited) natlab.Topology {
		n := random
		n.Unsolicited = answer
		top := twoNATs(n, n)
		top.IPv6 = true
		return top
	}
	add("IPv6, firewalls drop", "ipv6", "", true, six(natlab.Drop))
	add("IPv6, firewalls reset", "ipv6", "", true, six(natlab.Reset))
	linux6 := twoNATs(linux, natlab.NAT{Linux: true, Unsolicited: natlab.Reset})
	linux6.IPv6 = true
	add("IPv4 and IPv6, Linux firewalls", "", "", true, linux6)
	return all
}

// oneNAT is two hosts behind one NAT.
func oneNAT(n natlab.NAT, firewall natlab.Firewall) natlab.Topology {
	n.Name, n.Link.Delay = "home", oneWay
	host := natlab.Host{Behind: "home", Firewall: firewall, Link: natlab.Link{Delay: time.Millisecond / 4}}
	a, b := host, host
	a.Name, b.Name = "a", "b"
	return natlab.Topology{NATs: []natlab.NAT{n}, Hosts: []natlab.Host{a, b}}
}

// carriers is two homes with carrier NATs in front, or only one for the home of a.
func carriers(a natlab.NAT, b *natlab.NAT, home natlab.NAT) natlab.Topology {
	top := twoNATs(home, home)
	front := func(at int, name string, carrier natlab.NAT) {
		carrier.Name, carrier.Link.Delay = name, oneWay/2
		top.NATs[at].Behind, top.NATs[at].Link.Delay = name, oneWay/2
		top.NATs = append(top.NATs, carrier)
	}
	front(0, "carrier", a)
	if b != nil {
		front(1, "carrier2", *b)
	}
	return top
}

// oneCarrier is two homes behind one carrier NAT.
func oneCarrier(carrier natlab.NAT) natlab.Topology {
	top := twoNATs(natlab.NAT{Unsolicited: natlab.Reset}, natlab.NAT{})
	carrier.Name, carrier.Link.Delay = "carrier", oneWay/2
	for i := range top.NATs {
		top.NATs[i].Behind, top.NATs[i].Link.Delay = "carrier", oneWay/2
	}
	top.NATs = append(top.NATs, carrier)
	return top
}
