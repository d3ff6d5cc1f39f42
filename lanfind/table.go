package lanfind

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

const (
	maxSightings = 512 // in all
	maxPerSource = 16  // programs of one address
	settle       = 250 * time.Millisecond
)

// A sighting is an announcement as it came from one address. A peer is seen from several: by IPv4 and IPv6, on several
// interfaces.
type sighting struct {
	label   string
	from    source
	entry   *entry
	addrs   []netip.Addr
	via     Via
	ttl     time.Duration
	expires time.Time
	heard   time.Time // first
}

// A source is an address of a neighbour, as seen by one interface.
type source struct {
	addr  netip.Addr // with a zone, if it is link-local
	index int        // of the interface, or 0 when it is not on a network of ours
}

// An entry is all sightings that say the same. Sightings that do not say the same of themselves never are one peer, ID
// or not: or else anybody could change what is known of others.
type entry struct {
	claims dnssd.Claims
	sought bool
	number int // of those with the same ID: the first has 1
	sights []*sighting
	before *entry // what a sighting of it was before, and maybe all were; or nil
	first  time.Time
	due    time.Time // when to tell of it
	told   *Peer     // what was told last, or nil
}

// table is what is known of peers. It is bounded, whatever neighbours do.
type table struct {
	room    string          // in which peers are to wait, or empty for all
	sought  func(Peer) bool // or nil for all
	sources map[source][]*sighting
	entries map[dnssd.Claims]*entry
	count   int // of sightings
}

func newTable(room string) *table {
	return &table{room: room, sources: make(map[source][]*sighting), entries: make(map[dnssd.Claims]*entry)}
}

// hear notes what a source said of an instance. addrs are those at which it may be reached.
func (t *table) hear(i *dnssd.Instance, from source, addrs []netip.Addr, via Via, now time.Time) {
	at := slices.IndexFunc(t.sources[from], func(s *sighting) bool { return s.label == i.Label })
	if i.TTL == 0 || t.room != "" && i.Claims.Room != t.room {
		if at >= 0 {
			t.forget(t.sources[from][at], now)
		}
		return
	}
	var s *sighting
	if at >= 0 {
		s = t.sources[from][at]
	} else if s = t.add(i.Label, from, now); s == nil {
		return
	}
	if s.entry == nil || s.entry.claims != i.Claims {
		t.move(s, i.Claims, now)
	}
	s.ttl, s.expires = i.TTL, now.Add(i.TTL)
	if !slices.Equal(s.addrs, addrs) || s.via|via != s.via {
		s.addrs, s.via = addrs, s.via|via
		s.entry.touch(now)
	}
}

// add makes a sighting, or returns nil when its source has too many. When there are too many in all, one goes.
func (t *table) add(label string, from source, now time.Time) *sighting {
	if len(t.sources[from]) >= maxPerSource {
		return nil
	}
	if t.count >= maxSightings {
		t.evict(now)
	}
	s := &sighting{label: label, from: from, heard: now}
	t.sources[from] = append(t.sources[from], s)
	t.count++
	return s
}

// evict forgets the latest of the source that has the most: so whoever says little is not shut out by who says much.
func (t *table) evict(now time.Time) {
	var most []*sighting
	for _, all := range t.sources {
		if len(all) > len(most) {
			most = all
		}
	}
	t.forget(most[len(most)-1], now)
}

// move puts a sighting to the others that say the same.
func (t *table) move(s *sighting, c dnssd.Claims, now time.Time) {
	old := s.entry
	if old != nil {
		old.remove(s, now)
	}
	e := t.entries[c]
	if e == nil {
		e = &entry{claims: c, first: now, due: now}
		e.sought = t.sought == nil || t.sought(Peer{ID: c.ID, Name: c.Name, Room: c.Room, Key: c.Key})
		switch {
		case old == nil: // or its continuation, after a goodbye
			e.number, e.before = t.number(c.ID), t.leaving(c.ID)
		case old.vacant(): // nobody has been told of it: this is its continuation
			e.number, e.first, e.before, e.due = old.number, old.first, old.before, old.due
		default: // whether it is one is seen when the other sightings of the same peer have followed
			e.number, e.before, e.due = t.number(c.ID), old, now.Add(settle)
		}
		t.entries[c] = e
	}
	if old != nil && old.vacant() {
		delete(t.entries, old.claims)
	}
	e.sights = append(e.sights, s)
	s.entry = e
	e.touch(now)
}

// number is the lowest that no entry with that ID has.
func (t *table) number(id string) int {
	taken := make(map[int]bool)
	for c, e := range t.entries {
		if c.ID == id {
			taken[e.number] = true
		}
	}
	n := 1
	for taken[n] {
		n++
	}
	return n
}

// leaving is an entry with that ID which the caller is still to be told is gone, or nil.
func (t *table) leaving(id string) *entry {
	for c, e := range t.entries {
		if c.ID == id && len(e.sights) == 0 {
			return e
		}
	}
	return nil
}

// remove takes a sighting out of the entry.
func (e *entry) remove(s *sighting, now time.Time) {
	e.sights = slices.DeleteFunc(e.sights, func(o *sighting) bool { return o == s })
	e.touch(now)
}

// vacant reports whether there is nothing to the entry, and never was for the caller.
func (e *entry) vacant() bool { return len(e.sights) == 0 && e.told == nil }

// touch has an entry told of anew, in a while: changes seldom come alone.
func (e *entry) touch(now time.Time) {
	if e.due.IsZero() {
		e.due = now.Add(settle)
	}
}

func (t *table) forget(s *sighting, now time.Time) {
	s.entry.remove(s, now)
	if s.entry.vacant() {
		delete(t.entries, s.entry.claims)
	}
	rest := slices.DeleteFunc(t.sources[s.from], func(o *sighting) bool { return o == s })
	if t.sources[s.from] = rest; len(rest) == 0 {
		delete(t.sources, s.from)
	}
	t.count--
}

// expire forgets whatever has not been heard for long.
func (t *table) expire(now time.Time) {
	for _, all := range t.sources {
		for _, s := range slices.Clone(all) {
			if !now.Before(s.expires) {
				t.forget(s, now)
			}
		}
	}
}

// lose forgets whatever was heard by an interface.
func (t *table) lose(index int, now time.Time) {
	for from, all := range t.sources {
		if from.index == index {
			for _, s := range slices.Clone(all) {
				t.forget(s, now)
			}
		}
	}
}

// heard returns the sightings that were heard in one way.
func (t *table) heard(via Via) []*sighting {
	var found []*sighting
	for _, all := range t.sources {
		for _, s := range all {
			if s.via&via != 0 {
				found = append(found, s)
			}
		}
	}
	return found
}

// known returns what need not be answered on an interface: it is known for long enough. An instance that several hosts
// claim to be is not among it, or one of them could keep the other silent.
func (t *table) known(index int, now time.Time) []dnssd.Known {
	type seen struct {
		four, six int
		left      time.Duration // of the one that ends first, or 0
	}
	by := make(map[string]*seen)
	for _, s := range t.heard(Multicast) {
		if s.from.index != index {
			continue
		}
		k := by[s.label]
		if k == nil {
			k = &seen{left: dnssd.MaxTTL}
			by[s.label] = k
		}
		if s.from.addr.Is4() {
			k.four++
		} else {
			k.six++
		}
		left := s.expires.Sub(now)
		if left <= s.ttl/2 {
			left = 0
		}
		k.left = min(k.left, left)
	}
	var all []dnssd.Known
	for label, k := range by {
		if k.left > 0 && k.four <= 1 && k.six <= 1 && len(all) < dnssd.MaxKnown {
			all = append(all, dnssd.Known{Label: label, Left: k.left})
		}
	}
	return all
}

// next returns an event that is due, and what to call when it has been told. Without one it returns when one will be
// due, or the zero time. Goodbyes go first, so that few wait however slow the caller is.
func (t *table) next(now time.Time) (e Event, told func(), at time.Time) {
	for _, x := range t.entries {
		if x.due.IsZero() {
			continue
		}
		if x.due.After(now) {
			at = earlier(at, x.due)
			continue
		}
		if one, ok := t.event(x); ok {
			e, told = one, func() { t.tell(x, one) }
			if one.Kind == Gone {
				break
			}
		}
	}
	return e, told, at
}

// event compares what is with what was told.
func (t *table) event(x *entry) (Event, bool) {
	if b := x.before; b != nil {
		if len(b.sights) == 0 && t.entries[b.claims] == b { // it has become this one
			x.told, x.number, x.first = b.told, b.number, b.first
			delete(t.entries, b.claims)
		}
		x.before = nil
	}
	if len(x.sights) == 0 {
		if t.successor(x) {
			return Event{}, false // which will tell
		}
		return Event{Gone, *x.told}, true
	}
	p := x.peer()
	switch {
	case x.told == nil:
		return Event{Found, p}, true
	case !x.told.equal(&p):
		return Event{Changed, p}, true
	}
	x.due = time.Time{}
	return Event{}, false
}

// successor reports whether another entry waits to take over from x.
func (t *table) successor(x *entry) bool {
	for _, y := range t.entries {
		if y.before == x {
			return true
		}
	}
	return false
}

func (t *table) tell(x *entry, e Event) {
	if e.Kind == Gone {
		delete(t.entries, x.claims)
		return
	}
	x.told = &e.Peer
	x.due = time.Time{}
}

// peer is what an entry looks like to the caller.
func (x *entry) peer() Peer {
	c := &x.claims
	p := Peer{ID: c.ID, Name: c.Name, Room: c.Room, Key: c.Key, Since: x.first}
	if x.number > 1 {
		p.ID = fmt.Sprintf("%s#%d", c.ID, x.number)
	}
	if since := time.Unix(c.Since, 0); c.Since != 0 && since.Before(x.first) {
		p.Since = since
	}
	var addrs []netip.Addr
	proven := make(map[netip.Addr]bool)
	for _, s := range x.sights {
		p.Via |= s.via
		proven[s.from.addr] = true
		for _, a := range s.addrs {
			if !slices.Contains(addrs, a) && len(addrs) < dnssd.MaxAddrs {
				addrs = append(addrs, a)
			}
		}
	}
	slices.SortFunc(addrs, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(rank(a, proven), rank(b, proven)), a.Compare(b))
	})
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.AddrPortFrom(a, c.Port))
	}
	return p
}

// rank puts addresses in the order of Peer.Addrs.
func rank(a netip.Addr, proven map[netip.Addr]bool) int {
	n := 0
	if !proven[a] {
		n += 4
	}
	if a.Is6() {
		n++
	}
	if a.IsLinkLocalUnicast() {
		n++
	}
	return n
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
