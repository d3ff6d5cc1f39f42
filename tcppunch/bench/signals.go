package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Signals carries short messages between the two calls of Transport.Dial that belong
// together, in order and whole. It satisfies tcppunch.Signaler. It is of no use after
// its Dial has returned.
type Signals struct {
	link  *link
	id    uint32
	first bool
	seen  netip.Addr
}

// First tells the two sides apart: it is true on exactly one of them.
func (s *Signals) First() bool { return s.first }

// Seen is this side's address as the other side sees it on the control connection:
// that of this machine, or of the NAT in front of it. The zero Addr means that the
// connection does not tell. It is the peer's word, and good for telling the peer.
func (s *Signals) Seen() netip.Addr { return s.seen }

// Send sends a message of up to 16 KiB.
func (s *Signals) Send(ctx context.Context, msg []byte) error {
	if len(msg) > maxSignal {
		return fmt.Errorf("sending to the other side: message of %d bytes: at most %d are allowed", len(msg), maxSignal)
	}
	body := append(binary.BigEndian.AppendUint32(nil, s.id), msg...)
	select {
	case s.link.out <- appendFrame(nil, kindSignal, body):
		return nil
	case <-s.link.ctx.Done():
		return context.Cause(s.link.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Recv waits for the next message.
func (s *Signals) Recv(ctx context.Context) ([]byte, error) {
	for {
		select {
		case m := <-s.link.signals:
			if m.id == s.id { // else it is left from an earlier dial
				return m.msg, nil
			}
		case <-s.link.ctx.Done():
			return nil, context.Cause(s.link.ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// forget drops what nobody has read. The dial must be over, and the other side not know
// it yet: else it may have begun the next one.
func (s *Signals) forget() {
	for {
		select {
		case <-s.link.signals:
		default:
			return
		}
	}
}
