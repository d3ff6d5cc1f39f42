package pair

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"

	"filippo.io/cpace"
)

var (
	// ErrWrongWords means that the two sides do not have the same words, or that somebody sits between them. The
	// exchange ran to its end and both sides know. It counts as a guess.
	ErrWrongWords = errors.New("the words are not the same on both sides")
	// ErrUnproven means that the peer did not prove its words, although it has seen our proof: it went away, sent
	// nonsense or kept silent. It may thus have tested a guess, so this counts as one, like ErrWrongWords.
	ErrUnproven = errors.New("the other side did not prove that it knows the words")
	// ErrWordsOnOneSide means that one side has words and the other has none. Nothing was guessed.
	ErrWordsOnOneSide = errors.New("only one of the two sides has words: give the same to both, or to neither")
	// ErrProtocol means that the peer sent something that does not belong into this exchange. Nothing was guessed.
	ErrProtocol = errors.New("unexpected data while authenticating")
	// ErrVersion means that the peer speaks another version of this exchange. Nothing was guessed.
	ErrVersion = errors.New("the other side speaks another version of the pairing protocol")
)

const (
	version     = 2
	label       = "tcppunch pair v1 " // before what is derived, which is the same in version 2
	minExporter = 32                  // bytes
	maxExporter = 1024                // bytes

	startSize = 16 + 32 // salt and group element
	replySize = 32      // group element
	proofSize = sha256.Size

	flagInitiator = 1 << 0
	flagWords     = 1 << 1
	flagKey       = 1 << 2
)

// Guess reports whether an error of [Auth.Run] or [Seal] must be counted against a limit of guesses: the peer did learn whether
// one guess at the words was right, and it was not proven to be. A broken line before that point, garbage, or words on one
// side only are no guesses, and limits that count them would let strangers end a code.
func Guess(err error) bool { return errors.Is(err, ErrWrongWords) || errors.Is(err, ErrUnproven) }

// Auth proves to the peer of a connection that both know the same words or have the same key, without showing either to
// anybody who does not. The zero value has neither.
type Auth struct {
	// Secret holds the words.
	Secret Secret
	// Key is what the two sides have from an earlier connection. If both have the same, that is all that is proven. If not, the
	// words decide, or that there are none, as if there were no keys. Default: none.
	Key Key `json:"-"`
	// ByKey is called, if it is not nil, before Run returns nil because both sides have the same key. There is no need to go on
	// with [CheckWords] then.
	ByKey func() `json:"-"`
	// Spend is called, if it is not nil, right before this side's proof of the words goes out, with which the peer can test one
	// guess. Its error ends Run instead. So who counts guesses here, and gives those back for which Run returned nil, has none too
	// many, however many connections there are at once.
	Spend func() error `json:"-"`
}

// Run authenticates conn, an encrypted connection whose peer is not yet known, and leaves it open. Exactly one of the two
// sides must be the initiator. exporter is at least 32 bytes of keying material exported from the encrypted connection (RFC
// 5705, RFC 9266), the same on both sides; through it a man in the middle, who needs two connections, fails.
//
// Nil means that both sides have the same key, which [Auth.ByKey] tells, or know the words, or that neither has any: then
// [Secret.Empty] is true, the peer is anybody yet, and the caller goes on with [CheckWords]. When the words are wrong both sides get [ErrWrongWords]; for this
// close conn in an orderly way, by sending what is pending, and do not reset it. See [Guess] for what to count.
//
// The initiator is done when it has sent its proof, half a round trip before the responder: its nil does not
// yet mean that the responder has got it.
//
// A silent peer is waited for until ctx ends, so give it a deadline. Nothing else may use conn meanwhile. Deadlines on conn
// are cleared. After an error conn is of no use but to be closed.
func (a Auth) Run(ctx context.Context, conn net.Conn, initiator bool, exporter []byte) error {
	if err := checkExporter(exporter); err != nil {
		return err
	}
	r := run{conn: conn, secret: a.Secret, known: a.Key, label: label, binding: exporter, spend: a.Spend}
	err := r.judge(guarded(ctx, conn, 0, func() error { return r.play(initiator) }))
	if err != nil {
		return fmt.Errorf("authenticating: %w", err)
	}
	if r.byKey && a.ByKey != nil {
		a.ByKey()
	}
	return nil
}

func checkExporter(b []byte) error {
	if len(b) < minExporter || len(b) > maxExporter {
		return fmt.Errorf("exporter of %d bytes: %d to %d are needed", len(b), minExporter, maxExporter)
	}
	return nil
}

// run is one authentication, of a connection or of a room. Package doc tells what is said.
type run struct {
	conn       io.ReadWriter // each write is all that this side says at once
	secret     Secret
	known      Key    // from before, or none
	label      string // of the protocol that the proofs are for
	spend      func() error
	binding    []byte // what both sides know of where they are, and an attacker elsewhere does not share
	transcript []byte // the bodies so far, in the order in which they are said
	key        []byte // from CPace
	exposed    bool   // the peer can have our proof and owes us its own
	byKey      bool   // both sides have the same key
}

func (r *run) play(initiator bool) error {
	if initiator {
		return r.initiate()
	}
	return r.respond()
}

// judge makes an error a guess if the peer may have learnt what one would tell it.
func (r *run) judge(err error) error {
	if err != nil && r.exposed && !Guess(err) {
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	return err
}

func (r *run) initiate() error {
	first := r.hello(flagInitiator)
	var state *cpace.State
	start := func(before []byte) error {
		msg, s, err := cpace.Start(r.secret.words, r.context())
		if err != nil {
			return err
		}
		r.note(msg)
		state = s
		return write(r.conn, before, message(kindStart, msg...))
	}
	// Who has a key hopes that it will do.
	early := r.known.None() && !r.secret.Empty()
	var err error
	if early {
		err = start(first)
	} else {
		err = write(r.conn, first)
	}
	if err != nil {
		return err
	}
	theirs, err := r.readHello(0)
	if err != nil {
		return err
	}
	if r.bothHaveKeys(theirs) {
		if r.byKey, err = r.knowsInitiator(); r.byKey || err != nil {
			return err
		}
	}
	if words, err := r.bothHaveWords(theirs); !words {
		return err
	}
	if !early {
		if err := start(nil); err != nil {
			return err
		}
	}
	return r.finish(state)
}

// finish is the rest of initiate, when both sides have words.
func (r *run) finish(state *cpace.State) error {
	reply, err := read(r.conn, kindReply, replySize+proofSize)
	if err != nil {
		return err
	}
	if r.key, err = state.Finish(reply[:replySize]); err != nil {
		return fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	r.note(reply[:replySize])
	want, err := r.proof("responder")
	if err != nil {
		return err
	}
	r.note(reply[replySize:])
	mine, err := r.proof("initiator")
	if err != nil {
		return err
	}
	if err := r.spends(); err != nil {
		return err
	}
	// Sent before judging, so that the peer learns of wrong words too. It tells nobody anything more: the peer's
	// element is fixed by now, and with it the one guess that it can test.
	sent := write(r.conn, message(kindProof, mine...))
	if !hmac.Equal(reply[replySize:], want) {
		return ErrWrongWords
	}
	return sent
}

// spends says that the peer is going to be able to test a guess.
func (r *run) spends() error {
	if r.spend == nil {
		return nil
	}
	return r.spend()
}

func (r *run) respond() error {
	theirs, err := r.readHello(flagInitiator)
	if errors.Is(err, ErrVersion) {
		_ = write(r.conn, r.hello(0)) // so that the peer can say the same
	}
	if err != nil {
		return err
	}
	var start []byte
	readStart := func() error {
		if start, err = read(r.conn, kindStart, startSize); err == nil {
			r.note(start)
		}
		return err
	}
	early := theirs&flagWords != 0 && theirs&flagKey == 0
	if early {
		// Read even if we have no words, because closing with unread data resets a connection.
		if err := readStart(); err != nil {
			return err
		}
	}
	hello := r.hello(0)
	if r.bothHaveKeys(theirs) {
		if r.byKey, err = r.knowsResponder(hello); r.byKey || err != nil {
			return err
		}
		hello = nil
	}
	words, ended := r.bothHaveWords(theirs)
	if !words || !early {
		if err := write(r.conn, hello); err != nil || !words {
			return errors.Join(ended, err)
		}
		hello = nil
		if err := readStart(); err != nil {
			return err
		}
	}
	return r.reply(hello, start)
}

// bothHaveKeys tells it from the peer's flags.
func (r *run) bothHaveKeys(theirs byte) bool { return !r.known.None() && theirs&flagKey != 0 }

// bothHaveWords tells it from the peer's flags. If only one side has any, that is an error.
func (r *run) bothHaveWords(theirs byte) (bool, error) {
	mine, words := !r.secret.Empty(), theirs&flagWords != 0
	if mine != words {
		return false, ErrWordsOnOneSide
	}
	return words, nil
}

// reply is the rest of respond, when both sides have words. hello is what is to be said before, or nil.
func (r *run) reply(hello, start []byte) error {
	element, key, err := cpace.Exchange(r.secret.words, r.context(), start)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	r.key = key
	r.note(element)
	mine, err := r.proof("responder")
	if err != nil {
		return err
	}
	r.note(mine)
	want, err := r.proof("initiator")
	if err != nil {
		return err
	}
	if err := r.spends(); err != nil {
		return err
	}
	r.exposed = true // from the first byte on, whether or not the write succeeds
	if err := write(r.conn, hello, message(kindReply, append(element, mine...)...)); err != nil {
		return err
	}
	theirs, err := read(r.conn, kindProof, proofSize)
	if err != nil {
		return err
	}
	if !hmac.Equal(theirs, want) {
		return ErrWrongWords
	}
	return nil
}

// hello tells version, role and whether this side has words and a key, with what makes a proof of the key a fresh one.
func (r *run) hello(role byte) []byte {
	flags := role
	if !r.secret.Empty() {
		flags |= flagWords
	}
	if !r.known.None() {
		flags |= flagKey
	}
	r.note([]byte{version, flags})
	hello := message(kindHello, version, flags)
	if r.known.None() {
		return hello
	}
	fresh := make([]byte, nonceSize)
	_, _ = rand.Read(fresh) // never fails
	r.note(fresh)
	return append(hello, message(kindFresh, fresh...)...)
}

// readHello reads the hello of a peer that must have this role, and returns its flags.
func (r *run) readHello(role byte) (byte, error) {
	body, err := read(r.conn, kindHello, 2)
	if err != nil {
		return 0, err
	}
	r.note(body)
	v, flags := body[0], body[1]
	switch {
	case v != version:
		return 0, fmt.Errorf("%w: %d instead of %d", ErrVersion, v, version)
	case flags&^(flagInitiator|flagWords|flagKey) != 0:
		return 0, fmt.Errorf("%w: unknown flags %#02x", ErrProtocol, flags)
	case flags&flagInitiator != role:
		return 0, fmt.Errorf("%w: both sides claim the same role", ErrProtocol)
	}
	if flags&flagKey != 0 {
		fresh, err := read(r.conn, kindFresh, nonceSize)
		if err != nil {
			return 0, err
		}
		r.note(fresh)
	}
	return flags, nil
}

func (r *run) note(body []byte) { r.transcript = append(r.transcript, body...) }

// context binds the CPace key to this protocol, to the roles and to the encrypted connection or the room.
func (r *run) context() *cpace.ContextInfo {
	return cpace.NewContextInfo(r.label+"initiator", r.label+"responder", append([]byte(r.label), r.binding...))
}

// proof is what shows the one side's knowledge of the key to the other. Each direction has a key of its own, so a
// reflected proof is of no use. The initiator's covers the responder's as well, so that they agree on the outcome.
func (r *run) proof(role string) ([]byte, error) {
	k, err := hkdf.Expand(sha256.New, r.key, r.label+role+" proof", sha256.Size)
	if err != nil {
		return nil, err
	}
	return r.mac(k), nil
}

// mac is an HMAC of all that was said so far, and of where.
func (r *run) mac(key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(r.transcript)
	m.Write(r.binding)
	return m.Sum(nil)
}
