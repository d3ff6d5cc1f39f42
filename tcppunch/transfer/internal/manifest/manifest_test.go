package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

var when = time.Unix(1_700_000_000, 123456789)

func file(path string, size int64) Entry {
	return Entry{Path: path, Size: size, Mode: 0o644, ModTime: when}
}
func dir(path string) Entry { return Entry{Type: Dir, Path: path, Mode: 0o755, ModTime: when} }
func link(path, target string) Entry {
	return Entry{Type: Symlink, Path: path, Target: target, Mode: 0o777, ModTime: when}
}
func stream(path string) Entry {
	return Entry{Type: Stream, Path: path, Size: -1, Mode: 0o600, ModTime: when}
}

func build(t testing.TB, entries ...Entry) *Builder {
	t.Helper()
	b := new(Builder)
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			t.Fatalf("adding %q: %v", e.Path, err)
		}
	}
	return b
}

// readAll returns what a Reader makes of all pages, which must be all it wants.
func readAll(t testing.TB, totals Totals, digest [32]byte, pages [][]byte) (all []Entry) {
	t.Helper()
	r := NewReader(totals)
	for i, p := range pages {
		if len(p) > MaxPage || r.Complete() {
			t.Fatalf("page %d of %d bytes, complete %v before it", i, len(p), r.Complete())
		}
		entries, err := r.Page(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 || len(entries) > MaxPageEntries {
			t.Fatalf("page %d has %d entries", i, len(entries))
		}
		all = append(all, entries...)
	}
	if !r.Complete() || r.totals != totals || r.Digest() != digest {
		t.Fatalf("complete %v, totals %+v, want %+v", r.Complete(), r.totals, totals)
	}
	return all
}

func same(a, b Entry) bool {
	at, bt := a.ModTime, b.ModTime
	a.ModTime, b.ModTime = time.Time{}, time.Time{}
	return a == b && at.Equal(bt)
}

func TestRoundTrip(t *testing.T) {
	deep := strings.Repeat("d/", MaxDepth-1)
	var nested []Entry
	for i := range MaxDepth - 1 {
		nested = append(nested, dir(deep[:2*i+1]))
	}
	tests := []struct {
		name    string
		entries []Entry
		totals  Totals
	}{
		{"one file", []Entry{file("a", 5)}, Totals{1, 1, 5}},
		{"an empty file", []Entry{file("a", 0)}, Totals{1, 1, 0}},
		{"the largest file", []Entry{file("a", MaxBytes)}, Totals{1, 1, MaxBytes}},
		{"an empty folder", []Entry{dir("a")}, Totals{1, 0, 0}},
		{"a stream", []Entry{stream("stdin")}, Totals{1, 1, -1}},
		{"folders", []Entry{dir("a"), dir("a/b"), file("a/b/c", 1), file("a/c", 2), dir("b"), link("b/l", "x"), file("c", 4)}, Totals{7, 3, 7}},
		{"a name sorts behind what is in a shorter one", []Entry{dir("a"), file("a/z", 1), file("a-", 1), file("a0", 1)}, Totals{4, 3, 3}},
		{"case", []Entry{file("A", 1), file("B", 1), file("c", 1)}, Totals{3, 3, 3}},
		{"the deepest", append(nested, file(deep+"f", 1)), Totals{MaxDepth, 1, 1}},
		{"times", []Entry{
			{Path: "a", ModTime: time.Unix(MinTime, 0)}, {Path: "b", ModTime: time.Unix(MaxTime, 999999999)}, {Path: "c"},
			{Path: "d", ModTime: time.Unix(-1, 1)}, {Path: "e", ModTime: time.Unix(0, 0)},
		}, Totals{5, 5, 0}},
		{"permissions", []Entry{{Path: "a", Mode: 0}, {Path: "b", Mode: 0o777}}, Totals{2, 2, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := build(t, tt.entries...)
			if b.Totals() != tt.totals || b.Totals().Check() != nil {
				t.Errorf("totals %+v, want %+v, %v", b.Totals(), tt.totals, b.Totals().Check())
			}
			if got := readAll(t, b.Totals(), b.Digest(), b.Pages()); !slices.EqualFunc(got, tt.entries, same) {
				t.Errorf("got %v, want %v", got, tt.entries)
			}
		})
	}
}

func TestTwin(t *testing.T) {
	entries := []Entry{dir("A"), file("A/x", 1), dir("a"), file("a/X", 1), file("a/x", 1), file("b", 1), file("\u212a", 1), file("É", 1), file("é", 1)}
	b := build(t, entries...)
	var twins []string
	for _, e := range readAll(t, b.Totals(), b.Digest(), b.Pages()) {
		if e.Twin {
			twins = append(twins, e.Path)
		}
	}
	if want := []string{"a", "a/x", "é"}; !slices.Equal(twins, want) {
		t.Errorf("twins %q, want %q", twins, want)
	}
	b = build(t, file("K", 1), file("k", 1), file("\u212a", 1)) // the Kelvin sign
	for i, e := range readAll(t, b.Totals(), b.Digest(), b.Pages()) {
		if e.Twin != (i > 0) {
			t.Errorf("%q: twin %v", e.Path, e.Twin)
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	long := strings.Repeat("x", 250)
	var tall []Entry
	for path := long; len(path) <= MaxPath; path += "/" + long {
		tall = append(tall, dir(path))
	}
	deep := make([]Entry, MaxDepth)
	for i := range deep {
		deep[i] = dir(strings.Repeat("d/", i) + "d")
	}
	mode := func(m fs.FileMode) Entry { return Entry{Path: "b", Mode: m} }
	tests := []struct {
		name   string
		before []Entry
		bad    Entry
		kind   error
		text   string
	}{
		{"twice", []Entry{file("b", 1)}, file("b", 1), nil, "twice"},
		{"twice as a folder", []Entry{file("b", 1)}, dir("b"), nil, "twice"},
		{"twice in a folder", []Entry{dir("a"), dir("a/b"), file("a/b/c", 1)}, dir("a/b"), nil, "twice"},
		{"order", []Entry{file("b", 1)}, file("a", 1), nil, "order"},
		{"order by case", []Entry{file("b", 1)}, file("B", 1), nil, "order"},
		{"order of a folder that was left", []Entry{dir("a"), file("b", 1)}, file("a/x", 1), nil, "without its folder"},
		{"no folder", nil, file("a/b", 1), nil, "without its folder"},
		{"another folder", []Entry{dir("a")}, file("b/c", 1), nil, "without its folder"},
		{"a longer folder", []Entry{dir("ab")}, file("a/c", 1), nil, "without its folder"},
		{"a shorter folder", []Entry{dir("a")}, file("ab/c", 1), nil, "without its folder"},
		{"in a file", []Entry{file("a", 1)}, file("a/b", 1), nil, "not a folder"},
		{"in a link", []Entry{dir("d"), link("d/a", "b")}, file("d/a/b", 1), nil, "not a folder"},
		{"absolute", nil, file("/a", 1), nil, "without its folder"},
		{"no name", nil, file("", 1), fault.ErrName, "empty"},
		{"a slash at the end", []Entry{dir("a")}, file("a/", 1), fault.ErrName, "empty"},
		{"up", []Entry{dir("a")}, file("a/..", 1), fault.ErrName, "folder"},
		{"escape", nil, file("a\x1b[m", 1), fault.ErrName, "U+001B"},
		{"deep", deep, file(deep[MaxDepth-1].Path+"/x", 1), nil, "in each other"},
		{"long", tall, file(tall[len(tall)-1].Path+"/"+long, 1), nil, "more than 4096 bytes"},
		{"negative", nil, file("a", -1), nil, "size"},
		{"too large", nil, file("a", MaxBytes+1), nil, "size"},
		{"too much", []Entry{file("a", MaxBytes)}, file("b", 1), nil, "too many bytes"},
		{"a folder with a size", nil, Entry{Type: Dir, Path: "a", Size: 1}, nil, "size"},
		{"a link with a size", []Entry{dir("a")}, Entry{Type: Symlink, Path: "a/b", Size: 1, Target: "c"}, nil, "size"},
		{"a stream with a size", nil, Entry{Type: Stream, Path: "a", Size: 5}, nil, "size"},
		{"a stream behind a file", []Entry{file("a", 1)}, stream("b"), nil, "alone"},
		{"a file behind a stream", []Entry{stream("a")}, file("b", 1), nil, "alone"},
		{"unknown type", nil, Entry{Type: 4, Path: "a"}, nil, "unknown type"},
		{"setuid", nil, mode(fs.ModeSetuid | 0o755), nil, "permissions"},
		{"a folder's mode", nil, mode(fs.ModeDir | 0o755), nil, "permissions"},
		{"before the year 1", nil, Entry{Path: "a", ModTime: time.Unix(MinTime-1, 0)}, nil, "time"},
		{"the year 10000", nil, Entry{Path: "a", ModTime: time.Unix(MaxTime+1, 0)}, nil, "time"},
		{"a file with a target", nil, Entry{Path: "a", Target: "b"}, nil, "target"},
		{"a link to nothing", []Entry{dir("a")}, link("a/b", ""), fault.ErrLink, "nothing"},
		{"a link out", []Entry{dir("a")}, link("a/b", "../c"), fault.ErrLink, "out of the folder"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := build(t, tt.before...)
			totals, digest := b.Totals(), b.Digest()
			err := b.Add(tt.bad)
			if err == nil || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q of %v", err, tt.text, tt.kind)
			}
			if b.Totals() != totals || b.Digest() != digest {
				t.Error("what was refused is in the manifest")
			}
		})
	}
}

func TestPages(t *testing.T) {
	long := strings.Repeat("x", 250)
	tests := []struct {
		name    string
		entries func(yield func(Entry) bool)
		pages   int
	}{
		{"many entries", func(yield func(Entry) bool) {
			for i := range 10000 {
				yield(Entry{Path: fmt.Sprintf("%05d", i)})
			}
		}, 3},
		{"many bytes", func(yield func(Entry) bool) {
			for i := range 1000 {
				yield(file(fmt.Sprintf("%05d%s", i, long), 1))
			}
		}, 5},
		{"long folders", func(yield func(Entry) bool) {
			path := ""
			for range 15 {
				path += "/" + long
				yield(dir(path[1:]))
			}
			for i := range 1000 {
				yield(file(fmt.Sprintf("%s/%05d", path[1:], i), 1))
			}
		}, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries := slices.Collect(tt.entries)
			b := build(t, entries...)
			pages := b.Pages()
			if len(pages) != tt.pages {
				t.Errorf("%d pages, want %d", len(pages), tt.pages)
			}
			if got := readAll(t, b.Totals(), b.Digest(), pages); !slices.EqualFunc(got, entries, same) {
				t.Error("other entries come out")
			}
			// Where pages end is no part of the list.
			one := NewReader(b.Totals())
			for _, e := range pages {
				if _, err := one.Page(e); err != nil {
					t.Fatal(err)
				}
			}
			if one.Digest() != b.Digest() {
				t.Error("other digest")
			}
		})
	}
}

// Pages that were handed out stay as they are when more is added.
func TestPagesStay(t *testing.T) {
	b := build(t, file("a", 1))
	first := b.Pages()
	before := string(first[0])
	for i := range 10000 {
		if err := b.Add(file(fmt.Sprintf("b%05d", i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if string(first[0]) != before {
		t.Error("the page has changed")
	}
}

func TestTotalsCheck(t *testing.T) {
	for _, good := range []Totals{{1, 0, 0}, {1, 1, 0}, {1, 1, -1}, {1, 1, MaxBytes}, {MaxEntries, MaxEntries, 1}, {MaxEntries, 0, 0}} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []Totals{{}, {0, 0, -1}, {-1, 0, 0}, {1, -1, 0}, {1, 2, 0}, {1, 0, 1}, {1, 0, -1}, {2, 1, -1}, {2, 2, -1}, {1, 1, -2},
		{1, 1, MaxBytes + 1}, {MaxEntries + 1, 1, 1}} {
		if err := bad.Check(); !errors.Is(err, fault.ErrProtocol) {
			t.Errorf("%+v: %v", bad, err)
		}
		if _, err := NewReader(bad).Page([]byte{0}); !errors.Is(err, fault.ErrProtocol) {
			t.Errorf("a reader of %+v: %v", bad, err)
		}
	}
}

func TestCompare(t *testing.T) {
	names := []string{"", "a", "A", "b", "ab", "aB", "a-", "a_", "z", "É", "é", "e", "k", "K", "\u212a", "\u212ax", "kx", "ſ", "s", "日本", "a日", "A日", "Ж", "ж"}
	for range 2000 {
		r := make([]rune, rand.IntN(5))
		for i := range r {
			r[i] = []rune("aAkKsS-_\u212aſéÉ日ß")[rand.IntN(14)]
		}
		names = append(names, string(r))
	}
	reference := func(a, b string) int {
		if c := strings.Compare(name.Fold(a), name.Fold(b)); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	}
	for _, a := range names {
		for _, b := range names[:200] {
			if got, want := Compare(a, b), reference(a, b); got != want {
				t.Fatalf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}
