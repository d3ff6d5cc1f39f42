package main

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	// may come.
	changeTime = 3 * time.Second
	// maxHeard bounds the peers that are remembered while one is looked for.
	maxHeard = 1000
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

	self   pair.Identity
	peer   pair.PublicKey // once it has proven to be the one: nobody else will do from then on
	called string         // on this side's screen
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
	c := &contact{toWay: w, peers: map[string]lanfind.Peer{}, words: map[string]word{}}
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

	peers map[string]lanfind.Peer // that were heard of
	doubt *time.Timer             // runs while somebody with another key has the name

	end context.CancelFunc // ends the search

	mu        sync.Mutex
	failed    error           // why it must end; guarded by mu
	impostors int             // connections with others; guarded by mu
	words     map[string]word // what the peer said, by exporter; guarded by mu
}

func (c *contact) known() bool { return c.stands == standsKnown }

// trusting tells whether check words are not asked about. Whoever has somebody else's name
// is.
func (c *contact) trusting() bool { return c.yes && c.stands != standsChanged }

// connect finds the peer and connects to it.
func (c *contact) connect(ctx context.Context) (*tcppunch.Conn, error) {
	ctx, c.end = context.WithCancel(ctx)
	defer c.end()
	if err := c.identify(ctx); err != nil {
		return nil, err
	}
	if !c.known() && !c.trusting() && !hasTerminal() {
		return nil, &failure{statusWrongCode, "no-terminal", fmt.Errorf("%s is not known here yet, and %w", c.called, errNoTerminal),
			"send from a terminal once, or trust the network with --yes"}
	}
	look := &lanLook{
		flags: c.lan, service: lanfind.Service{Name: c.lan.nickname(), Room: roomTo(c.key), Key: c.self.Public().String()},
		match: c.match, failed: c.fail, out: c.out,
	}
	near, stop, err := look.open(ctx)
	if err != nil {
		return nil, err
	}
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
	c.key, c.stands = c.peer, standsKnown
	if p, ok := known.byName(c.typed); ok && c.key.None() {
		c.key, c.called = p.key, p.name
	}
	if !c.key.None() {
		return nil
	}
	n, err := c.find(ctx, known)
	if err != nil {
		return err
	}
	c.key, c.called = n.key, n.called()
	var p knownPeer
	switch c.stands, p = known.verdict(n.name, n.key); c.stands {
	case standsKnown:
		c.called = p.name
	case standsChanged: // and meant all the same
		c.out.warnChanged(p, n.key)
	}
	return nil
}

// find looks around until it is clear who is meant.
func (c *contact) find(ctx context.Context, known knownPeers) (addressee, error) {
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
			if c.peers[e.Peer.ID] = e.Peer; e.Kind == lanfind.Gone {
				delete(c.peers, e.Peer.ID)
			}
		case <-settled:
			return c.chosen(of, known)
		case <-ctx.Done():
			return addressee{}, context.Cause(ctx)
		}
		of = whoIs(c.typed, known, allWaiting(c.peers))
		switch {
		case of.none():
			settled = nil
		case settled == nil && of.changed != nil:
			settled = time.After(changeTime)
		case settled == nil:
			settled = time.After(settleTime)
		}
	}
}

// browse tells who is there, until ctx ends.
func (c *contact) browse(ctx context.Context, events chan<- lanfind.Event) error {
	opt := &lanfind.Options{Sweep: c.lan.sweep(), Trace: &lanfind.Trace{
		Problem: func(err error) { c.out.detail("local network: %s", shown(err)) },
	}}
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

// chosen is what comes of it.
func (c *contact) chosen(of whom, known knownPeers) (addressee, error) {
	switch {
	case of.changed != nil:
		return addressee{}, c.changed(*of.changed, known)
	case of.several != nil:
		return addressee{}, ambiguous(c.typed, of.several)
	}
	return *of.found, nil
}

// changed tells that somebody with another key has the name of somebody known.
func (c *contact) changed(n addressee, known knownPeers) error {
	p, _ := known.byName(n.name)
	c.out.peer(p.name, n.key, standsChanged)
	c.out.warnChanged(p, n.key)
	return keyChanged(p.name)
}

// match tells whether a peer that was heard of is the one. It watches for others who have its
// name.
func (c *contact) match(p lanfind.Peer) bool {
	n, ok := waitsForFiles(p)
	if !ok {
		return false
	}
	if len(c.peers) >= maxHeard {
		clear(c.peers)
	}
	c.peers[p.ID] = p
	is := n.key == c.key
	if is && c.doubt != nil {
		c.doubt.Stop()
	}
	if is || !c.known() || !c.peer.None() || c.doubt != nil { // after a break only the peer itself can tell anything
		return is
	}
	known, err := readKnown()
	if err != nil {
		return false
	}
	if of := whoIsKnown(knownPeer{name: c.called, key: c.key}, known, allWaiting(c.peers)); of.changed != nil {
		c.doubt = time.AfterFunc(changeTime, func() {
			if !c.reached() {
				c.fail(c.changed(*of.changed, known))
			}
		})
	}
	return false
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
	theirs, err := greet(conn, true, func(word) word {
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
		err := &failure{statusWrongCode, "no-terminal", fmt.Errorf("%s does not know this machine yet, and %w", c.called, errNoTerminal),
			"send from a terminal once, or trust the network with --yes"}
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
	if !c.known() || theirs != wordKnown {
		c.out.sayStranger(c.called, c.stands)
		if err := showWords(ctx, conn, true, exporter, checkTime, c.out); err != nil {
			return err
		}
		if err := pair.Confirm(ctx, conn, trustOrAsk(c.trusting(), c.out)); err != nil {
			return err
		}
	}
	c.called = c.out.remember(c.called, c.key, c.known())
	c.peer = c.key
	return nil
}

// late tells why the time for the search has passed in vain.
func (c *contact) late(err error) error {
	c.mu.Lock()
	impostors := c.impostors
	c.mu.Unlock()
	var dial *tcppunch.DialError
	switch {
	case impostors > 0 && c.known():
		return keyChanged(c.called)
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
