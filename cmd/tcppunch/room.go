package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const (
	// joinTime bounds how long the server takes to let us in.
	joinTime = 20 * time.Second
	// sealTime bounds how long a member of the room may take to prove that it
	// knows the words: whoever only sits there must not keep others out.
	sealTime = 10 * time.Second
	// startTime is the same for the side that is spoken to first. It must wait
	// longer: the other side may be pausing after wrong guesses, or find out only
	// now that its line to the server is dead.
	startTime = 45 * time.Second
	// idleTime is how long nobody has to come until there is time for a check.
	idleTime = time.Second
	// lonelyTime is how long somebody with a code waits alone until a wrong number
	// is likely.
	lonelyTime = 15 * time.Second
	// oddPause follows an exchange that failed without a guess, times the
	// number of those so far, so that nobody can make us turn in circles.
	oddPause    = 100 * time.Millisecond
	maxOddPause = 3 * time.Second
)

// A rendezvous is what is needed to connect to a peer by a code: both sides join
// a room of the server, prove to each other that they know the words, and punch,
// with the room to carry what they have to tell each other.
type rendezvous struct {
	flags  *codeFlags
	via    *viaFlags
	common *cli
	side   tcppunch.Side
	code   pair.Code // none: one is made for the room that the server hands out
	other  string    // the command that the other side runs, "bench" on both
	out    *output
	quiet  bool // somebody else has told the person what is waited for

	// claim is asked, if it is not nil, when the other side has proven the words: where
	// there are two ways to meet it, only one of them may go on. No meeting follows then.
	claim func() bool

	routers *routers
	room    *stunt.Room
	owner   bool // nobody had this code before us
	paired  bool // somebody else has it too
	guesses pair.Guesses
	odd     int // exchanges that failed otherwise
	phases  phases
}

// phases say how long the steps took, of which those to the addresses overlap.
type phases struct {
	Join   float64 `json:"join_ms"`   // from being asked until the server has taken us in
	Meet   float64 `json:"meet_ms"`   // until the other side is there
	Pair   float64 `json:"pake_ms"`   // from then until both sides have proven that they know the words
	Gather float64 `json:"gather_ms"` // own ports and their public addresses, beside the steps before
	Wait   float64 `json:"wait_ms"`   // for the addresses, after the others
	Dial   float64 `json:"dial_ms"`   // from then to the connection that both sides have chosen
}

func (p *phases) String() string {
	return fmt.Sprintf("join %.0f ms, meet %.0f ms, pair %.0f ms, wait for addresses %.0f ms (which took %.0f ms), dial %.0f ms",
		p.Join, p.Meet, p.Pair, p.Wait, p.Gather, p.Dial)
}

// connect finds the peer and returns a connection to it. Whoever is at the other
// end knows the code.
func (r *rendezvous) connect(ctx context.Context) (*tcppunch.Conn, error) {
	search, cancel := context.WithTimeout(ctx, r.common.Timeout)
	defer cancel()
	watch := &serverWatch{out: r.out, server: r.flags.Server}
	defer watch.stop()
	conn, err := r.search(search, watch)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, interrupted(err)
	case search.Err() != nil:
		return nil, r.late(err, watch)
	}
	return nil, err
}

// search is connect until the time is over.
func (r *rendezvous) search(ctx context.Context, watch *serverWatch) (*tcppunch.Conn, error) {
	r.routers = newRouters(ctx, r.flags.stun(r.common.STUN), r.out)
	var ahead *gathering
	if r.code != (pair.Code{}) { // the other side may be there already
		ahead = r.gatherAhead(ctx)
		defer ahead.discard()
	}
	if err := r.join(ctx, watch); err != nil {
		return nil, err
	}
	leave := sync.OnceFunc(func() { r.room.Close() }) //nolint:errcheck // over in any case
	defer leave()
	// A server that does not do its part must not keep us longer than the search lasts.
	defer context.AfterFunc(ctx, leave)()
	r.waiting("Waiting for the other side …")
	for {
		began := time.Now()
		idle := r.checkWhileIdle(ctx, ahead)
		lonely := r.tellLonely()
		m, err := r.room.Meet(ctx)
		lonely()
		idle()
		if err != nil {
			return nil, err
		}
		r.phases.Meet = ms(time.Since(began))
		r.out.detail("the other side is in the room")
		conn, err := r.meet(ctx, m, ahead)
		if err == nil {
			return conn, nil
		}
		if err = r.again(ctx, m, err); err != nil {
			return nil, err
		}
	}
}

// checkWhileIdle has the routers checked if nobody comes for a while, and not as
// long as what was gathered ahead is fresh: a check spends ports that a
// prediction would count on. What it returns ends that and waits for the end.
func (r *rendezvous) checkWhileIdle(ctx context.Context, ahead *gathering) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	after := idleTime
	if ahead != nil {
		after += freshTime
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTimer(after)
		defer t.Stop()
		select {
		case <-t.C:
			r.routers.check(ctx)
		case <-ctx.Done():
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// join enters the room, and makes the code if there is none.
func (r *rendezvous) join(ctx context.Context, watch *serverWatch) error {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	side := stunt.SideSend
	switch {
	case r.alike():
		side = stunt.SideBench
	case r.side == tcppunch.SideB:
		side = stunt.SideRecv
	}
	var err error
	r.room, err = stunt.Join(limited, &stunt.JoinOptions{
		Server: r.flags.Server, Room: r.code.Room(), Side: side, Trace: watch.trace(),
	})
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return noServer(fmt.Errorf("the server %s did not answer within %v", r.flags.Server, joinTime))
	}
	if err != nil {
		return err
	}
	r.phases.Join = ms(time.Since(began))
	if r.code == (pair.Code{}) {
		r.owner = true
		if r.code, err = pair.NewCode(r.room.Name()); err != nil {
			r.room.Close() //nolint:errcheck // over in any case
			return err
		}
		r.tellCode()
	}
	return nil
}

// tellCode shows the code that the other side needs.
func (r *rendezvous) tellCode() {
	r.out.event("code", struct {
		Code string `json:"code"`
	}{r.code.String()})
	command := r.flags.commandFor(r.other, r.code)
	r.out.say("Code: %s        on the other machine: %s", r.code, command)
	r.out.qr(command)
}

func (r *rendezvous) waiting(text string) {
	if r.quiet {
		r.out.detail("%s", text)
		return
	}
	r.out.waiting(r.flags.Server, text)
}

// tellLonely says, after a while, that nobody is where a handed-out code leads,
// unless it is stopped. Rooms with a name of people's own choice may be entered by
// either side first.
func (r *rendezvous) tellLonely() (stop func()) {
	room := r.code.Room()
	if r.quiet || r.owner || r.paired || strings.Trim(room, "0123456789") != "" {
		return func() {}
	}
	t := time.AfterFunc(lonelyTime, func() {
		r.out.say("Nobody is in room %s yet: if the other side is waiting, compare the codes.", room)
	})
	return func() { t.Stop() }
}

// alike tells whether both sides run the same command, so that the room has to say
// which of them is which.
func (r *rendezvous) alike() bool { return strings.HasPrefix(r.other, "bench") }

// meet pairs with whoever is in the room and punches.
func (r *rendezvous) meet(ctx context.Context, m *stunt.Meeting, ahead *gathering) (*tcppunch.Conn, error) {
	if r.alike() {
		r.side = tcppunch.SideB
		if m.First() {
			r.side = tcppunch.SideA
		}
	}
	g := ahead
	if !g.keep() {
		g = r.gather(ctx)
	}
	defer func() { g.discard() }()
	began := time.Now()
	sealed, err := r.pair(ctx, m)
	if err != nil {
		return nil, &meetingError{err}
	}
	if r.claim != nil && !r.claim() {
		return nil, errOtherWay
	}
	r.phases.Pair = ms(time.Since(began))
	r.paired = true
	began = time.Now()
	if g.old() { // the other side took its time
		g.discard()
		g = r.gather(ctx)
	}
	local, err := g.take(ctx)
	if err != nil {
		return nil, err
	}
	r.phases.Wait, r.phases.Gather = ms(time.Since(began)), ms(g.took)
	began = time.Now()
	s := &signals{sealed: sealed}
	conn, err := tcppunch.Dial(ctx, &tcppunch.Config{
		Side: r.side, Signaler: s, Local: local, Via: r.via.transport(), HeadStart: r.via.HeadStart, STUN: r.flags.stun(r.common.STUN), NAT: r.routers.know, Sockets: r.flags.Sockets, Trace: verbose(r.out),
	})
	if err != nil {
		return nil, s.farewell(ctx, err)
	}
	r.phases.Dial = ms(time.Since(began))
	r.out.connected(conn.Path(), &r.phases)
	return conn, nil
}

// pair proves to each other that both sides know the words.
func (r *rendezvous) pair(ctx context.Context, m *stunt.Meeting) (*pair.Sealed, error) {
	initiator, most := r.side == tcppunch.SideA, sealTime
	if !initiator {
		most = startTime
	}
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	sealed, err := pair.Seal(limited, m, r.code, initiator)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("%w: %w", errSilent, err)
	}
	return sealed, err
}

var errOtherWay = errors.New("the other side was met on another way")

var errSilent = errors.New("the other side does not answer")

// A meetingError ended a meeting, and not the search: somebody else may come, or
// the same one again.
type meetingError struct{ error }

func (e *meetingError) Unwrap() error { return e.error }

// again decides whether to go on after a meeting that ended with err. It returns
// the error that ends the search.
func (r *rendezvous) again(ctx context.Context, m *stunt.Meeting, err error) error {
	if ctx.Err() != nil || !errors.As(err, new(*meetingError)) || r.paired && r.claim != nil {
		return err
	}
	broken := errors.Is(err, stunt.ErrPeerLeft) || errors.Is(err, stunt.ErrDisconnected)
	joiner := !r.owner && !r.paired && !m.First()
	pause, ended := r.guesses.Count(err)
	switch {
	case joiner && (!broken || pair.Guess(err) && r.guesses.Failed() > 1):
		return r.notLetIn(err) // the room is somebody else's
	case errors.Is(err, pair.ErrWrongWords):
		r.out.say("Warning: somebody tried a wrong code (%d of %d).", r.guesses.Failed(), pair.MaxGuesses)
	case pair.Guess(err):
		r.out.say("Warning: somebody may have tried a wrong code (%d of %d).", r.guesses.Failed(), pair.MaxGuesses)
	case errors.Is(err, pair.ErrVersion), errors.Is(err, pair.ErrTampered):
		r.out.say("Warning: %s.", shown(err))
	case r.paired && errors.Is(err, stunt.ErrPeerLeft):
		r.waiting("The other side went away. Waiting for it again …")
	}
	r.out.detail("the meeting is over: %s", shown(err))
	if !broken {
		m.Drop()
	}
	if ended != nil {
		return ended
	}
	if pause == 0 {
		r.odd++
		pause = min(time.Duration(r.odd)*oddPause, maxOddPause)
	}
	return sleep(ctx, pause)
}

// notLetIn tells why whoever has the room does not take us for the other side.
func (r *rendezvous) notLetIn(err error) error {
	room := r.code.Room()
	switch {
	case pair.Guess(err):
		return &failure{statusWrongCode, "wrong-code", fmt.Errorf("the code is wrong: in room %s they have other words", room),
			"compare the code with the one on the other screen"}
	case errors.Is(err, pair.ErrVersion), errors.Is(err, stunt.ErrDropped):
		return err
	}
	return &failure{statusWrongCode, "bad-peer", fmt.Errorf("whoever is in room %s is not the other side: %w", room, err),
		"check the code, and that both sides run tcppunch"}
}

// late tells why the time for the search has passed in vain.
func (r *rendezvous) late(err error, watch *serverWatch) error {
	var dial *tcppunch.DialError
	switch {
	case errors.Is(err, stunt.ErrNoServer):
		return noServer(fmt.Errorf("%w within %v", err, r.common.Timeout))
	case errors.As(err, &dial):
		return noPath(dial)
	case watch.isLost():
		return noServer(fmt.Errorf("the connection to the server %s was lost and did not come back", r.flags.Server))
	}
	return &failure{statusNoPath, "timeout", fmt.Errorf("nobody came with this code within %v", r.common.Timeout),
		"check the code, and that both sides use the same server at the same time"}
}

func noServer(err error) error {
	return &failure{statusNoPath, "no-server", err, "check the server's address, and that this machine has a network"}
}

// noPath tells why two sides that have met could not connect. Nobody typed an
// address, so none can be wrong.
func noPath(e *tcppunch.DialError) error {
	f := dialFailure(e)
	if f.code == "timeout" {
		f.code = "no-path"
	}
	if f.code == "no-path" {
		f.advice = "try another network on one of the two sides"
	}
	if len(e.Attempts) == 0 && !errors.Is(e, tcppunch.ErrImpossible) && !errors.Is(e, tcppunch.ErrNoNetwork) {
		f.err = fmt.Errorf("the two sides have met, but could not tell each other where to connect: %w", cause(e))
	}
	return f
}

// cause is what a Dial says of its end besides that there is no path.
func cause(e *tcppunch.DialError) error {
	for _, err := range e.Unwrap() {
		if err != tcppunch.ErrNoPath { //nolint:errorlint // this very one, which any other may wrap
			return err
		}
	}
	return e
}
