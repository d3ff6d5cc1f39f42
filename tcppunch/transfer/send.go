package transfer

import (
	"context"
	"net"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/press"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/sender"
)

// Compress says when data is compressed on the way.
type Compress uint8

// The choices.
const (
	CompressAuto Compress = iota // when the link is slow and the data shrinks
	CompressOff                  // never
	CompressOn                   // always, but for data that does not shrink
)

// press is the same choice in the words of package press.
func (c Compress) press() press.Choice {
	switch c {
	case CompressOff:
		return press.Off
	case CompressOn:
		return press.On
	}
	return press.Auto
}

// MaxStreams bounds the connections of one transfer.
const MaxStreams = link.MaxStreams

// SendOptions are the choices of a sender. The zero value and nil both work.
type SendOptions struct {
	// Trace reports progress.
	Trace *Trace

	// IdleTimeout is how long the other side may be silent before it counts as
	// gone. Zero means 10 seconds. It sends heartbeats every 2, so less than 5
	// gives up too early.
	IdleTimeout time.Duration

	// Streams is how many connections carry data side by side, up to MaxStreams.
	// Zero means one, and more while they help: see Held. Needs Extra on both sides.
	Streams int

	// Extra makes another connection to the same peer, whose Extra is called at the same
	// time, and returns when ctx ends. Signals carries their words to each other. The
	// connection must be authenticated and encrypted; Send closes it. It is called by up
	// to 4 goroutines at once. When it fails on
	// either side, no more are tried. Default: there is only one connection.
	Extra func(ctx context.Context, s *Signals) (net.Conn, error)

	// Held reports that loss or the congestion window holds the first connection down, as
	// far as the system tells, so that another one may help. Default: never.
	Held func() bool

	// Compress says when to compress.
	Compress Compress
}

// Send offers src to the peer that runs Receive on the other end of conn, waits until it
// accepts, sends what is not there yet, and returns when the peer has said that all is
// verified and in place.
//
// When single files fail, here or there, the others are sent, and the error is an
// *Incomplete. After ErrPeerGone, another Send with the same src goes on over a new
// connection.
//
// The connection must already be authenticated and encrypted. Send neither closes
// it nor leaves a goroutine behind. After an error the connection is of no more
// use. When ctx ends, Send tells the peer, which takes three seconds at most, or ten
// while the peer is taking what was sent before, and returns an error that wraps
// ctx.Err().
func Send(ctx context.Context, conn net.Conn, src *Source, opt *SendOptions) (Summary, error) {
	if opt == nil {
		opt = new(SendOptions)
	}
	m := progress.New(opt.Trace.hooks())
	err := sender.Run(ctx, conn, src.s, &sender.Options{
		Idle: opt.IdleTimeout, Streams: opt.Streams, Dial: dial(opt.Extra), Held: opt.Held,
		Compress: opt.Compress.press(), Meter: m, Remote: remote,
	})
	if err == nil {
		listed, left := src.s.Refused()
		err = incomplete(m, src.s.Offer().Totals.Entries+left, left-len(listed))
	}
	return Summary(m.Sum()), err
}
