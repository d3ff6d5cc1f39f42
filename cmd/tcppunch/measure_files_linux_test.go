package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a folder with so many files, a thousand in each folder within.
func (s *side) tree(name string, files, size int) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	makeTree(s.t, dir, files, size)
	return dir
}

func makeTree(t *testing.T, dir string, files, size int) {
	t.Helper()
	content := make([]byte, size)
	for i := range files {
		in := filepath.Join(dir, fmt.Sprintf("%03d", i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(in, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		copy(content, fmt.Sprintf("%d", i))
		if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("file-%d", i)), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// sparse makes a file that is one hole.
func (s *side) sparse(name string, size int64) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// fileCosts runs a transfer several times, each into a new folder of dir, and adds a row with
// what it took. Nothing is removed from a disk meanwhile: after that ext4 takes ten times as
// long for new files, for half a minute.
func (w *bareLink) fileCosts(t *testing.T, tab *table, name, dir string, run func(out string) cost) {
	t.Helper()
	var seconds, send, recv []float64
	for range *measureRuns {
		out := folder(t, dir)
		unix.Sync() // what was written before is not this one's business
		c := run(out)
		if dir == *measureRAM {
			empty(t, out)
		}
		t.Logf("%s: %+v", name, c)
		seconds, send, recv = append(seconds, c.seconds), append(send, c.send), append(recv, c.recv)
	}
	tab.row(name, fmt.Sprintf("%.2f", middle(seconds)), fmt.Sprintf("%.0f", middle(send)), fmt.Sprintf("%.0f", middle(recv)))
}

var costHeads = []string{"seconds from connected to done", "most memory of send, MiB", "of recv"}

// TestMeasureSmall: many files, safe on the disk at the end, and into memory.
func TestMeasureSmall(t *testing.T) {
	measures(t, "small")
	w := newBareLink(t)
	tab := newTable(append([]string{"many files"}, costHeads...)...)
	for _, k := range []struct {
		name        string
		files, size int
	}{{"2,000 of 4 KiB", 2000, 4 << 10}, {"200,000 empty", 200_000, 0}} {
		dir := w.a.tree(k.name, k.files, k.size)
		for _, to := range []struct{ name, dir string }{{"into memory", *measureRAM}, {"onto the disk", *measureDisk}} {
			w.fileCosts(t, tab, k.name+", "+to.name, to.dir, func(out string) cost { return w.transfer(out, dir) })
		}
		tab.row(k.name+", made on that disk by nothing else, and sync", fmt.Sprintf("%.2f", plainly(t, k.files, k.size)), "", "")
	}
	fmt.Printf("\n%s\n", tab)
}

// plainly is how many seconds the disk takes for the files of a tree.
func plainly(t *testing.T, files, size int) float64 {
	t.Helper()
	var seconds []float64
	for range *measureRuns {
		out := folder(t, *measureDisk)
		unix.Sync()
		began := time.Now()
		makeTree(t, filepath.Join(out, "tree"), files, size)
		unix.Sync()
		seconds = append(seconds, time.Since(began).Seconds())
	}
	return middle(seconds)
}

// TestMeasureMemory: neither a large file nor many files nor a pipe take much memory.
func TestMeasureMemory(t *testing.T) {
	measures(t, "memory")
	w := newBareLink(t)
	large, none := w.a.sparse("sparse", 8<<30), w.a.tree("empty", 200_000, 0)
	tab := newTable(append([]string{"what"}, costHeads...)...)
	w.fileCosts(t, tab, "8 GiB of nothing, in one file", *measureDisk, func(out string) cost { return w.transfer(out, large) })
	w.fileCosts(t, tab, "200,000 empty files", *measureDisk, func(out string) cost { return w.transfer(out, none) })
	w.fileCosts(t, tab, "4 GiB through standard input", *measureRAM, func(out string) cost {
		return costOf(w.start(io.LimitReader(noise{}, 4<<30), [2][]string{}, out, "-"))
	})
	fmt.Printf("\n%s\n", tab)
}

// noise is bytes that hardly shrink, at next to no cost: every Read gives the same ones.
type noise struct{}

func (noise) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i * 2654435761 >> 13)
	}
	return len(b), nil
}
