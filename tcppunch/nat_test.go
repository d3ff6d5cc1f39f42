package tcppunch

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

func TestSequenceOf(t *testing.T) {
	tests := []struct {
		name  string
		ports []uint16
		want  sequence
		ok    bool
	}{
		{"one after the other", []uint16{5000, 5001, 5002}, sequence{5002, 1, 1}, true},
		{"asked for in another order", []uint16{5004, 5000, 5002, 5006}, sequence{5006, 2, 1}, true},
		{"others take some", []uint16{5000, 5003, 5009, 5012}, sequence{5012, 3, 4.0 / 3}, true},
		{"seen twice", []uint16{5000, 5000, 5008, 5008, 5016}, sequence{5016, 8, 1}, true},
		{"round the end", []uint16{65534, 65535, 1024, 1025}, sequence{1025, 1, 1}, true},
		{"two are too few", []uint16{5000, 5001}, sequence{}, false},
		{"one, always", []uint16{5000, 5000, 5000}, sequence{}, false},
		{"by chance", []uint16{5000, 30000, 62000}, sequence{}, false},
		{"too wide a step", []uint16{5000, 5100, 5200}, sequence{}, false},
		{"none", nil, sequence{}, false},
	}
	for _, tt := range tests {
		if got, ok := sequenceOf(tt.ports); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

// Ports that were chosen by chance are hardly ever taken for a sequence.
func TestSequenceOfRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	wrong := 0
	for range 10000 {
		var ports []uint16
		for range 6 {
			ports = append(ports, uint16(1024+rng.IntN(portsIn-1024)))
		}
		if _, ok := sequenceOf(ports); ok {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 10000 sets of random ports are a sequence", wrong)
	}
}

func TestSequenceNext(t *testing.T) {
	s := sequence{Last: 65534, Step: 2}
	if got := s.next(1); got != 1024 { // 65536 is the first one again
		t.Errorf("got %d after 65534, want 1024", got)
	}
	if got := (sequence{Last: 5000, Step: 8}).next(3); got != 5024 {
		t.Errorf("got %d, want 5024", got)
	}
	for _, hostile := range []sequence{{}, {Last: 1, Step: 64}, {Last: 65535, Step: maxStep}} {
		for n := range 300 {
			if p := hostile.next(n); p < 1024 {
				t.Fatalf("%v: port %d", hostile, p)
			}
		}
	}
}

// What is told the peer of a sequence passes the peer's check.
func FuzzSequenceOf(f *testing.F) {
	f.Add([]byte{0xff, 0xfa, 0xff, 0xfd, 0, 2, 0, 5})
	f.Add([]byte{3, 0xe8, 3, 0xeb, 0xff, 0xff, 4, 0, 4, 1, 4, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		var ports []uint16
		for ; len(b) > 1; b = b[2:] {
			ports = append(ports, uint16(b[0])<<8|uint16(b[1]))
		}
		s, ok := sequenceOf(ports)
		if err := s.check(); err != nil {
			t.Errorf("%v: %v", ports, err)
		}
		if ok && (s.Step < 1 || s.Gap < 1 || !slices.Contains(ports, s.Last)) {
			t.Errorf("%v: %v", ports, s)
		}
	})
}

// Where an answer of STUN's was lost, what is done is less, and still fits.
func TestPlanWithoutAnswers(t *testing.T) {
	classes := []portClass{fixed, perLane, perDial, random}
	for _, ca := range classes {
		for _, cb := range classes {
			for missing := range roomLanes {
				a, b := side("203.0.113.10", ca, ""), side("203.0.113.20", cb, "")
				b.Lanes[missing].Mapped = nil
				for round := range 4 {
					pa := plan(situation{side: SideA, round: round, ttl: 4, sockets: 256, mine: a, theirs: b})
					pb := plan(situation{side: SideB, round: round, ttl: 4, sockets: 256, mine: b, theirs: a})
					for lane := range 2 {
						if (len(lanePart(pa, lane)) == 0) != (len(lanePart(pb, lane)) == 0) {
							t.Errorf("%d × %d, lane %d without an answer, round %d, lane %d: one side alone", ca, cb, missing, round, lane)
						}
					}
				}
			}
		}
	}
}

// Both sides know when it is over, and not before something was tried.
func TestOver(t *testing.T) {
	refuses := side("203.0.113.10", fixed, SendsRST)
	other := side("203.0.113.20", fixed, Silent)
	six := side("203.0.113.20", fixed, Silent)
	six.Hosts = append(six.Hosts, netip.MustParseAddr("2001:db8::2"))
	ula := side("203.0.113.10", random, "")
	ula.Hosts = append(ula.Hosts, netip.MustParseAddr("fd00::1"))
	random6 := side("203.0.113.20", random, "")
	random6.Hosts = six.Hosts
	near := side("203.0.113.10", fixed, "")
	near.NAT.Hairpin = Silent
	for round := range 6 {
		s := situation{side: SideA, round: round, ttl: 4, sockets: 256, mine: near, theirs: near}
		if over := s.over(plan(s)); (over != "") != (round >= nearRounds-1) {
			t.Errorf("one network, no hairpin, round %d: %q", round, over)
		}
	}
	tests := []struct {
		name string
		a, b report
		over bool
	}{
		{"possible", side("203.0.113.10", fixed, ""), other, false},
		{"both refuse", refuses, other, true},
		{"both refuse, one has IPv6", refuses, six, true},
		{"random on both sides, IPv6 between them", ula, random6, false},
	}
	for _, tt := range tests {
		for round := range 2 {
			sa, sb := situation{side: SideA, round: round, ttl: 4, sockets: 256, mine: tt.a, theirs: tt.b}, situation{side: SideB, round: round, ttl: 4, sockets: 256, mine: tt.b, theirs: tt.a}
			pa, pb := plan(sa), plan(sb)
			for _, over := range []string{sa.over(pa), sb.over(pb)} {
				if (over != "") != tt.over {
					t.Errorf("%s, round %d: got %q", tt.name, round, over)
				}
			}
			if tried := len(lanePart(pa, 0)) > 0; tt.a.class(0) == fixed && tried != (round == 0 || !tt.over) {
				t.Errorf("%s, round %d: tried %v", tt.name, round, tried)
			}
		}
	}
}

// What a peer's NAT is said to be and this version does not know counts for nothing.
func TestNATKnown(t *testing.T) {
	odd := NAT{Mapping: "odd", Ports: "by moonlight", Inbound: "\x1b[2J", Hairpin: "perhaps", Routers: -3}
	if got := odd.known(); got != (NAT{}) {
		t.Errorf("got %v", got)
	}
	good := NAT{Mapping: AddressDependent, Ports: Sequential, Inbound: SendsRST, Hairpin: LetsIn, Routers: 2}
	if got := good.known(); got != good {
		t.Errorf("got %v, want %v", got, good)
	}
}

// saw makes observations: lane, server and mapped address, three to a word.
func saw(s string) []observation {
	servers := map[byte]string{'a': "198.51.100.1:3478", 'b': "198.51.100.1:3479", 'c': "198.51.100.2:3478"}
	var seen []observation
	for f := range strings.FieldsSeq(s) {
		seen = append(seen, observation{
			lane: int(f[0] - '0'), server: netip.MustParseAddrPort(servers[f[1]]),
			mapped: netip.MustParseAddrPort("203.0.113.10:" + f[2:]),
		})
	}
	return seen
}

func TestNATOf(t *testing.T) {
	local := []uint16{5000, 5001, 5002}
	tests := []struct {
		name, saw string
		mapping   Behavior
		ports     Ports
		last      uint16
	}{
		{"nothing", "", "", "", 0},
		{"preserving, one answer each", "0a5000 1a5001 2a5002", "", Preserving, 0},
		{"one port for two of one server", "0a6001 0b6001 1a6002 1b6002 2a6003 2b6003", "", Sequential, 6003},
		{"one port for two servers", "0a6001 0c6001 1a6012 2a45000", EndpointIndependent, Random, 0},
		{"another port for another server", "0a6001 0b6001 0c6004 1a6002 1b6002 1c6005 2a6003", AddressDependent, Sequential, 6005},
		{"another port for each", "0a6001 0b6002 1a6003 1b6004 2a6005 2b6006", AddressAndPortDependent, Sequential, 6006},
		{"random", "0a6001 0b16002 1a36003 1b26004 2a62005 2b5006", AddressAndPortDependent, Random, 0},
		{"too few to tell", "0a6001 1a50000", "", "", 0},
	}
	for _, tt := range tests {
		n, seq := natOf(local, saw(tt.saw))
		if n.Mapping != tt.mapping || n.Ports != tt.ports || seq.Last != tt.last {
			t.Errorf("%s: got %v, %v, want %s, %s, last %d", tt.name, n, seq, tt.mapping, tt.ports, tt.last)
		}
	}
}

func TestNATWith(t *testing.T) {
	here, elsewhere := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("203.0.113.20")
	random := NAT{Mapping: AddressAndPortDependent, Ports: Random, Inbound: LetsIn, Public: here}
	sequential := NAT{Mapping: AddressDependent, Ports: Sequential, Inbound: SendsRST, Hairpin: Silent, Public: here}
	tests := []struct {
		name             string
		now, known, want NAT
	}{
		{"nothing was seen", NAT{}, random, NAT{Mapping: AddressAndPortDependent, Ports: Random, Inbound: LetsIn}},
		{"a sequence has to be seen", NAT{}, sequential, NAT{Mapping: AddressDependent, Inbound: SendsRST, Hairpin: Silent}},
		{"what the lanes cannot tell", NAT{Ports: Sequential}, sequential,
			NAT{Mapping: AddressDependent, Ports: Sequential, Inbound: SendsRST, Hairpin: Silent}},
		{"what the lanes show is newer", NAT{Mapping: EndpointIndependent, Ports: Random}, sequential,
			NAT{Mapping: EndpointIndependent, Ports: Random, Inbound: SendsRST, Hairpin: Silent}},
		{"other ports, so another mapping perhaps", NAT{Ports: Preserving}, sequential, NAT{Ports: Preserving, Inbound: SendsRST, Hairpin: Silent}},
		{"another network", NAT{Ports: Preserving}, NAT{Inbound: SendsRST, Hairpin: Silent, Public: elsewhere}, NAT{Ports: Preserving}},
	}
	for _, tt := range tests {
		if got := tt.now.with(tt.known, here); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// side makes a report of a class.
func side(public string, c portClass, inbound Answer) report {
	r := behind(public, "192.168.1.2")
	r.NAT.Inbound = inbound
	switch c {
	case perLane:
		r.NAT.Mapping, r.NAT.Ports = AddressDependent, Sequential
	case perDial:
		r.NAT.Mapping, r.NAT.Ports = AddressAndPortDependent, Sequential
	case random:
		r.NAT.Mapping, r.NAT.Ports = AddressAndPortDependent, Random
	}
	if c == perLane || c == perDial {
		r.Sequence = sequence{Last: 7000, Step: 2, Gap: 1.5}
	}
	return r
}

func TestClass(t *testing.T) {
	tests := []struct {
		name  string
		nat   NAT
		round int
		want  portClass
	}{
		{"not known", NAT{}, 0, fixed},
		{"preserving", NAT{Mapping: AddressAndPortDependent, Ports: Preserving}, 0, fixed},
		{"endpoint-independent", NAT{Mapping: EndpointIndependent, Ports: Random}, 3, fixed},
		{"a sequence that may be of either kind", NAT{Ports: Sequential}, 0, perLane},
		{"address-dependent", NAT{Mapping: AddressDependent, Ports: Sequential}, 0, perLane},
		{"symmetric, in sequence", NAT{Mapping: AddressAndPortDependent, Ports: Sequential}, 0, perDial},
		{"symmetric, random", NAT{Mapping: AddressAndPortDependent, Ports: Random}, 0, random},
		{"random, the better kind first", NAT{Ports: Random}, 1, fixed},
		{"random, then the worse", NAT{Ports: Random}, 2, random},
		{"random, in turns", NAT{Ports: Random}, 4, fixed},
		{"a sequence, then the worse kind", NAT{Ports: Sequential}, 3, perDial},
	}
	for _, tt := range tests {
		r := behind("203.0.113.10", "192.168.1.2")
		r.NAT, r.Sequence = tt.nat, sequence{Last: 7000, Step: 1, Gap: 1}
		if got := r.class(tt.round); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := behind("", "192.168.1.2").class(0); got != unmapped {
		t.Errorf("without STUN: got %d", got)
	}
	if got := behind("10.1.2.3", "192.168.1.2").class(0); got != unmapped {
		t.Errorf("with a server in a private network: got %d", got)
	}
	busy := side("203.0.113.10", perDial, "")
	busy.Sequence.Gap = 50
	if got := busy.class(0); got != random {
		t.Errorf("a sequence that many others use: got %d", got)
	}
	none := side("203.0.113.10", perLane, "")
	none.Sequence = sequence{}
	if got := none.class(0); got != fixed {
		t.Errorf("a sequence that is not known: got %d", got)
	}
}

func TestHopeless(t *testing.T) {
	noHairpin := side("203.0.113.10", fixed, "")
	noHairpin.NAT.Hairpin = Silent
	maybe := side("203.0.113.30", random, "")
	maybe.NAT.Mapping = ""
	tests := []struct {
		name string
		a, b report
		want string
	}{
		{"two good ones", side("203.0.113.10", fixed, LetsIn), side("203.0.113.20", fixed, LetsIn), ""},
		{"one refuses", side("203.0.113.10", fixed, Silent), side("203.0.113.20", fixed, ""), ""},
		{"both refuse", side("203.0.113.10", fixed, Silent), side("203.0.113.20", fixed, SendsRST), "(yours: silent; theirs: rst)"},
		{"random and fixed", side("203.0.113.10", random, ""), side("203.0.113.20", fixed, ""), ""},
		{"random and one port a lane", side("203.0.113.10", random, ""), side("203.0.113.20", perLane, ""), ""},
		{"random and random", side("203.0.113.10", random, ""), side("203.0.113.20", random, ""), "random port; theirs gives every connection a random"},
		{"random and sequential", side("203.0.113.10", random, ""), side("203.0.113.20", perDial, ""), "random port; theirs gives every connection another"},
		{"one public address", side("203.0.113.10", fixed, ""), side("203.0.113.10", fixed, ""), ""},
		{"one public address, no hairpin", noHairpin, noHairpin, "hairpin"},
		{"one public address, no hairpin, says one side", side("203.0.113.10", fixed, ""), noHairpin, ""},
		{"random, or so it seems", maybe, maybe, ""},
		{"no hairpin, which does not matter", side("203.0.113.20", fixed, ""), noHairpin, ""},
		{"no STUN", side("", random, Silent), side("203.0.113.20", random, Silent), ""},
	}
	for _, tt := range tests {
		got := hopeless(tt.a, tt.b)
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if back := hopeless(tt.b, tt.a); (back == "") != (got == "") {
			t.Errorf("%s: the sides disagree: %q and %q", tt.name, got, back)
		}
	}
}

// Whatever the two NATs are, what one side does on a lane in a round is answered
// by the other: one opens, before the other connects; and where only one lane
// has its turn, no opener sits behind a router that would turn the connector
// away.
func TestPlanFits(t *testing.T) {
	classes := []portClass{fixed, perLane, perDial, random}
	for _, ca := range classes {
		for _, cb := range classes {
			for _, inbound := range [][2]Answer{{}, {Silent, LetsIn}, {LetsIn, SendsRST}} {
				a, b := side("203.0.113.10", ca, inbound[0]), side("203.0.113.20", cb, inbound[1])
				turns := map[int]bool{}
				for round := range 2 {
					pa := plan(situation{side: SideA, round: round, ttl: 4, sockets: 256, mine: a, theirs: b})
					pb := plan(situation{side: SideB, round: round, ttl: 4, sockets: 256, mine: b, theirs: a})
					if (a.NAT.refuses() || b.NAT.refuses()) && max(ca, cb) == random && len(lanePart(pa, 0))*len(lanePart(pa, 1)) > 0 {
						t.Errorf("%d × %d: two searches at once", ca, cb)
					}
					for lane := range 2 {
						la, lb := lanePart(pa, lane), lanePart(pb, lane)
						opener, connector, refuses := lb, la, b.NAT.refuses()
						if lane == 1 {
							opener, connector, refuses = la, lb, a.NAT.refuses()
						}
						inTurn := len(lanePart(pa, 1-lane)) == 0
						if (len(la) == 0) != (len(lb) == 0) || len(la) > 0 && refuses && inTurn {
							t.Errorf("%d × %d, %v, round %d, lane %d: %v and %v", ca, cb, inbound, round, lane, la, lb)
						}
						for _, s := range opener {
							turns[lane] = true
							if s.technique != Opener || s.when > onAnswer {
								t.Errorf("%d × %d, lane %d: not an opener: %v", ca, cb, lane, s)
							}
						}
						for _, s := range connector {
							if s.technique != Connector || len(opener) > 0 && s.when <= opener[0].when {
								t.Errorf("%d × %d, lane %d: not a connector: %v", ca, cb, lane, s)
							}
						}
					}
				}
				if impossible := max(ca, cb) == random && min(ca, cb) >= perDial; len(turns) == 0 != impossible {
					t.Errorf("%d × %d, %v: lanes %v in two rounds", ca, cb, inbound, turns)
				}
			}
		}
	}
}

// lanePart is what a plan does through the NATs on a lane.
func lanePart(p roundPlan, lane int) []step {
	var out []step
	for _, s := range p.steps {
		if s.lane == lane && s.kind != KindPrivate {
			out = append(out, s)
		}
	}
	for _, b := range p.bursts {
		if b.lane == lane {
			out = append(out, step{lane: lane, when: b.when, technique: b.technique, ttl: b.ttl})
		}
	}
	return out
}

// Of the ports that two sequential NATs get, each pair that a block aims at can
// meet, where nobody else takes a port.
func TestBlocksMeet(t *testing.T) {
	a, b := side("203.0.113.10", perDial, ""), side("203.0.113.20", perDial, "")
	a.Sequence, b.Sequence = sequence{20000, 3, 1}, sequence{40000, 1, 1}
	openers, connectors := openerBlocks(b, 256), connectorBlocks(a, 256)
	if len(openers) > 256 || len(connectors) != len(openers)/blockSize {
		t.Fatalf("%d openers and %d connectors", len(openers), len(connectors))
	}
	for i, to := range connectors {
		got := b.Sequence.next(i + 1)                                         // this dial's port
		n := slices.Index(ports(openers), got)                                // the first opener that goes there
		first, last := a.Sequence.next(n+1), a.Sequence.next(n+1+blockSize-1) // of the block
		if n < 0 || to.Port() < first || to.Port() > last {
			t.Errorf("dial %d goes from %d to %v, want %d to %d", i, got, to, first, last)
		}
	}
}

func ports(as []netip.AddrPort) []uint16 {
	var out []uint16
	for _, a := range as {
		out = append(out, a.Port())
	}
	return out
}

func TestBurstTargets(t *testing.T) {
	b := burst{random: netip.MustParseAddr("203.0.113.20"), dials: 1024}
	got := slices.Collect(b.targets())
	slices.SortFunc(got, netip.AddrPort.Compare)
	if n := len(slices.Compact(got)); n != 1024 {
		t.Errorf("%d different targets, want 1024", n)
	}
	if got[0].Port() < 1024 {
		t.Errorf("a privileged port: %v", got[0])
	}
}

// A server on this very machine sees loopback addresses, which are not for the
// other side.
func TestReportWithoutLoopback(t *testing.T) {
	ln := &lane{port: new(sock.Port), mapped: []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:5000"), netip.MustParseAddrPort("203.0.113.10:6000"),
	}}
	r := (&laneSet{lanes: []*lane{ln}}).report(nil)
	if got := r.Lanes[0].Mapped; len(got) != 1 || got[0] != ln.mapped[1] {
		t.Errorf("got %v", got)
	}
	if len(ln.mapped) != 2 {
		t.Error("the lane forgot what it had seen")
	}
}
