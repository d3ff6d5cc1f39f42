package transfer

import (
	"context"
	"net"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/receiver"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/store"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// ReceiveOptions are the choices of a receiver. The zero value and nil both work:
// everything is accepted, and nothing that exists is replaced.
type ReceiveOptions struct {
	// Accept decides on the offer, before anything is sent; nil accepts. An error
	// refuses: Receive returns it, wrapped together with ErrRefused, and the sender
	// is told its text. It may take its time, the connection is kept up meanwhile.
	// ctx ends when the sender goes away, and Receive waits for Accept to return.
	// It is not called for an offer that this Dest has accepted before.
	Accept func(ctx context.Context, o Offer) error

	// Exists says what to do when another file of the same name is here.
	Exists Policy

	// Ask decides for each such file instead, and may take its time. It is called for
	// one file at a time, and not again for the same one after a break. An error ends
	// the transfer as a refusal does.
	Ask func(ctx context.Context, c Conflict) (Policy, error)

	// Trace reports progress.
	Trace *Trace

	// IdleTimeout is how long the other side may be silent before it counts as
	// gone. Zero means 10 seconds. It sends heartbeats every 2, so less than 5
	// gives up too early.
	IdleTimeout time.Duration

	// Extra makes another connection to the same peer, as SendOptions.Extra does.
	// The sender decides when, up to 4 at once. Default: there is only one connection.
	Extra func(ctx context.Context, s *Signals) (net.Conn, error)
}

// Receive takes what the peer offers with Send on the other end of conn into dst. It
// returns when all is verified and in place. If the connection breaks so late that the
// sender may not know, that is no error, but Summary.Heard is false.
//
// A file shows under its name only when it is complete, verified and on the disk; until
// then it has a hidden name ending in ".tcppunch-part", which stays if the transfer
// fails, for the next attempt. Files that were complete by then stay too. When single
// files fail, here or there, the others are received, and the error is an *Incomplete.
// After ErrPeerGone, another Receive with the same dst goes on over a new connection.
//
// The connection must already be authenticated and encrypted. Receive neither
// closes it nor leaves a goroutine behind. After an error the connection is of no
// more use. When ctx ends, Receive tells the peer, as Send does, lets a disk take what
// it is taking, and returns an error that wraps ctx.Err().
func Receive(ctx context.Context, conn net.Conn, dst *Dest, opt *ReceiveOptions) (Summary, error) {
	if opt == nil {
		opt = new(ReceiveOptions)
	}
	m := progress.New(opt.Trace.hooks())
	inner := &receiver.Options{Idle: opt.IdleTimeout, Exists: opt.Exists.store(), Dial: dial(opt.Extra), Meter: m, Remote: remote}
	if opt.Accept != nil {
		inner.Accept = func(ctx context.Context, o *wire.Offer, resumable int64) error {
			return opt.Accept(ctx, newOffer(o, resumable))
		}
	}
	if opt.Ask != nil {
		inner.Ask = func(ctx context.Context, c store.Conflict) (store.Policy, error) {
			p, err := opt.Ask(ctx, newConflict(&c))
			return p.store(), err
		}
	}
	out, err := receiver.Run(ctx, conn, dst.d, inner)
	if err == nil {
		err = incomplete(m, out.Entries, out.Unnamed)
	}
	sum := Summary(m.Sum())
	sum.Heard = out.Heard
	return sum, err
}
