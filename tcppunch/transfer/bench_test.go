//go:build unix

package transfer

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

const benchSize = 1 << 30

// BenchmarkTransfer compares sending a large file over loopback TLS with copying as
// many bytes from memory to nowhere over the same kind of connection.
func BenchmarkTransfer(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, content(benchSize), 0o644); err != nil {
		b.Fatal(err)
	}
	src, err := Files(b.Context(), []string{path}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range connKinds[1:] {
		b.Run(k.name, func(b *testing.B) {
			b.SetBytes(benchSize)
			var bare, ours, bareCPU, oursCPU time.Duration
			for b.Loop() {
				b.StopTimer()
				cpu := cpuTime()
				bare += copyBare(b, k.make)
				bareCPU += cpuTime() - cpu
				x, y := k.make(b)
				dir := b.TempDir()
				b.StartTimer()
				cpu = cpuTime()
				start := time.Now()
				sent, received := both(b.Context(), x, y, src, dir, nil, nil)
				ours += time.Since(start)
				oursCPU += cpuTime() - cpu
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
			b.ReportMetric(float64(bareCPU)/float64(oursCPU), "of-bare-cpu")
			b.ReportMetric(oursCPU.Seconds()/float64(b.N), "cpu-s")
			b.ReportMetric(float64(b.N)*benchSize/bare.Seconds()/1e6, "bare-MB/s")
		})
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func copyBare(b *testing.B, pair func(testing.TB) (net.Conn, net.Conn)) time.Duration {
	x, y := pair(b)
	defer x.Close()
	defer y.Close()
	start := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, tree.BlockSize)
		for range benchSize / tree.BlockSize {
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
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{y}, make([]byte, tree.BlockSize)); n != benchSize {
		b.Fatal(n, err)
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkSmallFiles sends many small files, durable at the end.
func BenchmarkSmallFiles(b *testing.B) {
	for _, bb := range []struct{ count, size int }{{2000, 4096}, {20000, 0}} {
		b.Run(fmt.Sprintf("%dx%d", bb.count, bb.size), func(b *testing.B) {
			dir := b.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
				b.Fatal(err)
			}
			for i := range bb.count {
				if err := os.WriteFile(filepath.Join(dir, "d", "f"+strconv.Itoa(i)), content(bb.size), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			src, err := Files(b.Context(), []string{filepath.Join(dir, "d")}, nil)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				x, y := tlsPair(b)
				out := b.TempDir()
				b.StartTimer()
				sent, received := both(b.Context(), x, y, src, out, nil, nil)
				if sent.err != nil || received.err != nil {
					b.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*bb.count), "µs/file")
		})
	}
}
