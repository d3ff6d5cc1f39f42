package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// Before a transfer the sender gives the receiver a key, over the connection that is
// authenticated already, and hears that it has arrived:
//
//	sender                              receiver
//	"tpk" 'S' version flags key  ->
//	                             <-     "tpk" 'R' version flags
//
// By it the two find each other again, see package pair. Both messages have a fixed
// length, so nothing of the transfer is read.
const (
	keyMagic   = "tpk"
	keyVersion = 1
	keyHead    = len(keyMagic) + 3
	keyTime    = 30 * time.Second
)

// keyFlags are what a side says with or about the key. Those that are not known are ignored.
type keyFlags byte

const (
	flagSameKey  keyFlags = 1 << iota // the receiver has had this very key before
	flagOtherKey                      // it has had another one
	flagOnce                          // if this side's program ends, no other one can go on
)

func (f keyFlags) String() string {
	switch {
	case f&flagSameKey != 0:
		return "goes on with this transfer"
	case f&flagOtherKey != 0:
		return "has a new key instead of an older one"
	}
	return "has the key"
}

// giveKey tells the receiver the key, and returns what it says.
func giveKey(ctx context.Context, conn net.Conn, key pair.Key, flags keyFlags) (theirs keyFlags, err error) {
	err = exchangeKeys(ctx, conn, func() error {
		if _, err := conn.Write(append(keyMessage('S', flags), key[:]...)); err != nil {
			return err
		}
		theirs, err = readKeyMessage(conn, 'R', nil)
		return err
	})
	return theirs, err
}

// takeKey is told the key by the sender, and returns what else it says. keep is called
// with the key before the sender hears that it has arrived.
func takeKey(ctx context.Context, conn net.Conn, had pair.Key, flags keyFlags, keep func(pair.Key)) (theirs keyFlags, err error) {
	err = exchangeKeys(ctx, conn, func() error {
		var key pair.Key
		var err error
		if theirs, err = readKeyMessage(conn, 'S', key[:]); err != nil {
			return err
		}
		switch {
		case key.None():
			return fmt.Errorf("%w: a key of zeros", transfer.ErrProtocol)
		case had == key:
			flags |= flagSameKey
		case !had.None():
			flags |= flagOtherKey
		}
		keep(key)
		_, err = conn.Write(keyMessage('R', flags))
		return err
	})
	return theirs, err
}

func keyMessage(role byte, flags keyFlags) []byte {
	return append([]byte(keyMagic), role, keyVersion, byte(flags))
}

// readKeyMessage reads what a role says: its flags, and what fills rest.
func readKeyMessage(r io.Reader, role byte, rest []byte) (keyFlags, error) {
	var b [keyHead]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	switch {
	case !bytes.HasPrefix(b[:], []byte(keyMagic)):
		return 0, fmt.Errorf("%w: it speaks another protocol", transfer.ErrVersion)
	case b[keyHead-3] != role:
		return 0, fmt.Errorf("%w: both sides send, or both receive", transfer.ErrProtocol)
	case b[keyHead-2] != keyVersion:
		return 0, fmt.Errorf("%w: %d and %d", transfer.ErrVersion, keyVersion, b[keyHead-2])
	}
	_, err := io.ReadFull(r, rest)
	return keyFlags(b[keyHead-1]), err
}

// exchangeKeys runs f, for a bounded time, and calls a connection that breaks meanwhile
// what it is called later.
func exchangeKeys(ctx context.Context, conn net.Conn, f func() error) error {
	conn.SetDeadline(time.Now().Add(keyTime)) //nolint:errcheck // then the connection is broken, which f sees
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// Time to end it: the transfer then tells the other side why.
		conn.SetDeadline(time.Now().Add(2 * time.Second)) //nolint:errcheck // as above
	})
	err := f()
	if !stop() {
		<-stopped
	}
	conn.SetDeadline(time.Time{}) //nolint:errcheck // as above
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, transfer.ErrProtocol), errors.Is(err, transfer.ErrVersion):
		return err
	}
	return fmt.Errorf("%w: %w", transfer.ErrPeerGone, err)
}

func newKey() (key pair.Key) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}
