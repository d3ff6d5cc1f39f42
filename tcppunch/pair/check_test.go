package pair

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCheckWords(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			a, b := k.dial(t)
			var wordsA, wordsB string
			errA, errB := both(t,
				func(ctx context.Context) (err error) {
					wordsA, err = CheckWords(ctx, a.conn, true, a.exporter)
					return err
				},
				func(ctx context.Context) (err error) {
					wordsB, err = CheckWords(ctx, b.conn, false, b.exporter)
					return err
				})
			if errA != nil || errB != nil || wordsA != wordsB || wordsA == "" {
				t.Errorf("got %q, %v and %q, %v", wordsA, errA, wordsB, errB)
			}
			passes(t, a.conn, b.conn)
			passes(t, b.conn, a.conn)
		})
	}
}

// The words depend on all that goes into them.
func TestCheckWordsInputs(t *testing.T) {
	x, y := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	seen := map[string]bool{}
	for _, in := range [][3][]byte{{x, x, x}, {y, x, x}, {x, y, x}, {x, x, y}} {
		w, err := checkWords(in[0], in[1], in[2])
		if err != nil {
			t.Fatal(err)
		}
		seen[w] = true
	}
	if len(seen) != 4 {
		t.Errorf("only %d of 4 differ", len(seen))
	}
	// Both sides may run different builds: what is derived must never change.
	if w, err := checkWords(x, x, x); err != nil || w != golden {
		t.Errorf("got %q, %v, want %q", w, err, golden)
	}
}

const golden = "scythe-ostrich-fillet"

// Each word of the list comes up about equally often: chi-squared with 1295 degrees of freedom.
func TestCheckWordsAreUniform(t *testing.T) {
	const rounds = 5000
	count := map[string]int{}
	exporter, nc, ns := make([]byte, 32), make([]byte, 32), make([]byte, 32)
	for range rounds {
		rand.Read(ns)
		w, err := checkWords(exporter, nc, ns)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range strings.Split(strings.ReplaceAll(w, "yo-yo", "yoyo"), "-") {
			count[w]++
		}
	}
	want, sum := float64(checkCount*rounds)/listSize, 0.0
	for _, w := range list() {
		d := float64(count[strings.ReplaceAll(w, "-", "")]) - want
		sum += d * d / want
	}
	// Mean 1295, standard deviation 51: six of them either way.
	if math.Abs(sum-(listSize-1)) > 6*math.Sqrt(2*(listSize-1)) {
		t.Errorf("chi-squared is %.0f, want about %d", sum, listSize-1)
	}
}

// A server that first saw the client's nonce and then looks for one of its own that suits it is found out.
func TestCheckWordsGrinding(t *testing.T) {
	a, b := pipe(t)
	go func() {
		b.conn.Write(message(kindCommit, commitment(make([]byte, nonceSize))...))
		io.ReadFull(b.conn, make([]byte, 1+nonceSize))
		b.conn.Write(message(kindOpen, bytes.Repeat([]byte{7}, nonceSize)...))
	}()
	if w, err := CheckWords(t.Context(), a.conn, false, a.exporter); !errors.Is(err, ErrCommitment) || w != "" {
		t.Errorf("got %q, %v, want %v", w, err, ErrCommitment)
	}
}

func TestCheckWordsBadPeer(t *testing.T) {
	zeros := make([]byte, 100)
	tests := []struct {
		name   string
		server bool // what CheckWords plays
		steps  []step
		want   error
	}{
		{"S: closes", true, []step{{33, nil}}, io.ErrUnexpectedEOF},
		{"S: half a nonce", true, []step{{33, message(kindNonce, zeros[:9]...)}}, io.ErrUnexpectedEOF},
		{"S: garbage", true, []step{{33, zeros}}, ErrProtocol},
		{"S: a server too", true, []step{{33, message(kindCommit, zeros...)}}, ErrProtocol},
		{"C: closes", false, nil, io.ErrUnexpectedEOF},
		{"C: half a commitment", false, []step{{0, message(kindCommit, zeros[:31]...)}}, io.ErrUnexpectedEOF},
		{"C: garbage", false, []step{{0, zeros}}, ErrProtocol},
		{"C: no opening", false, []step{{0, message(kindCommit, zeros[:32]...)}, {33, nil}}, io.ErrUnexpectedEOF},
		{"C: garbage for an opening", false, []step{{0, message(kindCommit, zeros[:32]...)}, {33, zeros}}, ErrProtocol},
		{"C: reflects the nonce", false, []step{{0, message(kindCommit, zeros[:32]...)}, {33, message(kindNonce, zeros[:32]...)}}, ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pipe(t)
			go func() {
				play(b.conn, tt.steps)
				b.conn.Close()
			}()
			w, err := CheckWords(t.Context(), a.conn, tt.server, a.exporter)
			if !errors.Is(err, tt.want) || w != "" {
				t.Errorf("got %q, %v, want %v", w, err, tt.want)
			}
		})
	}
}

func answer(yes bool) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) { return yes, nil }
}

// thinks waits for its context, as a person does who has not looked yet.
func thinks(ctx context.Context) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func TestConfirm(t *testing.T) {
	cause := errors.New("no terminal")
	fails := func(context.Context) (bool, error) { return true, cause }
	slowly := func(context.Context) (bool, error) { time.Sleep(30 * time.Millisecond); return true, nil }
	tests := []struct {
		name         string
		a, b         func(context.Context) (bool, error)
		wantA, wantB error
	}{
		{"both yes", answer(true), answer(true), nil, nil},
		{"one is slower", answer(true), slowly, nil, nil},
		{"one no", answer(true), answer(false), ErrNotConfirmed, ErrNotConfirmed},
		{"both no", answer(false), answer(false), ErrNotConfirmed, ErrNotConfirmed},
		{"no while the other thinks", thinks, answer(false), ErrNotConfirmed, ErrNotConfirmed},
		{"cannot ask", fails, answer(true), cause, ErrNotConfirmed},
	}
	for _, k := range kinds {
		for _, tt := range tests {
			t.Run(k.name+"/"+tt.name, func(t *testing.T) {
				a, b := k.dial(t)
				start := time.Now()
				errA, errB := both(t,
					func(ctx context.Context) error { return Confirm(ctx, a.conn, tt.a) },
					func(ctx context.Context) error { return Confirm(ctx, b.conn, tt.b) })
				if !errors.Is(errA, tt.wantA) || !errors.Is(errB, tt.wantB) {
					t.Errorf("got %v and %v, want %v and %v", errA, errB, tt.wantA, tt.wantB)
				}
				if d := time.Since(start); d > farewell/2 {
					t.Errorf("took %v", d)
				}
				passes(t, a.conn, b.conn)
				passes(t, b.conn, a.conn)
			})
		}
	}
}

func TestConfirmBadPeer(t *testing.T) {
	tests := []struct {
		name  string
		sends []byte
		ask   func(context.Context) (bool, error)
		want  error
	}{
		{"closes while we think", nil, thinks, io.ErrUnexpectedEOF},
		{"closes after our yes", nil, answer(true), io.ErrUnexpectedEOF},
		{"half an answer", message(kindConfirm), thinks, io.ErrUnexpectedEOF},
		{"garbage", []byte("GET / HTTP/1.1\r\n"), thinks, ErrProtocol},
		{"neither yes nor no", message(kindConfirm, 2), answer(true), ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &canned{in: bytes.NewReader(tt.sends)}
			if err := Confirm(t.Context(), conn, tt.ask); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestConfirmContext(t *testing.T) {
	for _, ask := range []func(context.Context) (bool, error){thinks, answer(true)} {
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) {
				a, b := k.dial(t)
				go io.Copy(io.Discard, b.conn)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				defer cancel()
				start := time.Now()
				err := Confirm(ctx, a.conn, ask)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > farewell/2 {
					t.Errorf("after %v: %v, want %v", time.Since(start), err, context.DeadlineExceeded)
				}
			})
		}
	}
}

// Who is interrupted still says no, and leaves the connection in a state in which it can be closed.
func TestConfirmInterrupted(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			a, b := k.dial(t)
			ctx, cancel := context.WithCancel(t.Context())
			errA := make(chan error, 1)
			go func() {
				err := Confirm(ctx, a.conn, thinks)
				a.conn.Close()
				errA <- err
			}()
			time.AfterFunc(30*time.Millisecond, cancel)
			if err := Confirm(t.Context(), b.conn, thinks); !errors.Is(err, ErrNotConfirmed) {
				t.Errorf("the other side got %v, want %v", err, ErrNotConfirmed)
			}
			if err := <-errA; !errors.Is(err, context.Canceled) {
				t.Errorf("the interrupted side got %v, want %v", err, context.Canceled)
			}
		})
	}
}

// The peer's yes comes together with its first application data, which stay in the connection.
func TestConfirmLeavesTheRest(t *testing.T) {
	in := bytes.NewReader(slices.Concat(message(kindConfirm, 1), []byte("data")))
	if err := Confirm(t.Context(), &canned{in: in}, answer(true)); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "data" {
		t.Errorf("left %q, want %q", rest, "data")
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(slices.Concat(message(kindCommit, commitment(make([]byte, 32))...), message(kindOpen, make([]byte, 32)...)))
	f.Add(message(kindNonce, make([]byte, 32)...))
	f.Add(message(kindConfirm, 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, server := range []bool{true, false} {
			w, err := CheckWords(t.Context(), &canned{in: bytes.NewReader(in)}, server, make([]byte, minExporter))
			if (err == nil) != (w != "") {
				t.Errorf("%q with error %v", w, err)
			}
		}
		err := Confirm(t.Context(), &canned{in: bytes.NewReader(in)}, answer(true))
		if (err == nil) != bytes.HasPrefix(in, message(kindConfirm, 1)) {
			t.Errorf("Confirm of %x: %v", in, err)
		}
	})
}
