package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// blocks is a reader of n bytes, of which block i holds nothing but i+1.
type blocks struct{ at, n int }

func (b *blocks) Read(p []byte) (int, error) {
	if b.at == b.n {
		return 0, io.EOF
	}
	left := tree.BlockSize - b.at%tree.BlockSize
	n := min(len(p), left, b.n-b.at)
	for i := range p[:n] {
		p[i] = byte(b.at/tree.BlockSize + 1)
	}
	b.at += n
	return n, nil
}

func newStream(t testing.TB, r io.Reader) *Stream {
	t.Helper()
	s, err := NewStream(r, "stdin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// want reads the next block, which must be all of block number i.
func want(t *testing.T, s *Stream, buf []byte, i int) {
	t.Helper()
	n, last, err := s.Next(t.Context(), buf)
	if err != nil || n != tree.BlockSize || last || buf[0] != byte(i+1) || buf[n-1] != byte(i+1) {
		t.Fatalf("block %d: %d bytes of %d, last %v, %v", i, n, buf[0], last, err)
	}
}

func TestStream(t *testing.T) {
	const b = tree.BlockSize
	for _, size := range []int{0, 1, b - 1, b, b + 1, 2 * b, 2*b + 5, 20 * b} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"plain": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "EOF with data": iotest.DataErrReader,
		} {
			t.Run(fmt.Sprintf("%d %s", size, name), func(t *testing.T) {
				data := make([]byte, size)
				_, _ = rand.NewChaCha8([32]byte{}).Read(data)
				s := newStream(t, wrap(bytes.NewReader(data)))
				var got []byte
				buf := make([]byte, b)
				var sum tree.Merger
				for {
					n, last, err := s.Next(t.Context(), buf)
					if err != nil {
						t.Fatal(err)
					}
					if n != b && !last {
						t.Fatalf("a block of %d bytes that is not the last", n)
					}
					got = append(got, buf[:n]...)
					sum.Add(tree.Block(buf[:n]))
					s.Acked(sum.Blocks())
					if last {
						break
					}
				}
				if _, _, err := s.Next(t.Context(), buf); err != io.EOF {
					t.Errorf("after the last block: %v", err)
				}
				if !bytes.Equal(got, data) || sum.Blocks() != max(1, tree.Blocks(int64(size))) {
					t.Errorf("%d bytes in %d blocks come out", len(got), sum.Blocks())
				}
			})
		}
	}
}

func TestStreamManifest(t *testing.T) {
	s := newStream(t, &blocks{})
	if s.Totals() != (manifest.Totals{Entries: 1, Files: 1, Bytes: -1}) || len(s.Pages()) != 1 {
		t.Errorf("totals %+v, %d pages", s.Totals(), len(s.Pages()))
	}
	e := entries(t, s)[0]
	if e.Type != manifest.Stream || e.Path != "stdin" || e.Size != -1 || time.Since(e.ModTime).Abs() > time.Minute || e.Mode != 0o644 {
		t.Errorf("entry %+v", e)
	}
	if first := s.First(8); len(first) != 1 || first[0].Path != "stdin" {
		t.Errorf("first %v", first)
	}
	for _, name := range []string{"", "a/b", "..", "con", "a\x1b"} {
		if s, err := NewStream(&blocks{}, name); !errors.Is(err, fault.ErrName) || s != nil {
			t.Errorf("the name %q: %v", name, err)
		}
	}
}

// Next waits while the window is full, and Acked makes room.
func TestStreamWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &blocks{n: 100 * tree.BlockSize}
		s := newStream(t, r)
		buf := make([]byte, tree.BlockSize)
		for i := range window {
			want(t, s, buf, i)
		}
		synctest.Wait()
		if limit := window*tree.BlockSize + 1; r.at > limit {
			t.Errorf("%d bytes are read, and no more than %d may be held", r.at, limit)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, _, err := s.Next(ctx, buf); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("with a full window, after %v: %v", time.Since(start), err)
		}
		go func() {
			time.Sleep(time.Second)
			s.Acked(3)
		}()
		start = time.Now()
		want(t, s, buf, window)
		if time.Since(start) != time.Second {
			t.Errorf("went on after %v", time.Since(start))
		}
		want(t, s, buf, window+1)
		want(t, s, buf, window+2)
		s.Close()
	})
}

func TestStreamRewind(t *testing.T) {
	s := newStream(t, &blocks{n: 100*tree.BlockSize + 7})
	buf := make([]byte, tree.BlockSize)
	for i := range 10 {
		want(t, s, buf, i)
	}
	s.Acked(4)
	s.Acked(2) // an old one changes nothing
	if err := s.Rewind(3); !errors.Is(err, fault.ErrSourceChanged) {
		t.Errorf("to a block that was let go: %v", err)
	}
	if err := s.Rewind(-1); !errors.Is(err, fault.ErrSourceChanged) {
		t.Errorf("to a block before the first: %v", err)
	}
	if err := s.Rewind(11); !errors.Is(err, fault.ErrProtocol) {
		t.Errorf("to a block that was never sent: %v", err)
	}
	want(t, s, buf, 10) // those changed nothing
	for _, to := range []int{4, 11, 7, 4} {
		if err := s.Rewind(int64(to)); err != nil {
			t.Fatal(err)
		}
		for i := to; i < 12; i++ {
			want(t, s, buf, i)
		}
	}
	// What is not sent again cannot be acknowledged again.
	if err := s.Rewind(6); err != nil {
		t.Fatal(err)
	}
	s.Acked(1 << 40)
	for i := 6; i < 100; i++ {
		want(t, s, buf, i)
		s.Acked(int64(i))
	}
	for range 2 {
		if n, last, err := s.Next(t.Context(), buf); n != 7 || !last || err != nil {
			t.Errorf("the last block: %d, %v, %v", n, last, err)
		}
		if _, _, err := s.Next(t.Context(), buf); err != io.EOF {
			t.Errorf("after it: %v", err)
		}
		if err := s.Rewind(100); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStreamErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		size   int
		err    error
		blocks int
	}{
		{"at once", 0, broken, 0},
		{"in a block", tree.BlockSize / 2, broken, 0},
		{"after a block", tree.BlockSize, broken, 1},
		{"in the second", tree.BlockSize + 5, broken, 1},
		{"a source that was cut short", tree.BlockSize + 5, io.ErrUnexpectedEOF, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStream(t, io.MultiReader(&blocks{n: tt.size}, iotest.ErrReader(tt.err)))
			buf := make([]byte, tree.BlockSize)
			for i := range tt.blocks {
				want(t, s, buf, i)
			}
			for range 2 {
				if _, _, err := s.Next(t.Context(), buf); !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
			}
			// What was read can still be sent again.
			if err := s.Rewind(0); err != nil {
				t.Fatal(err)
			}
			for i := range tt.blocks {
				want(t, s, buf, i)
			}
		})
	}
	s := newStream(t, idle{})
	if _, _, err := s.Next(t.Context(), make([]byte, tree.BlockSize)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader of nothing: %v", err)
	}
	if _, _, err := s.Next(t.Context(), make([]byte, 10)); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("a short buffer: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// Close ends a Next and a Read under way, and no goroutine stays: synctest sees to that.
func TestStreamClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		s, err := NewStream(r, "stdin")
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, tree.BlockSize)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		go func() {
			_, _ = w.Write([]byte("a line"))
			synctest.Wait()
			cancel(why)
		}()
		if _, _, err := s.Next(ctx, buf); !errors.Is(err, why) {
			t.Errorf("interrupted: %v", err)
		}
		done := make(chan error)
		go func() {
			_, _, err := s.Next(t.Context(), buf)
			done <- err
		}()
		synctest.Wait()
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := w.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the reader is not closed: %v", err)
		}
		if s, err = NewStream(&blocks{n: 99 * tree.BlockSize}, "stdin"); err != nil {
			t.Fatal(err)
		}
		want(t, s, buf, 0)
		synctest.Wait() // for room
		s.Close()
	})
}

func BenchmarkStream(b *testing.B) {
	s, err := NewStream(zeros{}, "stdin")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	buf := make([]byte, tree.BlockSize)
	b.SetBytes(tree.BlockSize)
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		if _, _, err := s.Next(b.Context(), buf); err != nil {
			b.Fatal(err)
		}
		n++
		s.Acked(n - 4)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
