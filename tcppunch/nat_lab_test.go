package tcppunch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// natKinds are NATs by how they choose ports.
var natKinds = []struct {
	name  string
	class portClass
	nat   natlab.NAT
}{
	{"EIM", fixed, natlab.NAT{}},
	{"EIM random", fixed, natlab.NAT{Ports: natlab.Random}},
	{"ADM sequential", perLane, natlab.NAT{Mapping: natlab.AddressDependent, Ports: natlab.Sequential, Step: 2, Churn: 1}},
	{"APDM sequential", perDial, natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Sequential, Step: 3, Churn: 1}},
	{"APDM random", random, natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}},
}

// TestRoomNATs: all kinds of ports meet each other, behind NATs that make it as
// hard as they can, and say early where nothing helps.
func TestRoomNATs(t *testing.T) {
	for i, a := range natKinds {
		for _, b := range natKinds[i:] {
			for _, refuses := range []string{"nobody", "the offerer's", "the answerer's"} {
				t.Run(fmt.Sprintf("%s, %s, %s refuses", a.name, b.name, refuses), func(t *testing.T) {
					t.Parallel()
					na, nb := a.nat, b.nat
					known := []NAT{{Routers: 1, Inbound: LetsIn}, {Routers: 1, Inbound: LetsIn}}
					for side, n := range []*natlab.NAT{&na, &nb} {
						n.Unsolicited, n.RSTEndsSession = natlab.Reset, true
						if strings.HasPrefix(refuses, "the "+[]string{"offerer", "answerer"}[side]) {
							n.RefuseInboundSYN = true
							known[side].Inbound = SendsRST
						}
					}
					lab := natlab.New(t, homes(na, nb))
					ra, rb := meet(t, lab, serveSTUN(t, lab), 30*time.Second, known...)
					if b.class == random && a.class >= perDial {
						for _, r := range []peerReport{ra, rb} {
							if !strings.Contains(r.Err, "possible") || !strings.Contains(r.Err, "random port") {
								t.Errorf("got %q", r.Err)
							}
						}
						return
					}
					if ra.Err != "" || rb.Err != "" {
						t.Fatalf("offerer: %s; answerer: %s", ra.Err, rb.Err)
					}
					t.Logf("offerer: %v, %d sockets; answerer: %v, %d sockets", ra.Path, ra.Attempts, rb.Path, rb.Attempts)
				})
			}
		}
	}
}

// TestRoomCarriers: carriers' NATs in front of the homes' own.
func TestRoomCarriers(t *testing.T) {
	hard := natlab.NAT{Unsolicited: natlab.Reset, RSTEndsSession: true}
	link := natlab.Link{Delay: 10 * time.Millisecond}
	for _, tt := range []struct {
		name     string
		carriers []natlab.NAT // of a and b
		one      bool         // both are behind the first
		fails    bool
	}{
		{"in front of one", []natlab.NAT{hard}, false, false},
		{"in front of both", []natlab.NAT{hard, {}}, false, false},
		{"symmetric", []natlab.NAT{{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Sequential, Churn: 2}, hard}, false, false},
		{"one carrier, with hairpin", []natlab.NAT{{Hairpin: true}}, true, false},
		{"one carrier that resets, with hairpin", []natlab.NAT{{Hairpin: true, Unsolicited: natlab.Reset, RSTEndsSession: true}}, true, false},
		{"one carrier, no hairpin", []natlab.NAT{hard}, true, true},
	} {
		for _, home := range []natlab.NAT{{}, hard, {Linux: true, Unsolicited: natlab.Reset}} {
			t.Run(fmt.Sprintf("%s, homes: %v", tt.name, home.Unsolicited), func(t *testing.T) {
				t.Parallel()
				var top natlab.Topology
				for i, c := range tt.carriers {
					c.Name, c.Link = fmt.Sprint("carrier", i), link
					top.NATs = append(top.NATs, c)
				}
				for i, name := range []string{"a", "b"} {
					n := home
					n.Name, n.Link = "home-"+name, link
					switch {
					case tt.one:
						n.Behind = "carrier0"
					case i < len(tt.carriers):
						n.Behind = fmt.Sprint("carrier", i)
					}
					top.NATs = append(top.NATs, n)
					top.Hosts = append(top.Hosts, natlab.Host{Name: name, Behind: n.Name})
				}
				top.Hosts = append(top.Hosts, natlab.Host{Name: "stun"})
				lab := natlab.New(t, top)
				known := make([]NAT, 2)
				if tt.fails {
					known[0].Hairpin, known[1].Hairpin = SendsRST, Silent
				}
				ra, rb := meet(t, lab, serveSTUN(t, lab), 40*time.Second, known...)
				if tt.fails {
					if !strings.Contains(ra.Err, "hairpin") || !strings.Contains(rb.Err, "hairpin") {
						t.Errorf("connected: %v; %s; %s", ra.Path, ra.Err, rb.Err)
					}
					return
				}
				if ra.Err != "" || rb.Err != "" {
					t.Fatalf("offerer: %s; answerer: %s", ra.Err, rb.Err)
				}
				t.Logf("offerer: %v, %d sockets; answerer: %v, %d sockets", ra.Path, ra.Attempts, rb.Path, rb.Attempts)
			})
		}
	}
}

// TestRoomRejectingHosts: two hosts on one LAN whose own firewalls refuse each
// other meet all the same.
func TestRoomRejectingHosts(t *testing.T) {
	lab := natlab.New(t, natlab.Topology{
		NATs: []natlab.NAT{{Name: "home", Link: natlab.Link{Delay: 25 * time.Millisecond}}},
		Hosts: []natlab.Host{
			{Name: "a", Behind: "home", Firewall: natlab.RejectUnsolicited},
			{Name: "b", Behind: "home", Firewall: natlab.RejectUnsolicited}, {Name: "stun"},
		},
	})
	a, b := meet(t, lab, serveSTUN(t, lab), 40*time.Second)
	wantOneConnection(t, a, b)
	t.Logf("%v, %d and %d sockets", a.Path, a.Attempts, b.Attempts)
}
