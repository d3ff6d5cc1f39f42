package store

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
)

// benchDir is a folder on the file system that TCPPUNCH_BENCH_DIR is on, or on that of
// temporary files.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(os.Getenv("TCPPUNCH_BENCH_DIR"), "store")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func benchStore(b *testing.B) *Store {
	s, err := Open(benchDir(b), &Options{Finished: func(_ int, _ manifest.Entry, err error) {
		if err != nil {
			b.Error(err)
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSmall is 2,000 files of 4 KiB, durable.
func BenchmarkSmall(b *testing.B) {
	data := content(4096, 1)
	for b.Loop() {
		b.StopTimer()
		s := benchStore(b)
		b.StartTimer()
		if _, err := s.Place(b.Context(), 0, dir("d").Entry); err != nil {
			b.Fatal(err)
		}
		for i := range 2000 {
			if _, err := send(b.Context(), s, i+1, file(fmt.Sprintf("d/%d", i), data)); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEmpty is 200,000 empty files.
func BenchmarkEmpty(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			root, err := os.OpenRoot(benchDir(b))
			if err != nil {
				b.Fatal(err)
			}
			for k := range 200_000 {
				f, err := root.Create(fmt.Sprint(k))
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
			root.Close()
		}
	})
	for _, folders := range []int{1, 1000} {
		b.Run(fmt.Sprint(folders), func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				s := benchStore(b)
				runtime.GC()
				runtime.ReadMemStats(&before)
				i := 0
				for d := range folders {
					folder := fmt.Sprintf("d%d", d)
					i++
					if _, err := s.Place(b.Context(), i, dir(folder).Entry); err != nil {
						b.Fatal(err)
					}
					for k := range 200_000 / folders {
						i++
						if _, err := s.Place(b.Context(), i, file(fmt.Sprintf("%s/%d", folder, k), nil).Entry); err != nil {
							b.Fatal(err)
						}
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)), "live-B")
		})
	}
}

// BenchmarkLarge is a file of 1 GiB, by the Store and by plain writes and Sync.
func BenchmarkLarge(b *testing.B) {
	const size = 1 << 30
	data := content(blk, 1)
	b.Run("store", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			s := benchStore(b)
			e := manifest.Entry{Path: "f", Size: size, Mode: 0o644, ModTime: then}
			if _, err := s.Place(b.Context(), 0, e); err != nil {
				b.Fatal(err)
			}
			f, err := s.File(0)
			if err != nil {
				b.Fatal(err)
			}
			for n := range int64(size / blk) {
				if err := f.WriteBlock(n, data); err != nil {
					b.Fatal(err)
				}
			}
			written := time.Now()
			f.Commit(size)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(written).Seconds(), "s-sync")
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			f, err := os.CreateTemp(benchDir(b), "f")
			if err != nil {
				b.Fatal(err)
			}
			for range size / blk {
				if _, err := f.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			written := time.Now()
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			f.Close()
			b.ReportMetric(time.Since(written).Seconds(), "s-sync")
		}
	})
}
