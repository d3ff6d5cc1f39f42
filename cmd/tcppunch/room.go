package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const waitingNear = "Waiting for the other side, on the local network …"

// A rendezvous is what is needed to connect to a peer by a code: both sides join
// a room of the server, prove to each other that they know the words, and punch,
// with the room to carry what they have to tell each other. At the same time they
// look for each other on the local network, where each announces the room's number, and
// prove the words inside each connection. One Dial has both, so both sides come to use
// the same connection. Without a server the local network is all.
type rendezvous struct {
	flags  *codeFlags
	lan    *lanFlags // nil: the local network is left out
	via    *viaFlags
	common *cli
	side   tcppunch.Side
	code   pair.Code // none: one is made for the room that the server hands out
	other  string    // the command that the other side runs, "bench" on both
	out    *output
	quiet  bool // somebody else has told the person what is waited for

	// lanGuesses counts those at the code on the local network. It is nil for a code that
	// nobody guesses.
	lanGuesses *lanGuesses

	// claim is asked, if it is not nil, when the other side has proven the words: where
	// there are two ways to meet it, only one of them may go on. No meeting follows then.
	claim func() bool

	watch     *serverWatch
	routers   *routers   // nil without a server
	ahead     *gathering // begun before anybody came, or nil
	owner     bool       // nobody had this code before us
	guesses   pair.Guesses
	serverErr error       // why the server is of no use, while that is so
	told      sync.Once   // what is waited for
	proven    atomic.Bool // the other side has proven the words on the local network
	drawn     bool        // the number was drawn here

	mu   sync.Mutex
	left bool        // guarded by mu
	room *stunt.Room // set under mu

	// Of the present meeting in the room.
	meeting *stunt.Meeting
	signals *signals // to the other side, once it has proven the words
	dialled time.Time

	// Of all meetings so far.
	paired bool // somebody else has the code too
	odd    int  // exchanges that failed, and were no guesses
	phases phases
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

// onLAN tells whether the other side is looked for on the local network. Neighbours connect
// by TCP. Of two sides that are alike, a room has to say who is who, which is another way
// than to draw that.
func (r *rendezvous) onLAN() bool {
	return r.lan != nil && r.lan.LAN && !(r.alike() && r.byServer()) && r.via.transport() != tcppunch.ViaKCP
}

func (r *rendezvous) byServer() bool { return r.flags.Server != "" }

// connect finds the peer and returns a connection to it. Whoever is at the other
// end knows the code.
func (r *rendezvous) connect(ctx context.Context) (*tcppunch.Conn, error) {
	search, cancel := context.WithTimeout(ctx, r.common.Timeout)
	defer cancel()
	r.watch = &serverWatch{out: r.out, server: r.flags.Server}
	defer r.watch.stop()
	conn, err := r.search(search)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, interrupted(err)
	case search.Err() != nil:
		return nil, r.late(err)
	}
	return nil, err
}

// search is connect until the time is over.
func (r *rendezvous) search(ctx context.Context) (*tcppunch.Conn, error) {
	defer r.leave()
	defer context.AfterFunc(ctx, r.leave)()
	if r.byServer() {
		r.routers = newRouters(ctx, r.flags.stun(r.common.STUN), r.out)
		if r.code != (pair.Code{}) { // the other side may be there already
			r.ahead = r.gatherAhead(ctx)
			defer r.ahead.discard()
		}
	}
	if r.code == (pair.Code{}) {
		if err := r.makeCode(ctx); err != nil {
			return nil, err
		}
	}
	if !r.byServer() {
		r.tellWaiting(waitingNear)
	}
	for {
		conn, err := r.attempt(ctx)
		if err == nil {
			return conn, nil
		}
		if err = r.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// makeCode makes the code, for a room that the server hands out. Without the server it is
// for a number drawn here: on the local network several may have the same.
func (r *rendezvous) makeCode(ctx context.Context) error {
	number := strconv.Itoa(1000 + rand.N(9000))
	r.drawn = true
	if r.byServer() {
		most := joinTime
		if r.onLAN() && !r.flags.serverTyped {
			most = numberTime
		}
		err := r.join(ctx, most)
		switch {
		case err == nil:
			number, r.drawn = r.room.Name(), false
		case !r.goesOn(err):
			return err
		default:
			r.goesWithout(err)
		}
	}
	r.owner = true
	var err error
	if r.code, err = pair.NewCode(number); err != nil {
		return err
	}
	r.tellCode()
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

// tellWaiting says once what is waited for.
func (r *rendezvous) tellWaiting(text string) { r.told.Do(func() { r.waiting(text) }) }

func (r *rendezvous) waiting(text string) {
	if r.quiet {
		r.out.detail("%s", text)
		return
	}
	r.out.waiting(r.flags.where(), text)
}

// alike tells whether both sides run the same command, so that it is open which of them
// is which.
func (r *rendezvous) alike() bool { return strings.HasPrefix(r.other, "bench") }

// dialSide is this side in a Dial. Two that are alike are told apart by a room, or not at all.
func (r *rendezvous) dialSide() tcppunch.Side {
	if r.alike() && !r.byServer() {
		return tcppunch.SideEither
	}
	return r.side
}

// attempt is one Dial, on all ways.
func (r *rendezvous) attempt(ctx context.Context) (*tcppunch.Conn, error) {
	trying, end := context.WithCancelCause(ctx)
	defer end(nil)
	cfg := &tcppunch.Config{Via: r.via.transport(), HeadStart: r.via.HeadStart, Sockets: r.flags.Sockets, Trace: verbose(r.out)}
	if r.byServer() {
		cfg.STUN, cfg.NAT = r.flags.stun(r.common.STUN), r.routers.know
	}
	r.signals = nil
	r.proven.Store(false)
	var met error // how the way by the server has ended
	if r.onLAN() {
		near, stop, err := r.look(trying, end)
		if err != nil {
			return nil, err
		}
		defer stop()
		cfg.Near = near
		if r.byServer() {
			cfg.Meet = func(ctx context.Context) (s tcppunch.Signaler, l *tcppunch.Local, err error) {
				s, l, met = r.meetAtServer(ctx)
				return s, l, met
			}
		}
	} else {
		var err error
		if cfg.Signaler, cfg.Local, err = r.meetAtServer(ctx); err != nil {
			return nil, err
		}
	}
	cfg.Side = r.dialSide()
	conn, err := tcppunch.Dial(trying, cfg)
	if err != nil {
		return nil, r.verdict(ctx, context.Cause(trying), met, err)
	}
	r.connected(conn)
	return conn, nil
}

// verdict tells what the end of a Dial means. This side may have ended it, for a cause; and
// the way by the server may have ended with an error of its own.
func (r *rendezvous) verdict(ctx context.Context, cause, met, err error) error {
	switch {
	case ctx.Err() != nil:
		return errors.Join(met, err)
	case cause != nil:
		return cause
	case r.signals != nil:
		return r.signals.farewell(ctx, err)
	case met != nil:
		return met
	}
	return err
}

// connected tells of the connection.
func (r *rendezvous) connected(conn *tcppunch.Conn) {
	if conn.Path().Kind == tcppunch.KindLAN {
		r.out.connected(conn.Path(), nil)
		return
	}
	r.phases.Dial = ms(time.Since(r.dialled))
	r.out.connected(conn.Path(), &r.phases)
}

// look looks for the other side on the local network, until stop is called. If that
// cannot be done and there is nothing else, it ends the attempt.
func (r *rendezvous) look(ctx context.Context, end context.CancelCauseFunc) (_ *tcppunch.Near, stop func(), _ error) {
	looking, cancel := context.WithCancel(ctx)
	room := r.announced()
	l := &lanLook{
		flags: r.lan, room: room, service: lanfind.Service{Name: r.lan.nickname(), Room: room}, out: r.out,
		failed: func(err error) {
			if !r.byServer() {
				end(err)
			}
			r.out.detail("not on the local network: %s", shown(err))
		},
	}
	near, over, err := l.open(looking)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	enough := sync.OnceFunc(func() {
		if !r.byServer() {
			end(fmt.Errorf("%w (on the local network)", pair.ErrGuessed))
			return
		}
		r.out.say("Warning: there were too many wrong guesses on the local network. Going on by the server alone.")
		cancel()
	})
	near.Auth = func(ctx context.Context, conn net.Conn, exporter []byte) error {
		from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil {
			return err
		}
		err = r.authenticate(ctx, conn, from, exporter)
		if pair.Guess(err) {
			l.isWrong(from)
			r.tellWrong(from)
		}
		if r.lanGuesses != nil && r.lanGuesses.spent() && err != nil {
			enough()
		}
		return err
	}
	return near, func() {
		cancel()
		over()
	}, nil
}

// announced is the room as neighbours are told of it. The name of a room that only a key
// leads to stays between the two and the server.
func (r *rendezvous) announced() string {
	room := r.code.Room()
	if r.lanGuesses != nil {
		return room
	}
	sum := sha256.Sum256([]byte("tcppunch, on the local network: " + room))
	return "again-" + hex.EncodeToString(sum[:10])
}

// authenticate has a neighbour prove that it knows the words.
func (r *rendezvous) authenticate(ctx context.Context, conn net.Conn, from netip.AddrPort, exporter []byte) error {
	auth := pair.Auth{Secret: r.code.Secret()}
	run := func() error { return auth.Run(ctx, conn, begins(conn, r.dialSide()), exporter) }
	var err error
	if r.lanGuesses == nil {
		err = run()
	} else {
		err = r.lanGuesses.counted(from.Addr(), &auth, run)
	}
	switch {
	case pair.Guess(err), errors.Is(err, errHostGuesses), errors.Is(err, errLANGuesses):
		return fmt.Errorf("%w: %w", tcppunch.ErrRejected, err)
	case err != nil:
		return err
	}
	if r.claim != nil && !r.claim() {
		return errOtherWay
	}
	r.proven.Store(true)
	return nil
}

// tellWrong tells once of a program that has other words.
func (r *rendezvous) tellWrong(from netip.AddrPort) {
	if r.lanGuesses == nil {
		return
	}
	switch all, first := r.lanGuesses.wrong(from); {
	case !first:
	case r.owner:
		r.out.say("Warning: somebody on this network, at %v, tried a wrong code (%d of %d).", from.Addr(), all, maxLANGuesses)
	default:
		r.out.say("Warning: whoever is in room %s at %v has other words. Compare the code with the one on the other screen.", r.code.Room(), from.Addr())
	}
}

// late tells why the time for the search has passed in vain.
func (r *rendezvous) late(err error) error {
	var dial *tcppunch.DialError
	switch {
	case errors.As(err, &dial) && r.paired:
		return noPath(dial)
	case !r.owner && errors.Is(err, tcppunch.ErrRejected):
		return &failure{statusWrongCode, "wrong-code", fmt.Errorf("nobody came with this code within %v; who is there in room %s has other words", r.common.Timeout, r.code.Room()),
			"compare the code with the one on the other screen"}
	case r.serverErr != nil:
		return noServer(fmt.Errorf("%w; and nobody came with this code on the local network within %v", r.serverErr, r.common.Timeout))
	case errors.Is(err, stunt.ErrNoServer):
		return noServer(fmt.Errorf("no answer of the server %s within %v", r.flags.Server, r.common.Timeout))
	case r.watch.isLost():
		return noServer(fmt.Errorf("the connection to the server %s was lost and did not come back", r.flags.Server))
	}
	advice := "check the code, and that both sides use the same server at the same time"
	if !r.byServer() {
		advice = "check the code, that both sides are on one network (tcppunch peers --doctor), or use a server (--server)"
	}
	return &failure{statusNoPath, "timeout", fmt.Errorf("nobody came with this code within %v", r.common.Timeout), advice}
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
