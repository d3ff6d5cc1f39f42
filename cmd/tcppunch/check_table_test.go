package main

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck"
)

func TestCheckTable(t *testing.T) {
	for _, tt := range []struct {
		name   string
		report natcheck.Report
		want   string
	}{
		{"all", natcheck.Report{
			TCP: natcheck.Transport{
				Local: netip.MustParseAddrPort("192.168.1.2:40001"), Mapped: netip.MustParseAddrPort("203.0.113.10:2003"),
				Mapping: natcheck.AddressAndPortDependent, Filtering: natcheck.AddressAndPortDependent, Ports: natcheck.Sequential, Step: 2, Churn: 5,
				Unsolicited: natcheck.RST, InboundSYN: natcheck.Accepted, RSTEnds: natcheck.No, Hairpin: natcheck.No,
			},
			UDP: natcheck.Transport{
				Local: netip.MustParseAddrPort("192.168.1.2:50001"), Mapped: netip.MustParseAddrPort("203.0.113.10:2001"),
				Mapping: natcheck.EndpointIndependent, Filtering: natcheck.AddressDependent, Ports: natcheck.Preserving,
				Hairpin: natcheck.Yes, LifetimeMin: 30 * time.Second, LifetimeMax: time.Minute,
			},
			IPv6:    natcheck.IPv6{Address: netip.MustParseAddr("2001:db8::1"), Unsolicited: natcheck.Silent, InboundSYN: natcheck.ICMP},
			Routers: 2,
		}, `                                 TCP                                       UDP
this side                        192.168.1.2:40001                         192.168.1.2:50001
seen as                          203.0.113.10:2003                         203.0.113.10:2001
mapping                          address-and-port-dependent                endpoint-independent
filtering                        address-and-port-dependent                address-dependent
ports                            sequential, step 2, others take up to 5   preserving
unsolicited SYN                  refused with a RST
SYN after our own                let in
RST ends session                 no
hairpin                          no                                        yes
lifetime when idle                                                         30 s to 60 s
routers before the public side   2
IPv6                             2001:db8::1
  unsolicited SYN                dropped
  SYN after our own              refused with ICMP
`},
		{"little", natcheck.Report{Routers: -1, UDP: natcheck.Transport{Blocked: true}}, `                    TCP   UDP
this side           ?     blocked
seen as             ?     blocked
mapping             ?     ?
filtering           ?     ?
unsolicited SYN     ?
SYN after our own   ?
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := checkTable(&tt.report); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestCheckServers(t *testing.T) {
	for _, tt := range []struct {
		server string
		given  []string
		want   []string
	}{
		{"", nil, publicSTUN},
		{"", []string{"192.0.2.1"}, []string{"192.0.2.1:3478"}},
		{"example.org", nil, []string{"example.org:3478", "example.org:3479"}},
		{"https://example.org:99/x", []string{"192.0.2.1", "example.org"}, []string{"example.org:3478", "example.org:3479", "192.0.2.1:3478"}},
	} {
		c := checkCmd{serverFlags: serverFlags{Server: tt.server}}
		if got, err := c.servers(tt.given); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("--server %q --stun %q: got %q, %v, want %q", tt.server, tt.given, got, err, tt.want)
		}
	}
	c := checkCmd{serverFlags: serverFlags{Server: "ftp://example.org"}}
	if got, err := c.servers(nil); err == nil {
		t.Errorf("got %q for ftp", got)
	}
}
