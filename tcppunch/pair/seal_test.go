package pair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A line is one end of a channel in memory. What the one end sends may pass through the hands of an attacker, who
// returns what arrives instead.
type line struct {
	out    chan<- []byte
	in     <-chan []byte
	tamper func(n int, msg []byte) [][]byte // of the n-th message that this end sends
	sent   int
}

func (l *line) Send(ctx context.Context, msg []byte) error {
	all := [][]byte{slices.Clone(msg)}
	if l.tamper != nil {
		all = l.tamper(l.sent, all[0])
	}
	l.sent++
	for _, m := range all {
		select {
		case l.out <- m:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

var errLeft = errors.New("the other side left")

// Recv delivers what came before the end.
func (l *line) Recv(ctx context.Context) ([]byte, error) {
	select {
	case m, ok := <-l.in:
		if !ok {
			return nil, errLeft
		}
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func lines() (a, b *line) {
	ab, ba := make(chan []byte, 16), make(chan []byte, 16)
	return &line{out: ab, in: ba}, &line{out: ba, in: ab}
}

func code(t testing.TB, s string) Code {
	t.Helper()
	c, err := ParseCode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealBoth has both sides pair. A side that fails leaves, as real ones do.
func sealBoth(t *testing.T, a, b *line, codeA, codeB Code) (sa, sb *Sealed, errA, errB error) {
	t.Helper()
	errA, errB = both(t,
		func(ctx context.Context) (err error) {
			if sa, err = Seal(ctx, a, codeA, true); err != nil {
				close(a.out)
			}
			return err
		},
		func(ctx context.Context) (err error) {
			if sb, err = Seal(ctx, b, codeB, false); err != nil {
				close(b.out)
			}
			return err
		})
	return sa, sb, errA, errB
}

func sealedPair(t *testing.T) (sa, sb *Sealed, a, b *line) {
	t.Helper()
	a, b = lines()
	c := code(t, "4821-abdomen-yogurt")
	sa, sb, errA, errB := sealBoth(t, a, b, c, c)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	return sa, sb, a, b
}

func TestSeal(t *testing.T) {
	sa, sb, a, _ := sealedPair(t)
	var wire [][]byte
	a.tamper = func(_ int, msg []byte) [][]byte {
		wire = append(wire, msg)
		return [][]byte{msg}
	}
	for _, msg := range [][]byte{nil, []byte("an offer"), []byte("an offer"), bytes.Repeat([]byte{7}, MaxSealed)} {
		for _, dir := range [][2]*Sealed{{sa, sb}, {sb, sa}} {
			if err := dir[0].Send(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
			if got, err := dir[1].Recv(t.Context()); err != nil || !bytes.Equal(got, msg) {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, len(msg))
			}
		}
	}
	for _, w := range wire {
		if bytes.Contains(w, []byte("offer")) {
			t.Error("a message can be read on the way")
		}
	}
	if bytes.Equal(wire[1], wire[2]) {
		t.Error("the same message looks the same twice")
	}
	if err := sa.Send(t.Context(), make([]byte, MaxSealed+1)); err == nil {
		t.Error("a message of any size is sent")
	}
	if err := sa.Send(t.Context(), []byte("x")); err != nil { // the one before was not begun
		t.Error(err)
	}
	if got, err := sb.Recv(t.Context()); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSealWrong(t *testing.T) {
	tests := []struct{ name, a, b string }{
		{"words", "4821-abdomen-yogurt", "4821-abdomen-acid"},
		{"room", "4821-abdomen-yogurt", "4822-abdomen-yogurt"},
		{"order of words", "4821-abdomen-yogurt", "4821-yogurt-abdomen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := lines()
			_, _, errA, errB := sealBoth(t, a, b, code(t, tt.a), code(t, tt.b))
			for _, err := range []error{errA, errB} {
				if !errors.Is(err, ErrWrongWords) || !Guess(err) {
					t.Errorf("got %v, want %v", err, ErrWrongWords)
				}
				if err != nil && strings.Contains(err.Error(), "yogurt") {
					t.Errorf("the error shows the words: %v", err)
				}
			}
		})
	}
	a, _ := lines()
	if _, err := Seal(t.Context(), a, Code{}, true); err == nil {
		t.Error("no code at all is one")
	}
}

// What the server sees does not even show how long the words are.
func TestSealTellsNothing(t *testing.T) {
	for _, initiator := range []bool{true, false} {
		var sizes []int
		for _, c := range []string{"4821-abdomen-yogurt", "1-some-much-longer-secret-of-many-words"} {
			a, b := lines()
			record := func(_ int, msg []byte) [][]byte {
				sizes = append(sizes, len(msg))
				return [][]byte{msg}
			}
			if a.tamper = record; !initiator {
				a.tamper, b.tamper = nil, record
			}
			if _, _, errA, errB := sealBoth(t, a, b, code(t, c), code(t, c)); errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
		}
		if n := len(sizes) / 2; n == 0 || !slices.Equal(sizes[:n], sizes[n:]) {
			t.Errorf("initiator %v: messages of %v bytes", initiator, sizes)
		}
	}
}

// A server in the middle that has no code, but plays CPace with both sides, fails with both.
func TestSealManInTheMiddle(t *testing.T) {
	a, left := lines()
	right, b := lines()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	guess := code(t, "4821-acid-acorn")
	done := make(chan error, 4)
	go func() { _, err := Seal(ctx, a, code(t, "4821-abdomen-yogurt"), true); done <- err }()
	go func() { _, err := Seal(ctx, left, guess, false); done <- err }()
	go func() { _, err := Seal(ctx, right, guess, true); done <- err }()
	go func() { _, err := Seal(ctx, b, code(t, "4821-abdomen-yogurt"), false); done <- err }()
	for range 4 {
		if err := <-done; !errors.Is(err, ErrWrongWords) {
			t.Errorf("got %v, want %v", err, ErrWrongWords)
		}
	}
}

// A server that remembers what was said in a room and says it again gets nowhere, with either side.
func TestSealReplayedRoom(t *testing.T) {
	c := code(t, "4821-abdomen-yogurt")
	a, b := lines()
	var fromA, fromB [][]byte
	a.tamper = func(_ int, msg []byte) [][]byte { fromA = append(fromA, msg); return [][]byte{msg} }
	b.tamper = func(_ int, msg []byte) [][]byte { fromB = append(fromB, msg); return [][]byte{msg} }
	sa, _, errA, errB := sealBoth(t, a, b, c, c)
	if errA != nil || errB != nil || sa.Send(t.Context(), []byte("an offer")) != nil {
		t.Fatal(errA, errB)
	}
	for _, initiator := range []bool{true, false} {
		said := fromA
		if initiator {
			said = fromB
		}
		in := make(chan []byte, len(said))
		for _, m := range said {
			in <- m
		}
		close(in)
		_, err := Seal(t.Context(), &line{out: make(chan []byte, 16), in: in}, c, initiator)
		if !errors.Is(err, ErrWrongWords) {
			t.Errorf("initiator %v: got %v, want %v", initiator, err, ErrWrongWords)
		}
	}
}

// Each byte of the pairing matters: when one is changed, no side that goes on can say anything to the other.
func TestSealTampering(t *testing.T) {
	c := code(t, "4821-abdomen-yogurt")
	parts := []struct {
		fromA bool
		n     int // which of its messages
		size  int
	}{
		{true, 0, helloLen + startLen},
		{false, 0, helloLen + replyLen},
		{true, 1, 1 + proofSize},
	}
	for _, part := range parts {
		for at := range part.size {
			a, b := lines()
			flip := func(n int, msg []byte) [][]byte {
				if n == part.n {
					msg[at] ^= 0x04
				}
				return [][]byte{msg}
			}
			if a.tamper = flip; !part.fromA {
				a.tamper, b.tamper = nil, flip
			}
			_, sb, errA, errB := sealBoth(t, a, b, c, c)
			if errB == nil || sb != nil || errA == nil && part.n == 0 {
				t.Errorf("%+v, byte %d: %v and %v", part, at, errA, errB)
			}
		}
	}
}

// What a server can do to sealed messages is noticed.
func TestSealedTampering(t *testing.T) {
	var kept [][]byte
	keep := func(msg []byte) { kept = append(kept, slices.Clone(msg)) }
	tests := []struct {
		name   string
		tamper func(n int, msg []byte) [][]byte
		good   int // messages that arrive before it is noticed
	}{
		{"changed", func(n int, msg []byte) [][]byte { msg[len(msg)/2] ^= 1; return [][]byte{msg} }, 0},
		{"other kind", func(n int, msg []byte) [][]byte { msg[0]++; return [][]byte{msg} }, 0},
		{"cut short", func(n int, msg []byte) [][]byte { return [][]byte{msg[:len(msg)-1]} }, 0},
		{"made longer", func(n int, msg []byte) [][]byte { return [][]byte{append(msg, 0)} }, 0},
		{"emptied", func(n int, msg []byte) [][]byte { return [][]byte{{}} }, 0},
		{"huge", func(n int, msg []byte) [][]byte { return [][]byte{make([]byte, 1<<20)} }, 0},
		{"repeated", func(n int, msg []byte) [][]byte { return [][]byte{msg, msg} }, 1},
		{"left out", func(n int, msg []byte) [][]byte {
			if n == 1 {
				return nil
			}
			return [][]byte{msg}
		}, 1},
		{"swapped", func(n int, msg []byte) [][]byte {
			if keep(msg); n == 0 {
				return nil
			}
			return [][]byte{msg, kept[len(kept)-2]}
		}, 0},
		{"replayed later", func(n int, msg []byte) [][]byte {
			if keep(msg); n < 2 {
				return [][]byte{msg}
			}
			return [][]byte{kept[len(kept)-3]}
		}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sa, sb, a, _ := sealedPair(t)
			a.tamper, a.sent = tt.tamper, 0
			for i := range 3 {
				if err := sa.Send(t.Context(), fmt.Append(nil, "message ", i)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range tt.good {
				if got, err := sb.Recv(t.Context()); err != nil || string(got) != fmt.Sprint("message ", i) {
					t.Errorf("message %d: got %q, %v", i, got, err)
				}
			}
			if got, err := sb.Recv(t.Context()); !errors.Is(err, ErrTampered) {
				t.Errorf("got %q, %v, want %v", got, err, ErrTampered)
			}
		})
	}
	t.Run("reflected", func(t *testing.T) {
		sa, _, _, b := sealedPair(t)
		if err := sa.Send(t.Context(), []byte("an offer")); err != nil {
			t.Fatal(err)
		}
		b.out <- <-b.in
		if got, err := sa.Recv(t.Context()); !errors.Is(err, ErrTampered) {
			t.Errorf("got %q, %v, want %v", got, err, ErrTampered)
		}
	})
	t.Run("of another conversation", func(t *testing.T) {
		sa, _, _, b := sealedPair(t)
		_, other, a2, _ := sealedPair(t)
		if err := sa.Send(t.Context(), []byte("an offer")); err != nil {
			t.Fatal(err)
		}
		a2.out <- <-b.in
		if got, err := other.Recv(t.Context()); !errors.Is(err, ErrTampered) {
			t.Errorf("got %q, %v, want %v", got, err, ErrTampered)
		}
	})
}

// What may have tested a guess is one, and a line that broke before is none.
func TestSealBadPeer(t *testing.T) {
	element := otherElement(t)
	start := slices.Concat(hello(version, flagWords|flagInitiator), message(kindStart, append(make([]byte, 16), element...)...))
	reply := slices.Concat(hello(version, flagWords), message(kindReply, append(element, make([]byte, 32)...)...))
	proof := message(kindProof, make([]byte, 32)...)
	tests := []struct {
		name      string
		initiator bool     // what Seal plays
		says      [][]byte // before it leaves
		want      error
		guess     bool
	}{
		{"I: leaves", true, nil, errLeft, false},
		{"I: nothing", true, [][]byte{{}}, ErrProtocol, false},
		{"I: garbage", true, [][]byte{make([]byte, 100)}, ErrProtocol, false},
		{"I: huge", true, [][]byte{make([]byte, 1<<20)}, ErrProtocol, false},
		{"I: other version", true, [][]byte{hello(version+1, flagWords)}, ErrVersion, false},
		{"I: no words", true, [][]byte{hello(version, 0)}, ErrWordsOnOneSide, false},
		{"I: the same role", true, [][]byte{start}, ErrProtocol, false},
		{"I: half a reply", true, [][]byte{reply[:40]}, errLeft, false},
		{"I: wrong proof", true, [][]byte{reply}, ErrWrongWords, true},
		{"I: wrong proof in two", true, [][]byte{reply[:3], reply[3:]}, ErrWrongWords, true},
		{"I: sealed message at once", true, [][]byte{message(kindSealed, make([]byte, 50)...)}, ErrProtocol, false},

		{"R: leaves", false, nil, errLeft, false},
		{"R: garbage", false, [][]byte{make([]byte, 100)}, ErrProtocol, false},
		{"R: the same role", false, [][]byte{reply}, ErrProtocol, false},
		{"R: no words", false, [][]byte{hello(version, flagInitiator)}, ErrWordsOnOneSide, false},
		{"R: takes our proof and leaves", false, [][]byte{start}, ErrUnproven, true},
		{"R: takes our proof, then garbage", false, [][]byte{start, make([]byte, 10)}, ErrUnproven, true},
		{"R: wrong proof", false, [][]byte{start, proof}, ErrWrongWords, true},
		{"R: wrong proof with the start", false, [][]byte{append(slices.Clone(start), proof...)}, ErrWrongWords, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := make(chan []byte, len(tt.says))
			for _, m := range tt.says {
				in <- m
			}
			close(in)
			_, err := Seal(t.Context(), &line{out: make(chan []byte, 16), in: in}, code(t, "1-abdomen-acid"), tt.initiator)
			if !errors.Is(err, tt.want) || Guess(err) != tt.guess {
				t.Errorf("got %v (guess: %v), want %v (guess: %v)", err, Guess(err), tt.want, tt.guess)
			}
		})
	}
}

// A silent peer is waited for until the context ends, and has had a guess if it has seen our proof.
func TestSealSilence(t *testing.T) {
	start := slices.Concat(hello(version, flagWords|flagInitiator), message(kindStart, append(make([]byte, 16), otherElement(t)...)...))
	for name, said := range map[string][]byte{"at once": nil, "after the start": start} {
		t.Run(name, func(t *testing.T) {
			in := make(chan []byte, 1)
			if said != nil {
				in <- said
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := Seal(ctx, &line{out: make(chan []byte, 16), in: in}, code(t, "1-abdomen-acid"), false)
			if !errors.Is(err, context.DeadlineExceeded) || Guess(err) != (said != nil) {
				t.Errorf("got %v (guess: %v)", err, Guess(err))
			}
		})
	}
}

// Whatever a server or a stranger says, nobody is let in who has no code, and nothing panics.
func FuzzSeal(f *testing.F) {
	f.Add(slices.Concat(hello(version, flagWords), message(kindReply, make([]byte, 64)...)), []byte{})
	f.Add(slices.Concat(hello(version, flagWords|flagInitiator), message(kindStart, make([]byte, 48)...)), message(kindProof, make([]byte, 32)...))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, initiator := range []bool{true, false} {
			in := make(chan []byte, 2)
			in <- first
			in <- second
			close(in)
			_, err := Seal(t.Context(), &line{out: make(chan []byte, 16), in: in}, Code{"1", "abdomen-acid"}, initiator)
			if err == nil {
				t.Errorf("initiator %v: let in with %x and %x", initiator, first, second)
			}
		}
	})
}

// Whatever arrives as a sealed message is the peer's own, or an error.
func FuzzSealed(f *testing.F) {
	c := Code{"1", "abdomen-acid"}
	a, b := lines()
	done := make(chan *Sealed, 1)
	go func() {
		s, _ := Seal(context.Background(), a, c, true)
		done <- s
	}()
	sb, err := Seal(context.Background(), b, c, false)
	sa := <-done
	if err != nil || sa == nil {
		f.Fatal(err)
	}
	if err := sa.Send(context.Background(), []byte("an offer")); err != nil {
		f.Fatal(err)
	}
	genuine := <-b.in
	f.Add(genuine)
	f.Add(message(kindSealed))
	f.Add(message(kindSealed, make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		feed := make(chan []byte, 1)
		feed <- in
		s := Sealed{ch: &line{in: feed}, in: sealer{aead: sb.in.aead}}
		got, err := s.Recv(t.Context())
		if bytes.Equal(in, genuine) != (err == nil) || err == nil && string(got) != "an offer" || err != nil && !errors.Is(err, ErrTampered) {
			t.Errorf("%x: %q, %v", in, got, err)
		}
	})
}
