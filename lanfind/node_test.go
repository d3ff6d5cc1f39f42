package lanfind

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
	"github.com/tcppunch/tcppunch/lanfind/internal/sock"
)

// fakeWire notes what is sent.
type fakeWire struct {
	groups, replies [][]byte
	plain           []netip.Addr
}

func (w *fakeWire) Multicast(_ int, _ string, b []byte) ([]netip.AddrPort, error) {
	w.groups = append(w.groups, b)
	return nil, nil
}

func (w *fakeWire) Reply(_ int, _ netip.AddrPort, b []byte) error {
	w.replies = append(w.replies, b)
	return nil
}

func (w *fakeWire) Send(to netip.Addr, _ int, _ []byte) error {
	w.plain = append(w.plain, to)
	return nil
}

var (
	testID    = "00112233445566aa"
	testAddrs = []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fe80::1")}
)

func testLocal(t testing.TB, s Service) *dnssd.Local {
	t.Helper()
	s.ID, s.Port = testID, 7070
	c, err := s.checked()
	if err != nil {
		t.Fatal(err)
	}
	return dnssd.New(c.claims(time.Unix(1_700_000_000, 0)))
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := dnssd.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testNode has one interface, and announced long ago.
func testNode(t testing.TB, o Options) (*node, *fakeWire) {
	t.Helper()
	n, w := newNode(&o, t0), new(fakeWire)
	n.wire, n.self = w, testLocal(t, Service{Name: "anna", Room: "4821"})
	n.links[2] = &link{
		Interface: Interface{Name: "eth0", Index: 2, Multicast: true,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("fe80::1/64")}},
		since: t0.Add(-time.Hour), announced: len(announceAt()),
	}
	return n, w
}

func by(src string, via Via, m *dns.Msg, t testing.TB) sock.Packet {
	return sock.Packet{Data: pack(t, m), From: netip.MustParseAddrPort(src), Index: 2, Group: via == Multicast}
}

// However often one asks, the answer goes out once a second; and one that came too soon is not forgotten.
func TestAnswerRate(t *testing.T) {
	n, w := testNode(t, Options{Sweep: SweepOff})
	var times []time.Duration
	for d := time.Duration(0); d < 3*time.Second; d += time.Millisecond {
		now := t0.Add(d)
		n.handle(by("10.0.1.9:5353", Multicast, dnssd.Query(nil, nil), t), now)
		n.tickLinks(now)
		if len(w.groups) > len(times) {
			times = append(times, d)
		}
	}
	if len(times) < 3 || len(times) > 3 || times[0] < answerFirst || times[0] > answerFirst+answerRest {
		t.Errorf("answered at %v", times)
	}
	for i := 1; i < len(times); i++ {
		if times[i]-times[i-1] < answerEvery {
			t.Errorf("answered at %v", times)
		}
	}
}

func TestHandle(t *testing.T) {
	ben := dnssd.Named("ben", dnssd.Claims{ID: testID, Name: "ben", Port: 7070})
	here, away := addrs("10.0.1.9"), addrs("8.8.8.8")
	announce := func(at []netip.Addr) *dns.Msg { return ben.Answer(dnssd.WantAll, at, dnssd.TTL) }
	for _, tt := range []struct {
		name                   string
		o                      Options
		p                      sock.Packet
		seen                   string // the peer's addresses
		groups, replies, plain int
	}{
		{name: "announcement", p: by("10.0.1.9:5353", Multicast, announce(here), t), seen: "10.0.1.9"},
		{name: "without an address", p: by("10.0.1.9:5353", Multicast, announce(nil), t), seen: "10.0.1.9"},
		{name: "leads elsewhere", p: by("10.0.1.9:5353", Multicast, announce(away), t)},
		{name: "leads here and elsewhere", p: by("10.0.1.9:5353", Multicast, announce(append(away, here...)), t), seen: "10.0.1.9"},
		{name: "leads to the host itself", p: by("10.0.1.9:5353", Multicast, announce(addrs("127.0.0.1")), t)},
		{name: "from elsewhere", p: by("8.8.8.8:7479", Datagram, announce(here), t)},
		{name: "from elsewhere, named", o: Options{Addrs: away}, p: by("8.8.8.8:7479", Datagram, announce(here), t), seen: "8.8.8.8"},
		{name: "our own", p: by("10.0.1.9:5353", Multicast, testLocal(t, Service{Name: "anna"}).Answer(dnssd.WantAll, here, dnssd.TTL), t)},
		{name: "query", p: by("10.0.1.9:5353", Multicast, dnssd.Query(nil, nil), t), groups: 1, plain: 1},
		{name: "query, no sweep", o: Options{Sweep: SweepOff}, p: by("10.0.1.9:5353", Multicast, dnssd.Query(nil, nil), t), groups: 1},
		{name: "query of who knows us", p: by("10.0.1.9:5353", Multicast, dnssd.Query([]dnssd.Known{{Label: "anna (00112233)", Left: time.Minute}}, nil), t)},
		{name: "query by IPv6", p: by("[fe80::9%eth0]:5353", Multicast, dnssd.Query(nil, nil), t), groups: 1},
		{name: "legacy query", p: by("10.0.1.9:1234", Multicast, dnssd.Query(nil, nil), t), replies: 1},
		{name: "query from elsewhere", p: by("8.8.8.8:5353", Multicast, dnssd.Query(nil, nil), t)},
		{name: "hello", p: by("10.0.1.9:7479", Datagram, dnssd.Hello(ben, here), t), seen: "10.0.1.9", plain: 1},
		{name: "hello of who only looks", p: by("10.0.1.9:7479", Datagram, dnssd.Hello(nil, nil), t), plain: 1},
		{name: "hello from another port", p: by("10.0.1.9:53", Datagram, dnssd.Hello(nil, nil), t)},
		{name: "hello, no sweep", o: Options{Sweep: SweepOff}, p: by("10.0.1.9:7479", Datagram, dnssd.Hello(nil, nil), t)},
		{name: "hello of the broadcast address", p: by("10.0.1.255:7479", Datagram, dnssd.Hello(nil, nil), t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, w := testNode(t, tt.o)
			n.handle(tt.p, t0)
			n.tickLinks(t0.Add(time.Second))
			var at []string
			if e, told, _ := n.table.next(t0); told != nil {
				for _, a := range e.Peer.Addrs {
					at = append(at, a.Addr().String())
				}
			}
			if want := []string{tt.seen}; tt.seen != "" && !slices.Equal(at, want) || tt.seen == "" && at != nil {
				t.Errorf("seen at %v, want %v", at, tt.seen)
			}
			if len(w.groups) != tt.groups || len(w.replies) != tt.replies || len(w.plain) != tt.plain {
				t.Errorf("sent %d by multicast, %d replies, %d datagrams; want %d, %d, %d", len(w.groups), len(w.replies), len(w.plain),
					tt.groups, tt.replies, tt.plain)
			}
		})
	}
}

// The hook hears strangers too, whom nobody else listens to, and a survey has everybody speak.
func TestSurvey(t *testing.T) {
	var heard []string
	n, w := testNode(t, Options{Survey: true, Trace: &Trace{Heard: func(from netip.AddrPort, index int, via Via, bytes int) {
		heard = append(heard, fmt.Sprint(from, index, via, bytes > 0))
	}}})
	n.handle(by("192.168.7.9:5353", Multicast, dnssd.Query(nil, nil), t), t0)
	n.handle(by("10.0.1.9:7479", Datagram, dnssd.Hello(nil, nil), t), t0)
	if want := []string{"192.168.7.9:5353 2 multicast true", "10.0.1.9:7479 2 datagram true"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
	n.ask(t0)
	q, err := dnssd.Parse(w.groups[0])
	if err != nil || !slices.ContainsFunc(q.Questions, func(q dns.Question) bool { return q.Name == "_services._dns-sd._udp.local." }) {
		t.Errorf("asked %+v, %v", q, err)
	}
}

// What was only mentioned is asked for, once.
func TestBare(t *testing.T) {
	n, w := testNode(t, Options{Sweep: SweepOff})
	n.askAt = t0.Add(time.Hour)
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}}
	for _, name := range []string{"ben", `v1\.2`, "ben"} {
		m.Answer = append(m.Answer, &dns.PTR{Hdr: dns.RR_Header{Name: dnssd.ServiceName, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 120}, Ptr: name + "." + dnssd.ServiceName})
	}
	n.handle(by("10.0.1.9:5353", Multicast, m, t), t0)
	if n.askAt.After(t0.Add(time.Second)) {
		t.Fatal("does not ask soon")
	}
	n.ask(n.askAt)
	q, err := dnssd.Parse(w.groups[0])
	if err != nil || len(q.Questions) != 3 || q.Questions[2].Name != `v1\.2.`+dnssd.ServiceName {
		t.Errorf("asked %+v, %v", q, err)
	}
}

// Nothing that a neighbour sends makes us send more than a little.
func FuzzHandle(f *testing.F) {
	ben := testLocal(f, Service{Name: "ben"})
	for _, m := range []*dns.Msg{dnssd.Query(nil, nil), dnssd.Hello(ben, testAddrs), ben.Answer(dnssd.WantAll, testAddrs, dnssd.TTL)} {
		f.Add(pack(f, m), uint16(5353), true)
		f.Add(pack(f, m), uint16(DefaultPort), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, port uint16, multicast bool) {
		n, w := testNode(t, Options{})
		p := sock.Packet{Data: b, From: netip.AddrPortFrom(netip.MustParseAddr("10.0.1.9"), port), Index: 2, Group: multicast}
		for range 20 {
			n.handle(p, t0)
			n.tickLinks(t0.Add(time.Second))
		}
		if len(w.groups) > 20 || len(w.replies) > replyBurst || len(w.plain) > replyBurst+helloBurst {
			t.Errorf("sent %d, %d, %d", len(w.groups), len(w.replies), len(w.plain))
		}
		for e, told, _ := n.table.next(t0); told != nil; e, told, _ = n.table.next(t0) {
			told()
			for _, a := range e.Peer.Addrs {
				if !n.links[2].reaches(a.Addr().WithZone("")) {
					t.Errorf("led to %v", a)
				}
			}
		}
	})
}

// SweepAuto goes on until multicast has shown who is looked for, and not just anybody.
func TestSought(t *testing.T) {
	says := func(name, room string) *dns.Msg {
		return testLocal(t, Service{Name: name, Room: room}).Answer(dnssd.WantAll, testAddrs, dnssd.TTL)
	}
	ben := func(p Peer) bool { return p.Name == "ben" }
	for _, tt := range []struct {
		name   string
		o      Options
		heard  []string // name and room, by multicast
		known  bool     // to somebody who asks by multicast
		sweeps bool
	}{
		{name: "nobody is there", sweeps: true},
		{name: "anybody is looked for", heard: []string{"carl", ""}},
		{name: "anybody is looked for, and somebody knows us", known: true},
		{name: "another is there", o: Options{Sought: ben}, heard: []string{"carl", ""}, known: true, sweeps: true},
		{name: "the one is there", o: Options{Sought: ben}, heard: []string{"carl", "", "ben", ""}},
		{name: "in another room", o: Options{Room: "17"}, heard: []string{"carl", "4"}, known: true, sweeps: true},
		{name: "in this room", o: Options{Room: "17"}, heard: []string{"carl", "17"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, w := testNode(t, tt.o)
			now := t0.Add(2 * defaultSweepAfter)
			for i := 0; i < len(tt.heard); i += 2 {
				n.handle(by("10.0.1.9:5353", Multicast, says(tt.heard[i], tt.heard[i+1]), t), now)
			}
			if tt.known {
				q := dnssd.Query([]dnssd.Known{{Label: n.self.Label, Left: dnssd.MaxTTL}}, nil)
				n.handle(by("10.0.1.9:5353", Multicast, q, t), now)
			}
			w.plain = nil
			if n.tickSweep(now); (len(w.plain) > 0) != tt.sweeps {
				t.Errorf("sweeps: %v", w.plain)
			}
		})
	}
}
