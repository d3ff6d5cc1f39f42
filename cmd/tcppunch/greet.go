package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// Two neighbours who meet by name introduce themselves on every connection, see package
// pair, and then say whether they know each other. Only if both do, nobody has to compare
// check words.
//
//	sender                             receiver
//	version, word                  ->
//	                               <-  version, word
const (
	greetVersion = 1
	// greetTime bounds all that is said before a connection is chosen: a silent
	// neighbour must not keep others out.
	greetTime = 5 * time.Second
	// turnTime is how long one who was turned away has to hear it.
	turnTime = 2 * time.Second
)

// A word is what one side says to the other after both have introduced themselves.
type word byte

const (
	wordStranger word = 1 // I do not know you
	wordKnown    word = 2 // I know you

	// The receiver's alone. From here on all mean no.
	wordNo     word = 0x80 // there are others to come
	wordNobody word = 0x81 // nobody is here to be asked about you
	wordLater  word = 0x82 // not for a while: a person has said no, or too much has come to nothing
)

var errTurnedAway = errors.New("the other side does not take anything from this one")

// refusal is what a no means, or nil.
func (w word) refusal() error {
	switch {
	case w < wordNo:
		return nil
	case w == wordNobody:
		return fmt.Errorf("%w: nobody is there to be asked", errTurnedAway)
	case w == wordLater:
		return fmt.Errorf("%w for a while", errTurnedAway)
	}
	return errTurnedAway
}

// greet says what mine returns, and returns what the other side says. Exactly one side is the
// first; the other one has heard the first one's word by then. It leaves conn without a
// deadline, unless ctx has ended.
func greet(ctx context.Context, conn net.Conn, first bool, mine func(theirs word) word) (theirs word, err error) {
	defer limit(ctx, conn, greetTime)()
	if first {
		if err := say(conn, mine(0)); err != nil {
			return 0, err
		}
		return hear(conn, true)
	}
	if theirs, err = hear(conn, false); err != nil {
		return 0, err
	}
	return theirs, say(conn, mine(theirs))
}

// limit gives what is said on conn the time that there is, which ends with ctx: also where
// that had ended before, and whoever watches it has set the deadline already. It returns what
// lifts that.
func limit(ctx context.Context, conn net.Conn, most time.Duration) (lift func()) {
	conn.SetDeadline(time.Now().Add(most))                                       //nolint:errcheck // closed: which is seen when something is said
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // as above
	return func() {
		if stop() {
			conn.SetDeadline(time.Time{}) //nolint:errcheck // as above
		}
	}
}

func say(conn io.Writer, w word) error {
	_, err := conn.Write([]byte{greetVersion, byte(w)})
	return err
}

// hear returns what the other side says, which may be a no where that has its place.
func hear(conn io.Reader, no bool) (word, error) {
	var b [2]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return 0, err
	}
	w := word(b[1])
	switch {
	case b[0] != greetVersion:
		return 0, fmt.Errorf("%w: greeting %d instead of %d", pair.ErrVersion, b[0], greetVersion)
	case w != wordStranger && w != wordKnown && (w < wordNo || !no):
		return 0, fmt.Errorf("%w: greeting with the word %#02x", pair.ErrProtocol, byte(w))
	}
	return w, nil
}

// turnAway waits until a peer who was told no has hung up, so that closing does not take
// it away from it.
func turnAway(ctx context.Context, conn net.Conn) {
	defer limit(ctx, conn, turnTime)()
	conn.Read(make([]byte, 1)) //nolint:errcheck // over in any case
}

// introduce tells each side who the other one is.
func introduce(ctx context.Context, id pair.Identity, conn net.Conn, first bool, exporter []byte, name string) (pair.PublicKey, string, error) {
	limited, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	return id.Introduce(limited, conn, first, exporter, name)
}
