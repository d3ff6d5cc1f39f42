package tcppunch

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func goodOffer() message {
	r := behind("203.0.113.10", "192.168.1.2 2001:db8::1")
	return message{Type: typeOffer, Fingerprint: bytes.Repeat([]byte{7}, len(fingerprint{})), Report: &r}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range []message{goodOffer(), {Type: typeGo, Round: 3}, {Type: typeSync}, {Type: typePong}} {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMessage(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if again, _ := got.encode(); !bytes.Equal(again, b) {
			t.Errorf("%s became %s", b, again)
		}
	}
}

func TestMessageHostile(t *testing.T) {
	tests := map[string]func(m *message){
		"negative round":      func(m *message) { m.Round = -1 },
		"round too high":      func(m *message) { m.Round = maxRound + 1 },
		"no report":           func(m *message) { m.Report = nil },
		"no lanes":            func(m *message) { m.Report.Lanes = nil },
		"too many lanes":      func(m *message) { m.Report.Lanes = make([]laneReport, maxLanes+1) },
		"too many hosts":      func(m *message) { m.Report.Hosts = make([]netip.Addr, maxHosts+1) },
		"too many mappings":   func(m *message) { m.Report.Lanes[0].Mapped = make([]netip.AddrPort, maxMapped+1) },
		"short fingerprint":   func(m *message) { m.Fingerprint = m.Fingerprint[1:] },
		"port 0":              func(m *message) { m.Report.Lanes[1].Port = 0 },
		"loopback host":       func(m *message) { m.Report.Hosts[0] = netip.MustParseAddr("127.0.0.1") },
		"mapped loopback":     func(m *message) { m.Report.Hosts[0] = netip.MustParseAddr("::ffff:127.0.0.1") },
		"multicast mapping":   func(m *message) { m.Report.Lanes[0].Mapped[0] = netip.MustParseAddrPort("224.0.0.1:80") },
		"broadcast mapping":   func(m *message) { m.Report.Lanes[0].Mapped[0] = netip.MustParseAddrPort("255.255.255.255:80") },
		"unspecified":         func(m *message) { m.Report.Lanes[0].Mapped[0] = netip.MustParseAddrPort("0.0.0.0:80") },
		"loopback mapping":    func(m *message) { m.Report.Lanes[0].Mapped[0] = netip.MustParseAddrPort("127.0.0.1:22") },
		"mapping on port 0":   func(m *message) { m.Report.Lanes[0].Mapped[0] = netip.MustParseAddrPort("203.0.113.1:0") },
		"mapping with a zone": func(m *message) { m.Report.Lanes[0].Mapped[0] = netip.MustParseAddrPort("[2001:db8::1%eth0]:80") },
	}
	for name, spoil := range tests {
		m := goodOffer()
		spoil(&m)
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeMessage(b); !errors.Is(err, errMessage) {
			t.Errorf("%s: got %v, want errMessage", name, err)
		}
	}
	if m, err := decodeMessage([]byte(`{"type":"exec","report":{"hosts":["127.0.0.1"]}}`)); err != nil || m.Report != nil {
		t.Errorf("a later version's message: %v, %v", m, err)
	}
	for _, s := range []string{"", "[]", `{"type":"offer","report":{"hosts":["nobody"]}}`, strings.Repeat(" ", maxMessage+1)} {
		if _, err := decodeMessage([]byte(s)); !errors.Is(err, errMessage) {
			t.Errorf("%.20q: got %v, want errMessage", s, err)
		}
	}
}

// Whatever passes can be dialled, and is bounded.
func FuzzDecodeMessage(f *testing.F) {
	for _, m := range []message{goodOffer(), {Type: typeGo}, {Type: typeAnswer}} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil || m.Report == nil || m.Type == typeGo || m.Type == typePong || m.Type == typeSync {
			return
		}
		for i := range 8 {
			round, c := i/2, []portClass{fixed, random}[i%2]
			mine := side("203.0.113.10", c, "")
			mine.Hosts = addrs("192.168.1.2 2001:db8::9")
			p := plan(situation{side: SideB, round: round, ttl: 4, sockets: 256, mine: mine, theirs: *m.Report})
			var all []netip.AddrPort
			for _, s := range p.steps {
				all = append(all, s.remote)
			}
			for _, b := range p.bursts {
				all = slices.AppendSeq(all, b.targets())
			}
			if len(all) > 8*maxHosts+2*maxGuessed*roomLanes+256*dialsPerSocket {
				t.Errorf("would dial %d addresses", len(all))
			}
			for _, a := range all {
				if !dialable(a) || a.Addr().IsLoopback() {
					t.Errorf("would dial %v", a)
				}
			}
		}
	})
}
