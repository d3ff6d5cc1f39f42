package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const (
	// settleTime is how long a stranger is looked at until it is the one that is meant:
	// another of that name may answer too.
	settleTime = time.Second
	// changeTime is how long one is looked at who should have another key: the right one
	// may come, and where multicast is dropped it takes so long to ask a large network. As
	// long, the program that was meant is preferred to others that have its key.
	changeTime = 8 * time.Second
)

// errKeyChanged says that somebody has a known name and another key.
var errKeyChanged = errors.New("the key has changed")

// A toWay finds, by name, a neighbour who waits for files.
type toWay struct {
	lan    *lanFlags
	common *cli
	typed  string
	yes    bool
	out    *output

	self      pair.Identity
	called    string         // on this side's screen
	meant     addressee      // the program that was found, of those with its key
	by        means          // what meant was found by
	peer      pair.PublicKey // once it has proven to be the one: nobody else will do from then on
	unchecked bool           // nobody has compared check words with peer that were due
}

func (w *toWay) prepare(context.Context) error {
	if !w.lan.LAN {
		return usage(errors.New("--to finds the other side on the local network, which is left out (--no-lan, TCPPUNCH_LAN)"))
	}
	if w.typed = strings.TrimSpace(w.typed); w.typed == "" {
		return usage(errors.New("--to needs a name: tcppunch peers shows who is there"))
	}
	w.called = pair.CleanName(w.typed)
	var err error
	w.self, err = ownIdentity()
	return err
}

// name is none: no journal is needed where a key tells who is who.
func (w *toWay) name() (id, about string) { return "", "" }

func (w *toWay) where() string { return w.called }

func (w *toWay) command() string { return "tcppunch recv --wait" }

func (w *toWay) again() string { return "the same command" }

func (w *toWay) dial(ctx context.Context, key pair.Key, _ bool) (*tcppunch.Conn, bool, error) {
	before := !w.peer.None()
	if !before {
		w.out.waiting(w.where(), fmt.Sprintf("Waiting for %s …", w.where()))
	}
	limited, cancel := context.WithTimeout(ctx, w.common.Timeout)
	defer cancel()
	c := newContact(w)
	conn, err := c.connect(limited)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, false, interrupted(err)
	case limited.Err() != nil && !errors.As(err, new(*failure)):
		return nil, false, c.late(err)
	default:
		return nil, false, err
	}
	if err := c.settle(ctx, conn); err != nil {
		conn.Close() //nolint:errcheck // over in any case
		return nil, false, unconfirmed(err)
	}
	return conn, before && !key.None(), nil
}

// A contact is one search for the peer, and the connection to it.
type contact struct {
	*toWay
	key    pair.PublicKey // that the peer has
	stands standing       // what this side knows of it

	peers peerList           // that are there
	began time.Time          // of the search for connections
	doubt *time.Timer        // runs while somebody with another key has the name
	end   context.CancelFunc // ends the search

	mu        sync.Mutex
	failed    error           // why it must end; guarded by mu
	impostors int             // connections with others; guarded by mu
	words     map[string]word // what the peer said, by exporter; guarded by mu
}

func newContact(w *toWay) *contact {
	return &contact{toWay: w, peers: peerList{}, words: map[string]word{}}
}

func (c *contact) known() bool { return c.stands == standsKnown }

// trusting tells whether check words are not asked about: with --yes, but for whoever has
// somebody else's name, and after a break.
func (c *contact) trusting() bool { return c.yes && c.stands != standsChanged || !c.peer.None() }

// cannotAsk tells that check words are due, for a reason, and nobody can compare them here.
func cannotAsk(why string) error {
	return &failure{statusWrongCode, "no-terminal", fmt.Errorf("%s, and %w", why, errNoTerminal),
		"send from a terminal once, or trust the network with --yes"}
}

// connect finds the peer and connects to it.
func (c *contact) connect(ctx context.Context) (*tcppunch.Conn, error) {
	ctx, c.end = context.WithCancel(ctx)
	defer c.end()
	if err := c.identify(ctx); err != nil {
		return nil, err
	}
	if !c.known() && !c.trusting() && !hasTerminal() {
		return nil, cannotAsk(c.called + " is not known here yet")
	}
	look := &lanLook{
		flags: c.lan, service: lanfind.Service{Name: c.lan.nickname(), Room: roomTo(c.key), Key: c.self.Public().String()},
		match: c.match, heard: c.heard, failed: c.fail, out: c.out,
	}
	clear(c.peers) // who has left since would never be told of
	c.began = time.Now()
	near, stop, err := look.open(ctx)
	if err != nil {
		return nil, err
	}
	defer time.AfterFunc(changeTime, look.again).Stop()
	near.Auth = c.authenticate
	conn, err := tcppunch.Dial(ctx, &tcppunch.Config{Side: tcppunch.SideA, Near: near, Trace: verbose(c.out)})
	stop()
	if c.doubt != nil {
		c.doubt.Stop()
	}
	if err == nil {
		c.out.connected(conn.Path(), nil)
		return conn, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return nil, c.failed
	}
	return nil, err
}

// identify finds out which key the peer has, and waits for it to come unless it is known.
func (c *contact) identify(ctx context.Context) error {
	known, err := readKnown()
	if err != nil {
		return err
	}
	if c.key, c.stands = c.peer, standsKnown; !c.key.None() {
		return nil
	}
	if p, ok := known.byName(c.typed); ok {
		c.key, c.called, c.meant, c.by = p.key, p.name, addressee{key: p.key}, byKey
		return nil
	}
	c.stands = standsUnknown
	of, err := c.find(ctx, known)
	if err != nil {
		return err
	}
	if of.unsaid != nil {
		if err := c.confirm(ctx, of); err != nil {
			return err
		}
	}
	n := *of.found
	c.key, c.called, c.meant, c.by = n.key, n.called(), n, of.by
	var p knownPeer
	switch c.stands, p = known.verdict(n.name, n.key); c.stands {
	case standsKnown:
		c.called = p.name
	case standsChanged: // and meant all the same
		c.out.warnChanged(p, n.key)
	}
	return nil
}

// confirm asks the person whether somebody known is meant, whatever --yes says: that is for
// those who were named.
func (c *contact) confirm(ctx context.Context, of whom) error {
	question := of.question(c.typed)
	advice := "to send to it, call it so: --to " + shellWord(of.unsaid.name)
	t, err := openTerminal()
	if err != nil {
		return &failure{statusWrongCode, "no-terminal", fmt.Errorf("there is no terminal to ask on: %s", question), advice}
	}
	defer t.Close()
	yes, err := t.yes(ctx, question, false)
	if err == nil && yes {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w within %v", errUnanswered, c.common.Timeout)
	} else if err == nil {
		err = fmt.Errorf("%s is not meant; nothing was sent", of.unsaid.name)
	}
	return &failure{statusWrongCode, "not-confirmed", err, advice}
}

var errUnanswered = errors.New("nobody has answered the question whom to send to")

// find looks around until it is clear who is meant.
func (c *contact) find(ctx context.Context, known knownPeers) (whom, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	events := make(chan lanfind.Event)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.browse(ctx, events)) })
	defer wg.Wait()
	defer cancel(nil)
	var of whom
	var settled <-chan time.Time
	for {
		select {
		case e := <-events:
			c.note(e)
		case <-settled:
			return of, c.chosen(of, known)
		case <-ctx.Done():
			return whom{}, context.Cause(ctx)
		}
		before := of.settles()
		of = whoIs(c.typed, known, allWaiting(c.peers))
		switch d := of.settles(); {
		case d == 0:
			settled = nil
		case d != before:
			settled = time.After(d)
		}
	}
}

// settles tells how long it must be so until it counts; 0 if there is nothing.
func (c whom) settles() time.Duration {
	switch {
	case c.none():
		return 0
	case c.changed != nil:
		return changeTime
	}
	return settleTime
}

// note notes who is there.
func (c *contact) note(e lanfind.Event) { c.peers.apply(e) }

// browse tells who is there, until ctx ends.
func (c *contact) browse(ctx context.Context, events chan<- lanfind.Event) error {
	opt := &lanfind.Options{Sweep: c.lan.sweep(), Trace: &lanfind.Trace{
		Problem: func(err error) { c.out.detail("local network: %s", shown(err)) },
	}}
	opt.Sought = func(p lanfind.Peer) bool {
		return !whoIs(c.typed, nil, allWaiting(map[string]lanfind.Peer{p.ID: p})).none()
	}
	for e, err := range lanfind.Browse(ctx, opt) {
		if err != nil {
			return err
		}
		c.out.detail("local network: %v %s at %v, by %v", e.Kind, shownPeer(e.Peer), e.Peer.Addrs, e.Peer.Via)
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// chosen tells why nobody is chosen, or nil.
func (c *contact) chosen(of whom, known knownPeers) error {
	switch {
	case of.changed != nil:
		return c.changed(*of.changed, known)
	case of.several != nil:
		return ambiguous(c.typed, of.several)
	}
	return nil
}

// changed tells that somebody with another key has the name of somebody known.
func (c *contact) changed(n addressee, known knownPeers) error {
	p, _ := known.byName(pinnable(n.name))
	c.out.peer(p.name, n.key, standsChanged)
	c.out.warnChanged(p, n.key)
	return keyChanged(p.name)
}

// match tells whether a peer is the one. Of several programs that have the key it is the one
// that was meant, while it is there, or may still be heard of.
func (c *contact) match(p lanfind.Peer) bool {
	n, ok := waitsForFiles(p)
	if !ok || n.key != c.key {
		return false
	}
	meant := func(n addressee) bool { return c.by.same(c.meant, n) }
	return meant(n) || time.Since(c.began) >= changeTime && !slices.ContainsFunc(allWaiting(c.peers), meant)
}

// heard watches for others who have the peer's name, and not its key.
func (c *contact) heard(e lanfind.Event) {
	c.note(e)
	n, known := c.pretender()
	switch {
	case n == nil && c.doubt != nil:
		c.doubt.Stop()
		c.doubt = nil
	case n != nil && c.doubt == nil:
		c.doubt = time.AfterFunc(changeTime, func() {
			if !c.reached() {
				c.fail(c.changed(*n, known))
			}
		})
	}
}

// pretender is somebody who announces the name of the peer, who is known and not there, and
// another key; or nil. Once the peer has proven its key in this run, nobody else counts.
func (c *contact) pretender() (*addressee, knownPeers) {
	if !c.known() || !c.peer.None() || c.reached() {
		return nil, nil
	}
	here := allWaiting(c.peers)
	if !slices.ContainsFunc(here, func(n addressee) bool { return strings.EqualFold(pinnable(n.name), c.called) }) {
		return nil, nil
	}
	known, err := readKnown()
	if err != nil {
		return nil, nil
	}
	return whoIsKnown(knownPeer{name: c.called, key: c.key}, known, here).changed, known
}

// reached tells whether the peer has been reached by any connection.
func (c *contact) reached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.words) > 0
}

// fail ends the search.
func (c *contact) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
		c.end()
	}
}

var errImpostor = errors.New("it has another key")

// authenticate runs on every connection, before one is chosen.
func (c *contact) authenticate(ctx context.Context, conn net.Conn, exporter []byte) error {
	key, _, err := introduce(ctx, c.self, conn, true, exporter, c.lan.nickname())
	if err != nil {
		return err
	}
	if key != c.key {
		c.mu.Lock()
		c.impostors++
		first := c.impostors == 1
		c.mu.Unlock()
		if first {
			c.out.say("Warning: %v answers, and has not the key of %s.", conn.RemoteAddr(), c.called)
		}
		return errImpostor
	}
	theirs, err := greet(ctx, conn, true, func(word) word {
		if c.known() {
			return wordKnown
		}
		return wordStranger
	})
	if err != nil {
		return err
	}
	if why := theirs.refusal(); why != nil {
		c.fail(&failure{statusRefused, "refused", fmt.Errorf("%s does not want this now: %w", c.called, why), ""})
		return why
	}
	if theirs == wordStranger && !c.trusting() && !hasTerminal() {
		err := cannotAsk(c.called + " does not know this machine yet")
		c.fail(err)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.words[string(exporter)] = theirs
	return nil
}

// settle makes sure that both people trust the other side, on the connection that was
// chosen, and remembers it.
func (c *contact) settle(ctx context.Context, conn *tcppunch.Conn) error {
	exporter, err := conn.Exporter()
	if err != nil {
		return err
	}
	c.mu.Lock()
	theirs := c.words[string(exporter)]
	c.mu.Unlock()
	c.out.peer(c.called, c.key, c.stands)
	due := !c.known() || theirs != wordKnown
	if due {
		c.out.sayStranger(c.called, c.stands)
		if err := showWords(ctx, conn, true, exporter, checkTime, c.out); err != nil {
			return err
		}
		if err := pair.Confirm(ctx, conn, c.answer()); err != nil {
			return err
		}
	}
	if c.peer.None() {
		c.unchecked = unchecked(due, c.yes, c.stands)
	}
	c.called = c.out.remember(c.called, c.key, c.known(), c.unchecked)
	c.peer = c.key
	return nil
}

// answer is this side's to the check words. After a break nobody is asked again: the key is
// that of before.
func (c *contact) answer() func(context.Context) (bool, error) {
	if !c.peer.None() {
		return func(context.Context) (bool, error) { return true, nil }
	}
	return trustOrAsk(c.trusting(), c.out)
}

// late tells why the time for the search has passed in vain. That somebody without the key
// was at the peer's address says nothing of the peer.
func (c *contact) late(err error) error {
	if n, known := c.pretender(); n != nil {
		return c.changed(*n, known)
	}
	c.mu.Lock()
	impostors := c.impostors
	c.mu.Unlock()
	var dial *tcppunch.DialError
	switch {
	case impostors > 0 && c.known():
		return &failure{statusNoPath, "timeout", fmt.Errorf("nobody who has the key of %s has answered within %v", c.called, c.common.Timeout), ""}
	case impostors > 0:
		return &failure{statusWrongCode, "bad-peer", fmt.Errorf("whoever answers for %s has not the key that was announced", c.called), ""}
	case errors.As(err, &dial) && len(dial.Attempts) > 0:
		return noPath(dial)
	}
	who := ""
	if here := allWaiting(c.peers); len(here) > 0 {
		who = " (there are: " + list(here) + ")"
	}
	return &failure{statusNoPath, "timeout", fmt.Errorf("nobody called %s waited for files on this network within %v%s", c.called, c.common.Timeout, who),
		"on the other machine: tcppunch recv --wait; tcppunch peers --doctor tells why nobody is seen"}
}
