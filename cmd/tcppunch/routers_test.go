package main

import (
	"net/netip"
	"testing"

	"github.com/tcppunch/tcppunch/stunt/natcheck"
	"github.com/tcppunch/tcppunch/tcppunch"
)

func TestNATOf(t *testing.T) {
	tests := []struct {
		name string
		rep  natcheck.Report
		want tcppunch.NAT
	}{
		{"nothing", natcheck.Report{Routers: -1}, tcppunch.NAT{}},
		{"no NAT", natcheck.Report{TCP: natcheck.Transport{Mapping: natcheck.NoNAT}},
			tcppunch.NAT{Mapping: tcppunch.EndpointIndependent}},
		{"a home", natcheck.Report{Routers: 1, TCP: natcheck.Transport{
			Mapping: natcheck.EndpointIndependent, Ports: natcheck.Preserving, Unsolicited: natcheck.Silent,
			InboundSYN: natcheck.Accepted, Hairpin: natcheck.No,
		}}, tcppunch.NAT{
			Mapping: tcppunch.EndpointIndependent, Ports: tcppunch.Preserving, Inbound: tcppunch.LetsIn, Hairpin: tcppunch.Silent, Routers: 1,
		}},
		{"an office", natcheck.Report{Routers: 3, TCP: natcheck.Transport{
			Mapping: natcheck.AddressAndPortDependent, Ports: natcheck.Random, Unsolicited: natcheck.RST,
			InboundSYN: natcheck.ICMP, Hairpin: natcheck.Yes,
		}}, tcppunch.NAT{
			Mapping: tcppunch.AddressAndPortDependent, Ports: tcppunch.Random, Inbound: tcppunch.SendsICMP, Hairpin: tcppunch.LetsIn, Routers: 3,
		}},
		{"a carrier's NAT, of which the wrong mapping was dialled", natcheck.Report{TCP: natcheck.Transport{
			Mapping: natcheck.AddressDependent, Ports: natcheck.Sequential, Hairpin: natcheck.No,
			Mapped: netip.MustParseAddrPort("203.0.113.10:5000"),
		}}, tcppunch.NAT{
			Mapping: tcppunch.AddressDependent, Ports: tcppunch.Sequential, Public: netip.MustParseAddr("203.0.113.10"),
		}},
		{"one of two", natcheck.Report{TCP: natcheck.Transport{Mapping: natcheck.NotPortDependent, Ports: natcheck.Contiguous}}, tcppunch.NAT{}},
	}
	for _, tt := range tests {
		if got := natOf(&tt.rep); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
