package stunt

import (
	"math/rand/v2"
	"strconv"
)

const (
	minDigits = 4
	maxDigits = 15
	// share is how many numbers of a length there are for each one in use: who guesses hits a room once in so many tries.
	share = 100
)

// numbers hands out room numbers. They have four digits; when one in a hundred of a length is in use, the next ones are
// longer.
type numbers struct {
	used [maxDigits + 1]int // by length
}

// note counts a room that comes (+1) or goes (-1), whoever chose its name.
func (n *numbers) note(name string, delta int) {
	if isNumber(name) {
		n.used[len(name)] += delta
	}
}

// pick draws a number that is not taken.
func (n *numbers) pick(taken func(string) bool) string {
	digits, lowest := minDigits, int64(1000)
	for digits < maxDigits && int64(n.used[digits]+1)*share >= 9*lowest {
		digits++
		lowest *= 10
	}
	for {
		if name := strconv.FormatInt(lowest+rand.Int64N(9*lowest), 10); !taken(name) {
			return name
		}
	}
}
