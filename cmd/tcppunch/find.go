package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// A way leads to the peer, as often as that is needed.
type way interface {
	// prepare finds out what it needs to know from the person at this side.
	prepare(ctx context.Context) error
	// dial finds the peer. With a key that is sure to be the peer's too, it is by that
	// alone; with one that may be, by that or as the first time. known tells that the
	// peer has proven to have it.
	dial(ctx context.Context, key pair.Key, sure bool) (conn *tcppunch.Conn, known bool, err error)
	// name tells it from other ways: short, for the name of a file, and in full. Both
	// are empty as long as the server has not said where to meet.
	name() (id, about string)
	// where it leads, for the waiting event.
	where() string
	// command is what a person types on the other machine if the program has ended there,
	// or nothing if that is what was typed there before.
	command() string
	// again is the same for this machine, in words.
	again() string
}

// way is how the two sides find each other. The code that was given beside the flags may
// be empty.
func (f *findFlags) way(common *cli, lan *lanFlags, side tcppunch.Side, given string, out *output) way {
	if f.Peer != "" && given == "" && f.Code == "" {
		return &peerWay{meeting{flags: &f.peerFlags, stun: f.stun(common.STUN), via: &f.viaFlags, common: common, side: side, out: out}}
	}
	return &roomWay{flags: f, lan: lan, common: common, side: side, given: given, out: out}
}

// A roomWay meets the peer in a room of a server, or on the local network.
type roomWay struct {
	flags  *findFlags
	lan    *lanFlags
	common *cli
	side   tcppunch.Side
	given  string
	out    *output

	typed      bool         // this side's person has given the code
	code       pair.Code    // none, until the server has handed out a room
	guesses    pair.Guesses // at the code, in the server's room, in all attempts
	lanGuesses lanGuesses   // the same on the local network
}

func (w *roomWay) prepare(ctx context.Context) error {
	if err := w.flags.checkWays(w.given, w.lan); err != nil {
		return err
	}
	if w.flags.Server == "" && w.flags.transport() == tcppunch.ViaKCP {
		return usage(errNearBy)
	}
	var err error
	w.code, err = w.flags.code(ctx, w.given, w.side, w.common.Timeout, w.out)
	w.typed = w.code != (pair.Code{})
	return err
}

func (w *roomWay) rendezvous(code pair.Code) *rendezvous {
	return &rendezvous{flags: &w.flags.codeFlags, lan: w.lan, via: &w.flags.viaFlags, common: w.common, side: w.side, code: code,
		other: "recv", out: w.out, lanGuesses: &w.lanGuesses}
}

// byKey is a rendezvous of two who have the key: nobody guesses that, and the person has
// been told what is waited for.
func (w *roomWay) byKey(key pair.Key) *rendezvous {
	r := w.rendezvous(pair.KeyCode(key))
	r.quiet, r.lanGuesses = true, nil
	return r
}

func (w *roomWay) dial(ctx context.Context, key pair.Key, sure bool) (*tcppunch.Conn, bool, error) {
	if !key.None() && !sure {
		return w.both(ctx, key)
	}
	r := w.rendezvous(w.code)
	r.guesses = w.guesses
	if sure {
		r = w.byKey(key)
	}
	conn, err := r.connect(ctx)
	if !sure {
		w.code, w.guesses = r.code, r.guesses
	}
	return conn, sure, err
}

// claimTime is how long a way has to lead to the end once the other side was met on it.
const claimTime = 20 * time.Second

var errClaim = errors.New("the other side was met, and did not stay")

// codeDelay is how long nobody has come to the key's room until the code's is tried.
const codeDelay = 5 * time.Second

// both looks for a peer that has the key, and after a while, beside that, for one that
// has the code only: its side of what was kept may be lost, or be elsewhere. Two that
// both have the key meet by it, as nobody is in the room of the code alone.
func (w *roomWay) both(ctx context.Context, key pair.Key) (*tcppunch.Conn, bool, error) {
	keyCtx, cancelKey := context.WithCancel(ctx)
	codeCtx, cancelCode := context.WithCancel(ctx)
	defer cancelKey()
	defer cancelCode()
	const nobody, theKey, theCode = 0, 1, 2
	var claimed atomic.Int32
	var late atomic.Pointer[time.Timer]
	defer func() {
		if t := late.Load(); t != nil {
			t.Stop()
		}
	}()
	claim := func(who int32, give context.CancelFunc) func() bool {
		return func() bool {
			if claimed.CompareAndSwap(nobody, who) {
				give()
				late.Store(time.AfterFunc(claimTime, func() {
					cancelKey()
					cancelCode()
				}))
			}
			return claimed.Load() == who // more than one connection may show it
		}
	}
	var other *tcppunch.Conn
	var otherErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := (pauses{next: codeDelay}); p.wait(codeCtx) == nil && !w.spent(); {
			r := w.rendezvous(w.code)
			r.quiet, r.guesses, r.claim = true, w.guesses, claim(theCode, cancelKey)
			other, otherErr = r.connect(codeCtx)
			if w.guesses = r.guesses; other != nil || claimed.Load() != nobody {
				return
			}
		}
	})
	r := w.byKey(key)
	r.claim = claim(theKey, cancelCode)
	conn, err := r.connect(keyCtx)
	if claimed.CompareAndSwap(nobody, theKey) || err == nil {
		cancelCode() // it is over without anybody having come
	}
	wg.Wait()
	switch {
	case conn != nil:
		if other != nil {
			other.Abort() //nolint:errcheck // of no use
		}
		return conn, true, nil
	case other != nil:
		return other, false, nil
	case ctx.Err() == nil && keyCtx.Err() != nil && codeCtx.Err() != nil && claimed.Load() != nobody:
		return nil, false, errClaim
	case ctx.Err() == nil && keyCtx.Err() != nil && otherErr != nil:
		return nil, false, otherErr
	}
	return nil, false, err
}

// spent tells whether there were too many wrong guesses at the code, wherever it is tried.
func (w *roomWay) spent() bool {
	return w.guesses.Failed() >= pair.MaxGuesses || w.flags.Server == "" && w.lanGuesses.spent()
}

func (w *roomWay) name() (id, about string) {
	if w.code == (pair.Code{}) {
		return "", ""
	}
	return w.code.Room(), "code " + w.code.String()
}

func (w *roomWay) where() string { return w.flags.where() }

func (w *roomWay) command() string {
	if w.side == tcppunch.SideA {
		return w.flags.commandFor("recv", w.code)
	}
	return w.flags.commandFor("send --code", w.code) + " …"
}

func (w *roomWay) again() string {
	if !w.typed {
		return w.flags.commandFor("send --code", w.code) + " …"
	}
	return "the same command"
}

// A peerWay meets the peer at its address.
type peerWay struct{ meeting }

func (w *peerWay) dial(ctx context.Context, key pair.Key, _ bool) (*tcppunch.Conn, bool, error) {
	return w.connect(ctx, key)
}

func (w *peerWay) name() (id, about string) {
	var addrs []string
	for _, a := range w.line.Addrs {
		addrs = append(addrs, a.String())
	}
	slices.Sort(addrs)
	about = fmt.Sprintf("peer %s from port %d", strings.Join(addrs, ","), w.flags.Port)
	sum := sha256.Sum256([]byte(about))
	return "peer-" + hex.EncodeToString(sum[:6]), about
}

func (w *peerWay) where() string { return joinAddrs(w.line.Addrs) }

func (w *peerWay) command() string { return "" }

func (w *peerWay) again() string { return "the same command" }

// passing tells an error that is over when the server has noticed that the last run of
// this side is gone, or of the other one, or when it wants to hear of this one again.
func passing(err error) bool {
	return isAny(err, stunt.ErrSideTaken, stunt.ErrRoomFull, stunt.ErrTakenOver, stunt.ErrDropped, stunt.ErrLimited, stunt.ErrBusy,
		stunt.ErrPeerLeft, stunt.ErrDisconnected, errSilent, errClaim)
}
