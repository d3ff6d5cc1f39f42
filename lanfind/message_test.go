package lanfind

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"
)

var (
	testID    = "00112233445566aa"
	testAddrs = []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fe80::1")}
)

func testLocal(t testing.TB, s Service) *local {
	t.Helper()
	s.ID, s.Port = testID, 7070
	c, err := s.checked()
	if err != nil {
		t.Fatal(err)
	}
	return newLocal(c, time.Unix(1_700_000_000, 0))
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is announced arrives, in a response and in a hello.
func TestRoundTrip(t *testing.T) {
	for _, s := range []Service{
		{}, {Name: "anna"}, {Name: "v1.2", Room: "4821", Key: `SHA256:a\b="c"`}, {Name: `a\.b`, Room: "\u00e9 x"},
		{Name: strings.Repeat("x", 60), Room: strings.Repeat("9", 63), Key: strings.Repeat("k", 128)},
	} {
		l := testLocal(t, s)
		want := claims{id: testID, name: cleanName(s.Name), room: s.Room, key: s.Key, port: 7070, since: 1_700_000_000}
		for what, b := range map[string][]byte{
			"response": pack(t, l.answer(wantAll, testAddrs, ttlSeconds)),
			"instance": pack(t, l.answer(wantInstance, testAddrs, ttlSeconds)),
			"type":     pack(t, l.answer(wantPTR|wantType, testAddrs, ttlSeconds)),
			"hello":    pack(t, hello(l, testAddrs)),
		} {
			m, err := parse(b)
			if err != nil || len(m.found) != 1 {
				t.Fatalf("%s: %+v, %v", what, m, err)
			}
			i := m.found[0]
			if i.claims != want || i.label != l.label || !slices.Equal(i.addrs, testAddrs) || i.ttl != maxTTL {
				t.Errorf("%s: got %+v, want %+v", what, i, want)
			}
			if len(b) > 1200 {
				t.Errorf("%s: %d bytes do not fit into a packet", what, len(b))
			}
		}
		m, err := parse(pack(t, l.answer(wantAll, testAddrs, 0)))
		if err != nil || len(m.found) != 1 || m.found[0].ttl != 0 || m.found[0].label != l.label {
			t.Errorf("goodbye: %+v, %v", m, err)
		}
	}
}

func TestAsked(t *testing.T) {
	l := testLocal(t, Service{Name: "anna"})
	q := func(name string, kind uint16, class uint16) *dns.Msg {
		return &dns.Msg{Question: []dns.Question{{Name: name, Qtype: kind, Qclass: class}}}
	}
	for _, tt := range []struct {
		name string
		m    *dns.Msg
		want wants
	}{
		{"browse", query(nil, nil), wantPTR},
		{"browse, unicast answer", q(serviceName, dns.TypePTR, dns.ClassINET|cacheFlush), wantPTR},
		{"other letters", q("_TCPPUNCH._tcp.LOCAL.", dns.TypePTR, dns.ClassINET), wantPTR},
		{"known", query([]knownAnswer{{l.label, 100 * time.Second}}, nil), 0},
		{"known for a short time", query([]knownAnswer{{l.label, 20 * time.Second}}, nil), wantPTR},
		{"another is known", query([]knownAnswer{{"ben", 100 * time.Second}}, nil), wantPTR},
		{"types", q(metaName, dns.TypePTR, dns.ClassINET), wantType},
		{"instance", q(l.instance, dns.TypeSRV, dns.ClassINET), wantInstance},
		{"instance, anything", query(nil, []string{l.label}), wantPTR | wantInstance},
		{"other instance", q("ben."+serviceName, dns.TypeSRV, dns.ClassINET), 0},
		{"host", q(l.host, dns.TypeAAAA, dns.ClassANY), wantHost},
		{"host's text", q(l.host, dns.TypeTXT, dns.ClassINET), 0},
		{"chaos", q(serviceName, dns.TypePTR, dns.ClassCHAOS), 0},
	} {
		m, err := parse(pack(t, tt.m))
		if err != nil {
			t.Fatal(err)
		}
		if got := l.asked(m); got != tt.want {
			t.Errorf("%s: got %b, want %b", tt.name, got, tt.want)
		}
	}
}

func TestParseOthers(t *testing.T) {
	rr := func(s string) dns.RR {
		r, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const is = "x._tcppunch._tcp.local. "
	all := []dns.RR{rr("_tcppunch._tcp.local. 4500 IN PTR x._tcppunch._tcp.local."), rr(is + "120 IN SRV 0 0 7 h.local."),
		rr(is + `4500 IN TXT "room=1" "room=2" "ID=` + testID + `" "key" "junk"`), rr("h.local. 120 IN A 10.0.1.9")}
	for _, tt := range []struct {
		name        string
		answer      []dns.RR
		found, bare int
	}{
		{"all", all, 1, 0},
		{"pointer alone", all[:1], 0, 1},
		{"no text", all[:2], 0, 1},
		{"no pointer", all[1:], 1, 0},
		{"no address", all[:3], 1, 0},
		{"port 0", []dns.RR{all[0], rr(is + "120 IN SRV 0 0 0 h.local."), all[2]}, 0, 1},
		{"goodbye", []dns.RR{rr("_tcppunch._tcp.local. 0 IN PTR x._tcppunch._tcp.local.")}, 1, 0},
		{"something else", []dns.RR{rr("_http._tcp.local. 120 IN PTR x._http._tcp.local.")}, 0, 0},
	} {
		m, err := parse(pack(t, &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: tt.answer}))
		if err != nil || len(m.found) != tt.found || len(m.bare) != tt.bare {
			t.Errorf("%s: got %+v, %v", tt.name, m, err)
			continue
		}
		if tt.name == "all" && m.found[0].claims != (claims{id: testID, name: "x", room: "1", port: 7}) {
			t.Errorf("got %+v", m.found[0].claims)
		}
	}
	var many []dns.RR
	for range maxRecords + 1 {
		many = append(many, all[3])
	}
	if _, err := parse(pack(t, &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: many})); err == nil {
		t.Error("accepted too many records")
	}
	for _, h := range []dns.MsgHdr{{Opcode: dns.OpcodeUpdate}, {Response: true, Rcode: dns.RcodeRefused}} {
		if _, err := parse(pack(t, &dns.Msg{MsgHdr: h, Answer: all})); err == nil {
			t.Errorf("accepted %+v", h)
		}
	}
}

func FuzzParse(f *testing.F) {
	l := testLocal(f, Service{Name: "v1.2", Room: "4821", Key: "k"})
	f.Add(pack(f, l.answer(wantAll, testAddrs, ttlSeconds)))
	f.Add(pack(f, l.answer(wantAll, testAddrs, 0)))
	f.Add(pack(f, hello(l, testAddrs)))
	f.Add(pack(f, query([]knownAnswer{{l.label, time.Minute}}, []string{"ben"})))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if len(m.found)+len(m.bare) > maxFound {
			t.Errorf("%d instances", len(m.found)+len(m.bare))
		}
		for _, i := range m.found {
			c := i.claims
			for _, s := range []string{c.id, c.name, c.room, c.key} {
				if len(s) > maxKey || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("not fit for a screen: %q", s)
				}
			}
			if i.ttl < 0 || i.ttl > maxTTL || len(i.addrs) > maxAddrs || i.ttl > 0 && c.port == 0 {
				t.Errorf("got %+v", i)
			}
		}
		if _, err := encode(query(nil, m.bare)); err != nil {
			t.Errorf("cannot ask for %q: %v", m.bare, err)
		}
		_ = l.asked(m)
	})
}

func FuzzUnrelay(f *testing.F) {
	tag := [8]byte{1}
	lo := netip.MustParseAddrPort("127.0.0.1:7479")
	f.Add([]byte(relayMark + "12345678\x0a\x00\x01\x09\x1d\x37\x00\x00\x00\x02message"))
	f.Add([]byte(relayMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := unrelay(packet{data: b, from: lo, via: Datagram}, tag)
		if ok && (!p.from.Addr().Is4() || len(p.data) != len(b)-relayHead) {
			t.Errorf("got %+v", p)
		}
		if q, ok := unrelay(packet{data: b, from: netip.MustParseAddrPort("10.0.1.9:7479")}, tag); ok || len(q.data) != len(b) {
			t.Error("relayed from another host")
		}
	})
}
