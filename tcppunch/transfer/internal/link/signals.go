package link

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// maxSignals is how many messages may wait to be read.
const maxSignals = 64

// Signals carries messages between the two sides that make a further connection.
type Signals struct {
	First bool       // true on exactly one side
	Seen  netip.Addr // where the other side sees this one

	main   *Conn
	number uint32
	in     chan []byte
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func newSignals(s *Session, number uint32, first bool, seen netip.Addr) *Signals {
	sig := &Signals{First: first, Seen: seen, main: s.Main, number: number, in: make(chan []byte, maxSignals)}
	sig.ctx, sig.cancel = context.WithCancelCause(s.Ctx)
	return sig
}

// Send sends a message of up to 16 KiB.
func (s *Signals) Send(ctx context.Context, msg []byte) error {
	switch {
	case len(msg) > wire.MaxSignal:
		return fmt.Errorf("sending to the other side: message of %d bytes: at most %d are allowed", len(msg), wire.MaxSignal)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	m := wire.Signal{Number: s.number, Msg: msg}
	s.main.Send(wire.SignalKind, m.Append)
	return nil
}

// Recv waits for the next message.
func (s *Signals) Recv(ctx context.Context) ([]byte, error) {
	select {
	case m := <-s.in:
		return m, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// heard takes a message of the other side, of a frame of kind k.
func (s *Signals) heard(k wire.Kind, msg []byte) error {
	if k == wire.NoStreamKind {
		s.cancel(errNoStream)
		return nil
	}
	select {
	case s.in <- msg:
		return nil
	default:
		return fault.Protocol("more signals than can be read")
	}
}
