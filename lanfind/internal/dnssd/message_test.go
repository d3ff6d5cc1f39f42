package dnssd

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

func testLocal(t testing.TB, c Claims) *Local {
	t.Helper()
	c.ID, c.Port, c.Since = testID, 7070, 1_700_000_000
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return New(c)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is announced arrives, in a response and in a hello.
func TestRoundTrip(t *testing.T) {
	for _, c := range []Claims{
		{}, {Name: "anna"}, {Name: "v1.2", Room: "4821", Key: `SHA256:a\b="c"`}, {Name: `a\.b`, Room: "\u00e9 x"},
		{Name: strings.Repeat("x", 60), Room: strings.Repeat("9", 63), Key: strings.Repeat("k", 128)},
	} {
		c.Name = CleanName(c.Name)
		l := testLocal(t, c)
		want := Claims{ID: testID, Name: c.Name, Room: c.Room, Key: c.Key, Port: 7070, Since: 1_700_000_000}
		for what, b := range map[string][]byte{
			"response": pack(t, l.Answer(WantAll, testAddrs, TTL)),
			"instance": pack(t, l.Answer(WantInstance, testAddrs, TTL)),
			"type":     pack(t, l.Answer(WantPTR|WantType, testAddrs, TTL)),
			"hello":    pack(t, Hello(l, testAddrs)),
		} {
			m, err := Parse(b)
			if err != nil || len(m.Found) != 1 {
				t.Fatalf("%s: %+v, %v", what, m, err)
			}
			i := m.Found[0]
			if i.Claims != want || i.Label != l.Label || !slices.Equal(i.Addrs, testAddrs) || i.TTL != MaxTTL {
				t.Errorf("%s: got %+v, want %+v", what, i, want)
			}
			if len(b) > 1200 {
				t.Errorf("%s: %d bytes do not fit into a packet", what, len(b))
			}
		}
		m, err := Parse(pack(t, l.Answer(WantAll, testAddrs, 0)))
		if err != nil || len(m.Found) != 1 || m.Found[0].TTL != 0 || m.Found[0].Label != l.Label {
			t.Errorf("goodbye: %+v, %v", m, err)
		}
	}
}

func TestAsked(t *testing.T) {
	l := testLocal(t, Claims{Name: "anna"})
	q := func(name string, kind uint16, class uint16) *dns.Msg {
		return &dns.Msg{Question: []dns.Question{{Name: name, Qtype: kind, Qclass: class}}}
	}
	for _, tt := range []struct {
		name string
		m    *dns.Msg
		want Wants
	}{
		{"browse", Query(nil, nil), WantPTR},
		{"browse, unicast answer", q(ServiceName, dns.TypePTR, dns.ClassINET|cacheFlush), WantPTR},
		{"other letters", q("_TCPPUNCH._tcp.LOCAL.", dns.TypePTR, dns.ClassINET), WantPTR},
		{"known", Query([]Known{{l.Label, 100 * time.Second}}, nil), 0},
		{"known for a short time", Query([]Known{{l.Label, 20 * time.Second}}, nil), WantPTR},
		{"another is known", Query([]Known{{"ben", 100 * time.Second}}, nil), WantPTR},
		{"types", q(metaName, dns.TypePTR, dns.ClassINET), WantType},
		{"instance", q(l.instance, dns.TypeSRV, dns.ClassINET), WantInstance},
		{"instance, anything", Query(nil, []string{l.Label}), WantPTR | WantInstance},
		{"other instance", q("ben."+ServiceName, dns.TypeSRV, dns.ClassINET), 0},
		{"host", q(l.host, dns.TypeAAAA, dns.ClassANY), WantHost},
		{"host's text", q(l.host, dns.TypeTXT, dns.ClassINET), 0},
		{"chaos", q(ServiceName, dns.TypePTR, dns.ClassCHAOS), 0},
	} {
		m, err := Parse(pack(t, tt.m))
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Asked(m); got != tt.want {
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
		m, err := Parse(pack(t, &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: tt.answer}))
		if err != nil || len(m.Found) != tt.found || len(m.Bare) != tt.bare {
			t.Errorf("%s: got %+v, %v", tt.name, m, err)
			continue
		}
		if tt.name == "all" && m.Found[0].Claims != (Claims{ID: testID, Name: "x", Room: "1", Port: 7}) {
			t.Errorf("got %+v", m.Found[0].Claims)
		}
	}
	var many []dns.RR
	for range maxRecords + 1 {
		many = append(many, all[3])
	}
	if _, err := Parse(pack(t, &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: many})); err == nil {
		t.Error("accepted too many records")
	}
	for _, h := range []dns.MsgHdr{{Opcode: dns.OpcodeUpdate}, {Response: true, Rcode: dns.RcodeRefused}} {
		if _, err := Parse(pack(t, &dns.Msg{MsgHdr: h, Answer: all})); err == nil {
			t.Errorf("accepted %+v", h)
		}
	}
}

func FuzzParse(f *testing.F) {
	l := testLocal(f, Claims{Name: "v1.2", Room: "4821", Key: "k"})
	f.Add(pack(f, l.Answer(WantAll, testAddrs, TTL)))
	f.Add(pack(f, l.Answer(WantAll, testAddrs, 0)))
	f.Add(pack(f, Hello(l, testAddrs)))
	f.Add(pack(f, Query([]Known{{l.Label, time.Minute}}, []string{"ben"})))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if len(m.Found)+len(m.Bare) > maxFound {
			t.Errorf("%d instances", len(m.Found)+len(m.Bare))
		}
		for _, i := range m.Found {
			c := i.Claims
			for _, s := range []string{c.ID, c.Name, c.Room, c.Key} {
				if len(s) > maxKey || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("not fit for a screen: %q", s)
				}
			}
			if i.TTL < 0 || i.TTL > MaxTTL || len(i.Addrs) > MaxAddrs || i.TTL > 0 && c.Port == 0 {
				t.Errorf("got %+v", i)
			}
		}
		if _, err := Encode(Query(nil, m.Bare)); err != nil {
			t.Errorf("cannot ask for %q: %v", m.Bare, err)
		}
		_ = l.Asked(m)
	})
}
