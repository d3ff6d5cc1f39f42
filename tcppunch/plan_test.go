package tcppunch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addrs(s string) []netip.Addr {
	var as []netip.Addr
	for f := range strings.FieldsSeq(s) {
		as = append(as, netip.MustParseAddr(f))
	}
	return as
}

func TestServerlessTuples(t *testing.T) {
	peer := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.20:7070"), netip.MustParseAddrPort("192.168.1.5:9000")}
	want := []string{
		"203.0.113.20:7070 public false", "203.0.113.20:7071 public true", "203.0.113.20:7072 public true", "203.0.113.20:7073 public true",
		"192.168.1.5:9000 private false", "192.168.1.5:9001 private true", "192.168.1.5:9002 private true", "192.168.1.5:9003 private true",
	}
	var got []string
	for _, x := range serverlessTuples(peer) {
		got = append(got, fmt.Sprint(x.remote, " ", x.kind, " ", x.spare))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	last := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.20:65535")}
	if got := serverlessTuples(last); len(got) != 1 {
		t.Errorf("the last port has no spares, got %v", got)
	}
}

// behind is the report of a host behind a NAT.
func behind(public string, hosts string) report {
	r := report{Hosts: addrs(hosts)}
	for i := range uint16(roomLanes) {
		l := laneReport{Port: 5000 + i}
		if public != "" {
			l.Mapped = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(public), 6000+i)}
		}
		r.Lanes = append(r.Lanes, l)
	}
	return r
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name         string
		side         Side
		mine, theirs report
		want         []string
	}{
		{"two homes, offerer", SideA, behind("203.0.113.10", "192.168.1.2"), behind("203.0.113.20", "192.168.2.2"), []string{
			"answer: opener lane 1 203.0.113.20:6001 ttl 4",
			"answer: dial lane 0 192.168.2.2:5000 ttl 0",
			"answer: connector lane 0 203.0.113.20:6000 ttl 0",
			"sync: simultaneous lane 2 203.0.113.20:6002 ttl 0",
		}},
		{"two homes, answerer", SideB, behind("203.0.113.20", "192.168.2.2"), behind("203.0.113.10", "192.168.1.2"), []string{
			"offer: opener lane 0 203.0.113.10:6000 ttl 4",
			"offer: dial lane 0 192.168.1.2:5000 ttl 0",
			"go: connector lane 1 203.0.113.10:6001 ttl 0",
			"sync: simultaneous lane 2 203.0.113.10:6002 ttl 0",
		}},
		{"no IPv6 here", SideB, behind("203.0.113.20", "192.168.2.2"), behind("", "2001:db8::1"), nil},
		{"IPv6 on both sides", SideB, behind("", "2001:db8::2"), behind("", "2001:db8::1"), []string{
			"offer: opener lane 0 [2001:db8::1]:5000 ttl 4",
			"go: connector lane 1 [2001:db8::1]:5001 ttl 0",
			"sync: simultaneous lane 2 [2001:db8::1]:5002 ttl 0",
		}},
		{"a server without a NAT, mapped to itself, once", SideB, behind("203.0.113.20", "192.168.2.2"),
			report{Hosts: addrs("198.51.100.1"), Lanes: []laneReport{{Port: 5000, Mapped: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:5000")}}}},
			[]string{"offer: opener lane 0 198.51.100.1:5000 ttl 4"}},
		{"two programs on one machine", SideB, behind("", "192.168.1.2"), behind("", "192.168.1.2"), []string{
			"offer: dial lane 0 192.168.1.2:5000 ttl 0",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			names := map[moment]string{onOffer: "offer", onAnswer: "answer", onGo: "go", onSync: "sync"}
			var got []string
			for _, s := range plan(situation{side: tt.side, ttl: 4, sockets: 256, mine: tt.mine, theirs: tt.theirs}).steps {
				got = append(got, fmt.Sprintf("%s: %s lane %d %v ttl %d", names[s.when], s.technique, s.lane, s.remote, s.ttl))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// On each lane at most one side opens, and it does so before the other dials.
func TestPlanRolesFit(t *testing.T) {
	a, b := behind("203.0.113.10", "10.0.0.2"), behind("203.0.113.20", "10.0.1.2")
	pa := plan(situation{side: SideA, ttl: 4, mine: a, theirs: b}).steps
	pb := plan(situation{side: SideB, ttl: 4, mine: b, theirs: a}).steps
	for lane := range roomLanes {
		find := func(steps []step) (s step) {
			for _, x := range steps {
				if x.lane == lane && x.kind == KindPublic {
					s = x
				}
			}
			return s
		}
		sa, sb := find(pa), find(pb)
		switch {
		case sa.technique == Opener && sb.technique == Connector && sa.when < sb.when:
		case sa.technique == Connector && sb.technique == Opener && sb.when < sa.when:
		case sa.technique == Simultaneous && sb.technique == Simultaneous && sa.when == sb.when:
		default:
			t.Errorf("lane %d: %v and %v", lane, sa, sb)
		}
	}
}

func TestSamePublicAddress(t *testing.T) {
	home, other := behind("203.0.113.10", "192.168.1.2"), behind("203.0.113.10", "192.168.1.3")
	if !samePublicAddress(home, other) {
		t.Error("two hosts of one home not recognised")
	}
	if samePublicAddress(home, behind("203.0.113.20", "192.168.1.2")) || samePublicAddress(home, behind("", "192.168.1.3")) {
		t.Error("two homes taken for one")
	}
}

func TestWorthWaiting(t *testing.T) {
	one := func(k Kind) map[Kind]int { return map[Kind]int{k: 1} }
	tests := []struct {
		name              string
		have              Kind
		network           string
		dialling, shaking map[Kind]int
		near, want        bool
	}{
		{"nothing better", KindPublic, "tcp", one(KindPublic), one(KindPublic), true, false},
		{"private being dialled, near", KindPublic, "tcp", one(KindPrivate), nil, true, true},
		{"private being dialled, far", KindPublic, "tcp", one(KindPrivate), nil, false, false},
		{"private in its handshake, far", KindPublic, "tcp", nil, one(KindPrivate), false, true},
		{"IPv6 being dialled", KindPublic, "tcp", one(KindIPv6), nil, true, false},
		{"IPv6 in its handshake", KindPublic, "tcp", nil, one(KindIPv6), false, true},
		{"the best already", KindPrivate, "tcp", one(KindPrivate), one(KindPublic), true, false},
		{"by UDP, TCP being dialled", KindPrivate, "kcp", one(KindPublic), nil, true, false},
		{"by UDP, TCP in its handshake", KindPrivate, "kcp", nil, one(KindPredicted), false, true},
	}
	for _, tt := range tests {
		if got := worthWaiting(Path{Network: tt.network, Kind: tt.have}, tt.dialling, tt.shaking, tt.near); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	tests := map[string]Kind{
		"192.168.1.1": KindPrivate, "10.1.2.3": KindPrivate, "172.31.0.1": KindPrivate, "100.64.0.1": KindPrivate,
		"169.254.1.1": KindPrivate, "fd00::1": KindPrivate, "fe80::1": KindPrivate, "127.0.0.1": KindPrivate,
		"2001:db8::1": KindIPv6, "203.0.113.1": KindPublic, "172.32.0.1": KindPublic, "100.128.0.1": KindPublic,
	}
	for a, want := range tests {
		if got := kindOf(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is %s, want %s", a, got, want)
		}
	}
}
