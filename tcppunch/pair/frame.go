package pair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

// A message is its kind, one byte, and a body whose length the kind fixes, but for sealed ones, which have a channel that
// keeps messages apart. So nothing is ever read beyond a message, and no message can be too long.
type kind byte

const (
	kindHello        kind = 0xA0 + iota // version, flags
	kindStart                           // CPace message of the initiator
	kindReply                           // CPace message of the responder and its proof
	kindProof                           // proof of the initiator
	kindCommit                          // check words: hash of the server's nonce
	kindNonce                           // check words: nonce of the client
	kindOpen                            // check words: nonce of the server
	kindConfirm                         // 1 or 0: what this side's person said
	kindSealed                          // in a room: a sealed message, of any length up to the end
	kindFresh                           // random bytes of a side that has a key
	kindKeyProof                        // proof of the key
	kindIntroduction                    // version, public key, name, signature
)

// message encodes one message.
func message(k kind, body ...byte) []byte { return append([]byte{byte(k)}, body...) }

// write sends messages in one piece.
func write(w io.Writer, messages ...[]byte) error {
	b := slices.Concat(messages...)
	if len(b) == 0 {
		return nil // on a pipe it would wait for somebody to read nothing
	}
	_, err := w.Write(b)
	return err
}

// read reads one message of kind k with a body of n bytes.
func read(r io.Reader, k kind, n int) ([]byte, error) {
	b := make([]byte, 1+n)
	// The kind first, so that a peer that speaks something else, and less of it, is not waited for.
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return nil, unexpected(err)
	}
	if kind(b[0]) != k {
		return nil, fmt.Errorf("%w: message of kind %#02x instead of %#02x", ErrProtocol, b[0], byte(k))
	}
	if _, err := io.ReadFull(r, b[1:]); err != nil {
		return nil, unexpected(err)
	}
	return b[1:], nil
}

// unexpected is for reads in the middle of a conversation, where no end is a regular one.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// guarded runs f, whose reads on conn fail once ctx ends, and its writes a while later, and leaves conn without a
// deadline. If ctx ended, the error says why instead of speaking of a time-out.
func guarded(ctx context.Context, conn net.Conn, while time.Duration, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		_ = conn.SetWriteDeadline(time.Now().Add(while))
	})
	err := f()
	if !stop() {
		<-done
	}
	_ = conn.SetDeadline(time.Time{})
	if err != nil && ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}
