package pair

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// A Key is 256 random bits that two sides have in common since an earlier connection: with it they find and know each
// other again without a code or words. The zero value is none. It does not show itself when printed with package fmt.
type Key [32]byte

// None reports whether it is the zero value, which proves nothing.
func (k Key) None() bool { return k == Key{} }

// Format implements fmt.Formatter: every verb hides what it is, so that no log shows the key.
func (k Key) Format(f fmt.State, _ rune) { hide(f, "key", k.None()) }

const (
	keyRoom  = 20 // characters of five bits each
	keyWords = 13 // words of 10.3 bits each
)

// KeyCode makes the code by which two sides with the same key meet in a room, of which nobody else can tell whose it is: the
// name of the room, of 100 bits, and the words, of 134, are derived from the key one way and independently. So nobody finds the
// room without the key, and a server that sees its name learns nothing that helps with the words. The code is not for
// people; it is the same each time, which lets a server see that the same two meet again. A code of the zero Key is none.
func KeyCode(key Key) Code {
	if key.None() {
		return Code{}
	}
	name := strings.ToLower(base32.StdEncoding.EncodeToString(key.derive("room", 16)))
	// Two bytes a word, of which one draw in 90 is refused: with 64 draws it never runs out.
	words, err := draw(bytes.NewReader(key.derive("words", 2*64)), keyWords)
	if err != nil {
		panic(err) // unreachable, see above
	}
	return Code{"r" + name[:keyRoom], strings.Join(words, "-")}
}

// derive makes n bytes for one purpose.
func (k Key) derive(purpose string, n int) []byte {
	b, err := hkdf.Expand(sha256.New, k[:], label+"key "+purpose, n)
	if err != nil {
		panic(err) // unreachable: n is small
	}
	return b
}

// knowsInitiator finds out whether the responder has the same key, when both have one, and says to it what it needs to find
// out the same. Both proofs are of this one conversation and of one role, and nothing but the key itself makes them; so
// they are worth nothing to whoever has another key, or none.
func (r *run) knowsInitiator() (bool, error) {
	want := r.keyProof("responder")
	theirs, err := read(r.conn, kindKeyProof, proofSize)
	if err != nil {
		return false, err
	}
	r.note(theirs)
	mine := r.keyProof("initiator")
	r.note(mine)
	return hmac.Equal(theirs, want), write(r.conn, message(kindKeyProof, mine...))
}

// knowsResponder is the same on the other side. The first messages are what is to be said before.
func (r *run) knowsResponder(first []byte) (bool, error) {
	mine := r.keyProof("responder")
	r.note(mine)
	want := r.keyProof("initiator")
	if err := write(r.conn, first, message(kindKeyProof, mine...)); err != nil {
		return false, err
	}
	theirs, err := read(r.conn, kindKeyProof, proofSize)
	if err != nil {
		return false, err
	}
	r.note(theirs)
	return hmac.Equal(theirs, want), nil
}

// keyProof shows knowledge of the key, in one role, to whoever was part of what was said so far.
func (r *run) keyProof(role string) []byte {
	return r.mac(r.known.derive(role+" proof", sha256.Size))
}
