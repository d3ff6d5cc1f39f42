package pair

import (
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The list is sorted; no two of its words begin with the same three letters, or are less than three edits apart.
// See NOTICE for where it comes from.
//
//go:embed words.txt
var wordList string

const (
	listSize   = 1296
	maxText    = 1024 // bytes of words or of an address line, as typed
	minPrefix  = 3    // letters that tell one word of the list from all others
	minCorrect = 4    // letters below which a word is never taken for a typing error
)

func list() []string { return strings.Fields(wordList) }

// Words draws n words at random and joins them by dashes. Each is worth 10.3 bits.
func Words(n int) string {
	w, err := draw(rand.Reader, n)
	if err != nil {
		panic(err) // unreachable: crypto/rand never fails
	}
	return strings.Join(w, "-")
}

// draw picks n words with the random bytes of r, all with the same probability.
func draw(r io.Reader, n int) ([]string, error) {
	const fair = 1<<16 - (1<<16)%listSize // above it, the first words would come more often
	all, words := list(), make([]string, 0, n)
	for len(words) < n {
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("drawing words: %w", err)
		}
		if v := int(binary.BigEndian.Uint16(b[:])); v < fair {
			words = append(words, all[v%listSize])
		}
	}
	return words, nil
}

// Lookup finds the word of the list that is meant by a typed one, in lower case: the word itself, the only one that
// begins with these three or more letters, or the only one that is one letter away (added, left out or wrong).
func Lookup(word string) (string, bool) { return lookup(list(), word) }

func lookup(all []string, word string) (string, bool) {
	if len(word) < minPrefix {
		return "", false
	}
	i, found := slices.BinarySearch(all, word)
	if found || i < len(all) && strings.HasPrefix(all[i], word) {
		return all[i], true
	}
	if len(word) < minCorrect {
		return "", false
	}
	for _, w := range all {
		if oneEdit(w, word) {
			return w, true
		}
	}
	return "", false
}

// oneEdit reports whether one letter added, removed or replaced makes b out of a.
func oneEdit(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a)-len(b) > 1 {
		return false
	}
	i := 0
	for i < len(b) && a[i] == b[i] {
		i++
	}
	if i == len(a) {
		return false // equal
	}
	if len(a) == len(b) {
		return a[i+1:] == b[i+1:]
	}
	return a[i+1:] == b[i:]
}

// Normalize brings typed words into the one form from which a key can be made: lower case, joined by single dashes,
// and everything that [Lookup] knows replaced by the word of the list, so that "ABDO  yog" and "abdomen-yogurt" are the
// same. Words that are not on the list are kept as they are: people may choose their own. These have to be typed
// exactly, case apart, and accented letters must be composed in the same way on both sides.
//
// The result is for making keys and for comparing. To people, show what they typed.
func Normalize(s string) (string, error) {
	if len(s) > maxText {
		return "", fmt.Errorf("words of %d bytes: at most %d are allowed", len(s), maxText)
	}
	if !utf8.ValidString(s) {
		return "", errors.New("words are not valid UTF-8")
	}
	// Lowering first: a capital may become something that is a separator or is not printable.
	s = strings.ToLower(s)
	for _, r := range s {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return "", fmt.Errorf("words contain the invisible character %U: type them instead of pasting", r)
		}
	}
	words := strings.FieldsFunc(s, separates)
	all, out := list(), words[:0]
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "yo" && i+1 < len(words) && words[i+1] == "yo" {
			w, i = "yo-yo", i+1 // the only word of the list with a dash in it
		}
		if known, ok := lookup(all, w); ok {
			w = known
		}
		out = append(out, w)
	}
	joined := strings.Join(out, "-")
	if len(joined) > maxText {
		return "", fmt.Errorf("words of %d bytes: at most %d are allowed", len(joined), maxText)
	}
	return joined, nil
}

// separates reports whether r stands between words: spaces, line ends, and all dashes, as phones like to replace them.
func separates(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Dash, r) }

// Secret is what both sides know and nobody else: normalized words. The zero value holds none. It does not show itself
// when printed with package fmt.
type Secret struct{ words string }

// NewSecret makes the secret of a connection out of this side's own words and those that the peer gave, in either
// order. Whether each side chose words and told the other, both were given the same, or only one side chose any
// and told the other, both get the same secret. Without any words the secret is empty, and [CheckWords] are needed.
func NewSecret(own, peer string) (Secret, error) {
	var set []string
	for _, s := range []string{own, peer} {
		w, err := Normalize(s)
		if err != nil {
			return Secret{}, err
		}
		if w != "" {
			set = append(set, w)
		}
	}
	slices.Sort(set)
	// A line end cannot be part of words, so no two sets give the same text.
	return Secret{strings.Join(slices.Compact(set), "\n")}, nil
}

// Empty reports whether there are no words in it.
func (s Secret) Empty() bool { return s.words == "" }

// Format implements fmt.Formatter: every verb hides what it is, so that no log shows the words.
func (s Secret) Format(f fmt.State, _ rune) { hide(f, "words", s.Empty()) }

// hide writes what kind of secret there is, or is not, in its place.
func hide(f fmt.State, what string, none bool) {
	text := "(secret " + what + ")"
	if none {
		text = "(no " + what + ")"
	}
	_, _ = io.WriteString(f, text)
}
