package lanfind

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
	"github.com/tcppunch/tcppunch/lanfind/internal/limit"
	"github.com/tcppunch/tcppunch/lanfind/internal/sock"
)

const (
	defaultSweepAfter = time.Second

	pollEvery   = time.Second            // interfaces are looked at
	firstAsk    = 20 * time.Millisecond  // of the first query, and as much again at random: RFC 6762, section 5.2
	longestAsk  = 30 * time.Second       // between queries: whoever is gone without leave is asked for thrice before its TTL is over
	trusting    = 8 * time.Second        // the pause from which on queries list what is known: before, everybody answers
	answerFirst = 20 * time.Millisecond  // before an answer, and up to 100 ms more: RFC 6762, section 6
	answerRest  = 100 * time.Millisecond // as much at random
	answerEvery = time.Second            // at most, on one interface: RFC 6762, section 6
	namedEvery  = time.Second            // to an address that a person named; ten times as long after namedLong
	namedLong   = 30 * time.Second
	keepEvery   = 20 * time.Second // to whoever was heard by datagram alone, to keep firewalls open

	helloRate, helloBurst = 1.0 / 15, 4 // a second to one host that is to say who it is, or to hear who we are
	replyRate, replyBurst = 2, 16       // a second to one host, of several programs maybe, that asked by datagram or from another port
	askedBack             = 20          // seconds, at first once in each, then every fourth
	mostAtOnce            = 64          // packets handled in one go
	maxAskers             = 64          // who asked by datagram and shall hear the goodbye
)

// announceAt are the times of announcements on an interface, after it came into use.
func announceAt() []time.Duration { return []time.Duration{0, time.Second, 3 * time.Second} }

// wire is what a node needs of the network.
type wire interface {
	Multicast(index int, name string, b []byte) ([]netip.AddrPort, error)
	Reply(index int, to netip.AddrPort, b []byte) error
	Send(to netip.Addr, index int, b []byte) error
}

// system is what the operating system tells.
type system struct {
	interfaces func() ([]Interface, error)
	neighbours func() ([]Neighbour, error)
}

// node is one Announce or Browse. All that is here belongs to the goroutine of run.
type node struct {
	o       Options
	self    *dnssd.Local // or nil
	wire    wire
	sockets *sock.Sockets
	packets <-chan sock.Packet
	system  system
	events  chan Event

	links   map[int]*link
	table   *table
	sweep   sweeper
	bare    []string // instances to ask for
	hellos  *limit.Sources
	replies *limit.Sources
	askers  map[source]int // who asked by datagram, and how often they were asked back

	began  time.Time
	known  bool      // somebody who asks by multicast knows us already: it works
	pollAt time.Time // the next time of each
	askAt  time.Time
	askIn  time.Duration // the pause after it
	nameAt time.Time
	keepAt time.Time
	nearAt time.Time // to look at the table of neighbours
}

// open opens the sockets.
func open(ctx context.Context, o *Options) (*node, error) {
	n := newNode(o, time.Now())
	if n.o.Announce != nil {
		s, err := n.o.Announce.checked()
		if err != nil {
			return nil, fmt.Errorf("announcing: %w", err)
		}
		n.self = dnssd.New(s.claims(n.began))
	}
	all, err := n.system.interfaces()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSockets, err)
	}
	s := sock.New(ctx)
	n.sockets, n.wire, n.packets = s, s, s.Packets()
	plain := n.o.Sweep != SweepOff || len(n.o.Addrs) > 0
	if plain {
		if err = s.Listen(n.o.Port); err != nil {
			n.problem(fmt.Errorf("%w: %w", ErrPort, err))
		}
	}
	fit := choose(all, n.o.Interfaces)
	joined := 0
	for _, f := range fit {
		switch e := n.use(f, n.began); {
		case e != nil:
			err = e
		case f.groups():
			joined++
		}
	}
	// Without an interface there may be one later. Without any socket there is nothing to wait for.
	if len(fit) > 0 && joined == 0 && !s.Plain() {
		s.Close()
		if err == nil {
			err = errNoMulticast
		}
		return nil, fmt.Errorf("%w: %w", ErrSockets, err)
	}
	n.owns(all)
	return n, nil
}

func newNode(o *Options, now time.Time) *node {
	n := &node{
		system: system{Interfaces, Neighbours}, events: make(chan Event), links: make(map[int]*link), hellos: limit.New(helloRate, helloBurst),
		replies: limit.New(replyRate, replyBurst), askers: make(map[source]int), began: now, askIn: time.Second,
	}
	if o != nil {
		n.o = *o
	}
	if n.o.Port == 0 {
		n.o.Port = DefaultPort
	}
	if n.o.SweepAfter == 0 {
		n.o.SweepAfter = defaultSweepAfter
	}
	n.o.Addrs = slices.Clone(n.o.Addrs)
	for i, a := range n.o.Addrs {
		n.o.Addrs[i] = a.Unmap()
	}
	n.table = newTable(n.o.Room)
	n.table.sought = n.o.Sought
	n.pollAt, n.askAt, n.nameAt, n.keepAt = now.Add(pollEvery), now.Add(soon(firstAsk)), now, now.Add(keepEvery)
	return n
}

// soon is a time drawn from d to twice that.
func soon(d time.Duration) time.Duration { return d + rand.N(d) }

// run works until ctx ends, then takes leave.
func (n *node) run(ctx context.Context) {
	defer n.sockets.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		due := n.tick(now)
		event, told, at := n.table.next(now)
		var out chan Event
		if told != nil {
			out = n.events
		}
		timer.Reset(max(0, time.Until(earlier(due, at))))
		select {
		case <-ctx.Done():
			n.goodbye()
			return
		case p := <-n.packets:
			now = time.Now()
			n.handle(p, now)
			for range min(len(n.packets), mostAtOnce) { // in a flood, there is no time to look for what is due after each
				n.handle(<-n.packets, now)
			}
		case out <- event:
			told()
		case <-timer.C:
		}
	}
}

// tick does whatever is due and returns when there will be more to do.
func (n *node) tick(now time.Time) time.Time {
	if !now.Before(n.pollAt) {
		n.pollAt = now.Add(pollEvery)
		n.poll(now)
		n.table.expire(now)
		n.askBack()
	}
	if !now.Before(n.askAt) {
		n.ask(now)
	}
	if !now.Before(n.nameAt) {
		n.nameAt = now.Add(namedEvery)
		if now.Sub(n.began) > namedLong {
			n.nameAt = now.Add(10 * namedEvery)
		}
		for _, a := range n.o.Addrs {
			n.greet(a, 0)
		}
	}
	if !now.Before(n.keepAt) {
		n.keepAt = now.Add(keepEvery)
		for _, s := range n.table.heard(Datagram) {
			if s.via == Datagram {
				n.greet(s.from.addr, s.from.index)
			}
		}
	}
	due := earlier(earlier(n.pollAt, n.askAt), n.keepAt)
	if len(n.o.Addrs) > 0 {
		due = earlier(due, n.nameAt)
	}
	return earlier(earlier(due, n.tickLinks(now)), n.tickSweep(now))
}

// askBack asks those again who asked by datagram and have not said who they are: what they said may have been lost, or
// what we said. It is called once a second.
func (n *node) askBack() {
	for a, seconds := range n.askers {
		if seconds >= askedBack || len(n.table.sources[a]) > 0 {
			continue
		}
		n.askers[a]++
		if seconds < 4 || seconds%4 == 0 {
			n.greet(a.addr, a.index)
		}
	}
}

// tickLinks announces and answers.
func (n *node) tickLinks(now time.Time) (due time.Time) {
	if n.self == nil {
		return time.Time{}
	}
	for _, l := range n.links {
		if at := announceAt(); l.announced < len(at) {
			if next := l.since.Add(at[l.announced]); !now.Before(next) {
				l.announced++
				n.answer(l, dnssd.WantAll, now)
			}
			if l.announced < len(at) {
				due = earlier(due, l.since.Add(at[l.announced]))
			}
		}
		if l.want != 0 {
			if !now.Before(l.answerAt) {
				n.answer(l, l.want, now)
			} else {
				due = earlier(due, l.answerAt)
			}
		}
	}
	return due
}

func (n *node) answer(l *link, w dnssd.Wants, now time.Time) {
	n.multicast(l, n.self.Answer(w, l.toAnnounce(), dnssd.TTL))
	l.answered = now
	l.want &^= w
}

// tickSweep sends the next datagrams of a sweep, if there is to be one.
func (n *node) tickSweep(now time.Time) time.Time {
	switch n.o.Sweep {
	case SweepOff:
		return time.Time{}
	case SweepAuto:
		if begin := n.began.Add(n.o.SweepAfter); now.Before(begin) {
			return begin
		}
		if n.shown() {
			n.sweep.stop()
			return time.Time{} // what is heard, or not heard any more, comes with another tick
		}
	}
	if !n.sweep.next.IsZero() && !now.Before(n.nearAt) {
		n.nearAt = now.Add(sweepLook)
		if n.sweep.done() {
			n.nearAt = now.Add(pollEvery)
		}
		n.sweep.hurry(n.near(), now)
	}
	if now.Before(n.sweep.next) {
		return earlier(n.sweep.next, n.nearAt)
	}
	due := n.sweep.hand(now, n.targets)
	for i, t := range due {
		// Few of them have anybody who would read an introduction.
		if n.datagram(t.addr, t.index, dnssd.Query(nil, nil)) {
			n.sweep.full(due[i:], now)
			break
		}
	}
	return earlier(n.sweep.next, n.nearAt)
}

// shown reports whether multicast has shown who is looked for; or works, where that may be anybody.
func (n *node) shown() bool {
	anybody := n.o.Room == "" && n.o.Sought == nil
	return anybody && n.known || slices.ContainsFunc(n.table.heard(Multicast), func(s *sighting) bool { return s.entry.sought })
}

// near are the hosts that the system knows, on the networks that are swept.
func (n *node) near() []target {
	known, err := n.system.neighbours()
	if err != nil {
		return nil // the sweep comes to them
	}
	var all []target
	for _, k := range known {
		if l := n.links[k.Index]; k.Answers && k.Addr.Is4() && l != nil && l.reaches(k.Addr) {
			all = append(all, target{k.Addr, k.Index})
		}
	}
	return all
}

// targets are those of all interfaces, taken by turns.
func (n *node) targets() []target {
	var each [][]target
	var hook func(netip.Prefix, int)
	if n.o.Trace != nil {
		hook = n.o.Trace.Sweep
	}
	longest := 0
	for _, l := range n.links {
		each = append(each, targets(&l.Interface, hook))
		longest = max(longest, len(each[len(each)-1]))
	}
	var all []target
	for i := range longest {
		for _, t := range each {
			if i < len(t) {
				all = append(all, t[i])
			}
		}
	}
	return all
}

// ask asks for peers by multicast.
func (n *node) ask(now time.Time) {
	n.askAt = now.Add(n.askIn)
	n.askIn = min(2*n.askIn, longestAsk)
	bare := n.bare
	n.bare = nil
	for _, l := range n.links {
		var known []dnssd.Known
		if n.askIn >= trusting {
			known = n.table.known(l.Index, now)
		}
		q := dnssd.Query(known, bare)
		if n.o.Survey {
			dnssd.AskForTypes(q)
		}
		n.multicast(l, q)
	}
}
