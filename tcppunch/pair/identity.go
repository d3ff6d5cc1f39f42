package pair

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrIdentity means that the peer did not prove that it has the key that it shows. It has another connection than this
	// one, or shows somebody else's key.
	ErrIdentity = errors.New("the other side does not have the key that it shows")
	// ErrIdentityText means that a text is not one of [Identity.Text].
	ErrIdentityText = errors.New("not the text of an identity")
	// ErrPublicKey means that a text is not a public key.
	ErrPublicKey = errors.New("not a public key: 64 hexadecimal digits are needed, dashes between them or not")
)

const (
	introVersion = 1
	introLabel   = label + "introduction of the "

	// MaxName is how many bytes the name in an introduction may have.
	MaxName = 64

	// version, public key, length of the name, name, signature
	introNameAt = 1 + ed25519.PublicKeySize + 1
	introSigned = introNameAt + MaxName
	introSize   = introSigned + ed25519.SignatureSize

	identityWord  = "tcppunch-secret-key-1"
	maxIdentity   = 4096 // bytes of text
	publicKeyStep = 4    // digits between two dashes
)

// An Identity is a key pair that a program keeps, so that peers know it again. The zero value is none. It does not show
// itself when printed with package fmt.
type Identity struct{ private ed25519.PrivateKey }

// NewIdentity makes one at random.
func NewIdentity() Identity {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // unreachable: crypto/rand never fails
	}
	return Identity{private}
}

// ParseIdentity reads what [Identity.Text] wrote. Lines that begin with # do not count.
func ParseIdentity(text []byte) (Identity, error) {
	if len(text) > maxIdentity {
		return Identity{}, fmt.Errorf("%w: it is too long", ErrIdentityText)
	}
	var found Identity
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		digits, ok := strings.CutPrefix(line, identityWord+" ")
		seed, err := hex.DecodeString(digits)
		if !ok || err != nil || len(seed) != ed25519.SeedSize || !found.None() {
			return Identity{}, ErrIdentityText // and nothing of the text, which is secret
		}
		found = Identity{ed25519.NewKeyFromSeed(seed)}
	}
	if found.None() {
		return Identity{}, fmt.Errorf("%w: there is no key in it", ErrIdentityText)
	}
	return found, nil
}

// Text is the identity in lines of text. Whoever has it is taken for this side: keep it where nobody else can read it.
func (id Identity) Text() []byte {
	if id.None() {
		return nil
	}
	return fmt.Appendf(nil, "# The key by which others know this user again. Keep it secret.\n# Public: %v\n%s %x\n",
		id.Public(), identityWord, id.private.Seed())
}

// None reports whether it is the zero value, which cannot introduce itself.
func (id Identity) None() bool { return id.private == nil }

// Public is what others know of the identity.
func (id Identity) Public() (key PublicKey) {
	if !id.None() {
		copy(key[:], id.private[ed25519.SeedSize:])
	}
	return key
}

// Format implements fmt.Formatter: every verb hides what it is, so that no log shows the key.
func (id Identity) Format(f fmt.State, _ rune) { hide(f, "identity", id.None()) }

// A PublicKey tells an identity from all others. It is no secret, and worth nothing unless [Identity.Introduce] has returned it: who
// shows a key need not have it.
type PublicKey [ed25519.PublicKeySize]byte

// None reports whether it is the zero value, which is nobody's.
func (k PublicKey) None() bool { return k == PublicKey{} }

// String is the whole key in 16 groups of 4 hexadecimal digits, joined by dashes.
func (k PublicKey) String() string {
	digits := hex.EncodeToString(k[:])
	var groups []string
	for at := 0; at < len(digits); at += publicKeyStep {
		groups = append(groups, digits[at:at+publicKeyStep])
	}
	return strings.Join(groups, "-")
}

// ParsePublicKey reads what [PublicKey.String] wrote, also without dashes, or with capitals.
func ParsePublicKey(s string) (key PublicKey, err error) {
	if len(s) > 2*2*len(key) {
		return PublicKey{}, ErrPublicKey
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(key) {
		return PublicKey{}, ErrPublicKey
	}
	if copy(key[:], b); key.None() {
		return PublicKey{}, ErrPublicKey
	}
	return key, nil
}

// Introduce tells the peer of an encrypted connection who this side is, and returns who the peer is: its key, which it has proven
// to have on this very connection, and the name that it goes by, which proves nothing and may be empty. Exactly one side must be the
// initiator, who introduces itself first; exporter is as in [Auth.Run]. The name given loses what [CleanName] takes
// away.
//
// That the peer has the key keeps out a man in the middle only if the key is known already. Else go on with [CheckWords].
//
// One message is sent each way, both of a fixed size, and nothing beyond the peer's is read. A silent peer is waited for until
// ctx ends, so give it a deadline. Nothing else may use conn meanwhile. Deadlines on conn are cleared. After an error conn
// is of no use but to be closed.
func (id Identity) Introduce(ctx context.Context, conn net.Conn, initiator bool, exporter []byte, name string) (peer PublicKey, peerName string, err error) {
	if err := checkExporter(exporter); err != nil {
		return PublicKey{}, "", err
	}
	if id.None() {
		return PublicKey{}, "", errors.New("introducing: there is no identity")
	}
	err = guarded(ctx, conn, 0, func() (err error) {
		if initiator {
			peer, peerName, err = id.introduceFirst(conn, exporter, name)
		} else {
			peer, peerName, err = id.introduceSecond(conn, exporter, name)
		}
		return err
	})
	if err != nil {
		return PublicKey{}, "", fmt.Errorf("introducing: %w", err)
	}
	return peer, peerName, nil
}

func (id Identity) introduceFirst(conn net.Conn, exporter []byte, name string) (PublicKey, string, error) {
	mine := id.introduction("initiator", exporter, nil, name)
	if err := write(conn, message(kindIntroduction, mine...)); err != nil {
		return PublicKey{}, "", err
	}
	theirs, err := readIntroduction(conn)
	if err != nil {
		return PublicKey{}, "", err
	}
	return checkIntroduction("responder", exporter, mine, theirs)
}

func (id Identity) introduceSecond(conn net.Conn, exporter []byte, name string) (PublicKey, string, error) {
	theirs, err := readIntroduction(conn)
	if errors.Is(err, ErrVersion) {
		_ = write(conn, message(kindIntroduction, introVersion)) // so that the peer can say the same
	}
	if err != nil {
		return PublicKey{}, "", err
	}
	peer, peerName, err := checkIntroduction("initiator", exporter, nil, theirs)
	if err != nil {
		return PublicKey{}, "", err
	}
	mine := id.introduction("responder", exporter, theirs, name)
	return peer, peerName, write(conn, message(kindIntroduction, mine...))
}

// introduction is what this side says of itself, in one role, and after the other side said before.
func (id Identity) introduction(role string, exporter, before []byte, name string) []byte {
	body := make([]byte, 0, introSize)
	public := id.Public()
	body = append(append(body, introVersion), public[:]...)
	name = CleanName(name)
	body = append(append(body, byte(len(name))), name...)
	body = body[:introSigned] // zeros up to there
	return append(body, ed25519.Sign(id.private, signedIntroduction(role, exporter, before, body))...)
}

// signedIntroduction is what the signature is for: this connection, this role, and all that was said. Each part is of fixed
// length but for the first, which ends with a zero.
func signedIntroduction(role string, exporter, before, body []byte) []byte {
	e, b := sha256.Sum256(exporter), sha256.Sum256(before)
	return slices.Concat([]byte(introLabel+role+"\x00"), e[:], b[:], body)
}

func readIntroduction(r io.Reader) ([]byte, error) {
	head, err := read(r, kindIntroduction, 1)
	if err != nil {
		return nil, err
	}
	if head[0] != introVersion {
		return nil, fmt.Errorf("%w: introduction %d instead of %d", ErrVersion, head[0], introVersion)
	}
	body := make([]byte, introSize)
	body[0] = introVersion
	_, err = io.ReadFull(r, body[1:])
	return body, unexpected(err)
}

// checkIntroduction returns what the peer in that role has proven to be.
func checkIntroduction(role string, exporter, before, body []byte) (key PublicKey, name string, err error) {
	copy(key[:], body[1:])
	signed, signature := body[:introSigned], body[introSigned:]
	if key.None() || !ed25519.Verify(key[:], signedIntroduction(role, exporter, before, signed), signature) {
		return PublicKey{}, "", ErrIdentity
	}
	length := int(body[introNameAt-1])
	padded := body[introNameAt:introSigned]
	if length > MaxName || !bytes.Equal(padded[length:], make([]byte, MaxName-length)) {
		return PublicKey{}, "", fmt.Errorf("%w: a name that is too long", ErrProtocol)
	}
	return key, CleanName(string(padded[:length])), nil
}

// CleanName makes a name fit for a screen and for an introduction: what is invalid or cannot be seen is left out, line ends and direction
// marks among it, and spaces around it, and what is over [MaxName] bytes.
func CleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= MaxName {
		return s
	}
	end := MaxName
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimSpace(s[:end])
}
