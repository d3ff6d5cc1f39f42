package pair

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTampered means that a message is not the next one that the peer sealed: it was changed, invented, replayed,
// reordered or reflected, or one before it is missing.
var ErrTampered = errors.New("somebody tampers with the messages of the room")

// MaxSealed is the most bytes that a message of [Sealed] can have.
const MaxSealed = 8 << 10

const (
	// sealLabel keeps the keys of rooms apart from those of connections.
	sealLabel = "tcppunch room v1 "
	tagSize   = 16
	// maxPairing is more than any message before the sealed ones has.
	maxPairing = 256
	// maxSealedCount bounds what one key seals.
	maxSealedCount = 1 << 32
)

// A Channel carries short messages between two peers, whole and in order. Whoever carries them is not trusted. Both methods
// must return when ctx ends.
type Channel interface {
	Send(ctx context.Context, msg []byte) error
	Recv(ctx context.Context) ([]byte, error)
}

// Seal agrees with the peer at the other end of ch on keys that only who has the same code can know, and returns the
// channel sealed with them. Exactly one of the two sides must be the initiator: the one that sends the files. The keys are bound
// to the name of the room and to the roles, and serve this conversation alone.
//
// When the words are wrong both sides get [ErrWrongWords], if the peer is let hear what was sent. See [Guess] for what to
// count, and [Guesses] for how. All else is a conversation that failed and tells nothing of the code: errors of ch, or
// [ErrProtocol] and [ErrVersion] of a peer that does not follow the rules. The initiator is done half a round trip
// before the responder, as in [Auth.Run]. A silent peer is waited for until ctx ends, so give it a deadline.
func Seal(ctx context.Context, ch Channel, code Code, initiator bool) (*Sealed, error) {
	s, err := seal(ctx, ch, code, initiator)
	if err != nil {
		return nil, fmt.Errorf("pairing in the room: %w", err)
	}
	return s, nil
}

func seal(ctx context.Context, ch Channel, code Code, initiator bool) (*Sealed, error) {
	if code == (Code{}) {
		return nil, errors.New("no code")
	}
	line := &messages{ctx: ctx, ch: ch}
	r := run{conn: line, secret: Secret{code.words}, label: sealLabel, binding: []byte(code.room)}
	if err := r.judge(r.play(initiator)); err != nil {
		return nil, err
	}
	if len(line.rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrProtocol, len(line.rest))
	}
	out, err := r.aead("initiator")
	if err != nil {
		return nil, err
	}
	in, err := r.aead("responder")
	if err != nil {
		return nil, err
	}
	if !initiator {
		out, in = in, out
	}
	return &Sealed{ch: ch, out: sealer{aead: out}, in: sealer{aead: in}}, nil
}

// aead makes the cipher for what one role says. Its key depends on all that was said so far.
func (r *run) aead(role string) (cipher.AEAD, error) {
	said := sha256.Sum256(r.transcript)
	key, err := hkdf.Expand(sha256.New, r.key, r.label+role+" sealed "+string(said[:]), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// messages makes a stream of the first messages of a channel, each of which is short.
type messages struct {
	ctx  context.Context // of the one call of Seal that this serves
	ch   Channel
	rest []byte // of the last message, not read yet
}

func (m *messages) Write(b []byte) (int, error) {
	if err := m.ch.Send(m.ctx, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (m *messages) Read(b []byte) (int, error) {
	if len(m.rest) == 0 {
		msg, err := m.ch.Recv(m.ctx)
		if err != nil {
			return 0, err
		}
		if len(msg) == 0 || len(msg) > maxPairing { // nothing, over and over, would be read for ever
			return 0, fmt.Errorf("%w: message of %d bytes", ErrProtocol, len(msg))
		}
		m.rest = msg
	}
	n := copy(b, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// Sealed is a channel on which nobody but the peer can read or write, and on which messages arrive as they were sent, all
// of them up to the last one that arrives, or not at all. It satisfies tcppunch.Signaler. At most one goroutine may call
// Send at a time, and one Recv. After an error of Send, or [ErrTampered], it is of no use any more.
type Sealed struct {
	ch      Channel
	out, in sealer
}

// Send seals a message and sends it.
func (s *Sealed) Send(ctx context.Context, msg []byte) error {
	if len(msg) > MaxSealed {
		return fmt.Errorf("sealing: message of %d bytes: at most %d are allowed", len(msg), MaxSealed)
	}
	// Counted before it is sent: what may have been sent under a number must stay the only thing that was.
	nonce, err := s.out.next()
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	return s.ch.Send(ctx, s.out.aead.Seal(message(kindSealed), nonce, msg, nil))
}

// Recv returns the next message of the peer.
func (s *Sealed) Recv(ctx context.Context) ([]byte, error) {
	b, err := s.ch.Recv(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(b); n < 1+tagSize || n > 1+MaxSealed+tagSize || kind(b[0]) != kindSealed {
		return nil, fmt.Errorf("%w: %d bytes that are no sealed message", ErrTampered, n)
	}
	nonce, err := s.in.next()
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	msg, err := s.in.aead.Open(nil, nonce, b[1:], nil)
	if err != nil {
		return nil, ErrTampered
	}
	return msg, nil
}

// sealer is one direction.
type sealer struct {
	aead  cipher.AEAD
	count uint64 // messages so far
}

// next returns the nonce of the next message: its number, which both sides count.
func (s *sealer) next() ([]byte, error) {
	if s.count == maxSealedCount {
		return nil, errors.New("too many messages")
	}
	nonce := binary.BigEndian.AppendUint64(make([]byte, 4, 12), s.count)
	s.count++
	return nonce, nil
}
