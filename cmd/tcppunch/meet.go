package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const (
	// joinTime bounds how long the server takes to let us in.
	joinTime = 20 * time.Second
	// numberTime is the same for a side that waits for a number, and could draw one.
	numberTime = 8 * time.Second
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
	// provenTime is how long somebody who has proven the words on the local network has
	// until the connection there must be chosen.
	provenTime = 15 * time.Second
	// oddPause follows an exchange that failed without a guess, times the
	// number of those so far, so that nobody can make us turn in circles.
	oddPause    = 100 * time.Millisecond
	maxOddPause = 3 * time.Second
)

// meetAtServer waits at the server for whoever proves to know the words, and returns what
// carries messages to them, and this side's ports.
func (r *rendezvous) meetAtServer(ctx context.Context) (tcppunch.Signaler, *tcppunch.Local, error) {
	if err := r.joinOnce(ctx); err != nil {
		return nil, nil, err
	}
	r.tellWaiting("Waiting for the other side …")
	for {
		began := time.Now()
		idle := r.checkWhileIdle(ctx)
		lonely := r.tellLonely()
		m, err := r.room.Meet(ctx)
		lonely()
		idle()
		if err != nil {
			return nil, nil, err
		}
		r.phases.Meet = ms(time.Since(began))
		r.out.detail("the other side is in the room")
		local, err := r.pairUp(ctx, m)
		if err == nil {
			return r.signals, local, nil
		}
		if r.proven.Load() { // on the local network: it has no more use for the room
			sleep(ctx, provenTime) //nolint:errcheck // seen below
			r.proven.Store(false)
		}
		if err = r.again(ctx, err); err != nil {
			return nil, nil, err
		}
	}
}

// joinOnce enters the room unless this side is in it. If the other side may come by
// another way, it tries for as long as the server may be back.
func (r *rendezvous) joinOnce(ctx context.Context) error {
	for p := new(pauses); r.room == nil; {
		err := r.join(ctx, joinTime)
		if err == nil || ctx.Err() != nil || !r.goesOn(err) {
			return err
		}
		r.goesWithout(err)
		r.tellWaiting(waitingNear)
		if p.wait(ctx) != nil {
			return ctx.Err()
		}
	}
	return nil
}

// goesOn tells whether an error of the server leaves the other side to be looked for on
// the local network. Who has typed the server's name wants to hear of it, but for a
// connection that is made again.
func (r *rendezvous) goesOn(err error) bool {
	if !r.onLAN() || r.flags.serverTyped && !r.quiet {
		return false
	}
	return isAny(err, stunt.ErrNoServer, stunt.ErrBusy, stunt.ErrLimited) || r.drawn && errors.Is(err, stunt.ErrSideTaken) || r.quiet && passing(err)
}

// goesWithout notes what is wrong with the server, and says so once.
func (r *rendezvous) goesWithout(err error) {
	switch {
	case r.serverErr != nil:
		r.out.detail("trying again: %s", shown(err))
	case r.quiet:
		r.out.say("Still looking: %s.", shown(err))
	default:
		r.out.say("Warning: %s. Looking on the local network only, for as long as that lasts.", shown(err))
	}
	r.serverErr = err
}

// checkWhileIdle has the routers checked if nobody comes for a while, and not as
// long as what was gathered ahead is fresh: a check spends ports that a
// prediction would count on. What it returns ends that and waits for the end.
func (r *rendezvous) checkWhileIdle(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	after := idleTime
	if r.ahead != nil {
		after += freshTime
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if sleep(ctx, after) == nil {
			r.routers.check(ctx)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// join enters the room.
func (r *rendezvous) join(ctx context.Context, most time.Duration) error {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	side := stunt.SideSend
	switch {
	case r.alike():
		side = stunt.SideBench
	case r.side == tcppunch.SideB:
		side = stunt.SideRecv
	}
	room, err := stunt.Join(limited, &stunt.JoinOptions{
		Server: r.flags.Server, Room: r.code.Room(), Side: side, Trace: r.watch.trace(),
	})
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return noServer(fmt.Errorf("%w: the server %s did not answer within %v", stunt.ErrNoServer, r.flags.Server, most))
	}
	if err != nil {
		return err
	}
	r.phases.Join = ms(time.Since(began))
	r.serverErr = nil
	r.enter(room)
	return nil
}

// enter notes the room, unless the search is over.
func (r *rendezvous) enter(room *stunt.Room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room = room
	if r.left {
		room.Close() //nolint:errcheck // over in any case
	}
}

// leave leaves the room. A server that does not do its part must not keep us longer than
// the search lasts.
func (r *rendezvous) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room != nil && !r.left {
		r.room.Close() //nolint:errcheck // over in any case
	}
	r.left = true
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

// pairUp pairs with whoever is in the room.
func (r *rendezvous) pairUp(ctx context.Context, m *stunt.Meeting) (*tcppunch.Local, error) {
	r.meeting = m
	if r.alike() {
		r.side = tcppunch.SideB
		if m.First() {
			r.side = tcppunch.SideA
		}
	}
	g := r.ahead
	if !g.keep() {
		g = r.gather(ctx)
	}
	taken := false
	defer func() {
		if !taken {
			g.discard()
		}
	}()
	began := time.Now()
	sealed, err := r.pair(ctx, m)
	if err != nil {
		return nil, &meetingError{err}
	}
	if r.claim != nil && !r.claim() {
		return nil, errOtherWay
	}
	r.phases.Pair = ms(time.Since(began))
	r.paired, r.signals = true, &signals{sealed: sealed}
	began = time.Now()
	if g.old() { // the other side took its time
		g.discard()
		g = r.gather(ctx)
	}
	local, err := g.take(ctx)
	if err != nil {
		return nil, err
	}
	taken = true
	r.phases.Wait, r.phases.Gather = ms(time.Since(began)), ms(g.took)
	r.dialled = time.Now()
	return local, nil
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
func (r *rendezvous) again(ctx context.Context, err error) error {
	var over *meetingError
	if ctx.Err() != nil || !errors.As(err, &over) || r.paired && r.claim != nil {
		return err
	}
	m := r.meeting
	broken := errors.Is(err, stunt.ErrPeerLeft) || errors.Is(err, stunt.ErrDisconnected)
	joiner := !r.owner && !r.paired && !m.First()
	pause, ended := r.guesses.Count(err)
	switch {
	case joiner && (!broken || pair.Guess(err) && r.guesses.Failed() > 1):
		return r.notLetIn(over.error) // the room is somebody else's, and the search is over
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
