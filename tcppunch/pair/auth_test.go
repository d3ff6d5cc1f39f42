package pair

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"filippo.io/cpace"
)

func TestAuth(t *testing.T) {
	words := secret(t, "abdomen-yogurt", "acid")
	tests := []struct {
		name string
		a, b Secret
		want error
	}{
		{"same words", words, words, nil},
		{"different words", words, secret(t, "abdomen-yogurt", "acorn"), ErrWrongWords},
		{"no words", Secret{}, Secret{}, nil},
		{"words on the initiator's side", words, Secret{}, ErrWordsOnOneSide},
		{"words on the responder's side", Secret{}, words, ErrWordsOnOneSide},
	}
	for _, k := range kinds {
		for _, tt := range tests {
			t.Run(k.name+"/"+tt.name, func(t *testing.T) {
				a, b := k.dial(t)
				errA, errB := both(t,
					func(ctx context.Context) error { return Auth{Secret: tt.a}.Run(ctx, a.conn, true, a.exporter) },
					func(ctx context.Context) error { return Auth{Secret: tt.b}.Run(ctx, b.conn, false, b.exporter) })
				for _, err := range []error{errA, errB} {
					if !errors.Is(err, tt.want) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
					if Guess(err) != (tt.want == ErrWrongWords) {
						t.Errorf("Guess(%v) = %v", err, Guess(err))
					}
				}
				// Whatever the outcome, nothing is left over, and the connection still works both ways.
				passes(t, a.conn, b.conn)
				passes(t, b.conn, a.conn)
			})
		}
	}
}

// passes checks that the next bytes that come out of to are those that go into from.
func passes(t *testing.T, from, to net.Conn) {
	t.Helper()
	want := []byte("application data")
	go from.Write(want)
	got := make([]byte, len(want))
	to.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
}

// A man in the middle has one TLS session with each side and passes on every byte. The words are right.
func TestAuthManInTheMiddle(t *testing.T) {
	a, left := overTLS(t)
	right, b := overTLS(t)
	go io.Copy(left.conn, right.conn)
	go io.Copy(right.conn, left.conn)
	words := secret(t, "abdomen-yogurt", "")
	errA, errB := both(t,
		func(ctx context.Context) error { return Auth{Secret: words}.Run(ctx, a.conn, true, a.exporter) },
		func(ctx context.Context) error { return Auth{Secret: words}.Run(ctx, b.conn, false, b.exporter) })
	if !errors.Is(errA, ErrWrongWords) || !errors.Is(errB, ErrWrongWords) {
		t.Errorf("got %v and %v, want twice %v", errA, errB, ErrWrongWords)
	}
	a.conn.Close()
	b.conn.Close()
}

// script plays the peer of Run: it sends each step after having read so many bytes.
type step struct {
	read int
	send []byte
}

func play(conn net.Conn, steps []step) {
	for _, s := range steps {
		if _, err := io.ReadFull(conn, make([]byte, s.read)); err != nil {
			return
		}
		if _, err := conn.Write(s.send); err != nil {
			return
		}
	}
}

func hello(v, flags byte) []byte { return message(kindHello, v, flags) }

const (
	helloLen = 3
	startLen = 1 + startSize
	replyLen = 1 + replySize + proofSize
)

// otherElement is a valid message of a responder who has other words.
func otherElement(t *testing.T) []byte {
	t.Helper()
	info := cpace.NewContextInfo("", "", nil)
	start, _, err := cpace.Start("x", info)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := cpace.Exchange("x", info, start)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAuthBadPeer(t *testing.T) {
	element := otherElement(t)
	start := message(kindStart, append(make([]byte, 16), element...)...)
	zeros := make([]byte, 200)
	withWords := hello(version, flagWords)
	asInitiator := hello(version, flagWords|flagInitiator)
	toInitiator := func(b ...[]byte) []step { return []step{{helloLen + startLen, slices.Concat(b...)}} }
	toResponder := func(b ...[]byte) []step { return []step{{0, slices.Concat(b...)}} }
	thenReply := func(b []byte) []step {
		return []step{{0, slices.Concat(asInitiator, start)}, {helloLen + replyLen, b}}
	}
	// The peer closes after the last step.
	tests := []struct {
		name      string
		initiator bool // what Run plays
		steps     []step
		want      error
		guess     bool
	}{
		{"I: closes at once", true, nil, io.ErrClosedPipe, false},
		{"I: closes after our start", true, toInitiator(nil), io.ErrUnexpectedEOF, false},
		{"I: half a hello", true, toInitiator(withWords[:2]), io.ErrUnexpectedEOF, false},
		{"I: garbage", true, toInitiator(zeros), ErrProtocol, false},
		{"I: other version", true, toInitiator(hello(version+1, 0)), ErrVersion, false},
		{"I: unknown flags", true, toInitiator(hello(version, 0x80)), ErrProtocol, false},
		{"I: same role", true, toInitiator(asInitiator), ErrProtocol, false},
		{"I: hello and no reply", true, toInitiator(withWords), io.ErrUnexpectedEOF, false},
		{"I: half a reply", true, toInitiator(withWords, message(kindReply, element...)), io.ErrUnexpectedEOF, false},
		{"I: wrong kind of reply", true, toInitiator(withWords, message(kindProof, zeros...)), ErrProtocol, false},
		{"I: identity as element", true, toInitiator(withWords, message(kindReply, zeros...)), ErrProtocol, false},
		{"I: no element", true, toInitiator(withWords, message(kindReply, bytes.Repeat([]byte{0xFF}, 64)...)), ErrProtocol, false},
		{"I: wrong proof, then closes", true, toInitiator(withWords, message(kindReply, append(element, zeros[:32]...)...)),
			ErrWrongWords, true},

		{"R: closes at once", false, nil, io.ErrUnexpectedEOF, false},
		{"R: garbage", false, toResponder(zeros), ErrProtocol, false},
		{"R: other version", false, toResponder(hello(9, 0)), ErrVersion, false},
		{"R: unknown flags", false, toResponder(hello(version, 0xFF)), ErrProtocol, false},
		{"R: same role", false, toResponder(withWords), ErrProtocol, false},
		{"R: no start", false, toResponder(asInitiator), io.ErrUnexpectedEOF, false},
		{"R: half a start", false, toResponder(asInitiator, start[:20]), io.ErrUnexpectedEOF, false},
		{"R: wrong kind of start", false, toResponder(asInitiator, message(kindProof, zeros...)), ErrProtocol, false},
		{"R: identity as element", false, []step{{0, slices.Concat(asInitiator, message(kindStart, zeros[:startSize]...))}, {helloLen, nil}},
			ErrProtocol, false},
		// From here on the peer has our proof and can have tested a guess.
		{"R: takes our proof and closes", false, thenReply(nil), ErrUnproven, true},
		{"R: half a proof", false, thenReply(message(kindProof, zeros[:5]...)), ErrUnproven, true},
		{"R: garbage for a proof", false, thenReply(zeros[:33]), ErrUnproven, true},
		{"R: wrong proof", false, thenReply(message(kindProof, zeros[:32]...)), ErrWrongWords, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pipe(t)
			go func() {
				play(b.conn, tt.steps)
				b.conn.Close()
			}()
			err := Auth{Secret: secret(t, "abdomen", "")}.Run(t.Context(), a.conn, tt.initiator, a.exporter)
			if !errors.Is(err, tt.want) || Guess(err) != tt.guess {
				t.Errorf("got %v (guess: %v), want %v (guess: %v)", err, Guess(err), tt.want, tt.guess)
			}
		})
	}
}

// The attacker knows no words, but sends back what it gets: the hello with the role changed, the start's element for
// its own, and the proof.
func TestAuthReflection(t *testing.T) {
	words := secret(t, "abdomen", "")
	t.Run("initiator's element", func(t *testing.T) {
		a, b := pipe(t)
		go func() {
			got := make([]byte, helloLen+startLen)
			if _, err := io.ReadFull(b.conn, got); err != nil {
				return
			}
			element := got[helloLen+1+16:]
			b.conn.Write(slices.Concat(hello(version, flagWords), message(kindReply, append(element, element...)...)))
			io.Copy(io.Discard, b.conn)
		}()
		err := Auth{Secret: words}.Run(t.Context(), a.conn, true, a.exporter)
		if !errors.Is(err, ErrWrongWords) {
			t.Errorf("got %v, want %v", err, ErrWrongWords)
		}
	})
	t.Run("responder's proof", func(t *testing.T) {
		a, b := pipe(t)
		go func() {
			b.conn.Write(slices.Concat(hello(version, flagWords|flagInitiator),
				message(kindStart, append(make([]byte, 16), otherElement(t)...)...)))
			got := make([]byte, helloLen+replyLen)
			if _, err := io.ReadFull(b.conn, got); err != nil {
				return
			}
			b.conn.Write(message(kindProof, got[len(got)-proofSize:]...))
		}()
		err := Auth{Secret: words}.Run(t.Context(), a.conn, false, a.exporter)
		if !errors.Is(err, ErrWrongWords) {
			t.Errorf("got %v, want %v", err, ErrWrongWords)
		}
	})
	t.Run("two of the same side", func(t *testing.T) {
		a, b := overTLS(t)
		go io.Copy(b.conn, b.conn)
		if err := (Auth{Secret: words}).Run(t.Context(), a.conn, true, a.exporter); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v, want %v", err, ErrProtocol)
		}
	})
}

// Each byte of the conversation matters: when one is changed on the way, neither side is content.
func TestAuthTampering(t *testing.T) {
	words := secret(t, "abdomen", "")
	lengths := []int{helloLen + startLen, helloLen + replyLen, 1 + proofSize}
	for part, n := range lengths {
		for at := range n {
			a, left := overTCP(t)
			right, b := overTCP(t)
			go tamper(left.conn, right.conn, lengths, part, at)
			errA, errB := both(t,
				func(ctx context.Context) error {
					defer a.conn.Close()
					return Auth{Secret: words}.Run(ctx, a.conn, true, a.exporter)
				},
				func(ctx context.Context) error {
					defer b.conn.Close()
					return Auth{Secret: words}.Run(ctx, b.conn, false, b.exporter)
				})
			// The initiator is done when it sends its proof: nominating the connection has to tell it of the rest.
			if errB == nil || errA == nil && part < 2 {
				t.Errorf("part %d, byte %d: %v and %v", part, at, errA, errB)
			}
		}
	}
}

// tamper passes on parts of the conversation in alternating directions and flips a bit of one.
func tamper(left, right net.Conn, lengths []int, part, at int) {
	defer left.Close()
	defer right.Close()
	from, to := left, right
	for i, n := range lengths {
		b := make([]byte, n)
		if _, err := io.ReadFull(from, b); err != nil {
			return
		}
		if i == part {
			b[at] ^= 0x04
		}
		if _, err := to.Write(b); err != nil {
			return
		}
		from, to = to, from
	}
	io.Copy(io.Discard, left)
}

func TestAuthContext(t *testing.T) {
	for _, initiator := range []bool{true, false} {
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) {
				a, b := k.dial(t)
				go io.Copy(io.Discard, b.conn) // a peer that says nothing
				cause := errors.New("enough")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(30*time.Millisecond, func() { cancel(cause) })
				start := time.Now()
				err := Auth{Secret: secret(t, "abdomen", "")}.Run(ctx, a.conn, initiator, a.exporter)
				if !errors.Is(err, cause) || Guess(err) || time.Since(start) > 5*time.Second {
					t.Errorf("after %v: %v, want %v", time.Since(start), err, cause)
				}
				if err := (Auth{}).Run(ctx, a.conn, initiator, a.exporter); !errors.Is(err, cause) {
					t.Errorf("a context that ended before: %v, want %v", err, cause)
				}
			})
		}
	}
}

// A peer that keeps silent after it saw our proof has had its guess.
func TestAuthSilenceIsAGuess(t *testing.T) {
	a, b := pipe(t)
	go play(b.conn, []step{
		{0, slices.Concat(hello(version, flagWords|flagInitiator), message(kindStart, append(make([]byte, 16), otherElement(t)...)...))},
		{helloLen + replyLen, nil},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Auth{Secret: secret(t, "abdomen", "")}.Run(ctx, a.conn, false, a.exporter)
	if !errors.Is(err, ErrUnproven) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v and %v", err, ErrUnproven, context.DeadlineExceeded)
	}
}

func TestExporterIsNeeded(t *testing.T) {
	for _, n := range []int{0, minExporter - 1, maxExporter + 1} {
		a, _ := pipe(t)
		if err := (Auth{}).Run(t.Context(), a.conn, true, make([]byte, n)); err == nil {
			t.Errorf("Run accepts an exporter of %d bytes", n)
		}
		if _, err := CheckWords(t.Context(), a.conn, true, make([]byte, n)); err == nil {
			t.Errorf("CheckWords accepts an exporter of %d bytes", n)
		}
	}
}

// Whatever strangers send, Run neither panics nor succeeds with words.
func FuzzAuth(f *testing.F) {
	f.Add(slices.Concat(hello(version, flagWords), message(kindReply, make([]byte, 64)...)))
	f.Add(slices.Concat(hello(version, flagWords|flagInitiator), message(kindStart, make([]byte, 48)...), message(kindProof, make([]byte, 32)...)))
	f.Add(hello(version, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, initiator := range []bool{true, false} {
			conn := &canned{in: bytes.NewReader(in)}
			err := Auth{Secret: Secret{"abdomen"}}.Run(t.Context(), conn, initiator, make([]byte, minExporter))
			if err == nil {
				t.Errorf("initiator %v: succeeded with %x", initiator, in)
			}
			conn = &canned{in: bytes.NewReader(in)}
			_ = Auth{}.Run(t.Context(), conn, initiator, make([]byte, minExporter))
		}
	})
}

// canned is a connection whose peer says what it says, whatever it hears.
type canned struct {
	net.Conn
	in *bytes.Reader
}

func (c *canned) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *canned) Write(b []byte) (int, error)      { return len(b), nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// A guess is counted before the peer can test it, and whoever may have no more learns nothing.
func TestAuthSpend(t *testing.T) {
	words, other := secret(t, "abdomen-yogurt", "acid"), secret(t, "abdomen-yogurt", "acorn")
	enough := errors.New("enough")
	for _, initiator := range []bool{true, false} {
		for _, theirs := range []Secret{words, other, {}} {
			for _, limit := range []error{nil, enough} {
				a, b := overTLS(t)
				spent := 0
				mine := Auth{Secret: words, Spend: func() error { spent++; return limit }}
				errA, _ := both(t,
					func(ctx context.Context) error {
						defer a.conn.Close()
						return mine.Run(ctx, a.conn, initiator, a.exporter)
					},
					func(ctx context.Context) error {
						defer b.conn.Close()
						return Auth{Secret: theirs}.Run(ctx, b.conn, !initiator, b.exporter)
					})
				want := map[Secret]error{words: nil, other: ErrWrongWords, {}: ErrWordsOnOneSide}[theirs]
				times := 1
				switch {
				case theirs.Empty():
					times = 0
				case limit != nil:
					want = enough
				}
				if !errors.Is(errA, want) || spent != times {
					t.Errorf("initiator %t, %v, limit %v: got %v, counted %d, want %v and %d", initiator, theirs, limit, errA, spent, want, times)
				}
				if limit != nil && Guess(errA) {
					t.Errorf("%v is no guess", errA)
				}
			}
		}
	}
}
