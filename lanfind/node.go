package lanfind

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/miekg/dns"
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
	askedBack             = 4           // times, once a second
	maxAskers             = 64          // who asked by datagram and shall hear the goodbye
)

// announceAt are the times of announcements on an interface, after it came into use.
func announceAt() []time.Duration { return []time.Duration{0, time.Second, 3 * time.Second} }

// errFull says that the system has no room for another datagram at the moment.
var errFull = errors.New("no room to send")

// wire is what a node needs of the network.
type wire interface {
	multicast(f *Interface, b []byte) ([]netip.AddrPort, error)
	reply(f *Interface, to netip.AddrPort, b []byte) error
	send(to netip.Addr, index int, b []byte) error
}

// node is one Announce or Browse. All that is here belongs to the goroutine of run.
type node struct {
	o       Options
	self    *local // or nil
	wire    wire
	sockets *sockets
	events  chan Event

	links   map[int]*link
	table   *table
	sweep   sweeper
	bare    []string // instances to ask for
	hellos  *limits
	replies *limits
	askers  map[source]int // who asked by datagram, and how often they were asked back

	began  time.Time
	known  bool      // somebody who asks by multicast knows us already: it works
	pollAt time.Time // the next time of each
	askAt  time.Time
	askIn  time.Duration // the pause after it
	nameAt time.Time
	keepAt time.Time
}

// link is an interface in use.
type link struct {
	Interface
	since     time.Time
	announced int   // times
	want      wants // to be answered
	answerAt  time.Time
	answered  time.Time
}

// open opens the sockets.
func open(ctx context.Context, o *Options) (*node, error) {
	n := newNode(o, time.Now())
	if n.o.Announce != nil {
		s, err := n.o.Announce.checked()
		if err != nil {
			return nil, fmt.Errorf("announcing: %w", err)
		}
		n.self = newLocal(s, n.began)
	}
	all, err := Interfaces()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSockets, err)
	}
	s := newSockets(ctx)
	n.sockets, n.wire = s, s
	plain := n.o.Sweep != SweepOff || len(n.o.Addrs) > 0
	if plain {
		if err = s.listen(n.o.Port); err != nil {
			n.problem(err)
		}
	}
	fit := choose(all, n.o.Interfaces)
	joined := 0
	for _, f := range fit {
		e := n.use(f, n.began)
		if e == nil {
			joined++
		} else {
			err = e
		}
	}
	// Without an interface there may be one later. Without any socket there is nothing to wait for.
	if len(fit) > 0 && joined == 0 && s.plain == nil {
		s.close()
		return nil, fmt.Errorf("%w: %w", ErrSockets, err)
	}
	n.owns(all)
	return n, nil
}

func newNode(o *Options, now time.Time) *node {
	n := &node{
		events: make(chan Event), links: make(map[int]*link), hellos: newLimits(helloRate, helloBurst),
		replies: newLimits(replyRate, replyBurst), askers: make(map[source]int), began: now, askIn: time.Second,
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
	n.pollAt, n.askAt, n.nameAt, n.keepAt = now.Add(pollEvery), now.Add(soon(firstAsk)), now, now.Add(keepEvery)
	return n
}

// soon is a time drawn from d to twice that.
func soon(d time.Duration) time.Duration { return d + rand.N(d) }

// run works until ctx ends, then takes leave.
func (n *node) run(ctx context.Context) {
	defer n.sockets.close()
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
		case p := <-n.sockets.packets:
			n.handle(p, time.Now())
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
// what we said.
func (n *node) askBack() {
	for a, times := range n.askers {
		if times < askedBack && len(n.table.sources[a]) == 0 {
			n.askers[a]++
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
				n.answer(l, wantAll, now)
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

func (n *node) answer(l *link, w wants, now time.Time) {
	n.multicast(l, n.self.answer(w, l.announced4or6(), ttlSeconds))
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
		if n.known || len(n.table.heard(Multicast)) > 0 {
			n.sweep.stop()
			return time.Time{} // what is heard, or not heard any more, comes with another tick
		}
	}
	if now.Before(n.sweep.next) {
		return n.sweep.next
	}
	due := n.sweep.hand(now, n.targets)
	for i, t := range due {
		// Few of them have anybody who would read an introduction.
		if errors.Is(n.datagram(t.addr, t.index, query(nil, nil)), errFull) {
			n.sweep.full(due[i:], now)
			break
		}
	}
	return n.sweep.next
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
		var known []knownAnswer
		if n.askIn >= trusting {
			known = n.table.known(l.Index, now)
		}
		n.multicast(l, query(known, bare))
	}
}

// poll looks at the interfaces.
func (n *node) poll(now time.Time) {
	all, err := Interfaces()
	if err != nil {
		n.problem(err)
		return
	}
	n.owns(all)
	fit := choose(all, n.o.Interfaces)
	for _, l := range n.links {
		if !slices.ContainsFunc(fit, func(f Interface) bool { return f.Index == l.Index && f.Name == l.Name }) {
			n.drop(l, now)
		}
	}
	for _, f := range fit {
		l := n.links[f.Index]
		if l != nil && l.same(&f) {
			continue
		}
		if l != nil { // it has other addresses: whoever was heard stays
			n.sockets.leave(&l.Interface)
		}
		_ = n.use(f, now) // it has been reported
		n.askAt, n.askIn = earlier(n.askAt, now.Add(soon(firstAsk))), time.Second
		n.sweep.stop()
	}
}

// owns tells the sockets which addresses are this host's.
func (n *node) owns(all []Interface) {
	own := make(map[netip.Addr]bool)
	for _, f := range all {
		for _, p := range f.Addrs {
			own[p.Addr()] = true
		}
	}
	n.sockets.own.Store(&own)
}

// use takes an interface into use, or one that has changed. Where multicast does not work there still are datagrams.
func (n *node) use(f Interface, now time.Time) (err error) {
	if f.Multicast || f.Unfit == "loopback" {
		if err = n.sockets.join(&f); err != nil {
			n.problem(err)
		}
	}
	if n.links[f.Index] == nil {
		n.report(f, true)
	}
	n.links[f.Index] = &link{Interface: f, since: now}
	return err
}

func (n *node) drop(l *link, now time.Time) {
	n.sockets.leave(&l.Interface)
	delete(n.links, l.Index)
	n.table.lose(l.Index, now)
	n.report(l.Interface, false)
}

// goodbye takes leave of everybody who may know us.
func (n *node) goodbye() {
	if n.self == nil {
		return
	}
	for _, l := range n.links {
		n.multicast(l, n.self.answer(wantAll, l.announced4or6(), 0))
	}
	by := make(map[netip.Addr]int)
	for a := range n.askers {
		by[a.addr] = a.index
	}
	for _, s := range n.table.heard(Datagram) {
		by[s.from.addr] = s.from.index
	}
	for a, index := range by {
		_ = n.datagram(a, index, n.self.answer(wantAll, nil, 0))
	}
}

func (n *node) multicast(l *link, m *dns.Msg) {
	b, err := encode(m)
	if err == nil {
		var sent []netip.AddrPort
		sent, err = n.wire.multicast(&l.Interface, b)
		for _, to := range sent {
			n.sent(to, l.Index, len(b))
		}
	}
	n.problem(err)
}

// greet sends a datagram that asks, and says what we announce.
func (n *node) greet(to netip.Addr, index int) {
	if !to.Is4() {
		return
	}
	var addrs []netip.Addr
	if l := n.links[index]; l != nil {
		addrs = l.announced4or6()
	}
	_ = n.datagram(to, index, hello(n.self, addrs)) // it has been reported
}

func (n *node) datagram(to netip.Addr, index int, m *dns.Msg) error {
	b, err := encode(m)
	if err == nil {
		err = n.wire.send(to, index, b)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ENOBUFS):
		return errFull // for a while
	case err != nil:
		err = fmt.Errorf("datagram to %v: %w", to, err)
		n.problem(err)
		return err
	}
	n.sent(netip.AddrPortFrom(to, n.o.Port), index, len(b))
	return nil
}

func (n *node) sent(to netip.AddrPort, index, bytes int) {
	if n.o.Trace != nil && n.o.Trace.Sent != nil {
		n.o.Trace.Sent(to, index, bytes)
	}
}

func (n *node) report(f Interface, used bool) {
	if n.o.Trace != nil && n.o.Trace.Interface != nil {
		n.o.Trace.Interface(f, used)
	}
}

func (n *node) problem(err error) {
	if err != nil && n.o.Trace != nil && n.o.Trace.Problem != nil {
		n.o.Trace.Problem(err)
	}
}
