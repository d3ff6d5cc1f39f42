package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// A meetup connects two sessions in memory, as those who come with the same key, or
// both without one, or sure of nothing.
type meetup struct{ waiting chan *fakeWay }

// A fakeWay is one side's way to a meetup. What fails is what its dials say before they
// succeed.
type fakeWay struct {
	to    *meetup
	fails []error
	conns chan *tcppunch.Conn
	keys  []pair.Key // of its dials
	sures []bool
}

func (w *fakeWay) prepare(context.Context) error { return nil }
func (w *fakeWay) name() (id, about string)      { return "home", "code home-otter-lamp" }
func (w *fakeWay) where() string                 { return "there" }
func (w *fakeWay) command() string               { return "tcppunch send --code home-otter-lamp …" }
func (w *fakeWay) again() string                 { return "the same command" }

func (w *fakeWay) dial(ctx context.Context, key pair.Key, sure bool) (*tcppunch.Conn, bool, error) {
	w.keys, w.sures = append(w.keys, key), append(w.sures, sure)
	if len(w.fails) > 0 {
		err := w.fails[0]
		w.fails = w.fails[1:]
		return nil, false, err
	}
	if w.to == nil {
		<-ctx.Done()
		return nil, false, interrupted(ctx.Err())
	}
	w.conns = make(chan *tcppunch.Conn, 1)
	select {
	case other := <-w.to.waiting:
		a, b := net.Pipe()
		other.conns <- &tcppunch.Conn{Conn: tls.Client(a, &tls.Config{InsecureSkipVerify: true})}
		return &tcppunch.Conn{Conn: tls.Server(b, &tls.Config{Certificates: []tls.Certificate{testCertificate}})}, !key.None(), nil
	case w.to.waiting <- w:
		return <-w.conns, !key.None(), nil
	case <-ctx.Done():
		return nil, false, interrupted(ctx.Err())
	}
}

var testCertificate tls.Certificate

// sessions are a sender and a receiver that break so many times.
func sessions(t *testing.T, breaks int) (send, recv *session) {
	t.Helper()
	testCertificate = newCertificate(t)
	to := &meetup{make(chan *fakeWay)}
	var all [2]*session
	for i, side := range []tcppunch.Side{tcppunch.SideA, tcppunch.SideB} {
		out, _, _ := captured(t)
		left := breaks
		s := &session{way: &fakeWay{to: to}, side: side, retry: 24 * time.Hour, out: out, folder: t.TempDir()}
		s.transfer = func(context.Context, *tcppunch.Conn) error {
			s.offered()
			s.accept([32]byte{5})
			if left--; left >= 0 {
				return fmt.Errorf("sending: %w", transfer.ErrPeerGone)
			}
			return nil
		}
		all[i] = s
	}
	return all[0], all[1]
}

func (s *session) dials() *fakeWay { return s.way.(*fakeWay) }

// runBoth runs two sessions to their ends.
func runBoth(t *testing.T, a, b *session) (errA, errB error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- a.run(t.Context()) }()
	errB = b.run(t.Context())
	return <-done, errB
}

// TestSession: after breaks, the two find each other by the key that the sender made, and
// when all is done nothing is left behind.
func TestSession(t *testing.T) {
	stateHere(t)
	synctest.Test(t, func(t *testing.T) {
		send, recv := sessions(t, 3)
		if a, b := runBoth(t, send, recv); a != nil || b != nil {
			t.Fatal(a, b)
		}
		for _, s := range []*session{send, recv} {
			w := s.dials()
			if len(w.keys) != 4 || !w.keys[0].None() || w.sures[0] {
				t.Errorf("%d dials, the first with %v", len(w.keys), w.keys[0])
			}
			for i := 1; i < len(w.keys); i++ {
				if w.keys[i].None() || w.keys[i] != send.key || !w.sures[i] {
					t.Errorf("dial %d: %v, sure: %v", i, w.keys[i], w.sures[i])
				}
			}
			wantEntries(t, s.folder)
		}
	})
}

// TestSessionFails: whatever goes wrong while the other side is looked for, it goes on.
func TestSessionFails(t *testing.T) {
	stateHere(t)
	synctest.Test(t, func(t *testing.T) {
		send, recv := sessions(t, 1)
		began := time.Now()
		first := recv.transfer
		recv.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
			err := first(ctx, conn)
			if err != nil {
				recv.dials().fails = []error{stunt.ErrNoServer, stunt.ErrSideTaken, tcppunch.ErrNoNetwork, stunt.ErrTakenOver, errors.New("anything"), stunt.ErrExpired}
			}
			return err
		}
		if a, b := runBoth(t, send, recv); a != nil || b != nil {
			t.Fatal(a, b)
		}
		if took := time.Since(began); took < 45*time.Second || took > 55*time.Second { // 1 + 2 + 4 + 8 + 15 + 15, and two closes
			t.Errorf("took %v", took)
		}
	})
}

// TestSessionEnds: what is no break ends it.
func TestSessionEnds(t *testing.T) {
	stateHere(t)
	cases := []struct {
		name   string
		err    error
		retry  time.Duration
		status int
		code   string
		keeps  bool // the journal
	}{
		{"they were interrupted", &transfer.RemoteError{Code: "interrupted"}, time.Hour, statusFailed, "interrupted", true},
		{"they refuse", &transfer.RemoteError{Code: "refused"}, time.Hour, statusRefused, "refused", false},
		{"they broke off", &transfer.RemoteError{Code: "peer-gone"}, time.Hour, statusFailed, "peer-gone", true},
		{"disk full", transfer.ErrNoSpace, time.Hour, statusFailed, "no-space", true},
		{"a file was left out", &transfer.Incomplete{Count: 1, Of: 2, Failed: []transfer.FileError{{Name: "x", Err: transfer.ErrName}}}, time.Hour, statusFailed, "bad-name", false},
		{"a break is an error", transfer.ErrPeerGone, 0, statusFailed, "peer-gone", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				send, recv := sessions(t, 0)
				for _, s := range []*session{send, recv} {
					s.retry = c.retry
					s.transfer = func(context.Context, *tcppunch.Conn) error { return c.err }
				}
				a, b := runBoth(t, send, recv)
				for _, err := range []error{a, b} {
					if f := classify(err); f.status != c.status || f.code != c.code {
						t.Errorf("status %d, code %q: %v", f.status, f.code, err)
					}
				}
				if c.keeps {
					wantEntries(t, send.folder, "send-home.journal")
					wantEntries(t, recv.folder, ".tcppunch-home.journal")
				} else {
					wantEntries(t, send.folder)
					wantEntries(t, recv.folder)
				}
			})
		})
	}
}

// TestSessionLost: the other side does not come back.
func TestSessionLost(t *testing.T) {
	stateHere(t)
	lose := func(t *testing.T, after func(*session) error) (*session, error) {
		send, recv := sessions(t, 1)
		send.retry = time.Hour
		done := make(chan error, 1)
		recv.transfer = func(context.Context, *tcppunch.Conn) error { return &transfer.RemoteError{Code: "interrupted"} }
		go func() { done <- recv.run(t.Context()) }()
		first := send.transfer
		send.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
			send.dials().to = nil
			return first(ctx, conn)
		}
		err := after(send)
		<-done
		return send, err
	}
	t.Run("for too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			send, err := lose(t, func(s *session) error { return s.run(t.Context()) })
			f := classify(err)
			if f.code != "peer-gone" || f.status != statusFailed || !strings.Contains(f.err.Error(), "1h0m0s") || !strings.Contains(f.advice, "the same command") {
				t.Errorf("%d %s: %v; %s", f.status, f.code, f.err, f.advice)
			}
			if took := time.Since(began); took != time.Hour {
				t.Errorf("gave up after %v", took)
			}
			wantEntries(t, send.folder, "send-home.journal")
		})
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := lose(t, func(s *session) error { return s.run(ctx) })
			f := classify(err)
			if f.code != "interrupted" || f.status != statusInterrupted || !strings.Contains(f.advice, "the same command goes on") {
				t.Errorf("%d %s: %v; %s", f.status, f.code, f.err, f.advice)
			}
		})
	})
	t.Run("somebody else is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			send, recv := sessions(t, 1)
			go recv.run(t.Context()) //nolint:errcheck // it waits for ever
			first := send.transfer
			send.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
				send.dials().fails = []error{stunt.ErrNoServer, pair.ErrWrongWords}
				return first(ctx, conn)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			recv.transfer = func(context.Context, *tcppunch.Conn) error { return errors.New("enough") }
			err := send.run(ctx)
			if f := classify(err); f.code != "wrong-code" || f.status != statusWrongCode {
				t.Errorf("%d %s: %v", f.status, f.code, f.err)
			}
		})
	})
}

// TestSessionLater: a later run has the key and the yes of the earlier one, and waits
// until the server has noticed that that one is gone.
func TestSessionLater(t *testing.T) {
	stateHere(t)
	synctest.Test(t, func(t *testing.T) {
		send, recv := sessions(t, 0)
		send.transfer = func(context.Context, *tcppunch.Conn) error { return transfer.ErrNoSpace }
		stops := recv.transfer
		recv.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
			return errors.Join(stops(ctx, conn), transfer.ErrNoSpace)
		}
		runBoth(t, send, recv)
		again, later := sessions(t, 0)
		again.folder, later.folder = send.folder, recv.folder
		again.dials().fails = []error{stunt.ErrSideTaken, stunt.ErrLimited}
		accepted := false
		stops = later.transfer
		later.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
			accepted = later.accepted([32]byte{5}) && !later.accepted([32]byte{6})
			return stops(ctx, conn)
		}
		if a, b := runBoth(t, again, later); a != nil || b != nil {
			t.Fatal(a, b)
		}
		if !accepted || again.key != send.key || later.key != send.key {
			t.Errorf("accepted: %v", accepted)
		}
		if w := again.dials(); len(w.keys) != 3 || w.keys[0] != send.key || w.sures[0] {
			t.Errorf("%d dials", len(w.keys))
		}
		wantEntries(t, later.folder)
		wantEntries(t, again.folder)
	})
}

// TestSessionOnce: where no later run could go on, nothing is kept, and the other side
// is not told to start it.
func TestSessionOnce(t *testing.T) {
	stateHere(t)
	synctest.Test(t, func(t *testing.T) {
		send, recv := sessions(t, 1)
		out, _, human := captured(t)
		send.folder, recv.out = "", out
		if a, b := runBoth(t, send, recv); a != nil || b != nil {
			t.Fatal(a, b)
		}
		if strings.Contains(human.String(), "ended there") || !strings.Contains(human.String(), "Looking for the other side again") {
			t.Errorf("it says:\n%s", human)
		}
	})
}

func TestSessionJournalName(t *testing.T) {
	stateHere(t)
	dir := t.TempDir()
	s := &session{way: &fakeWay{}, side: tcppunch.SideB, folder: dir}
	s.key = pair.Key{1}
	s.keep()
	if s.journal == nil || s.journal.path != filepath.Join(dir, ".tcppunch-home.journal") {
		t.Errorf("journal %+v", s.journal)
	}
}
