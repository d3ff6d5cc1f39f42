// Package link speaks frames over the connections of one transfer.
//
// A Session has the connection that the caller was given, the main one, and perhaps
// further ones that carry blocks only (type Extras). Each is a Conn, with a goroutine that
// reads and one that writes. Whatever ends one of them ends all.
package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	defaultIdle = 10 * time.Second
	heartbeat   = 2 * time.Second // between frames while there is nothing to say
	lastWord    = 3 * time.Second // to tell the other side why we give up, and to hear its answer; it has a heartbeat
	// lastWords is the most time for that, while the other side shows that it is there: the
	// word stands behind what was written before, of which a slow connection may hold a lot.
	lastWords = 10 * time.Second
)

// errDone is the cause with which a session ends that nothing went wrong with.
var errDone = errors.New("done")

// Config is what a session needs to know.
type Config struct {
	// Idle is how long the other side may be silent. Default: 10 seconds.
	Idle time.Duration
	// Handler takes the frames of the main connection.
	Handler Handler
	// Queue has the blocks to send; nil on a receiver.
	Queue *Queue
	// Remote makes the error for what the other side reports.
	Remote func(code, message string) error
}

// Session is one transfer's connections, and the one cause that ends them all.
//
// Deadlines are only ever set when giving up, or after the last word: one that
// interrupts a write leaves a tls.Conn broken for good.
type Session struct {
	// Ctx ends when the session stops; its cause says why.
	Ctx context.Context
	// Main is the connection that the caller was given.
	Main *Conn

	cfg     Config
	cancel  context.CancelCauseFunc
	caller  context.Context
	unhook  func()         // detaches from the caller's context
	readers sync.WaitGroup // of all connections
	writers sync.WaitGroup
	others  sync.WaitGroup
	written atomic.Int64 // bytes of blocks
	quiet   atomic.Int64 // until when the main connection carries no blocks, Unix nanoseconds

	mu      sync.Mutex
	stopped bool
	latest  time.Time // after Stop: the end of it
	settled bool      // the last word is said: whoever hangs up now is right
	conns   []*Conn
	remote  error // what the other side reported
}

// New makes a session over conn. Start starts it.
func New(ctx context.Context, conn net.Conn, cfg Config) *Session {
	if cfg.Idle <= 0 {
		cfg.Idle = defaultIdle
	}
	s := &Session{cfg: cfg, caller: ctx}
	// The caller's cancellation arrives through Stop, which sets the deadline first.
	s.Ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.Main = newConn(s, conn, cfg.Handler)
	s.conns = []*Conn{s.Main}
	hooked := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(hooked)
		s.Stop(interrupted(ctx))
	})
	s.unhook = func() {
		if !undo() {
			<-hooked
		}
	}
	return s
}

// Start begins to read and to write.
func (s *Session) Start() {
	s.Main.start()
	s.others.Go(s.watch)
}

// Go runs f, which has to end when the session does: Finish waits for it. It may be
// called by a Handler, by what Go runs, and before Finish.
func (s *Session) Go(f func()) { s.others.Go(f) }

func interrupted(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &fault.Failure{Text: "interrupted", Cause: err}
}

// Add makes a further connection part of the session, which from then on closes it, and
// returns how many there are. If the session is over it closes it at once.
func (s *Session) Add(conn net.Conn, h Handler) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		conn.Close()
		return len(s.conns)
	}
	c := newConn(s, conn, h)
	s.conns = append(s.conns, c)
	c.start()
	return len(s.conns)
}

// Written is how many bytes of blocks were written to all connections.
func (s *Session) Written() int64 { return s.written.Load() }

// keepQuiet has the main connection carry no more blocks for a while, or again: a slow one
// takes seconds for each, and what the two sides have to tell each other would wait for it.
func (s *Session) keepQuiet(d time.Duration) {
	s.quiet.Store(time.Now().Add(d).UnixNano())
	s.Main.poke()
}

// quietFor is how long a connection shall carry no blocks from now on.
func (s *Session) quietFor(c *Conn) time.Duration {
	until := s.quiet.Load()
	if c != s.Main || until == 0 {
		return 0
	}
	return time.Until(time.Unix(0, until))
}

// Stop gives up: nothing new is begun, and what is under way has a short time to
// end. The first cause counts.
func (s *Session) Stop(cause error) {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		s.latest = time.Now().Add(lastWords)
		_ = s.Main.conn.SetDeadline(time.Now().Add(lastWord))
		for _, c := range s.conns[1:] { // no words are exchanged on these
			_ = c.conn.SetDeadline(time.Now())
		}
	}
	s.mu.Unlock()
	s.cancel(cause)
}

// stays notes that the other side is still there after Stop.
func (s *Session) stays() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := time.Now().Add(lastWord); at.Before(s.latest) {
		_ = s.Main.conn.SetDeadline(at)
	}
}

// Cause is why the session has stopped, or nil.
func (s *Session) Cause() error {
	if s.Ctx.Err() == nil {
		return nil
	}
	return context.Cause(s.Ctx)
}

// blame is Stop for what the other side reported.
func (s *Session) blame(f wire.Failure) {
	err := s.cfg.Remote(f.Code, f.Message)
	s.mu.Lock()
	s.remote = err
	s.mu.Unlock()
	s.Stop(err)
}

// hungUp is Stop for an error of a connection.
func (s *Session) hungUp(err error) {
	if !s.Settled() {
		s.Stop(lost(err))
	}
}

// lost is the failure for an error of the connection itself.
func lost(err error) error {
	var f *fault.Failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &fault.Failure{Kind: fault.ErrPeerGone, Text: "it closed the connection"}
	}
	return &fault.Failure{Kind: fault.ErrPeerGone, Cause: err}
}

// Settle says the last word of a session that went well. What goes wrong after it is
// nobody's failure.
func (s *Session) Settle(k wire.Kind, fill func([]byte) []byte) {
	s.mu.Lock()
	s.settled = true
	s.mu.Unlock()
	s.Main.sendLast(k, fill)
}

// Settled reports whether the last word is said.
func (s *Session) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled
}

// Finish ends the session and returns why the transfer failed. After a failure on
// this side it tells the other one and waits, briefly, until that has been
// read: closing with unread data would reset the connection and take the word with it.
// read is called when all reading has ended, before what Go runs is waited for.
func (s *Session) Finish(err error, read func()) error {
	defer s.unhook()
	defer s.closeExtras()
	if err == nil {
		s.part(read)
		return nil
	}
	s.Stop(err)
	s.writers.Wait()
	cause := context.Cause(s.Ctx)
	s.mu.Lock()
	remote := s.remote
	s.mu.Unlock()
	switch {
	case remote != nil && cause == remote:
		s.Main.farewell(wire.ByeKind, nil)
	case !errors.Is(cause, fault.ErrPeerGone):
		f := wire.FailureOf(cause)
		s.Main.farewell(wire.FailKind, f.Append)
	}
	s.readers.Wait()
	read()
	s.others.Wait()
	if errors.Is(cause, fault.ErrPeerGone) { // find out why
		switch {
		case s.caller.Err() != nil: // the caller may well have closed it
			return interrupted(s.caller)
		case s.remote != nil:
			return s.remote
		}
	}
	return cause
}

// part ends a session that nothing went wrong with.
func (s *Session) part(read func()) {
	s.mu.Lock()
	s.stopped = true
	conns := s.conns
	s.mu.Unlock()
	s.cancel(errDone)
	slow := time.AfterFunc(lastWord, func() { // one who does not read must not keep us
		for _, c := range conns {
			_ = c.conn.SetWriteDeadline(time.Now())
		}
	})
	s.writers.Wait() // they write what is left
	slow.Stop()
	s.closeExtras()
	// The reader ends by itself, unless the other side neither ends nor leaves.
	late := time.AfterFunc(lastWord, func() { _ = s.Main.conn.SetReadDeadline(time.Now()) })
	s.readers.Wait()
	late.Stop()
	read()
	s.others.Wait()
}

// closeExtras closes the connections that are ours.
func (s *Session) closeExtras() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns[1:] {
		c.conn.Close()
	}
}

// watch gives up when nothing has been heard for too long. It counts only while
// a read is under way: a slow disk on this side is not the other side's silence.
func (s *Session) watch() {
	t := time.NewTicker(max(min(s.cfg.Idle/4, time.Second), time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.Ctx.Done():
			return
		}
		s.mu.Lock()
		conns := s.conns
		s.mu.Unlock()
		for _, c := range conns {
			if began := c.pending.Load(); began != 0 && time.Since(time.Unix(0, began)) > s.cfg.Idle {
				s.Stop(&fault.Failure{Kind: fault.ErrPeerGone, Text: fmt.Sprintf("the other side went silent for %v", s.cfg.Idle)})
				// There is no word to wait for, and if data comes after all it would only be dropped.
				_ = s.Main.conn.SetDeadline(time.Now())
				return
			}
		}
	}
}
