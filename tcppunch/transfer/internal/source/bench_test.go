package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
)

// manyFiles makes a folder with n files of size bytes each.
func manyFiles(tb testing.TB, n, size int) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	data := make([]byte, size)
	for i := range n {
		if err := os.WriteFile(fmt.Sprintf("%s/file-%06d", dir, i), data, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func pageBytes(pages [][]byte) (n int) {
	for _, p := range pages {
		n += len(p)
	}
	return n
}

// A Tree costs what its pages do and nothing for each file.
func TestMemory(t *testing.T) {
	const files = 20000
	dir := manyFiles(t, files, 0)
	before := heap()
	tree, err := Scan(context.Background(), []string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, pages := int64(heap())-int64(before), pageBytes(tree.Pages())
	t.Logf("%d files: %d bytes of pages, %d bytes on the heap", files, pages, got)
	if tree.Totals() != (manifest.Totals{Entries: files + 1, Files: files}) {
		t.Errorf("totals %+v", tree.Totals())
	}
	if pages > 30*files || got > int64(pages)+256<<10 {
		t.Errorf("%d files cost %d bytes, %d of them for pages", files, got, pages)
	}
	runtime.KeepAlive(tree)
}

func BenchmarkScan(b *testing.B) {
	for _, size := range []struct{ files, bytes int }{{2000, 4096}, {200000, 0}} {
		b.Run(fmt.Sprint(size.files), func(b *testing.B) {
			dir := manyFiles(b, size.files, size.bytes)
			b.ReportAllocs()
			for b.Loop() {
				tree, err := Scan(context.Background(), []string{dir}, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(pageBytes(tree.Pages())), "page-bytes")
			}
		})
	}
}

// BenchmarkOpen is what a small file costs before and after its only block.
func BenchmarkOpen(b *testing.B) {
	dir := manyFiles(b, 2000, 4096)
	tree, err := Scan(context.Background(), []string{dir}, nil)
	if err != nil {
		b.Fatal(err)
	}
	files := entries(b, tree)[1:]
	buf := make([]byte, 1<<20)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		f, err := tree.Open(files[i%len(files)])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.ReadBlock(0, buf); err != nil {
			b.Fatal(err)
		}
		if err := f.Unchanged(); err != nil {
			b.Fatal(err)
		}
		f.Close()
		i++
	}
}

func entries(tb testing.TB, l interface {
	Pages() [][]byte
	Totals() manifest.Totals
	Digest() [32]byte
}) []manifest.Entry {
	tb.Helper()
	r := manifest.NewReader(l.Totals())
	var all []manifest.Entry
	for _, p := range l.Pages() {
		es, err := r.Page(p)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, es...)
	}
	if !r.Complete() || r.Digest() != l.Digest() {
		tb.Fatal("the manifest is not complete, or its digest another one")
	}
	return all
}
