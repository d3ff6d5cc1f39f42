package transfer

import (
	"context"
	"net"
	"net/netip"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
)

// Signals carries short messages between the two calls of Extra that belong together, in
// order and whole. It satisfies tcppunch.Signaler. It is of no use after its Extra has
// returned.
type Signals struct{ s *link.Signals }

// First tells the two sides apart: it is true on exactly one of them.
func (s *Signals) First() bool { return s.s.First }

// Seen is this side's address as the other side sees it on the first connection: that
// of this machine, or of the NAT in front of it. The zero Addr means that the connection
// does not tell. It is the peer's word, and good for telling the peer.
func (s *Signals) Seen() netip.Addr { return s.s.Seen }

// Send sends a message of up to 16 KiB.
func (s *Signals) Send(ctx context.Context, msg []byte) error { return s.s.Send(ctx, msg) }

// Recv waits for the next message.
func (s *Signals) Recv(ctx context.Context) ([]byte, error) { return s.s.Recv(ctx) }

// dial is Extra in the words of package link.
func dial(extra func(context.Context, *Signals) (net.Conn, error)) link.Dial {
	if extra == nil {
		return nil
	}
	return func(ctx context.Context, s *link.Signals) (net.Conn, error) { return extra(ctx, &Signals{s}) }
}
