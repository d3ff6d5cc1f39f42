package transfer

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/blake3"
)

const benchSize = 512 << 20

// BenchmarkTransfer compares sending a large file over loopback TLS with copying as
// many bytes from memory to nowhere over the same kind of connection.
func BenchmarkTransfer(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, benchSize), 0o644); err != nil {
		b.Fatal(err)
	}
	src, err := Files([]string{path})
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range connKinds[1:] {
		b.Run(k.name, func(b *testing.B) {
			b.SetBytes(benchSize)
			var bare, ours time.Duration
			for b.Loop() {
				b.StopTimer()
				bare += copyBare(b, k.make)
				x, y := k.make(b)
				dir := b.TempDir()
				b.StartTimer()
				start := time.Now()
				sent, received := both(b.Context(), x, y, src, dir, nil, nil)
				ours += time.Since(start)
				if sent.err != nil || received.err != nil {
					b.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
				}
				b.StopTimer()
				if err := os.Remove(filepath.Join(dir, "f")); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(bare)/float64(ours), "of-bare")
			b.ReportMetric(float64(b.N)*benchSize/bare.Seconds()/1e6, "bare-MB/s")
		})
	}
}

func copyBare(b *testing.B, pair func(testing.TB) (net.Conn, net.Conn)) time.Duration {
	x, y := pair(b)
	defer x.Close()
	defer y.Close()
	start := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, blockSize)
		for range benchSize / blockSize {
			if _, err := x.Write(buf); err != nil {
				b.Error(err)
				break
			}
		}
		if c, ok := x.(*tls.Conn); ok {
			_ = c.CloseWrite()
		} else {
			x.Close()
		}
	})
	// Without ReadFrom, which would splice.
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{y}, make([]byte, blockSize)); n != benchSize {
		b.Fatal(n, err)
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkSmallFiles sends a thousand files of 4 KiB.
func BenchmarkSmallFiles(b *testing.B) {
	files := make(map[string][]byte)
	for i := range 1000 {
		files["f"+strconv.Itoa(i)] = content(4096)
	}
	src, err := Files(write(b, b.TempDir(), files))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		x, y := tlsPair(b)
		sent, received := both(b.Context(), x, y, src, b.TempDir(), nil, nil)
		if sent.err != nil || received.err != nil {
			b.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N)/1000, "µs/file")
}

// BenchmarkHash: the whole in one go, as it is done, and two halves on two cores,
// as it might be.
func BenchmarkHash(b *testing.B) {
	data := make([]byte, 64<<20)
	b.Run("one", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			hashBlocks(data)
		}
	})
	b.Run("two", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			var wg sync.WaitGroup
			wg.Go(func() { hashBlocks(data[:len(data)/2]) })
			hashBlocks(data[len(data)/2:])
			wg.Wait()
		}
	})
}

func hashBlocks(data []byte) {
	h := blake3.New()
	for len(data) > 0 {
		_, _ = h.Write(data[:blockSize])
		data = data[blockSize:]
	}
	h.Sum(nil)
}
