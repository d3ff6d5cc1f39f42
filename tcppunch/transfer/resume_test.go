package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// cutter closes a pair of connections once so many bytes have gone through one of them.
type cutter struct {
	net.Conn
	other net.Conn
	left  *atomic.Int64
}

func (c *cutter) count(n int, err error) (int, error) {
	if c.left.Add(-int64(n)) < 0 {
		c.Conn.Close()
		c.other.Close()
	}
	return n, err
}

func (c *cutter) Read(p []byte) (int, error) { return c.count(c.Conn.Read(p)) }

// Write lets the part before the cut through.
func (c *cutter) Write(p []byte) (int, error) {
	if left := c.left.Load(); left < int64(len(p)) {
		n, _ := c.Conn.Write(p[:max(left, 0)])
		c.left.Store(-1)
		c.Conn.Close()
		c.other.Close()
		return n, net.ErrClosed
	}
	return c.count(c.Conn.Write(p))
}

// cutPair is a connection that breaks after so many bytes of the sender's.
func cutPair(t testing.TB, after int64) (net.Conn, net.Conn) {
	a, b := tcpPair(t)
	left := new(atomic.Int64)
	left.Store(after)
	return &cutter{Conn: a, other: b, left: left}, b
}

// attempts sends src until it is through, over connections that break at random after
// at most limit bytes. before is called before each attempt and may replace either side.
func attempts(t *testing.T, r *mathrand.Rand, src *Source, dst *Dest, limit int64,
	before func(src *Source, dst *Dest) (*Source, *Dest)) (received int64, cuts int) {
	t.Helper()
	for ; ; cuts++ {
		if cuts == 200 {
			t.Fatal("it never ends")
		}
		src, dst = before(src, dst)
		a, b := cutPair(t, r.Int64N(limit)+1)
		s, d := pair(t.Context(), a, b, src, dst, nil, nil)
		received += d.sum.Received
		for _, err := range []error{s.err, d.err} {
			if err != nil && !errors.Is(err, ErrPeerGone) {
				t.Fatalf("Send: %v; Receive: %v", s.err, d.err)
			}
		}
		if d.err == nil { // it has everything, even if the sender does not know
			return received, cuts
		}
	}
}

// manyFiles is a tree of files of all sizes, without the folders.
func manyFiles() map[string][]byte {
	files := make(map[string][]byte)
	for i := range 150 {
		files[fmt.Sprintf("f%03d", i)] = content(i * i * 17)
	}
	files["large"] = content(3*tree.BlockSize + 5)
	files["zero"] = make([]byte, 2*tree.BlockSize+77)
	return files
}

// However often the connection breaks, all arrives, and little is sent twice.
func TestResume(t *testing.T) {
	tests := []struct {
		name  string
		files map[string][]byte
		limit int64 // bytes until a break
		again int64 // bytes that may come again for each break
	}{
		{"one large file", map[string][]byte{"f": content(20*tree.BlockSize + 12345)}, 6 << 20, tree.BlockSize},
		{"cuts within a block", map[string][]byte{"f": content(3 * tree.BlockSize)}, 3 << 20, tree.BlockSize},
		{"many files", manyFiles(), 2 << 20, tree.BlockSize},
	}
	for _, tt := range tests {
		for _, restart := range []string{"neither", "sender", "receiver", "both"} {
			t.Run(tt.name+"/restarted "+restart, func(t *testing.T) {
				dir := t.TempDir()
				paths := write(t, t.TempDir(), tt.files)
				open := func() *Dest {
					dst, err := Into(dir)
					if err != nil {
						t.Fatal(err)
					}
					return dst
				}
				list := func() *Source {
					src, err := Files(t.Context(), paths, nil)
					if err != nil {
						t.Fatal(err)
					}
					return src
				}
				var last *Dest
				defer func() { last.Close() }()
				before := func(src *Source, dst *Dest) (*Source, *Dest) {
					if restart == "sender" || restart == "both" {
						src = list()
					}
					if restart == "receiver" || restart == "both" {
						dst.Close()
						dst = open()
					}
					last = dst
					return src, dst
				}
				r := mathrand.New(mathrand.NewPCG(1, uint64(len(restart))))
				src := list()
				received, cuts := attempts(t, r, src, open(), tt.limit, before)
				wantTree(t, dir, tt.files)
				total := src.Offer().Bytes
				t.Logf("%d cuts, %d of %d bytes received", cuts, received, total)
				if cuts == 0 {
					t.Error("nothing was cut")
				}
				if received > total+int64(cuts)*tt.again {
					t.Errorf("%d bytes received, of %d, with %d cuts", received, total, cuts)
				}
			})
		}
	}
}

// A stream goes on too, and into a pipe nothing is written twice.
func TestResumeStream(t *testing.T) {
	for _, size := range []int{0, 1, tree.BlockSize, 2 * tree.BlockSize, 30*tree.BlockSize + 9} {
		for _, kind := range []string{"file", "pipe", "file, restarted"} {
			t.Run(fmt.Sprintf("%d bytes to a %s", size, kind), func(t *testing.T) {
				data := content(size)
				src := Stream(io.NopCloser(bytes.NewReader(data)), "tar")
				defer src.Close()
				dir := t.TempDir()
				var out bytes.Buffer
				dst := IntoWriter(&out)
				open := func() {
					var err error
					if dst, err = Into(dir); err != nil {
						t.Fatal(err)
					}
				}
				if kind != "pipe" {
					open()
				}
				before := func(src *Source, d *Dest) (*Source, *Dest) {
					if kind == "file, restarted" {
						d.Close()
						open()
					}
					return src, dst
				}
				r := mathrand.New(mathrand.NewPCG(3, uint64(size)))
				received, cuts := attempts(t, r, src, dst, 5<<20, before)
				dst.Close()
				if kind != "pipe" {
					wantTree(t, dir, map[string][]byte{"tar": data})
				} else if !bytes.Equal(out.Bytes(), data) {
					t.Errorf("%d bytes came out, want %d", out.Len(), len(data))
				}
				if received > int64(size+cuts*tree.BlockSize) {
					t.Errorf("%d bytes received, of %d, with %d cuts", received, size, cuts)
				}
			})
		}
	}
}

// Of a file that has changed only the blocks that differ are sent.
func TestChangedBlocks(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	data := content(10*tree.BlockSize + 100)
	path := write(t, dir, map[string][]byte{"f": data})[0]
	run := func(opt *ReceiveOptions) result {
		t.Helper()
		src, err := Files(t.Context(), []string{path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, b := tcpPair(t)
		sent, received := both(t.Context(), a, b, src, out, nil, opt)
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		if sent.sum.Sent != received.sum.Received {
			t.Errorf("%d bytes sent, %d received", sent.sum.Sent, received.sum.Received)
		}
		return sent
	}
	run(nil)
	if again := run(nil); again.sum.Sent != 0 || again.sum.Files != 1 {
		t.Errorf("the same again: %+v", again.sum)
	}
	for _, n := range []int{2, 7} {
		data[n*tree.BlockSize+5] ^= 1
	}
	data = append(data, "more"...)
	write(t, dir, map[string][]byte{"f": data})
	var checked, resumed int64
	trace := &Trace{Checking: func(done, total int64) { checked = done }, Resumed: func(n int64) { resumed = n }}
	got := run(&ReceiveOptions{Exists: Overwrite, Trace: trace})
	wantTree(t, out, map[string][]byte{"f": data})
	if want := int64(2*tree.BlockSize + 104); got.sum.Sent != want {
		t.Errorf("%d bytes sent, want %d", got.sum.Sent, want)
	}
	if checked == 0 || resumed == 0 {
		t.Errorf("checked %d, resumed %d", checked, resumed)
	}
}

// A list that differs under the same identity is not the one that was agreed to, and the
// same one need not be agreed to again.
func TestSameOfferAgain(t *testing.T) {
	e := fileEntry("f", 5)
	tests := []struct {
		name  string
		turns []turn
		want  error
	}{
		{"another list", agreed(t, nil, e, fileEntry("g", 1)), ErrProtocol},
		{"the same", agreed(t, of(wire.FailKind, (&wire.Failure{Code: "interrupted"}).Append), e), ErrInterrupted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dst, err := Into(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			asked := 0
			opt := &ReceiveOptions{Accept: func(context.Context, Offer) error { asked++; return nil }}
			for i, turns := range [][]turn{agreed(t, of(wire.FailKind, (&wire.Failure{Code: "interrupted"}).Append), e), tt.turns} {
				a, b := tcpPair(t)
				var wg sync.WaitGroup
				wg.Go(func() { play(a, turns...) })
				_, err = Receive(t.Context(), b, dst, opt)
				b.Close()
				wg.Wait()
				if want := []error{ErrInterrupted, tt.want}[i]; !errors.Is(err, want) {
					t.Errorf("attempt %d: %v, want %v", i, err, want)
				}
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}
