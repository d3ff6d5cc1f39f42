package pair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	keyA = Key{1, 2, 3}
	keyB = Key{1, 2, 4}
)

func TestKeyCode(t *testing.T) {
	a, b := KeyCode(keyA), KeyCode(keyB)
	if a != KeyCode(Key{1, 2, 3}) || a == b || a.Room() == b.Room() || a.words == b.words {
		t.Errorf("codes %q and %q of two keys", a, b)
	}
	if !regexp.MustCompile(`^r[a-z2-7]{20}$`).MatchString(a.Room()) {
		t.Errorf("room %q", a.Room())
	}
	if n := len(strings.Split(strings.ReplaceAll(a.words, "yo-yo", "yoyo"), "-")); n != keyWords {
		t.Errorf("%d words", n)
	}
	// Everything that takes the codes of people takes this one.
	for i := range 200 {
		c := KeyCode(Key{byte(i), 7})
		if got, err := ParseCode(c.String()); err != nil || got != c {
			t.Errorf("%q becomes %q, %v", c, got, err)
		}
	}
	// The two must stay the same from version to version, and be nothing but what is said of them.
	if c := KeyCode(Key{}); c != (Code{}) {
		t.Errorf("no key makes the code %q", c)
	}
	if text := fmt.Sprintf("%v %x %s %d", keyA, keyA, keyA, keyA); text != "(secret key) (secret key) (secret key) (secret key)" {
		t.Errorf("a key prints as %s", text)
	}
}

func TestAuthKey(t *testing.T) {
	words, others := secret(t, "abdomen-yogurt", ""), secret(t, "abdomen-acorn", "")
	tests := []struct {
		name   string
		a, b   Auth
		want   error
		byKeys bool
	}{
		{"same key", Auth{Key: keyA}, Auth{Key: keyA}, nil, true},
		{"same key, same words", Auth{Key: keyA, Secret: words}, Auth{Key: keyA, Secret: words}, nil, true},
		{"same key, other words", Auth{Key: keyA, Secret: words}, Auth{Key: keyA, Secret: others}, nil, true},
		{"same key, words on one side", Auth{Key: keyA, Secret: words}, Auth{Key: keyA}, nil, true},
		{"other key", Auth{Key: keyA}, Auth{Key: keyB}, nil, false},
		{"other key, same words", Auth{Key: keyA, Secret: words}, Auth{Key: keyB, Secret: words}, nil, false},
		{"other key, other words", Auth{Key: keyA, Secret: words}, Auth{Key: keyB, Secret: others}, ErrWrongWords, false},
		{"other key, words on one side", Auth{Key: keyA}, Auth{Key: keyB, Secret: words}, ErrWordsOnOneSide, false},
		{"key on one side", Auth{Key: keyA}, Auth{}, nil, false},
		{"key on one side, same words", Auth{Key: keyA, Secret: words}, Auth{Secret: words}, nil, false},
		{"key on one side, other words", Auth{Key: keyA, Secret: words}, Auth{Secret: others}, ErrWrongWords, false},
		{"key on one side, words there", Auth{Key: keyA, Secret: words}, Auth{}, ErrWordsOnOneSide, false},
		{"key on one side, words on the other", Auth{Key: keyA}, Auth{Secret: words}, ErrWordsOnOneSide, false},
	}
	for _, k := range kinds {
		for _, tt := range tests {
			for _, turned := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", k.name, tt.name, turned), func(t *testing.T) {
					a, b := k.dial(t)
					var keysA, keysB bool
					tt.a.ByKey, tt.b.ByKey = func() { keysA = true }, func() { keysB = true }
					errA, errB := both(t,
						func(ctx context.Context) error { return tt.a.Run(ctx, a.conn, !turned, a.exporter) },
						func(ctx context.Context) error { return tt.b.Run(ctx, b.conn, turned, b.exporter) })
					for _, err := range []error{errA, errB} {
						if !errors.Is(err, tt.want) || Guess(err) != (tt.want == ErrWrongWords) {
							t.Errorf("got %v (guess: %v), want %v", err, Guess(err), tt.want)
						}
					}
					if keysA != tt.byKeys || keysB != tt.byKeys {
						t.Errorf("by key: %v and %v, want %v", keysA, keysB, tt.byKeys)
					}
					passes(t, a.conn, b.conn)
					passes(t, b.conn, a.conn)
				})
			}
		}
	}
}

const keyHelloLen = helloLen + 1 + nonceSize

func keyHello(flags byte) []byte {
	return slices.Concat(hello(version, flags|flagKey), message(kindFresh, make([]byte, nonceSize)...))
}

// A peer without the key never gets by as one that has it.
func TestAuthKeyHostile(t *testing.T) {
	zeros := make([]byte, 200)
	badProof := message(kindKeyProof, zeros[:proofSize]...)
	noWords := func(b []byte) []byte { return slices.Concat(keyHello(0), b) }
	tests := []struct {
		name      string
		initiator bool // what Run plays
		steps     []step
		want      error
	}{
		{"I: wrong proof", true, []step{{keyHelloLen, noWords(badProof)}, {1 + proofSize, nil}}, nil},
		{"I: half a proof", true, []step{{keyHelloLen, noWords(badProof[:9])}}, io.ErrUnexpectedEOF},
		{"I: no proof", true, []step{{keyHelloLen, noWords(nil)}}, io.ErrUnexpectedEOF},
		{"I: nothing random", true, []step{{keyHelloLen, hello(version, flagKey)}}, io.ErrUnexpectedEOF},
		{"I: half of what is random", true, []step{{keyHelloLen, noWords(nil)[:10]}}, io.ErrUnexpectedEOF},
		{"I: a start instead", true, []step{{keyHelloLen, noWords(message(kindStart, zeros[:startSize]...))}}, ErrProtocol},
		{"I: other version", true, []step{{keyHelloLen, hello(version+1, flagKey)}}, ErrVersion},
		{"R: wrong proof", false, []step{{0, keyHello(flagInitiator)}, {keyHelloLen + 1 + proofSize, badProof}}, nil},
		{"R: half a proof", false, []step{{0, keyHello(flagInitiator)}, {keyHelloLen + 1 + proofSize, badProof[:9]}}, io.ErrUnexpectedEOF},
		{"R: no proof", false, []step{{0, keyHello(flagInitiator)}, {keyHelloLen + 1 + proofSize, nil}}, io.ErrUnexpectedEOF},
		{"R: a start instead", false, []step{{0, keyHello(flagInitiator)}, {keyHelloLen + 1 + proofSize, message(kindStart, zeros[:startSize]...)}}, ErrProtocol},
		{"R: nothing random", false, []step{{0, hello(version, flagInitiator|flagKey)}}, io.ErrUnexpectedEOF},
		{"R: other version", false, []step{{0, hello(version-1, flagInitiator)}}, ErrVersion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pipe(t)
			go func() {
				play(b.conn, tt.steps)
				b.conn.Close()
			}()
			auth := Auth{Key: keyA, ByKey: func() { t.Error("let in by key") }}
			if err := auth.Run(t.Context(), a.conn, tt.initiator, a.exporter); !errors.Is(err, tt.want) || Guess(err) {
				t.Errorf("got %v (guess: %v), want %v", err, Guess(err), tt.want)
			}
		})
	}
}

// The attacker has no key, and sends back what it gets, with the role changed.
func TestAuthKeyReflection(t *testing.T) {
	t.Run("initiator", func(t *testing.T) {
		a, b := pipe(t)
		go func() {
			got := make([]byte, keyHelloLen)
			io.ReadFull(b.conn, got)
			got[2] &^= flagInitiator
			b.conn.Write(got)
			b.conn.Write(message(kindKeyProof, make([]byte, proofSize)...))
			io.Copy(io.Discard, b.conn)
		}()
		auth := Auth{Key: keyA, ByKey: func() { t.Error("let in by key") }}
		if err := auth.Run(t.Context(), a.conn, true, a.exporter); err != nil {
			t.Error(err)
		}
	})
	t.Run("responder", func(t *testing.T) {
		a, b := pipe(t)
		go func() {
			b.conn.Write(keyHello(flagInitiator))
			got := make([]byte, keyHelloLen+1+proofSize)
			io.ReadFull(b.conn, got)
			b.conn.Write(got[keyHelloLen:])
		}()
		auth := Auth{Key: keyA, ByKey: func() { t.Error("let in by key") }}
		if err := auth.Run(t.Context(), a.conn, false, a.exporter); err != nil {
			t.Error(err)
		}
	})
	t.Run("two of the same side", func(t *testing.T) {
		a, b := overTLS(t)
		go io.Copy(b.conn, b.conn)
		if err := (Auth{Key: keyA}).Run(t.Context(), a.conn, true, a.exporter); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v, want %v", err, ErrProtocol)
		}
	})
	// It has one session with each side and passes on every byte: the keys are right, the sessions are not.
	t.Run("in the middle", func(t *testing.T) {
		a, left := overTLS(t)
		right, b := overTLS(t)
		go io.Copy(left.conn, right.conn)
		go io.Copy(right.conn, left.conn)
		auth := Auth{Key: keyA, ByKey: func() { t.Error("let in by key") }}
		errA, errB := both(t,
			func(ctx context.Context) error { return auth.Run(ctx, a.conn, true, a.exporter) },
			func(ctx context.Context) error { return auth.Run(ctx, b.conn, false, b.exporter) })
		if errA != nil || errB != nil {
			t.Errorf("got %v and %v", errA, errB)
		}
		a.conn.Close()
		b.conn.Close()
	})
}

// What was said once is of no use a second time, not even within the same session.
func TestAuthKeyReplay(t *testing.T) {
	a, b := pipe(t)
	said := make(chan []byte, 1)
	go func() {
		tap := &recorded{Conn: b.conn}
		auth := Auth{Key: keyA}
		if err := auth.Run(t.Context(), tap, true, b.exporter); err != nil {
			t.Error(err)
		}
		said <- tap.wrote.Bytes()
	}()
	if err := (Auth{Key: keyA}).Run(t.Context(), a.conn, false, a.exporter); err != nil {
		t.Fatal(err)
	}
	go func() {
		first := <-said
		play(b.conn, []step{{0, first[:keyHelloLen]}, {keyHelloLen + 1 + proofSize, first[keyHelloLen:]}})
	}()
	auth := Auth{Key: keyA, ByKey: func() { t.Error("let in by what was said before") }}
	if err := auth.Run(t.Context(), a.conn, false, a.exporter); err != nil {
		t.Error(err)
	}
}

// Each byte of the conversation matters: when one is changed on the way, the side that hears it does not know the other.
func TestAuthKeyTampering(t *testing.T) {
	lengths := []int{keyHelloLen, keyHelloLen + 1 + proofSize, 1 + proofSize}
	for part, n := range lengths {
		for at := range n {
			a, left := overTCP(t)
			right, b := overTCP(t)
			go tamper(left.conn, right.conn, lengths, part, at)
			known := make([]bool, 2)
			run := func(i int, s side) func(context.Context) error {
				return func(ctx context.Context) error {
					defer s.conn.Close()
					return Auth{Key: keyA, ByKey: func() { known[i] = true }}.Run(ctx, s.conn, i == 0, s.exporter)
				}
			}
			_, _ = both(t, run(0, a), run(1, b))
			if known[1] || known[0] && part < 2 {
				t.Errorf("part %d, byte %d: known %v", part, at, known)
			}
		}
	}
}

func TestAuthKeySilence(t *testing.T) {
	a, b := pipe(t)
	go play(b.conn, []step{{0, keyHello(flagInitiator)}, {keyHelloLen + 1 + proofSize, nil}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Auth{Key: keyA}.Run(ctx, a.conn, false, a.exporter)
	if !errors.Is(err, context.DeadlineExceeded) || Guess(err) {
		t.Errorf("got %v (guess: %v), want %v", err, Guess(err), context.DeadlineExceeded)
	}
}

// recorded remembers what was written.
type recorded struct {
	net.Conn
	wrote bytes.Buffer
}

func (r *recorded) Write(b []byte) (int, error) {
	r.wrote.Write(b)
	return r.Conn.Write(b)
}

// Whatever strangers send, nobody is let in by a key.
func FuzzAuthKey(f *testing.F) {
	f.Add(slices.Concat(keyHello(flagWords), message(kindKeyProof, make([]byte, proofSize)...), message(kindReply, make([]byte, 64)...)))
	f.Add(slices.Concat(keyHello(flagWords|flagInitiator), message(kindKeyProof, make([]byte, proofSize)...),
		message(kindStart, make([]byte, startSize)...), message(kindProof, make([]byte, proofSize)...)))
	f.Add(keyHello(0))
	f.Add(hello(version, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, initiator := range []bool{true, false} {
			for _, words := range []string{"", "abdomen"} {
				auth := Auth{Key: keyA, Secret: Secret{words}, ByKey: func() { t.Errorf("initiator %v: let in by %x", initiator, in) }}
				err := auth.Run(t.Context(), &canned{in: bytes.NewReader(in)}, initiator, make([]byte, minExporter))
				if err == nil && words != "" {
					t.Errorf("initiator %v: succeeded with %x", initiator, in)
				}
			}
		}
	})
}
