package pair

import (
	"errors"
	"time"
)

// ErrGuessed means that so many wrong guesses were made at a code that it must not be used any more.
var ErrGuessed = errors.New("too many wrong codes were tried")

// MaxGuesses is how many failed guesses end a code.
const MaxGuesses = 5

// firstPause is what follows the first failed guess. Each further pause is twice as long.
const firstPause = time.Second

// Guesses counts the failed guesses at one code, on the side that holds its room. The zero value is a fresh code. With two random
// words, five guesses find a code in one of 336,000 cases. A success ends the counting: the code is not used again.
type Guesses struct{ failed int }

// Count takes the error that an exchange ended with and returns how long not to begin the next one. If [Guess] says that it
// was none, it is not counted, and the pause is 0. The guess that uses up the code returns [ErrGuessed].
func (g *Guesses) Count(err error) (pause time.Duration, ended error) {
	if !Guess(err) {
		return 0, nil
	}
	g.failed++
	if g.failed >= MaxGuesses {
		return 0, ErrGuessed
	}
	return firstPause << (g.failed - 1), nil
}

// Failed returns how many guesses were counted.
func (g *Guesses) Failed() int { return g.failed }
