package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const (
	// strangerTime is how long strangers may hold a connection without going on.
	strangerTime = 10 * time.Second
	// maxStrangers is how many addresses of strangers may do so at once, and
	// maxOfStranger how many connections of one: two sides that dial each other have more
	// than one for a moment.
	maxStrangers  = 8
	maxOfStranger = 4
	// maxGuests is how many connections of guests, the known ones among them, a round has.
	maxGuests = 1000
)

// A door is where neighbours come in, who may be anybody, come as often as they like and
// show as many keys. So nobody is listened to for long before it is clear what to do with
// them, nobody is let in whom nobody here could accept, and who was refused is ignored for
// a while. Who is known, and proves it, is kept out by none of that.
type door struct {
	self pair.Identity
	me   addressee // this side, as neighbours see it

	yes      bool // everybody is accepted
	trust    bool // who is known is accepted
	terminal bool // there is somebody to ask, while the program is in the foreground
}

// A guest is somebody who has proven to have a key.
type guest struct {
	key    pair.PublicKey
	name   string // as it calls itself
	from   netip.Addr
	stands standing
	of     knownPeer // whom that is about, see verdict
	words  bool      // there are check words to compare
	since  time.Time
	conn   net.Conn
}

// called is what the guest is called on the screen.
func (g *guest) called() string {
	if g.stands == standsKnown {
		return g.of.name
	}
	return addressee{name: g.name, key: g.key}.called()
}

// welcome decides whether a guest is let in, who knows this side or does not, and what to
// say to it.
func (d *door) welcome(g *guest, theirs word, shunned bool) word {
	g.words = g.stands != standsKnown || theirs != wordKnown
	switch {
	case shunned:
		return wordLater
	case d.terminal || d.accepts(g) && (d.yes || !g.words):
	default:
		return wordNobody
	}
	if g.stands == standsKnown {
		return wordKnown
	}
	return wordStranger
}

// accepts tells whether nobody is asked about the offers of a guest.
func (d *door) accepts(g *guest) bool {
	return d.yes && g.stands != standsChanged || d.trust && g.stands == standsKnown
}

// asksFor is how long a question to the person about a guest stands. With --trust nobody whom
// the person expects is a stranger, and who is known must not wait for strangers.
func (d *door) asksFor(g *guest) time.Duration {
	if d.trust && g.stands != standsKnown {
		return strangeTime
	}
	return answerTime
}

// A round is one guest being waited for.
type round struct {
	*waiter
	end context.CancelFunc

	mu        sync.Mutex
	guests    map[string]*guest  // who were let in, by exporter; guarded by mu
	strangers map[netip.Addr]int // connections of theirs; guarded by mu
	timer     *time.Timer        // ends the round when strangers sit on them; guarded by mu
	failed    error              // why it had to end; guarded by mu
}

// errUnknown says that a connection was chosen that was not let in, which cannot be.
var errUnknown = errors.New("a connection of nobody")

var errStrangers = errors.New("strangers have come, and not gone on")

// nobodys tells the end of a round that is nobody's fault here: the next one begins at once,
// since nobody is heard in between.
func nobodys(err error) bool { return isAny(err, errStrangers, errCrowd) }

// meet waits for somebody to come in.
func (w *waiter) meet(ctx context.Context) (*tcppunch.Conn, *guest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &round{waiter: w, end: cancel, guests: map[string]*guest{}, strangers: map[netip.Addr]int{}}
	me := w.door.me
	look := &lanLook{
		flags: &w.cmd.lanFlags, service: lanfind.Service{Name: me.name, ID: me.id, Key: me.key.String()}, out: w.out,
		match: func(p lanfind.Peer) bool { return p.Room == roomTo(me.key) }, failed: r.fail,
	}
	near, stop, err := look.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	near.Auth = r.authenticate
	conn, err := tcppunch.Dial(ctx, &tcppunch.Config{Side: tcppunch.SideB, Near: near, Trace: verbose(w.out)})
	stop()
	g, err := r.over(conn, err)
	if err != nil && conn != nil {
		conn.Close() //nolint:errcheck // over in any case
	}
	return conn, g, err
}

// over is what comes of a round, in which err or a connection was the end.
func (r *round) over(conn *tcppunch.Conn, err error) (*guest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	if err == nil {
		exporter, err := conn.Exporter()
		g := r.guests[string(exporter)]
		if err == nil && g == nil {
			err = errUnknown
		}
		return g, err
	}
	if r.failed == nil {
		return nil, err
	}
	return nil, r.failed
}

// tire ends a round in which strangers sit on their connections. Who has hung up, which the
// engine has seen, does not.
func (r *round) tire() {
	r.mu.Lock()
	now := time.Now()
	for _, g := range r.guests {
		if g.words && now.Sub(g.since) > strangerTime/2 && g.conn.SetWriteDeadline(time.Time{}) == nil {
			r.shy.refused(now, g)
		}
	}
	r.mu.Unlock()
	r.fail(errStrangers)
}

// fail ends a round in which nobody can come, or nobody goes on.
func (r *round) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
		r.end()
	}
}

// authenticate runs on every connection, before one is chosen.
func (r *round) authenticate(ctx context.Context, conn net.Conn, exporter []byte) error {
	key, name, err := introduce(ctx, r.door.self, conn, false, exporter, r.door.me.name)
	if err != nil {
		return err
	}
	known, err := readKnown()
	if err != nil {
		r.fail(err)
		return err
	}
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return err
	}
	g := &guest{key: key, name: name, from: from.Addr().Unmap().WithZone(""), since: time.Now(), conn: conn}
	g.stands, g.of = known.verdict(name, key)
	var mine word
	d := r.door
	d.terminal = d.terminal && attended()
	_, err = greet(ctx, conn, false, func(theirs word) word {
		mine = d.welcome(g, theirs, r.shy.shuns(g.since, g))
		return mine
	})
	if err != nil {
		return err
	}
	if why := mine.refusal(); why != nil {
		r.tellChanged(g, mine)
		turnAway(ctx, conn)
		return why
	}
	return r.letIn(g, exporter)
}

// tellEvery is how often the person is told of a guest with another key who is not let in.
const tellEvery = time.Minute

// tellChanged tells it, as nobody else will.
func (r *round) tellChanged(g *guest, why word) {
	r.mu.Lock()
	tell := g.stands == standsChanged && why == wordNobody && time.Since(r.told) > tellEvery
	if tell {
		r.told = time.Now()
	}
	r.mu.Unlock()
	if tell {
		r.out.peer(g.called(), g.key, g.stands)
		r.out.warnChanged(g.of, g.key)
	}
}

var errCrowd = errors.New("too many have come")

// letIn notes a guest. Strangers have no right to stay.
func (r *round) letIn(g *guest, exporter []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.guests) >= maxGuests {
		r.failed = cmp.Or(r.failed, errCrowd)
		r.end()
		return errCrowd
	}
	if g.words {
		if n := r.strangers[g.from]; n >= maxOfStranger || n == 0 && len(r.strangers) >= maxStrangers {
			return errCrowd
		}
		r.strangers[g.from]++
		if r.timer == nil {
			r.timer = time.AfterFunc(strangerTime, r.tire)
		}
	}
	r.guests[string(exporter)] = g
	return nil
}
