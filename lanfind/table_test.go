package lanfind

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

var t0 = time.Unix(1_700_000_100, 0)

func from(s string) source { return source{netip.MustParseAddr(s), 2} }

func says(label, id, room string) *dnssd.Instance {
	return &dnssd.Instance{Label: label, Claims: dnssd.Claims{ID: id, Name: label, Room: room, Port: 7070}, TTL: dnssd.MaxTTL}
}

func addrs(all ...string) []netip.Addr {
	var a []netip.Addr
	for _, s := range all {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// events takes all events that are due.
func events(tb *table, now time.Time) string {
	var all []string
	for {
		e, told, _ := tb.next(now)
		if told == nil {
			slices.Sort(all)
			return strings.Join(all, "; ")
		}
		told()
		var at []string
		for _, a := range e.Peer.Addrs {
			at = append(at, a.Addr().String())
		}
		all = append(all, fmt.Sprintf("%v %s %s at %s", e.Kind, e.Peer.ID, e.Peer.Room, strings.Join(at, " ")))
	}
}

// A step is what happens after a time, and the events that then are due.
type step struct {
	after time.Duration
	do    func(tb *table, now time.Time)
	want  string
}

func hears(i *dnssd.Instance, src string, at ...string) func(*table, time.Time) {
	return func(tb *table, now time.Time) { tb.hear(i, from(src), addrs(at...), Multicast, now) }
}

func bye(label, src string) func(*table, time.Time) {
	return func(tb *table, now time.Time) { tb.hear(&dnssd.Instance{Label: label}, from(src), nil, Multicast, now) }
}

func nothing(*table, time.Time) {}

func TestTable(t *testing.T) {
	const four, six, eve = "10.0.1.1", "fe80::1%eth0", "10.0.1.66"
	for name, steps := range map[string][]step{
		"comes, stays, leaves": {
			{0, hears(says("a", "A", ""), four, four), "found A  at 10.0.1.1"},
			{time.Minute, hears(says("a", "A", ""), four, four), ""},
			{time.Second, bye("a", four), ""},
			{settle, nothing, "gone A  at 10.0.1.1"},
		},
		"is not heard any more": {
			{0, hears(says("a", "A", ""), four, four), "found A  at 10.0.1.1"},
			{dnssd.MaxTTL - 1, func(tb *table, now time.Time) { tb.expire(now) }, ""},
			{1, func(tb *table, now time.Time) { tb.expire(now) }, ""},
			{settle, nothing, "gone A  at 10.0.1.1"},
		},
		"two families are one peer": {
			{0, hears(says("a", "A", ""), six, six), "found A  at fe80::1%eth0"},
			{1, hears(says("a", "A", ""), four, four, six), ""},
			{settle, nothing, "changed A  at 10.0.1.1 fe80::1%eth0"},
			{0, bye("a", four), ""},
			{0, bye("a", six), ""},
			{settle, nothing, "gone A  at 10.0.1.1 fe80::1%eth0"},
		},
		"a change in both families is one": {
			{0, hears(says("a", "A", ""), four, four), "found A  at 10.0.1.1"},
			{0, hears(says("a", "A", ""), six, four), ""},
			{settle, nothing, ""},
			{0, hears(says("a", "A", "1"), four, four), ""},
			{1, hears(says("a", "A", "1"), six, four), ""},
			{settle, nothing, "changed A 1 at 10.0.1.1"},
			{0, hears(says("a", "A", "2"), four, four), ""},
			{1, hears(says("a", "A", "3"), four, four), ""},
			{1, hears(says("a", "A", "3"), six, four), ""},
			{settle, nothing, "changed A 3 at 10.0.1.1"},
		},
		"a restart is a change": {
			{0, hears(says("a", "A", ""), four, four), "found A  at 10.0.1.1"},
			{0, bye("a", four), ""},
			{1, hears(says("a", "A", ""), four, four), ""},
			{settle, nothing, ""},
		},
		"a restart with a change too": {
			{0, hears(says("a", "A", ""), four, four), "found A  at 10.0.1.1"},
			{0, bye("a", four), ""},
			{1, hears(says("a", "A", "1"), four, four), "changed A 1 at 10.0.1.1"},
			{settle, nothing, ""},
		},
		"nobody takes the ID of another": {
			{0, hears(says("a", "A", "1"), four, four), "found A 1 at 10.0.1.1"},
			{0, hears(says("a", "A", "6"), eve, eve), "found A#2 6 at 10.0.1.66"},
			{0, hears(says("a", "A", "1"), eve, eve), ""},
			{settle, nothing, "changed A 1 at 10.0.1.1 10.0.1.66; gone A#2 6 at 10.0.1.66"},
			{0, bye("a", eve), ""},
			{settle, nothing, "changed A 1 at 10.0.1.1"},
			{0, bye("b", four), ""},
			{settle, nothing, ""},
		},
		"the number of a second one is free again": {
			{0, hears(says("a", "A", "1"), eve, eve), "found A 1 at 10.0.1.66"},
			{0, hears(says("a", "A", "2"), four, four), "found A#2 2 at 10.0.1.1"},
			{0, bye("a", eve), ""},
			{settle, nothing, "gone A 1 at 10.0.1.66"},
			{0, hears(says("a", "A", "3"), "10.0.1.3", "10.0.1.3"), "found A 3 at 10.0.1.3"},
		},
		"an interface is lost": {
			{0, hears(says("a", "A", ""), four, four), "found A  at 10.0.1.1"},
			{0, func(tb *table, now time.Time) { tb.lose(3, now); tb.lose(2, now) }, ""},
			{settle, nothing, "gone A  at 10.0.1.1"},
		},
		"came and went unseen": {
			{0, func(tb *table, now time.Time) {
				hears(says("a", "A", ""), four, four)(tb, now)
				hears(says("a", "A", "1"), four, four)(tb, now)
				bye("a", four)(tb, now)
			}, ""},
			{time.Second, nothing, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tb, now := newTable(""), t0
			for i, s := range steps {
				now = now.Add(s.after)
				s.do(tb, now)
				if got := events(tb, now); got != s.want {
					t.Errorf("step %d: got %q, want %q", i, got, s.want)
				}
			}
			if strings.HasPrefix(steps[len(steps)-1].want, "gone") && (len(tb.entries) > 0 || len(tb.sources) > 0 || tb.count != 0) {
				t.Errorf("left over: %v %v", tb.entries, tb.sources)
			}
		})
	}
}

func TestTableRoom(t *testing.T) {
	tb := newTable("4821")
	hears(says("a", "A", "1"), "10.0.1.1", "10.0.1.1")(tb, t0)
	hears(says("b", "B", "4821"), "10.0.1.2", "10.0.1.2")(tb, t0)
	if got := events(tb, t0); got != "found B 4821 at 10.0.1.2" {
		t.Error(got)
	}
	hears(says("b", "B", ""), "10.0.1.2", "10.0.1.2")(tb, t0)
	if got := events(tb, t0.Add(settle)); got != "gone B 4821 at 10.0.1.2" {
		t.Error(got)
	}
}

// However many there are, memory is bounded, a newcomer gets in, and no source crowds out the others.
func TestTableBounds(t *testing.T) {
	tb, now := newTable(""), t0
	for i := range 10_000 {
		hears(says(fmt.Sprint("x", i), fmt.Sprint("x", i), ""), "10.0.1.66", "10.0.1.66")(tb, now)
	}
	if tb.count != maxPerSource {
		t.Errorf("%d of one source", tb.count)
	}
	hears(says("a", "A", ""), "10.0.1.1", "10.0.1.1")(tb, now)
	for i := range 4000 {
		src := fmt.Sprintf("10.0.%d.%d", 2+i/200%40, i%200+1)
		now = now.Add(2 * time.Millisecond)
		hears(says(fmt.Sprint("y", i), fmt.Sprint("y", i), ""), src, src)(tb, now)
		if i%1000 == 0 {
			events(tb, now) // the caller is slow
		}
		if len(tb.entries) > 3*maxSightings {
			t.Fatalf("%d entries", len(tb.entries))
		}
	}
	hears(says("b", "B", ""), "10.0.1.2", "10.0.1.2")(tb, now)
	if got := events(tb, now); !strings.Contains(got, "found B  at") {
		t.Error("no room for a newcomer")
	}
	if tb.count != maxSightings {
		t.Errorf("%d sightings", tb.count)
	}
	tb.expire(now.Add(dnssd.MaxTTL))
	events(tb, now.Add(dnssd.MaxTTL+settle))
	if tb.count != 0 || len(tb.entries) != 0 || len(tb.sources) != 0 {
		t.Errorf("left over: %d, %d, %d", tb.count, len(tb.entries), len(tb.sources))
	}
}

// Whoever says little stays, although two hundred say as much as they can.
func TestTableQuiet(t *testing.T) {
	tb, now := newTable(""), t0
	hears(says("a", "A", ""), "10.0.1.1", "10.0.1.1")(tb, now)
	for i := range 10_000 {
		src := fmt.Sprintf("10.0.9.%d", i%200)
		hears(says(fmt.Sprint("z", i), fmt.Sprint("z", i), ""), src, src)(tb, now)
		if len(tb.sources[from("10.0.1.1")]) != 1 {
			t.Fatalf("driven out by the %dth", i)
		}
		if i%5000 == 0 {
			events(tb, now)
		}
	}
}

func TestKnown(t *testing.T) {
	tb := newTable("")
	known := func(now time.Time) int { return len(tb.known(2, now)) }
	hears(says("a", "A", ""), "10.0.1.1")(tb, t0)
	hears(says("a", "A", ""), "fe80::1%eth0")(tb, t0)
	if n := known(t0); n != 1 {
		t.Errorf("%d known at first", n)
	}
	if n := known(t0.Add(dnssd.MaxTTL / 2)); n != 0 {
		t.Errorf("%d known after half the time", n)
	}
	hears(says("a", "A", ""), "10.0.1.66")(tb, t0) // who would keep a silent
	if n := known(t0); n != 0 {
		t.Errorf("%d known of two who claim to be it", n)
	}
}
