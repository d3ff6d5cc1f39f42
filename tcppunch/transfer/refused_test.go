package transfer

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// zeros never end, and neither does silence.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type silence struct{ end chan struct{} }

func (s silence) Read([]byte) (int, error) { <-s.end; return 0, io.EOF }

// TestStreamRefused: when a stream cannot be written at the other end, its sender does not
// wait for room, nor for more to read.
func TestStreamRefused(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for name, r := range map[string]io.Reader{
		"endless": zeros{},
		"silent":  io.MultiReader(io.LimitReader(zeros{}, 8<<20), silence{end}),
	} {
		t.Run(name, func(t *testing.T) {
			src := Stream(r, "stdin")
			defer src.Close()
			dst := IntoWriter(&failingWriter{3 << 20})
			defer dst.Close()
			a, b := tcpPair(t)
			done := make(chan [2]error, 1)
			go func() {
				sent, received := pair(t.Context(), a, b, src, dst, nil, nil)
				done <- [2]error{sent.err, received.err}
			}()
			select {
			case errs := <-done:
				for _, err := range errs {
					if !errors.As(err, new(*Incomplete)) {
						t.Errorf("got %v, want an *Incomplete", err)
					}
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it hangs")
			}
		})
	}
}

// TestStreamOverRest: what an earlier stream of that name has left is in nobody's way.
func TestStreamOverRest(t *testing.T) {
	dir := t.TempDir()
	rest := filepath.Join(dir, name.Partial("stdin"))
	if err := os.WriteFile(rest, content(5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{3<<20 + 5, 6 << 20, 100} {
		want := bytes.Repeat([]byte("new"), size/3)
		src := Stream(bytes.NewReader(want), "stdin")
		dst, err := Into(dir)
		if err != nil {
			t.Fatal(err)
		}
		a, b := tcpPair(t)
		sent, received := pair(t.Context(), a, b, src, dst, nil, &ReceiveOptions{Exists: Overwrite})
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "stdin")); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
		src.Close()
		dst.Close()
	}
}
