package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// retryFlags say what a break means.
type retryFlags struct {
	Retry time.Duration `default:"24h" placeholder:"24h" help:"How long to look for the other side again after a break. 0 means that a break is an error."`
}

// A session is one transfer, over as many connections as it takes. Between them the two
// sides find each other again by a key that the sender has made, and nobody is asked.
type session struct {
	way   way
	side  tcppunch.Side
	retry time.Duration
	out   *output
	// folder is where the journal is kept, or "" where no later run can go on.
	folder string
	// lasting tells that a later run can go on without a journal: by keys that both sides keep.
	lasting bool
	// transfer is called with each connection until it ends with something else than a break.
	transfer func(ctx context.Context, conn *tcppunch.Conn) error

	journal *journal // nil where there is none
	key     pair.Key // of this transfer, or the journal's, or none
	sure    bool     // the other side has the key too
	theirs  keyFlags
	yes     [32]byte // the digest of the offer that the person has accepted
	hinted  bool
	unheard bool // all is here, and the sender may not know
}

// run connects and transfers until all is done, or cannot be.
func (s *session) run(ctx context.Context) error {
	if err := s.way.prepare(ctx); err != nil {
		return err
	}
	if s.open(); s.journal != nil {
		s.key, s.yes = s.journal.key, s.journal.accepted
	}
	conn, known, err := s.first(ctx)
	if err != nil {
		return s.ended(ctx, err)
	}
	hasty := new(pauses)
	for {
		began := time.Now()
		stop := s.tellStopping(ctx)
		err = s.use(ctx, conn, known)
		stop()
		if s.unheard && !broken(err) && s.retry > 0 && ctx.Err() == nil {
			s.farewell(ctx)
		}
		if !broken(err) || s.retry <= 0 || ctx.Err() != nil {
			return s.ended(ctx, err)
		}
		s.out.detail("the connection is lost: %s", shown(err))
		if hasty.tooSoon(began) && hasty.wait(ctx) != nil {
			return s.ended(ctx, err)
		}
		if conn, known, err = s.again(ctx, err); err != nil {
			return s.ended(ctx, err)
		}
	}
}

// use transfers over a connection until that ends.
func (s *session) use(ctx context.Context, conn *tcppunch.Conn, known bool) error {
	err := s.agree(ctx, conn, known)
	if err == nil {
		err = s.transfer(ctx, conn)
	}
	hangUp(conn, err)
	return err
}

// tellStopping says that Ctrl-C was heard, if it takes a moment to tell the other side.
func (s *session) tellStopping(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		t := time.NewTimer(300 * time.Millisecond)
		defer t.Stop()
		select {
		case <-t.C:
			s.out.say("Telling the other side to stop …")
		case <-done:
		}
	}()
	return func() { close(done) }
}

// broken tells a connection that is lost from all else that ends a transfer.
func broken(err error) bool {
	return errors.Is(err, transfer.ErrPeerGone) && !errors.As(err, new(*transfer.RemoteError)) && !errors.As(err, new(*transfer.Incomplete))
}

// first finds the peer. If a journal tells of an earlier run, by its key at once.
func (s *session) first(ctx context.Context) (*tcppunch.Conn, bool, error) {
	if s.key.None() {
		return s.way.dial(ctx, s.key, false)
	}
	s.out.waiting(s.way.where(), "Going on with an earlier transfer. Waiting for the other side …")
	// The server may believe for a minute that the earlier run is still there.
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for p := new(pauses); ; {
		conn, known, err := s.way.dial(ctx, s.key, false)
		if err == nil || !passing(err) || p.wait(limited) != nil {
			return conn, known, err
		}
		s.out.detail("trying again: %s", shown(err))
	}
}

// tellPause is before which pause between two attempts the person is told why there must
// be another one.
const tellPause = 4 * time.Second

// again finds the peer after a break, whatever goes wrong meanwhile, until the time for it
// is over.
func (s *session) again(ctx context.Context, cause error) (*tcppunch.Conn, bool, error) {
	s.out.waiting(s.way.where(), "The connection is lost. Looking for the other side again …")
	s.hint()
	limited, cancel := context.WithTimeout(ctx, s.retry)
	defer cancel()
	told := ""
	for p := new(pauses); ; {
		began := time.Now()
		conn, known, err := s.way.dial(limited, s.key, s.sure)
		switch {
		case err == nil:
			return conn, known, nil
		case ctx.Err() != nil:
			return nil, false, interrupted(err)
		case limited.Err() != nil:
			return nil, false, &failure{statusFailed, "peer-gone", fmt.Errorf("%w, and it did not come back within %v", cause, s.retry), s.advice()}
		case untrusted(err), s.key.None() && errors.Is(err, pair.ErrGuessed):
			return nil, false, err
		}
		if why := shown(err); p.next >= tellPause && why != told {
			s.out.say("Still looking: %s.", why)
			told = why
		} else {
			s.out.detail("trying again: %s", why)
		}
		if time.Since(began) > maxPause {
			p = new(pauses)
		}
		p.wait(limited) //nolint:errcheck // the next dial sees it
	}
}

// goodbyeTime is how long a receiver that has everything looks for a sender that may not
// know. It has to outlast what a break and a comeback take.
const goodbyeTime = 2 * time.Minute

// farewell tells the sender that all is here, who else would look for this side as long
// as after any break. Whether it succeeds matters to the sender only.
func (s *session) farewell(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, min(s.retry, goodbyeTime))
	defer cancel()
	s.out.waiting(s.way.where(), "All is here. Looking for the other side, which may not know that …")
	for p := new(pauses); s.unheard && limited.Err() == nil; {
		conn, known, err := s.way.dial(limited, s.key, s.sure)
		if untrusted(err) {
			return
		}
		if err != nil {
			s.out.detail("trying again: %s", shown(err))
			p.wait(limited) //nolint:errcheck // seen above
			continue
		}
		s.use(limited, conn, known) //nolint:errcheck // s.unheard tells
		if s.unheard {
			p.wait(limited) //nolint:errcheck // seen above
		}
	}
}

// untrusted tells an error that must not be followed by another try: somebody at the
// peer's address may be guessing, or a person has said no.
func untrusted(err error) bool {
	if errors.Is(err, tcppunch.ErrNoPath) {
		return false // strangers at other addresses have not ended the search
	}
	return isAny(err, tcppunch.ErrRejected, pair.ErrWrongWords, pair.ErrWordsOnOneSide, pair.ErrNotConfirmed, pair.ErrCommitment,
		errNoTerminal, errKeyChanged, errTurnedAway)
}

// agree makes sure that both sides have the same key. known tells that the peer has
// proven to have it already. If not, it is somebody who must not learn what another peer
// was given.
func (s *session) agree(ctx context.Context, conn *tcppunch.Conn, known bool) error {
	var flags keyFlags
	if s.open(); s.journal == nil && !s.lasting {
		flags = flagOnce
	}
	var err error
	if s.side == tcppunch.SideB {
		s.theirs, err = takeKey(ctx, conn, s.key, flags, func(key pair.Key) {
			if key != s.key {
				s.sure = false // it may never hear that we have it
			}
			s.key = key
			s.keep()
		})
		return err
	}
	if !known {
		s.key, s.sure = newKey(), false
	}
	if s.theirs, err = giveKey(ctx, conn, s.key, flags); err != nil {
		return err
	}
	s.sure = true
	s.out.detail("the other side %v", s.theirs)
	s.keep()
	return nil
}

// offered is told when the sender has made its offer: it knows by then that the receiver
// has the key.
func (s *session) offered() { s.sure = true }

// open opens the journal, as soon as it is known where the two meet: a server may say
// that only later.
func (s *session) open() {
	id, about := s.way.name()
	if s.journal != nil || s.folder == "" || id == "" {
		return
	}
	role, name := "recv", ".tcppunch-"+id
	if s.side == tcppunch.SideA {
		role, name = "send", "send-"+id
	}
	j, err := openJournal(filepath.Join(s.folder, name+journalSuffix), role+" "+about, time.Now())
	if err != nil {
		s.out.detail("without a journal: %s", shown(err))
		return
	}
	s.journal = j
}

// keep writes the journal.
func (s *session) keep() {
	if s.open(); s.journal == nil {
		return
	}
	s.journal.key, s.journal.accepted = s.key, s.yes
	if err := s.journal.save(time.Now()); err != nil {
		s.out.detail("without a journal: %s", shown(err))
		s.journal = nil
	}
}

// accepted tells whether the person has said yes to an offer, in this run or an earlier one.
func (s *session) accepted(digest [32]byte) bool { return s.yes == digest && s.yes != [32]byte{} }

// accept notes that.
func (s *session) accept(digest [32]byte) {
	s.yes = digest
	s.keep()
}

// hint tells once what to do if it was not the network that has failed.
func (s *session) hint() {
	if s.hinted || s.theirs&flagOnce != 0 {
		return
	}
	s.hinted = true
	if command := s.way.command(); command != "" {
		same := "with the same files"
		if s.side == tcppunch.SideA {
			same = "into the same folder"
		}
		s.out.say("If the program has ended there, this goes on, %s: %s", same, command)
	} else {
		s.out.say("If the program has ended there, start it again with the same command.")
	}
}

// advice is what to do when this side has ended without being done.
func (s *session) advice() string {
	if s.journal == nil && !s.lasting || s.key.None() || s.theirs&flagOnce != 0 {
		return ""
	}
	return "what has arrived is kept: " + s.way.again() + " goes on"
}

// ended does what is left to do when a session ends with err.
func (s *session) ended(ctx context.Context, err error) error {
	if s.journal != nil && (err == nil || errors.As(err, new(*transfer.Incomplete)) || errors.Is(err, transfer.ErrRefused)) {
		s.journal.remove()
		s.journal = nil
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &failure{statusInterrupted, "interrupted", interrupted(err), s.advice()}
	case broken(err) && !errors.As(err, new(*failure)):
		return &failure{statusFailed, "peer-gone", err, s.advice()}
	}
	return err
}
