package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
)

var when = time.Unix(1_600_000_000, 987654321)

// plant makes a tree in a new folder: "a/" is a folder, "a/b -> c" a link, "a/b 12" a file of
// so many bytes, and "a/b" an empty one.
func plant(t testing.TB, lines ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		name, target, isLink := strings.Cut(line, " -> ")
		size := 0
		if i := strings.LastIndexByte(name, ' '); i >= 0 {
			size, err = strconv.Atoi(name[i+1:])
			name = name[:i]
		}
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		full := filepath.Join(root, name)
		_ = os.MkdirAll(filepath.Dir(full), 0o755)
		switch {
		case isLink:
			if runtime.GOOS == "windows" {
				t.Skip("links need a privilege")
			}
			err = os.Symlink(target, full)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		default:
			err = os.WriteFile(full, make([]byte, size), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// in turns paths in root into whole ones; a slash at the end stays.
func in(root string, paths ...string) (full []string) {
	for _, p := range paths {
		full = append(full, root+"/"+p)
	}
	return full
}

// show writes a list in the form that plant reads.
func show(t testing.TB, tree *Tree) (lines []string) {
	t.Helper()
	for _, e := range entries(t, tree) {
		switch e.Type {
		case manifest.Dir:
			lines = append(lines, e.Path+"/")
		case manifest.Symlink:
			lines = append(lines, e.Path+" -> "+e.Target)
		default:
			lines = append(lines, fmt.Sprintf("%s %d", e.Path, e.Size))
		}
	}
	return lines
}

func refusals(tree *Tree) (lines []string) {
	for _, f := range tree.Refused() {
		lines = append(lines, fault.Code(f)+" "+f.Name)
	}
	return lines
}

func TestScan(t *testing.T) {
	tests := []struct {
		name    string
		tree    []string
		args    []string
		opt     *Options
		want    []string
		refused []string
	}{
		{"a file", []string{"a 5"}, []string{"a"}, nil, []string{"a 5"}, nil},
		{"an empty file", []string{"a"}, []string{"a"}, nil, []string{"a 0"}, nil},
		{"an empty folder", []string{"a/"}, []string{"a"}, nil, []string{"a/"}, nil},
		{"a slash at the end", []string{"a/b 1"}, []string{"a/"}, nil, []string{"a/", "a/b 1"}, nil},
		{"a dot at the end", []string{"a/b 1"}, []string{"a/."}, nil, []string{"a/", "a/b 1"}, nil},
		{"up", []string{"a/b/c 1"}, []string{"a/b/.."}, nil, []string{"a/", "a/b/", "a/b/c 1"}, nil},
		{"up and down", []string{"a/b/", "a/c 1"}, []string{"a/b/../c"}, nil, []string{"c 1"}, nil},
		{"up from a link is up from where it leads", []string{"a/b/", "l -> a/b", "c 1", "a/c 22"}, []string{"l/../c"}, nil, []string{"c 22"}, nil},
		{"a link up from a link", []string{"a/b/", "l -> a/b", "a/c -> d", "a/d 1"}, []string{"l/../c"}, nil, []string{"c 1"}, nil},
		{"the folder up from a link", []string{"a/b/", "l -> a/b", "a/c 1"}, []string{"l/.."}, nil, []string{"a/", "a/b/", "a/c 1"}, nil},
		{"the folder itself up from a link", []string{"a/b/", "l -> a/b", "a/c 1"}, []string{"l/../."}, nil, []string{"a/", "a/b/", "a/c 1"}, nil},
		{"deep inside", []string{"a/b/c 1"}, []string{"a/b"}, nil, []string{"b/", "b/c 1"}, nil},
		{"nested", []string{"a/z/z 1", "a/z/a/", "a/b 2", "a/Z2 3", "a/c/d/e/f 4"}, []string{"a"}, nil,
			[]string{"a/", "a/b 2", "a/c/", "a/c/d/", "a/c/d/e/", "a/c/d/e/f 4", "a/z/", "a/z/a/", "a/z/z 1", "a/Z2 3"}, nil},
		{"arguments are sorted", []string{"b 1", "a/x 1", "C 1"}, []string{"C", "b", "a"}, nil, []string{"a/", "a/x 1", "b 1", "C 1"}, nil},
		{"hidden", []string{"a/.b 1", "a/..c 1"}, []string{"a"}, nil, []string{"a/", "a/..c 1", "a/.b 1"}, nil},

		{"links inside", []string{"a/b 1", "a/l -> b", "a/c/up -> ../b", "a/c/top -> .."}, []string{"a"}, nil,
			[]string{"a/", "a/b 1", "a/c/", "a/c/top -> ..", "a/c/up -> ../b", "a/l -> b"}, nil},
		{"links of all kinds", []string{"a/b 1", "a/c/", "a/c/up -> ..", "a/dangling -> nothing", "a/loop -> loop", "a/here -> ."}, []string{"a"}, nil,
			[]string{"a/", "a/b 1", "a/c/", "a/c/up -> ..", "a/dangling -> nothing", "a/here -> .", "a/loop -> loop"}, nil},
		{"targets are cleaned", []string{"a/b/c 1", "a/1 -> ./b", "a/2 -> b/", "a/3 -> b//c", "a/4 -> b/./c", "a/5 -> ./"}, []string{"a"}, nil,
			[]string{"a/", "a/1 -> b", "a/2 -> b", "a/3 -> b/c", "a/4 -> b/c", "a/5 -> .", "a/b/", "a/b/c 1"}, nil},
		{"links out", []string{"x 1", "a/b 1", "a/1 -> ../x", "a/2 -> /etc/passwd", "a/3 -> ..", "a/4 -> b/../b", "a/5 -> ../a/b", "a/6 -> b\\c"}, []string{"a"}, nil,
			[]string{"a/", "a/b 1"}, []string{"link a/1", "link a/2", "link a/3", "link a/4", "link a/5", "link a/6"}},
		{"up through a folder that is a link", []string{"a/b/c/", "a/d -> b/c", "a/l -> d/../x"}, []string{"a"}, nil,
			[]string{"a/", "a/b/", "a/b/c/", "a/d -> b/c"}, []string{"link a/l"}},
		{"a link as an argument", []string{"b/c 1", "l -> b"}, []string{"l"}, nil, []string{"l/", "l/c 1"}, nil},
		{"a link to a file as an argument", []string{"b 5", "l -> b"}, []string{"l"}, nil, []string{"l 5"}, nil},
		{"a link and what it points to", []string{"b 5", "l -> b"}, []string{"l", "b"}, nil, []string{"b 5", "l 5"}, nil},

		{"follow", []string{"x/y 7", "a/b 1", "a/1 -> ../x", "a/2 -> ../x/y", "a/3 -> b"}, []string{"a"}, &Options{Follow: true},
			[]string{"a/", "a/1/", "a/1/y 7", "a/2 7", "a/3 1", "a/b 1"}, nil},
		{"follow a loop", []string{"a/b/c 1", "a/b/up -> ..", "a/here -> .", "a/self -> self", "a/nothing -> nothing"}, []string{"a"}, &Options{Follow: true},
			[]string{"a/", "a/b/", "a/b/c 1"}, []string{"link a/b/up", "link a/here", "link a/nothing", "link a/self"}},
		{"follow two that cross", []string{"a/b/l -> ../c", "a/c/l -> ../b"}, []string{"a"}, &Options{Follow: true},
			[]string{"a/", "a/b/", "a/b/l/", "a/c/", "a/c/l/"}, []string{"link a/b/l/l", "link a/c/l/l"}},

		{"names", []string{"a/con 1"}, []string{"a"}, nil, []string{"a/"}, []string{"bad-name a/con"}},
		{"more names", []string{"a/nul.txt/x 1", "a/e. 1", "a/f\\g 1", "a/ok 1", "a/.x.tcppunch-part 1", "a/gpj.\u202eexe 1"}, []string{"a"}, nil,
			[]string{"a/", "a/ok 1"}, []string{"bad-name a/.x.tcppunch-part", "bad-name a/e.", "bad-name a/f\\g", "bad-name a/gpj.\u202eexe", "bad-name a/nul.txt"}},
		{"names in a link", []string{"a/l -> con"}, []string{"a"}, nil, []string{"a/"}, []string{"link a/l"}},

		{"exclude", []string{"a/b.o 1", "a/c 1", "a/d/e.o 1", "a/d/f 1"}, []string{"a"}, &Options{Exclude: []string{"*.o"}},
			[]string{"a/", "a/c 1", "a/d/", "a/d/f 1"}, nil},
		{"exclude a folder", []string{"a/b/c 1", "a/d/b 1"}, []string{"a"}, &Options{Exclude: []string{"b/"}}, []string{"a/", "a/d/", "a/d/b 1"}, nil},
		{"exclude a path", []string{"a/b/c 1", "a/d/b/c 1", "b 1"}, []string{"a", "b"}, &Options{Exclude: []string{"a/b", "/b"}},
			[]string{"a/", "a/d/", "a/d/b/", "a/d/b/c 1"}, nil},
		{"exclude one level down", []string{"a/x.tmp 1", "a/b/x.tmp 1"}, []string{"a"}, &Options{Exclude: []string{"*/*.tmp"}},
			[]string{"a/", "a/b/", "a/b/x.tmp 1"}, nil},
		{"exclude a folder by its path", []string{"a/b/c 1", "a/c/b 1"}, []string{"a"}, &Options{Exclude: []string{"a/*/"}}, []string{"a/"}, nil},
		{"exclude what would be refused", []string{"a/l -> ../x", "a/con 1"}, []string{"a"}, &Options{Exclude: []string{"con", "l"}}, []string{"a/"}, nil},
		{"exclude an argument", []string{"a.o 1", "b 1"}, []string{"a.o", "b"}, &Options{Exclude: []string{"*.o"}}, []string{"b 1"}, nil},
		{"a link to a folder is none", []string{"a/b/c 1", "a/l -> b"}, []string{"a"}, &Options{Exclude: []string{"l/"}}, []string{"a/", "a/b/", "a/b/c 1", "a/l -> b"}, nil},
		{"until it is followed", []string{"a/b/c 1", "a/l -> b"}, []string{"a"}, &Options{Exclude: []string{"l/"}, Follow: true}, []string{"a/", "a/b/", "a/b/c 1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := plant(t, tt.tree...)
			tree, err := Scan(context.Background(), in(root, tt.args...), tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(t, tree); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if got := refusals(tree); !slices.Equal(got, tt.refused) || tree.RefusedCount() != len(tt.refused) {
				t.Errorf("refused %q\nwant    %q", got, tt.refused)
			}
			top := slices.DeleteFunc(entries(t, tree), func(e manifest.Entry) bool { return e.Depth() > 0 })
			if first := tree.First(2); len(first) != min(2, len(top)) || first[0].Path != top[0].Path || first[0].Type != top[0].Type {
				t.Errorf("first %v of %v", first, top)
			}
		})
	}
}

func TestScanHere(t *testing.T) {
	root := plant(t, "a/b/c 1", "a/d 1")
	for _, tt := range []struct{ dir, arg, want string }{
		{"a", ".", "a/"}, {"a", "./", "a/"}, {"a/b", "..", "a/"}, {"a/b", "../", "a/"}, {"a", "b", "b/"}, {"a/b", "../d", "d 1"}, {"a", "./d", "d 1"}, {"a/b", "../../a", "a/"},
	} {
		t.Chdir(filepath.Join(root, tt.dir))
		tree, err := Scan(context.Background(), []string{tt.arg}, nil)
		if err != nil {
			t.Errorf("%s in %s: %v", tt.arg, tt.dir, err)
			continue
		}
		// What was relative is found from elsewhere too.
		t.Chdir(root)
		if got := show(t, tree)[0]; got != tt.want {
			t.Errorf("%s in %s: %q, want %q", tt.arg, tt.dir, got, tt.want)
		}
		for _, e := range entries(t, tree) {
			if e.Type == manifest.File {
				f, err := tree.Open(e)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
		}
	}
}

func TestScanErrors(t *testing.T) {
	root := plant(t, "a/x 1", "b/a/", "A", "con", "dangling -> nothing", "loop -> loop", "f 1")
	tests := []struct {
		name string
		args []string
		opt  *Options
		kind error
		text string
	}{
		{"none", nil, nil, nil, "no files"},
		{"empty", []string{""}, nil, fs.ErrNotExist, ""},
		{"missing", in(root, "a", "nothing"), nil, fs.ErrNotExist, "nothing"},
		{"a dangling link", in(root, "dangling"), nil, fs.ErrNotExist, "dangling"},
		{"a loop", in(root, "loop"), nil, nil, "loop"},
		{"a file as a folder", in(root, "f/"), nil, nil, "f/"},
		{"one name twice", in(root, "a", "b/a"), nil, fault.ErrName, `"a" is there twice`},
		{"one path twice", in(root, "f", "f"), nil, fault.ErrName, `"f" is there twice`},
		{"a bad name", in(root, "con"), nil, fault.ErrName, "device"},
		{"the root", []string{"/"}, nil, fault.ErrName, "no name"},
		{"the root again", []string{"/.."}, nil, fault.ErrName, "no name"},
		{"a device", []string{os.DevNull}, nil, fault.ErrUnsupported, "not a file"},
		{"all excluded", in(root, "a", "f"), &Options{Exclude: []string{"?"}}, nil, "everything is excluded"},
		{"a bad pattern", in(root, "a"), &Options{Exclude: []string{"[a"}}, nil, `"[a" is not a pattern`},
		{"an empty pattern", in(root, "a"), &Options{Exclude: []string{""}}, nil, `"" is not a pattern`},
		{"a pattern of a slash", in(root, "a"), &Options{Exclude: []string{"/"}}, nil, `"/" is not a pattern`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := Scan(context.Background(), tt.args, tt.opt)
			if err == nil || tree != nil || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q of %v", err, tt.text, tt.kind)
			}
		})
	}
	if tree, err := Scan(context.Background(), in(root, "a", "A"), nil); err != nil || tree.Totals().Entries != 3 {
		t.Errorf("names that differ in case: %v", err)
	}
}

func TestScanTimesAndModes(t *testing.T) {
	root := plant(t, "d/old 1", "d/run 1", "d/new 1")
	times := map[string]time.Time{"d/old": time.Unix(-86400, 5000), "d/run": when, "d/new": time.Unix(4102444800, 0)}
	for name, m := range times {
		if err := os.Chtimes(filepath.Join(root, name), m, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "d/run"), 0o755|fs.ModeSetuid|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	tree, err := Scan(context.Background(), in(root, "d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries(t, tree)[1:] {
		want := fs.FileMode(0o644)
		if e.Path == "d/run" {
			want = 0o755
		}
		if diff := e.ModTime.Sub(times[e.Path]).Abs(); diff >= time.Microsecond || e.Mode != want && runtime.GOOS != "windows" {
			t.Errorf("%s: %v %v, want %v %v", e.Path, e.ModTime, e.Mode, times[e.Path], want)
		}
		f, err := tree.Open(e)
		if err != nil {
			t.Errorf("%s: %v", e.Path, err)
			continue
		}
		f.Close()
	}
}

func TestScanDeep(t *testing.T) {
	deepest := strings.Repeat("d/", manifest.MaxDepth)
	root := plant(t, deepest+"x/y 1", strings.Repeat("d/", manifest.MaxDepth-1)+"f 1")
	tree, err := Scan(context.Background(), in(root, "d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := tree.Totals(); got != (manifest.Totals{Entries: manifest.MaxDepth + 1, Files: 1, Bytes: 1}) {
		t.Errorf("totals %+v", got)
	}
	if got, want := refusals(tree), []string{"bad-name " + deepest + "x"}; !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
}

func TestScanManyRefused(t *testing.T) {
	root := plant(t, "d/")
	for i := range maxRefused + 5 {
		if err := os.WriteFile(fmt.Sprintf("%s/d/%04d.", root, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Scan(context.Background(), in(root, "d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Refused()) != maxRefused || tree.RefusedCount() != maxRefused+5 {
		t.Errorf("%d refused are kept and %d counted", len(tree.Refused()), tree.RefusedCount())
	}
	if got := tree.Refused()[3].Error(); !strings.HasPrefix(got, `d/0003.: file name not allowed: "0003.": it ends in a dot`) {
		t.Error(got)
	}
}

func TestScanWhileItChanges(t *testing.T) {
	root := plant(t, "d/a/x 1", "d/b/x 1", "d/c/x 1", "d/e 1")
	tree, err := scan(context.Background(), in(root, "d"), nil, func(path string) {
		switch path {
		case "d/a": // vanishes between the look at it and the list of it
			if err := os.RemoveAll(filepath.Join(root, "d/a")); err != nil {
				t.Error(err)
			}
			if err := os.Remove(filepath.Join(root, "d/e")); err != nil {
				t.Error(err)
			}
		case "d/b": // becomes something else
			if err := os.Rename(filepath.Join(root, "d/c"), filepath.Join(root, "d/moved")); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, tree), []string{"d/", "d/b/", "d/b/x 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := refusals(tree), []string{"source-changed d/a", "source-changed d/c", "source-changed d/e"}; !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
}

func TestScanInterrupted(t *testing.T) {
	root := plant(t, "d/a/x 1", "d/b/x 1")
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	visited := 0
	_, err := scan(ctx, in(root, "d"), nil, func(string) {
		if visited++; visited == 2 {
			cancel(why)
		}
	})
	if !errors.Is(err, why) || visited != 2 {
		t.Errorf("after %d folders: %v", visited, err)
	}
}
