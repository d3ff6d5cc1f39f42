package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

const (
	// answerTime is how long a question to the person stands. No answer is a no.
	answerTime = time.Minute
	// strangeTime is the same of a question about a stranger, where those who are known are
	// not asked about.
	strangeTime = 15 * time.Second
	// maxAcceptances bounds the offers that are remembered.
	maxAcceptances = 1000
)

// A waiter takes files from neighbours, one transfer after the other, until it is stopped.
type waiter struct {
	cmd    *recvCmd
	common *cli
	out    *output

	door     door
	shy      shunning
	accepted map[acceptance]bool
	told     time.Time // when somebody with another key was turned away; a round's lock guards it
}

// An acceptance is what the person has said yes to. It counts until all of that is here, so
// that nobody is asked again after a break.
type acceptance struct {
	from   pair.PublicKey
	digest [32]byte // of the offer
}

// wait is `tcppunch recv --wait`.
func (c *recvCmd) wait(ctx context.Context, common *cli, out *output) error {
	w := &waiter{cmd: c, common: common, out: out, accepted: map[acceptance]bool{}}
	if err := w.prepare(); err != nil {
		return err
	}
	name, to := w.door.me.called(), w.door.me.name
	if to == "" {
		to = w.door.me.String()
	}
	out.say("On another machine of this network: tcppunch send --to %s FILE", shellWord(to))
	out.detail("the key of this machine: %v", w.door.me.key)
	out.waiting("lan", fmt.Sprintf("Waiting for files, as %s …", name))
	hasty, told := new(pauses), ""
	for ctx.Err() == nil {
		began := time.Now()
		conn, g, err := w.meet(ctx)
		if err == nil {
			w.serve(ctx, conn, g)
			continue
		}
		if nobodys(err) {
			w.out.detail("another round: %s", shown(err))
			continue
		}
		if why := shown(err); ctx.Err() == nil && why != told {
			out.goOn("Nobody can come now", err)
			told = why
		}
		if hasty.tooSoon(began) {
			hasty.wait(ctx) //nolint:errcheck // seen above
		}
	}
	return interrupted(ctx.Err())
}

// prepare checks the flags, and finds out what this side is to neighbours.
func (w *waiter) prepare() error {
	c := w.cmd
	w.door = door{yes: c.Yes, trust: c.Trust, terminal: attend()}
	switch {
	case c.Given != "" || c.Code != "" || c.Peer != "":
		return usage(errors.New("with --wait there is neither a code nor an address (--peer, TCPPUNCH_PEER): neighbours come by themselves"))
	case !c.LAN:
		return usage(errors.New("--wait is for neighbours on the local network, which is left out (--no-lan, TCPPUNCH_LAN)"))
	case c.transport() == tcppunch.ViaKCP:
		return usage(errNearBy)
	case c.Out == "-":
		return usage(errors.New("--wait receives into a folder: --out - is for one transfer"))
	case !w.door.terminal && !w.door.yes && !w.door.trust:
		return usage(errors.New("without a terminal, --wait needs --trust (to take all from whom you know) or --yes (from everybody)"))
	}
	dst, err := c.dest(w.common)
	if err != nil {
		return err
	}
	dst.Close() //nolint:errcheck // nothing is in it
	if _, err := readKnown(); err != nil {
		return err
	}
	if w.door.self, err = ownIdentity(); err != nil {
		return err
	}
	var id [8]byte
	rand.Read(id[:]) //nolint:errcheck // never fails
	w.door.me = addressee{hex.EncodeToString(id[:]), pair.CleanName(c.nickname()), w.door.self.Public()}
	return nil
}

// serve does all with a guest that there is to do on one connection, and tells it.
func (w *waiter) serve(ctx context.Context, conn *tcppunch.Conn, g *guest) {
	w.out.connected(conn.Path(), nil)
	w.out.peer(g.called(), g.key, g.stands)
	if g.stands == standsChanged {
		w.out.warnChanged(g.of, g.key)
	}
	err := w.getToKnow(ctx, conn, g)
	if err != nil {
		conn.Close() //nolint:errcheck // over in any case
		w.mind(g, err)
	} else {
		err = w.receive(ctx, conn, g)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.out.goOn("Error", err)
	}
	w.out.waiting("lan", "Waiting for files …")
}

var (
	errSaidNo         = errors.New("you have said no")
	errGuestSilent    = errors.New("it says nothing")
	errNobodyAnswered = errors.New("nobody has answered the question in time")
)

// mind notes what there is to hold against a guest whom nobody has come to know.
func (w *waiter) mind(g *guest, err error) {
	if isAny(err, errSaidNo, errGuestSilent, errNobodyAnswered) {
		w.shy.refused(time.Now(), g)
		return
	}
	w.shy.brokeOff(time.Now(), g)
}

// getToKnow has both people compare check words if one of the two sides does not know the
// other, and remembers the guest.
func (w *waiter) getToKnow(ctx context.Context, conn *tcppunch.Conn, g *guest) error {
	if g.words {
		if err := w.compare(ctx, conn, g); err != nil {
			return unconfirmed(err)
		}
	}
	g.of.name = w.out.remember(g.called(), g.key, g.stands == standsKnown, unchecked(g.words, w.door.yes, g.stands))
	return nil
}

// compare has both people compare check words. No side may take long.
func (w *waiter) compare(ctx context.Context, conn *tcppunch.Conn, g *guest) error {
	exporter, err := conn.Exporter()
	if err != nil {
		return err
	}
	w.out.sayStranger(g.called(), g.stands)
	err = showWords(ctx, conn, false, exporter, greetTime, w.out)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", pair.ErrNotConfirmed, errGuestSilent)
	}
	if err != nil {
		return err
	}
	asks := g.stands == standsChanged || !w.door.yes
	answer := trustOrAsk(w.door.yes, w.out)
	if asks {
		answer = func(ctx context.Context) (bool, error) {
			yes, err := w.ask(ctx, g, sameWords)
			if err == nil && !yes {
				err = errSaidNo
			}
			return yes, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, w.door.asksFor(g))
	defer cancel()
	err = pair.Confirm(limited, conn, answer)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: %w", pair.ErrNotConfirmed, errNobodyAnswered)
	case err == nil && asks && g.stands != standsKnown:
		w.shy.welcomed()
	}
	return err
}

// receive takes what a guest offers.
func (w *waiter) receive(ctx context.Context, conn *tcppunch.Conn, g *guest) error {
	dst, err := w.cmd.dest(w.common) // one for each: it takes again what it has taken once
	if err != nil {
		conn.Close() //nolint:errcheck // over in any case
		return err
	}
	defer dst.Close() //nolint:errcheck // partial files are kept in any case
	show := newProgress(w.out, false)
	s := &session{way: metWay{conn, g.of.name}, side: tcppunch.SideB, lasting: true, out: w.out}
	var offer acceptance
	accept := func(ctx context.Context, o transfer.Offer) error {
		offer = acceptance{g.key, o.Digest}
		return w.accept(ctx, g, o)
	}
	s.transfer = w.cmd.receive(s, dst, show, accept, w.asker(g, show))
	err = s.run(ctx)
	switch {
	case err == nil:
		show.done("Received")
		if w.shy.forgive(g); !s.unheard {
			delete(w.accepted, offer)
		}
	case errors.Is(err, transfer.ErrRefused) && !errors.As(err, new(*transfer.RemoteError)):
		w.shy.refused(time.Now(), g)
	}
	return err
}

// accept decides on an offer.
func (w *waiter) accept(ctx context.Context, g *guest, o transfer.Offer) error {
	a := acceptance{g.key, o.Digest}
	if !w.accepted[a] && !w.door.accepts(g) {
		who := g.of.name
		switch g.stands {
		case standsUnknown:
			who += " (met just now)"
		case standsChanged:
			who += " (met just now, and not known before)"
		}
		yes, err := w.ask(ctx, g, fmt.Sprintf("Receive %s from %s?", describe(o), who))
		if err != nil {
			return err
		}
		if !yes {
			return errNotWanted
		}
	}
	if len(w.accepted) >= maxAcceptances {
		clear(w.accepted)
	}
	w.accepted[a] = true
	return nil
}

// ask asks the person, who may be away, for a yes about a guest.
func (w *waiter) ask(ctx context.Context, g *guest, question string) (bool, error) {
	t, err := openTerminal()
	if err != nil {
		return false, errNoTerminal
	}
	defer t.Close()
	t.drain() // what was typed while nobody was asked is no answer
	limited, cancel := context.WithTimeout(ctx, w.door.asksFor(g))
	defer cancel()
	yes, err := t.yes(limited, question, false)
	if err != nil && ctx.Err() == nil { // also where the terminal is no longer ours
		w.out.detail("the question: %s", shown(err))
		return false, errNobodyAnswered
	}
	return yes, err
}

// asker asks what to do with files that exist and differ, where somebody is there to say it.
func (w *waiter) asker(g *guest, show *progress) func(context.Context, transfer.Conflict) (transfer.Policy, error) {
	ask := show.asker()
	if ask == nil || !attended() || w.door.accepts(g) || w.cmd.exists() != transfer.Keep {
		return nil
	}
	return func(ctx context.Context, c transfer.Conflict) (transfer.Policy, error) {
		limited, cancel := context.WithTimeout(ctx, w.door.asksFor(g))
		defer cancel()
		if t, err := openTerminal(); err == nil {
			t.drain() // as above
			t.Close()
		}
		p, err := ask(limited, c)
		if err != nil && ctx.Err() == nil {
			return transfer.Keep, nil
		}
		return p, err
	}
}

// A metWay is a way to somebody who is there already.
type metWay struct {
	conn   *tcppunch.Conn
	called string
}

func (w metWay) prepare(context.Context) error { return nil }

func (w metWay) dial(context.Context, pair.Key, bool) (*tcppunch.Conn, bool, error) {
	return w.conn, false, nil
}

func (w metWay) name() (id, about string) { return "", "" }

func (w metWay) where() string { return w.called }

func (w metWay) command() string { return "" }

func (w metWay) again() string { return "when " + w.called + " comes back, it" }
