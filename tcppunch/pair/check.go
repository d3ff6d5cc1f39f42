package pair

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

var (
	// ErrNotConfirmed means that one of the two people did not confirm the check words.
	ErrNotConfirmed = errors.New("the check words were not confirmed")
	// ErrCommitment means that the server of [CheckWords] showed another nonce than the one it had promised. No
	// accident does that: somebody sits in the middle and tried to choose the words.
	ErrCommitment = errors.New("somebody tried to choose the check words")
)

const (
	checkCount = 3 // words
	nonceSize  = 32
	// farewell is how long the side whose person said no, or was interrupted, takes to tell the other.
	farewell = 3 * time.Second
)

// CheckWords agrees with the peer of conn on three words, joined by dashes, which both people compare by voice or in a
// chat. They are the same on both sides if and only if nobody sits in the middle, but for a chance of one in 2^31 that
// no computing power improves: the server commits to its random number before it sees the client's, and the client
// chooses before it sees the server's. Exactly one side must be the server. exporter is as in [Auth.Run].
//
// Exactly three messages are exchanged; go on with [Confirm]. Nothing else may use conn meanwhile, and deadlines on it are
// cleared. After an error conn is of no use but to be closed.
func CheckWords(ctx context.Context, conn net.Conn, server bool, exporter []byte) (string, error) {
	if err := checkExporter(exporter); err != nil {
		return "", err
	}
	var mine [nonceSize]byte
	if _, err := rand.Read(mine[:]); err != nil {
		return "", err
	}
	var words string
	err := guarded(ctx, conn, 0, func() error {
		exchange := checkAsClient
		if server {
			exchange = checkAsServer
		}
		ns, nc, err := exchange(conn, mine[:])
		if err != nil {
			return err
		}
		words, err = checkWords(exporter, nc, ns)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("agreeing on check words: %w", err)
	}
	return words, nil
}

// checkAsServer returns the nonces of the server, ns, and of the client.
func checkAsServer(conn net.Conn, ns []byte) ([]byte, []byte, error) {
	if err := write(conn, message(kindCommit, commitment(ns)...)); err != nil {
		return nil, nil, err
	}
	nc, err := read(conn, kindNonce, nonceSize)
	if err != nil {
		return nil, nil, err
	}
	return ns, nc, write(conn, message(kindOpen, ns...))
}

// checkAsClient returns the nonces of the server and of the client, nc.
func checkAsClient(conn net.Conn, nc []byte) ([]byte, []byte, error) {
	promised, err := read(conn, kindCommit, sha256.Size)
	if err != nil {
		return nil, nil, err
	}
	if err := write(conn, message(kindNonce, nc...)); err != nil {
		return nil, nil, err
	}
	ns, err := read(conn, kindOpen, nonceSize)
	if err != nil {
		return nil, nil, err
	}
	if subtle.ConstantTimeCompare(promised, commitment(ns)) != 1 {
		return nil, nil, ErrCommitment
	}
	return ns, nc, nil
}

// commitment hides the server's nonce and binds it: 32 random bytes cannot be guessed from their hash.
func commitment(ns []byte) []byte {
	h := sha256.Sum256(append([]byte(label+"commitment"), ns...))
	return h[:]
}

// checkWords derives the words from the connection and both nonces, each of fixed size.
func checkWords(exporter, nc, ns []byte) (string, error) {
	info := label + "check words" + string(nc) + string(ns)
	// Two bytes a word, of which one draw in 90 is refused: with 64 draws it never runs out.
	stream, err := hkdf.Key(sha256.New, exporter, nil, info, 2*64)
	if err != nil {
		return "", err
	}
	w, err := draw(bytes.NewReader(stream), checkCount)
	return strings.Join(w, "-"), err
}

// Confirm asks this side's person whether the check words are the same, tells the peer, and returns nil only if both
// said yes. A no on either side is [ErrNotConfirmed] on both, at once: ask's context ends when the peer said no
// or went away, or ctx ended, and ask must then return. An error of ask is a no, and so is the end of
// ctx. While the other person thinks, Confirm waits until ctx ends.
//
// Nothing beyond the peer's answer is read from conn: what follows belongs to the caller. Deadlines on conn are cleared.
func Confirm(ctx context.Context, conn net.Conn, ask func(ctx context.Context) (bool, error)) error {
	// When ctx ends there must be time to tell the peer: a write that fails would also break TLS for the farewell of
	// whoever closes conn.
	err := guarded(ctx, conn, farewell, func() error { return confirm(ctx, conn, ask) })
	if err != nil {
		return fmt.Errorf("confirming the check words: %w", err)
	}
	return nil
}

func confirm(ctx context.Context, conn net.Conn, ask func(ctx context.Context) (bool, error)) error {
	askCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	theirs := make(chan error, 1)
	go func() {
		err := readConfirm(conn)
		if err != nil {
			cancel()
		}
		theirs <- err
	}()

	yes, askErr := ask(askCtx)
	yes = yes && askErr == nil
	cutShort, interrupted := askCtx.Err() != nil, ctx.Err() != nil
	sent := sendConfirm(conn, yes)
	if !yes {
		// The outcome is settled. Wait only for the peer to have heard of it, or closing could take it away.
		t := time.AfterFunc(farewell, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
		defer t.Stop()
	}
	heard := <-theirs
	switch {
	case !yes && interrupted: // whatever the peer says to it
		return context.Cause(ctx)
	case (yes || cutShort) && heard != nil:
		return heard
	case yes:
		return sent
	case askErr != nil:
		return fmt.Errorf("%w: %w", ErrNotConfirmed, askErr)
	}
	return ErrNotConfirmed
}

func sendConfirm(conn net.Conn, yes bool) error {
	if yes {
		return write(conn, message(kindConfirm, 1))
	}
	return write(conn, message(kindConfirm, 0))
}

// readConfirm returns nil if the peer says yes.
func readConfirm(conn net.Conn) error {
	b, err := read(conn, kindConfirm, 1)
	switch {
	case err != nil:
		return err
	case b[0] == 1:
		return nil
	case b[0] == 0:
		return fmt.Errorf("%w by the other side", ErrNotConfirmed)
	}
	return fmt.Errorf("%w: answer %#02x", ErrProtocol, b[0])
}
