package natcheck

import (
	"net/netip"
	"strings"
	"testing"
)

func TestMeaning(t *testing.T) {
	six := netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		name   string
		report Report
		first  string
		rest   []string // parts of the sentences that follow
	}{
		{"open", Report{TCP: Transport{Mapping: NoNAT, Unsolicited: Accepted, InboundSYN: Accepted}}, "with everybody", nil},
		{"public with firewall", Report{TCP: Transport{Mapping: NoNAT, Unsolicited: Silent, InboundSYN: Accepted}}, "with almost everybody.", nil},
		{"home", Report{TCP: Transport{Mapping: EndpointIndependent, InboundSYN: Accepted}}, "with almost everybody.", nil},
		{"home, one server", Report{TCP: Transport{Mapping: NotPortDependent, InboundSYN: Accepted}}, "with almost everybody.", nil},
		{"home, plain server", Report{TCP: Transport{Mapping: EndpointIndependent}}, "if a simultaneous open is let in", nil},
		{"symmetric that keeps ports", Report{TCP: Transport{Mapping: AddressAndPortDependent, Ports: Preserving, InboundSYN: Accepted}}, "with almost everybody.", nil},
		{"refuses", Report{TCP: Transport{Mapping: EndpointIndependent, InboundSYN: RST}, UDP: Transport{Mapping: EndpointIndependent}},
			"unless the other router also refuses", []string{"UDP gets through", "What helps"}},
		{"sequential", Report{TCP: Transport{Mapping: AddressAndPortDependent, Ports: Sequential, InboundSYN: Accepted}}, "with most", []string{"What helps"}},
		{"sequential, refuses", Report{TCP: Transport{Mapping: AddressDependent, Ports: Sequential, InboundSYN: Silent}},
			"routers that keep their ports and let in", []string{"What helps"}},
		{"random", Report{TCP: Transport{Mapping: AddressAndPortDependent, Ports: Random, InboundSYN: Accepted}, UDP: Transport{Mapping: AddressAndPortDependent, Ports: Random}},
			"birthday punching", []string{"What helps"}},
		{"random, carrier", Report{TCP: Transport{Mapping: AddressDependent, Ports: Contiguous}, Routers: 2}, "birthday punching", []string{"2 routers", "What helps"}},
		{"random, refuses", Report{TCP: Transport{Mapping: AddressAndPortDependent, Ports: Random, InboundSYN: ICMP}}, "hardly work", []string{"What helps"}},
		{"symmetric, ports unknown", Report{TCP: Transport{Mapping: AddressAndPortDependent}}, "with some", []string{"What helps"}},
		{"one plain server, ports preserved", Report{TCP: Transport{Ports: Preserving}}, "if a simultaneous open is let in", nil},
		{"one plain server, ports not preserved", Report{TCP: Transport{Ports: Sequential}}, "could not be found out", nil},
		{"nothing known", Report{}, "could not be found out", nil},
		{"TCP blocked", Report{TCP: Transport{Blocked: true}, UDP: Transport{Mapping: EndpointIndependent}}, "seems blocked", []string{"UDP gets through", "What helps"}},
		{"UDP blocked", Report{TCP: Transport{Mapping: EndpointIndependent, InboundSYN: Accepted}, UDP: Transport{Blocked: true}}, "with almost everybody.", []string{"UDP is blocked"}},
		{"IPv6 too", Report{TCP: Transport{Mapping: EndpointIndependent, InboundSYN: RST}, IPv6: IPv6{Address: six, InboundSYN: Accepted}},
			"unless", []string{"with others who have it", "What helps"}},
		{"IPv6 refuses", Report{TCP: Transport{Mapping: EndpointIndependent, InboundSYN: Accepted}, IPv6: IPv6{Address: six, InboundSYN: Silent}},
			"with almost everybody.", []string{"Over IPv6, incoming connections are refused"}},
		{"IPv6 alone", Report{TCP: Transport{}, IPv6: IPv6{Address: six, InboundSYN: Accepted}}, "those who have IPv6 too", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.report.Meaning()
			if !strings.Contains(got[0], tt.first) || len(got) != 1+len(tt.rest) {
				t.Fatalf("got %q, want %q and %q", got, tt.first, tt.rest)
			}
			for i, w := range tt.rest {
				if !strings.Contains(got[i+1], w) {
					t.Errorf("got %q, want %q", got[i+1], w)
				}
			}
			for _, s := range got {
				if !strings.HasSuffix(s, ".") || strings.Contains(s, "\n") {
					t.Errorf("%q is no sentence", s)
				}
			}
		})
	}
}
