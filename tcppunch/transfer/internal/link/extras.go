package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	extraTime = 60 * time.Second // to make a further connection
	greetTime = 10 * time.Second // for both sides to find each other on it
	quietTime = 2 * time.Second  // for the first words about it, before blocks may delay them

	// MaxMaking is how many may be made at once: each of them is work for the routers.
	MaxMaking = 4
)

var errNoStream = errors.New("the other side could not make another connection")

// Dial makes another connection to the same peer, whose Dial is called at the same time.
// Up to MaxMaking goroutines call it at once.
type Dial func(ctx context.Context, s *Signals) (net.Conn, error)

// Extras makes further connections, a few at a time, until one fails. The zero value
// makes none.
type Extras struct {
	s    *Session
	dial Dial

	order sync.Mutex // held while one is asked for, so that their numbers come in order

	mu      sync.Mutex
	begun   uint32              // the number of the last one that was asked for
	pending map[uint32]*Signals // of those that are being made
	count   int                 // those that were made
	over    bool                // no more are tried
}

// Init says how they are made; a nil dial means not at all.
func (x *Extras) Init(s *Session, dial Dial) {
	x.s, x.dial, x.pending = s, dial, make(map[uint32]*Signals)
}

// Count is how many were made.
func (x *Extras) Count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count
}

// Close ends the making of connections.
func (x *Extras) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	for _, sig := range x.pending {
		sig.cancel(errDone)
	}
}

// Prepare keeps the main connection free of blocks for what Open will have to say soon.
func (x *Extras) Prepare() { x.s.keepQuiet(quietTime) }

// Open asks the other side for one more and makes it, on the sender. The sender is the
// first. It may be called by MaxMaking goroutines at once.
func (x *Extras) Open(seen netip.Addr) (net.Conn, error) {
	x.order.Lock()
	x.mu.Lock()
	if x.over || x.begun+1 >= MaxStreams {
		x.mu.Unlock()
		x.order.Unlock()
		return nil, errNoStream
	}
	sig := x.begin(true, seen)
	x.mu.Unlock()
	greeting := wire.Stream{Number: sig.number}
	_, _ = rand.Read(greeting.Token[:]) // never fails
	x.s.Main.Send(wire.StreamKind, greeting.Append)
	x.order.Unlock()
	return x.make(sig, &greeting)
}

// begin notes the next one. The lock is held.
func (x *Extras) begin(first bool, seen netip.Addr) *Signals {
	x.begun++
	sig := newSignals(x.s, x.begun, first, seen)
	x.pending[sig.number] = sig
	if first && x.s.Main.busyLong() {
		x.s.keepQuiet(quietTime)
	}
	return sig
}

// Asked begins one that the sender has asked for, on the receiver, and returns what
// makes it.
func (x *Extras) Asked(body []byte, seen netip.Addr) (open func() (net.Conn, error), err error) {
	greeting, err := wire.ParseStream(wire.StreamKind, body)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.dial == nil || len(x.pending) >= MaxMaking:
		return nil, Unexpected(wire.StreamKind)
	case greeting.Number != x.begun+1 || greeting.Number >= MaxStreams:
		return nil, fault.Protocol(fmt.Sprintf("stream %d after %d", greeting.Number, x.begun))
	case x.over: // the sender does not know yet
		x.begun++
		return func() (net.Conn, error) { return nil, x.none(greeting.Number) }, nil
	}
	sig := x.begin(false, seen)
	return func() (net.Conn, error) { return x.make(sig, &greeting) }, nil
}

// none tells the other side that there will be no such connection.
func (x *Extras) none(number uint32) error {
	no := wire.Signal{Number: number}
	x.s.Main.Send(wire.NoStreamKind, no.Append)
	return errNoStream
}

// make makes a connection, or tells the other side that there will be none.
func (x *Extras) make(sig *Signals, greeting *wire.Stream) (net.Conn, error) {
	met := false
	conn, err := makeExtra(sig, x.dial, greeting, func() { // from here on the other side may use it, and ask for another
		x.mu.Lock()
		defer x.mu.Unlock()
		met = true
		x.count++
		delete(x.pending, sig.number)
	})
	x.mu.Lock()
	delete(x.pending, sig.number)
	x.over = x.over || err != nil
	if len(x.pending) == 0 && sig.First {
		x.s.keepQuiet(0)
	}
	if err != nil && met && sig.First {
		x.count-- // nothing was sent over it; a receiver cannot know that
	}
	x.mu.Unlock()
	if err != nil {
		_ = x.none(sig.number) // err says more
	}
	return conn, err
}

// Heard takes a message for one that is being made, and drops one for any other that was
// asked for.
func (x *Extras) Heard(k wire.Kind, body []byte) error {
	m, err := wire.ParseSignal(k, body)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.Number == 0 || m.Number > x.begun {
		return Unexpected(k)
	}
	if sig := x.pending[m.Number]; sig != nil {
		return sig.heard(k, m.Msg)
	}
	return nil
}

// makeExtra calls dial and makes sure that both sides mean the same connection. met is
// called before the other side can know that they do.
func makeExtra(sig *Signals, dial Dial, greeting *wire.Stream, met func()) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(sig.ctx, extraTime)
	defer cancel()
	defer sig.cancel(errDone)
	conn, err := dial(ctx, sig)
	if err != nil {
		return nil, err
	}
	// Close must not end this: the other side may have seen the last greeting, and count
	// on a connection that is here by then. To close it then would be a break.
	if err := greetExtra(sig.main.s.Ctx, conn, sig.First, greeting, met); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// greetExtra has the sender greet and the receiver answer, with the complement of the
// token, so that an echo is no answer.
func greetExtra(ctx context.Context, conn net.Conn, first bool, greeting *wire.Stream, met func()) error {
	if err := conn.SetDeadline(time.Now().Add(greetTime)); err != nil {
		return err
	}
	late := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(late)
		_ = conn.SetDeadline(time.Now())
	})
	mine, theirs := *greeting, *greeting
	answer := &theirs
	if !first {
		answer = &mine
	}
	for i := range answer.Token {
		answer.Token[i] ^= 0xff
	}
	steps := []func() error{
		func() error {
			_, err := conn.Write(wire.AppendFrame(nil, wire.GreetKind, mine.Append))
			return err
		},
		func() error {
			if err := hearGreeting(conn, theirs); err != nil {
				return err
			}
			met()
			return nil
		},
	}
	if !first {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if !undo() {
		<-late
	}
	return conn.SetDeadline(time.Time{})
}

func hearGreeting(conn net.Conn, want wire.Stream) error {
	k, n, err := wire.ReadHeader(conn)
	if err != nil {
		return err
	}
	body, err := wire.ReadBody(conn, n)
	if err != nil {
		return err
	}
	got, err := wire.ParseStream(k, body)
	if err == nil && (k != wire.GreetKind || got != want) {
		err = fault.Protocol("a connection that belongs to something else")
	}
	return err
}
