package manifest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// raw encodes an entry without any check.
func raw(depth int, elem string, e Entry) []byte {
	e.Path = elem
	if e.ModTime.IsZero() {
		e.ModTime = time.Unix(0, 0)
	}
	return appendEntry(nil, &e, depth, 0)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// The encoding is what it was.
func TestEncoding(t *testing.T) {
	b := build(t, dir("photos"), file("photos/a.jpg", 300), link("photos/l", "a.jpg"))
	want := "01" + "06" + hex.EncodeToString([]byte("photos")) + "ed03" + "80c49fd50c" + "959aef3a" +
		"04" + "05" + hex.EncodeToString([]byte("a.jpg")) + "a403" + "00" + "959aef3a" + "ac02" +
		"06" + "01" + "6c" + "ff03" + "00" + "959aef3a" + "05" + hex.EncodeToString([]byte("a.jpg"))
	if got := hex.EncodeToString(b.Pages()[0]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	digest := b.Digest()
	if got, want := hex.EncodeToString(digest[:8]), "9ebb31131a023e91"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	b = build(t, Entry{Type: Stream, Path: "x", Size: -1, ModTime: time.Unix(0, 0)})
	if got, want := hex.EncodeToString(b.Pages()[0]), "030178000000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReaderRefuses(t *testing.T) {
	many := Totals{1000000, 1000, 1 << 40}
	f, d := Entry{}, Entry{Type: Dir}
	l := func(target string) Entry { return Entry{Type: Symlink, Target: target} }
	wide := func(n int) (p []byte) {
		for i := range n {
			p = append(p, raw(0, fmt.Sprintf("%04x", i), d)...)
		}
		return p
	}
	tall := func() (p []byte) { // 4,000 bytes of folders, and what is in them
		for i := range 16 {
			p = append(p, raw(i, strings.Repeat("x", 250), d)...)
		}
		for i := range 200 {
			p = append(p, raw(16, fmt.Sprintf("%04x", i), d)...)
		}
		return p
	}
	tests := []struct {
		name   string
		totals Totals
		page   []byte
		kind   error
		text   string
	}{
		{"empty", many, nil, fault.ErrProtocol, "0 bytes"},
		{"too long", many, make([]byte, MaxPage+1), fault.ErrProtocol, "65537 bytes"},
		{"too many entries", many, wide(MaxPageEntries + 1), fault.ErrProtocol, "too many files"},
		{"long paths", many, tall(), fault.ErrProtocol, "paths"},
		{"more than announced", Totals{1, 0, 0}, cat(raw(0, "a", d), raw(0, "b", d)), fault.ErrProtocol, "more files"},
		{"more files than announced", Totals{2, 0, 0}, raw(0, "a", f), fault.ErrProtocol, "other files"},
		{"more bytes than announced", Totals{2, 2, 5}, cat(raw(0, "a", Entry{Size: 3}), raw(0, "b", Entry{Size: 3})), fault.ErrProtocol, "more bytes"},
		{"fewer bytes than announced", Totals{1, 1, 5}, raw(0, "a", Entry{Size: 3}), fault.ErrProtocol, "5 bytes announced"},
		{"fewer files than announced", Totals{1, 1, 0}, raw(0, "a", d), fault.ErrProtocol, "1 files"},
		{"the largest twice", Totals{2, 2, MaxBytes}, cat(raw(0, "a", Entry{Size: MaxBytes}), raw(0, "b", Entry{Size: MaxBytes})), fault.ErrProtocol, "too many bytes"},
		{"a stream, a file announced", Totals{1, 1, 0}, raw(0, "a", Entry{Type: Stream}), fault.ErrProtocol, "other files"},
		{"a file, a stream announced", Totals{1, 1, -1}, raw(0, "a", f), fault.ErrProtocol, "other files"},
		{"a stream and more", Totals{1, 1, -1}, cat(raw(0, "a", Entry{Type: Stream}), raw(0, "b", f)), fault.ErrProtocol, "more files"},
		{"a stream in a folder", many, cat(raw(0, "a", d), raw(1, "b", Entry{Type: Stream})), fault.ErrProtocol, "alone"},

		{"twice", many, cat(raw(0, "a", f), raw(0, "a", f)), fault.ErrProtocol, "twice"},
		{"twice in a folder", many, cat(raw(0, "a", d), raw(1, "b", d), raw(2, "c", f), raw(1, "b", f)), fault.ErrProtocol, "twice"},
		{"twice with more between", many, cat(raw(0, "a", d), raw(1, "x", f), raw(0, "b", f), raw(0, "a", f)), fault.ErrProtocol, "order"},
		{"order", many, cat(raw(0, "b", f), raw(0, "A", f)), fault.ErrProtocol, "order"},
		{"without its folder", many, raw(1, "a", f), fault.ErrProtocol, "without its folder"},
		{"without the folder between", many, cat(raw(0, "a", d), raw(2, "a", f)), fault.ErrProtocol, "without its folder"},
		{"in a file", many, cat(raw(0, "a", f), raw(1, "b", f)), fault.ErrProtocol, "not a folder"},
		{"in a link", many, cat(raw(0, "a", d), raw(1, "l", l("x")), raw(2, "b", f)), fault.ErrProtocol, "not a folder"},
		{"too deep", many, raw(MaxDepth, "a", f), fault.ErrProtocol, "malformed"},
		{"far too deep", many, raw(1<<27, "a", f), fault.ErrProtocol, "malformed"},

		{"no name", many, raw(0, "", f), fault.ErrName, "empty"},
		{"up", many, raw(0, "..", d), fault.ErrName, "folder"},
		{"here", many, raw(0, ".", d), fault.ErrName, "folder"},
		{"a path", many, cat([]byte{0, 3}, []byte("a/b"), []byte{0, 0, 0, 0}), fault.ErrName, "separator"},
		{"absolute", many, cat([]byte{0, 4}, []byte("/etc"), []byte{0, 0, 0, 0}), fault.ErrName, "separator"},
		{"backslash", many, raw(0, `..\a`, f), fault.ErrName, "separator"},
		{"NUL", many, raw(0, "a\x00b", f), fault.ErrName, "U+0000"},
		{"escape", many, raw(0, "a\x1b[2Jb", f), fault.ErrName, "U+001B"},
		{"bidi", many, raw(0, "gpj.\u202eexe", f), fault.ErrName, "U+202E"},
		{"device", many, raw(0, "nul.txt", f), fault.ErrName, "device"},
		{"partial", many, raw(0, ".a.tcppunch-part", f), fault.ErrName, "unfinished"},
		{"long name", many, raw(0, strings.Repeat("x", 256), f), fault.ErrName, "longer"},

		{"a link at the top", many, raw(0, "l", l("x")), fault.ErrLink, "out of the folder"},
		{"a link out", many, cat(raw(0, "a", d), raw(1, "l", l("../x"))), fault.ErrLink, "out of the folder"},
		{"an absolute link", many, cat(raw(0, "a", d), raw(1, "l", l("/etc/passwd"))), fault.ErrLink, "out of the folder"},
		{"a link to nothing", many, cat(raw(0, "a", d), raw(1, "l", l(""))), fault.ErrLink, "nothing"},
		{"a link through a name", many, cat(raw(0, "a", d), raw(1, "b", d), raw(2, "l", l("c/.."))), fault.ErrLink, "not allowed"},

		{"permissions", many, raw(0, "a", Entry{Mode: 0o1000}), fault.ErrProtocol, "malformed"},
		{"size", many, raw(0, "a", Entry{Size: MaxBytes + 1}), fault.ErrProtocol, "malformed"},
		{"negative size", many, raw(0, "a", Entry{Size: -5}), fault.ErrProtocol, "malformed"},
		{"time", many, raw(0, "a", Entry{ModTime: time.Unix(MaxTime+1, 0)}), fault.ErrProtocol, "time"},
		{"early time", many, raw(0, "a", Entry{ModTime: time.Unix(MinTime-1, 0)}), fault.ErrProtocol, "time"},
		{"nanoseconds", many, cat([]byte{0, 1, 'a', 0, 0}, binary.AppendUvarint(nil, 1e9), []byte{0}), fault.ErrProtocol, "malformed"},
		{"a longer number", many, []byte{0, 1, 'a', 0x80, 0, 0, 0, 0}, fault.ErrProtocol, "malformed"},
		{"a longer time", many, []byte{0, 1, 'a', 0, 0x80, 0, 0, 0}, fault.ErrProtocol, "malformed"},
		{"an endless number", many, bytes.Repeat([]byte{0xff}, 100), fault.ErrProtocol, "malformed"},
		{"a name of 4 GiB", many, []byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a'}, fault.ErrProtocol, "malformed"},
		{"a name of all", many, cat([]byte{0}, binary.AppendUvarint(nil, 1<<64-1), []byte("a")), fault.ErrProtocol, "malformed"},
		{"text", many, []byte("GET / HTTP/1.1\r\n\r\n"), fault.ErrProtocol, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(tt.totals)
			entries, err := r.Page(tt.page)
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) || entries != nil {
				t.Fatalf("got %v, %d entries, want %q of %v", err, len(entries), tt.text, tt.kind)
			}
			if fault.Clean(err.Error()) != err.Error() {
				t.Errorf("%q is not fit for a terminal", err)
			}
			if _, again := r.Page(raw(0, "a", f)); again != err || r.Complete() {
				t.Errorf("after the error: %v, complete %v", again, r.Complete())
			}
		})
	}
}

// Wherever a page is cut, what is left of it is refused.
func TestReaderCutShort(t *testing.T) {
	b := build(t, dir("photos"), file("photos/a.jpg", 300), link("photos/l", "a.jpg"))
	page := b.Pages()[0]
	for n := range len(page) {
		r := NewReader(b.Totals())
		entries, err := r.Page(page[:n])
		if err == nil && (r.Complete() || !slices.ContainsFunc(entries, func(e Entry) bool { return e.Path != "photos/l" })) {
			t.Errorf("%d bytes of %d: complete", n, len(page))
		}
	}
}

// The most that a page can make a Reader hold.
func TestReaderMemory(t *testing.T) {
	var page []byte
	path := 0
	for i := range 14 {
		page = append(page, raw(i, strings.Repeat("x", 250), Entry{Type: Dir})...)
		path += 251
	}
	r := NewReader(Totals{MaxEntries, 0, 0})
	if _, err := r.Page(page); err != nil {
		t.Fatal(err)
	}
	page = nil
	for i := range MaxPagePaths / (path + 4) {
		page = append(page, raw(14, fmt.Sprintf("%04x", i), Entry{Type: Dir})...)
	}
	measure := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	deep := measure(func() {
		if _, err := r.Page(page); err != nil {
			t.Fatal(err)
		}
	})
	page = nil
	for i := range MaxPageEntries {
		page = append(page, raw(0, fmt.Sprintf("%04x", i), Entry{Type: Dir})...)
	}
	r = NewReader(Totals{MaxEntries, 0, 0})
	wide := measure(func() {
		if _, err := r.Page(page); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("allocated: %d bytes for long paths, %d for many entries", deep, wide)
	if deep > 2<<20 || wide > 2<<20 {
		t.Errorf("a page made the reader allocate %d and %d bytes", deep, wide)
	}
}

// checkList verifies by other means all that a Reader promises of a list.
func checkList(t *testing.T, entries []Entry, totals Totals) {
	t.Helper()
	seen := map[string]Type{}
	var sum Totals
	last := ""
	for _, e := range entries {
		elems := strings.Split(e.Path, "/")
		for _, elem := range elems {
			if err := name.Check(elem); err != nil {
				t.Errorf("%q: %v", e.Path, err)
			}
		}
		if len(e.Path) > MaxPath || len(elems) > MaxDepth || e.Depth() != len(elems)-1 || e.Name() != elems[len(elems)-1] {
			t.Errorf("%d bytes, %d deep", len(e.Path), len(elems))
		}
		if _, ok := seen[e.Path]; ok {
			t.Errorf("%q is there twice", e.Path)
		}
		if parent := strings.Join(elems[:len(elems)-1], "/"); parent != "" && seen[parent] != Dir {
			t.Errorf("%q: %q is a %v", e.Path, parent, seen[parent])
		}
		seen[e.Path] = e.Type
		if last != "" && slices.CompareFunc(strings.Split(last, "/"), elems, Compare) >= 0 {
			t.Errorf("%q before %q", last, e.Path)
		}
		if why := e.problem(); why != "" {
			t.Errorf("%q: %s", e.Path, why)
		}
		if e.Type == Symlink {
			if err := CheckTarget(e.Path, e.Target); err != nil {
				t.Error(err)
			}
		}
		last = e.Path
		sum.Entries++
		if e.Type == File || e.Type == Stream {
			sum.Files++
		}
		sum.Bytes += e.Size
	}
	if sum != totals {
		t.Errorf("totals %+v, want %+v", totals, sum)
	}
}

// FuzzReader: what passes keeps every promise, and is what a Builder makes of it.
func FuzzReader(f *testing.F) {
	f.Add(uint32(3), uint32(1), int64(300), cat(raw(0, "photos", Entry{Type: Dir, Mode: 0o755}), raw(1, "a.jpg", Entry{Size: 300}), raw(1, "l", Entry{Type: Symlink, Target: "a.jpg"})), 12)
	f.Add(uint32(1), uint32(1), int64(-1), raw(0, "stdin", Entry{Type: Stream}), 0)
	f.Add(uint32(2), uint32(2), int64(0), cat(raw(0, "A", Entry{}), raw(0, "a", Entry{})), 0)
	f.Add(uint32(9), uint32(9), int64(9), cat(raw(0, "a", Entry{Type: Dir}), raw(1, "b", Entry{Type: Dir}), raw(2, "l", Entry{Type: Symlink, Target: "../c"}), raw(0, "b", Entry{Size: 9})), 7)
	f.Fuzz(func(t *testing.T, entries, files uint32, size int64, list []byte, cut int) {
		announced := Totals{int(entries % (2 * MaxEntries)), int(files % (2 * MaxEntries)), size}
		if announced.Check() != nil {
			announced.Entries, announced.Files = len(list)+1, len(list)+1 // it stays incomplete
			announced.Bytes = MaxBytes
		}
		r := NewReader(announced)
		var all []Entry
		var passed []byte
		cut = max(0, min(cut, len(list)))
		for _, page := range [][]byte{list[:cut], list[cut:]} {
			if len(page) == 0 {
				continue
			}
			got, err := r.Page(page)
			if err != nil {
				if !errors.Is(err, fault.ErrProtocol) && !errors.Is(err, fault.ErrName) && !errors.Is(err, fault.ErrLink) || got != nil || r.Complete() {
					t.Errorf("%v, %d entries, complete %v", err, len(got), r.Complete())
				}
				if fault.Clean(err.Error()) != err.Error() && len(err.Error()) <= 1024 {
					t.Errorf("%q is not fit for a terminal", err)
				}
				return // what is counted for this page is of no use to anybody
			}
			all = append(all, got...)
			passed = append(passed, page...)
		}
		checkList(t, all, r.totals)
		if r.Complete() != (r.totals.Entries == announced.Entries) || r.Complete() && r.totals != announced {
			t.Errorf("complete %v with %+v of %+v", r.Complete(), r.totals, announced)
		}
		b := build(t, all...)
		if got := bytes.Join(b.Pages(), nil); !bytes.Equal(got, passed) || b.Totals() != r.totals || b.Digest() != r.Digest() {
			t.Errorf("the builder makes %x, %+v of %x, %+v", got, b.Totals(), passed, r.totals)
		}
	})
}

// FuzzBuilder: what a Builder takes, a Reader gives back.
func FuzzBuilder(f *testing.F) {
	f.Add("d a\nf a/b 5\nl a/c b\nd x\nd x/y\nf z 7", int64(-5), uint32(1))
	f.Add("s stdin", int64(0), uint32(0))
	f.Add("f a 1\nf A 1\nf a 2", int64(1<<40), uint32(999999999))
	f.Fuzz(func(t *testing.T, script string, sec int64, nsec uint32) {
		var b Builder
		var want []Entry
		for line := range strings.Lines(script) {
			var kind rune
			e := Entry{ModTime: time.Unix(sec, int64(nsec))}
			_, _ = fmt.Sscanf(line, "%c %s", &kind, &e.Path)
			rest := line[min(len(line), 3+len(e.Path)):]
			switch e.Type = Type(strings.IndexRune("fdls", kind)); e.Type {
			case File:
				_, _ = fmt.Sscanf(rest, "%d", &e.Size)
			case Symlink:
				e.Target = strings.TrimSuffix(rest, "\n")
			case Stream:
				e.Size = -1
			}
			sec++
			if b.Add(e) == nil {
				want = append(want, e)
			}
		}
		if len(want) == 0 {
			return
		}
		got := readAll(t, b.Totals(), b.Digest(), b.Pages())
		for i := range got {
			got[i].Twin = false
		}
		if !slices.EqualFunc(got, want, same) {
			t.Errorf("got %v, want %v", got, want)
		}
		checkList(t, want, b.Totals())
	})
}

func BenchmarkReader(b *testing.B) {
	var m Builder
	for i := range 200000 {
		if err := m.Add(file(fmt.Sprintf("file-%06d", i), 0)); err != nil {
			b.Fatal(err)
		}
	}
	pages := m.Pages()
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(m.Totals())
		for _, p := range pages {
			if _, err := r.Page(p); err != nil {
				b.Fatal(err)
			}
		}
	}
}
