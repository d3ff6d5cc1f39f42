package pair

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxRoom     = 32 // characters of a room's name
	minSecret   = 6  // letters and digits of a code's words
	codeWords   = 2  // words of a code that is made here
	codeExample = "a code looks like 4821-otter-lamp"
)

// A Code is what one person gives to the other: 4821-otter-lamp. What stands before the first dash names a room on a
// server; the words after it are the secret of the two people, which no server may learn. The zero value is no code.
type Code struct{ room, words string }

// ParseCode reads a code as people type and paste it: in capitals, with spaces instead of dashes, with words cut to three
// letters or more, or with a typing error in a word that [Lookup] can mend. People may choose codes of their own: a
// name for the room, of up to 32 letters, digits, dots and underscores without accents, then words as in [Normalize]. These
// need six letters or digits, and more than one word of the list, as that alone would be one guess in 1296. The
// error says what is wrong and shows an example.
func ParseCode(s string) (Code, error) {
	c, err := parseCode(s)
	if err != nil {
		return Code{}, fmt.Errorf("%w (%s)", err, codeExample)
	}
	return c, nil
}

func parseCode(s string) (Code, error) {
	if len(s) > maxText {
		return Code{}, fmt.Errorf("code of %d bytes: at most %d are allowed", len(s), maxText)
	}
	s = strings.TrimFunc(s, separates)
	room, words := s, ""
	if i := strings.IndexFunc(s, separates); i >= 0 {
		room, words = s[:i], s[i:]
	}
	room = strings.ToLower(room)
	if err := checkRoom(room); err != nil {
		return Code{}, err
	}
	words, err := Normalize(words)
	if err != nil {
		return Code{}, err
	}
	return Code{room, words}, checkSecret(words)
}

// checkRoom is strict, as a room's name may come from a server and goes to a server and onto the screen.
func checkRoom(room string) error {
	switch {
	case room == "":
		return errors.New("code without anything in it")
	case len(room) > maxRoom:
		return fmt.Errorf("code whose first part has %d characters: at most %d are allowed", utf8.RuneCountInString(room), maxRoom)
	}
	for _, r := range room {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' {
			return fmt.Errorf("code with %q in its first part: use letters without accents and digits there", r)
		}
	}
	return nil
}

// checkSecret refuses words that a stranger finds with the few guesses that a code allows. It must not show them.
func checkSecret(words string) error {
	n := 0
	for _, r := range words {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			n++
		}
	}
	_, listed := slices.BinarySearch(list(), words)
	switch {
	case n == 0:
		return errors.New("code without words after its first part: was it cut off?")
	case n < minSecret || listed:
		return errors.New("code that is too easy to guess: two words or more must follow its first part")
	}
	return nil
}

// NewCode makes a code of two random words for a room that a server has handed out. It fails if the server's name for the room
// cannot be one.
func NewCode(room string) (Code, error) {
	room = strings.ToLower(room)
	if err := checkRoom(room); err != nil {
		return Code{}, fmt.Errorf("name of the room: %w", err)
	}
	return Code{room, Words(codeWords)}, nil
}

// Room returns the part that a server may be told, and must be, as that is where the two people meet.
func (c Code) Room() string { return c.room }

// Secret returns the words, for an [Auth] where two people with one code meet without a server. It is empty for no code.
func (c Code) Secret() Secret { return Secret{c.words} }

// String returns the whole code in the one form that both sides give it. It is meant to be shown, secret words included.
func (c Code) String() string {
	if c == (Code{}) {
		return ""
	}
	return c.room + "-" + c.words
}

// Complete returns the words of the list that begin with what was typed, in their order. Three letters leave one at most.
func Complete(prefix string) []string {
	prefix = strings.ToLower(prefix)
	all := list()
	from, _ := slices.BinarySearch(all, prefix)
	to := from
	for to < len(all) && strings.HasPrefix(all[to], prefix) {
		to++
	}
	return all[from:to]
}
