package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// tree makes a folder with so many files, a thousand in each folder within.
func (s *side) tree(name string, files, size int) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	content := make([]byte, size)
	for i := range files {
		in := filepath.Join(dir, fmt.Sprintf("%03d", i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(in, 0o777); err != nil {
				s.t.Fatal(err)
			}
		}
		copy(content, fmt.Sprintf("%d", i))
		if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("file-%d", i)), content, 0o666); err != nil {
			s.t.Fatal(err)
		}
	}
	return dir
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

// fileCosts runs a transfer several times and adds a row with what it took.
func (w *bareLink) fileCosts(t *testing.T, tab *table, name, dir string, run func() cost) {
	t.Helper()
	var seconds, send, recv []float64
	for range *measureRuns {
		c := run()
		empty(t, dir)
		t.Logf("%s: %+v", name, c)
		seconds, send, recv = append(seconds, c.seconds), append(send, c.send), append(recv, c.recv)
	}
	tab.row(name, fmt.Sprintf("%.2f", middle(seconds)), fmt.Sprintf("%.0f", middle(send)), fmt.Sprintf("%.0f", middle(recv)))
}

var costHeads = []string{"seconds from connected to done", "most memory of send, MiB", "of recv"}

// TestMeasureSmall: many files, onto the disk, safe there at the end.
func TestMeasureSmall(t *testing.T) {
	measures(t, "small")
	w := newBareLink(t)
	disk := folder(t, *measureDisk)
	small, none := w.a.tree("small", 2000, 4<<10), w.a.tree("empty", 200_000, 0)
	tab := newTable(append([]string{"many files"}, costHeads...)...)
	w.fileCosts(t, tab, "2,000 of 4 KiB", disk, func() cost { return w.transfer(disk, small) })
	w.fileCosts(t, tab, "200,000 empty", disk, func() cost { return w.transfer(disk, none) })
	fmt.Printf("\n%s\n", tab)
}

// TestMeasureMemory: neither a large file nor many files nor a pipe take much memory.
func TestMeasureMemory(t *testing.T) {
	measures(t, "memory")
	w := newBareLink(t)
	ram, disk := folder(t, *measureRAM), folder(t, *measureDisk)
	large, none := w.a.sparse("sparse", 8<<30), w.a.tree("empty", 200_000, 0)
	tab := newTable(append([]string{"what"}, costHeads...)...)
	w.fileCosts(t, tab, "8 GiB of nothing, in one file", disk, func() cost { return w.transfer(disk, large) })
	w.fileCosts(t, tab, "200,000 empty files", disk, func() cost { return w.transfer(disk, none) })
	w.fileCosts(t, tab, "4 GiB through standard input", ram, func() cost {
		return costOf(w.start(io.LimitReader(noise{}, 4<<30), [2][]string{}, ram, "-"))
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
