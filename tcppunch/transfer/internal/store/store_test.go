package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

const blk = tree.BlockSize

var (
	then  = time.Date(2024, 3, 1, 12, 30, 15, 123456789, time.UTC)
	later = then.Add(time.Hour)
)

// offered is an entry with its content.
type offered struct {
	manifest.Entry
	content []byte
}

func file(path string, content []byte) offered {
	return offered{manifest.Entry{Path: path, Size: int64(len(content)), Mode: 0o644, ModTime: then}, content}
}

func dir(path string) offered {
	return offered{manifest.Entry{Type: manifest.Dir, Path: path, Mode: 0o755, ModTime: then}, nil}
}

func link(path, target string) offered {
	return offered{manifest.Entry{Type: manifest.Symlink, Path: path, Target: target, Mode: 0o777, ModTime: then}, nil}
}

func stream(path string, content []byte) offered {
	return offered{manifest.Entry{Type: manifest.Stream, Path: path, Size: -1, Mode: 0o644, ModTime: then}, content}
}

// content is the same for the same size and seed.
func content(size int, seed uint64) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func with(b []byte, at int, c byte) []byte {
	b = bytes.Clone(b)
	b[at] = c
	return b
}

func block(b []byte, n int64) []byte { return b[n*blk : min(int64(len(b)), (n+1)*blk)] }

// results are what Finished told.
type results struct {
	mu   sync.Mutex
	errs map[int]error
}

func (r *results) finished(i int, _ manifest.Entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errs == nil {
		r.errs = make(map[int]error)
	}
	if _, twice := r.errs[i]; twice {
		err = errors.New("finished twice")
	}
	r.errs[i] = err
}

func (r *results) get(i int) (err error, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err, ok = r.errs[i]
	return err, ok
}

// disk is what Store and Pipe have in common, as the core sees it.
type disk interface {
	Reset(ctx context.Context, opt *Options) error
	Place(ctx context.Context, i int, e manifest.Entry) (Plan, error)
	File(i int) (*File, error)
	Drop(i int) error
	Flush(ctx context.Context) error
	Resumable(e manifest.Entry) int64
	Free() (uint64, bool)
	Close() error
}

var _, _ disk = (*Store)(nil), (*Pipe)(nil)

func open(t *testing.T, dir string, opt *Options) (*Store, *results) {
	t.Helper()
	r := new(results)
	o := Options{}
	if opt != nil {
		o = *opt
	}
	o.Finished = r.finished
	s, err := Open(dir, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !strings.Contains(t.Name(), "Disk") {
			t.Errorf("Close: %v", err)
		}
	})
	return s, r
}

// send does what the core does with one entry, and says how many blocks it wrote.
func send(ctx context.Context, s disk, i int, o offered) (sent int, err error) {
	plan, err := s.Place(ctx, i, o.Entry)
	if err != nil || plan.Action == Done {
		return 0, err
	}
	f, err := s.File(i)
	if err != nil {
		_ = s.Drop(i)
		return 0, err
	}
	for n := range tree.Blocks(int64(len(o.content))) {
		data := block(o.content, n)
		if plan.Action == Check && n < plan.Have {
			there, err := f.Has(ctx, n, tree.Block(data))
			if err != nil {
				return sent, errors.Join(err, f.Drop())
			}
			if there {
				continue
			}
		}
		if tree.IsZero(data) {
			err = f.WriteZeros(n, len(data))
		} else {
			err = f.WriteBlock(n, data)
		}
		if err != nil {
			return sent, errors.Join(err, f.Drop())
		}
		sent++
	}
	f.Commit(int64(len(o.content)))
	return sent, nil
}

// sendAll sends everything, and returns what became of each.
func sendAll(t *testing.T, s disk, r *results, list ...offered) (sent int, errs []error) {
	t.Helper()
	errs = make([]error, len(list))
	for i, o := range list {
		n, err := send(t.Context(), s, i, o)
		sent += n
		errs[i] = err
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Errorf("Flush: %v", err)
	}
	for i := range list {
		if err, ok := r.get(i); ok {
			errs[i] = errors.Join(errs[i], err)
		}
	}
	return sent, errs
}

func wantNone(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

func wantKind(t *testing.T, err, kind error, words string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), words) {
		t.Errorf("got %v, want %v with %q", err, kind, words)
	}
}

// put writes files of a folder before a test.
func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func setTimes(t *testing.T, path string, when time.Time) {
	t.Helper()
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

// look is all that is in a folder: content, targets with "-> ", nil for folders.
func look(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			all[rel] = "folder"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			all[rel] = "-> " + target
			return err
		case d.Type() != 0:
			all[rel] = d.Type().String()
		default:
			b, err := os.ReadFile(path)
			all[rel] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantLook(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := look(t, dir)
	short := func(s string) string { return fmt.Sprintf("%d bytes %.20q", len(s), s) }
	for n, c := range want {
		if g, ok := got[n]; !ok || g != c {
			t.Errorf("%s: got %s (there: %v), want %s", n, short(g), ok, short(c))
		}
	}
	for n, c := range got {
		if _, ok := want[n]; !ok {
			t.Errorf("%s is there as well: %s", n, short(c))
		}
	}
}

func wantTime(t *testing.T, path string, want time.Time) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
	} else if !info.ModTime().Equal(want) {
		t.Errorf("%s: time is %v, want %v", path, info.ModTime(), want)
	}
}

func TestStore(t *testing.T) {
	big := content(3*blk+100, 1)
	holes := make([]byte, 4*blk)
	copy(holes[2*blk:], "in the middle")
	list := []offered{
		dir("a"), file("a/empty", nil), dir("a/none"), file("a/small", []byte("small")), dir("a/x"), dir("a/x/y"),
		file("a/x/y/big", big), link("a/x/y/link", "../../small"), file("b", holes), file("c", content(blk, 2)),
	}
	list[3].Mode = 0o6777
	to := t.TempDir()
	s, r := open(t, to, nil)
	sent, errs := sendAll(t, s, r, list...)
	wantNone(t, errs)
	if sent != 10 {
		t.Errorf("%d blocks sent", sent)
	}
	wantLook(t, to, map[string]string{
		"a": "folder", "a/empty": "", "a/none": "folder", "a/small": "small", "a/x": "folder", "a/x/y": "folder",
		"a/x/y/big": string(big), "a/x/y/link": "-> ../../small", "b": string(holes), "c": string(content(blk, 2)),
	})
	for _, o := range list {
		if o.Type != manifest.Symlink {
			wantTime(t, filepath.Join(to, o.Path), then)
		}
	}
	if runtime.GOOS != "windows" {
		info, _ := os.Stat(filepath.Join(to, "a/small"))
		if m := info.Mode(); m&^0o755 != 0 || m&0o700 != 0o700 {
			t.Errorf("mode is %v", m)
		}
	}
	if err := s.Reset(t.Context(), &Options{Finished: r.finished}); err != nil {
		t.Fatal(err)
	}
	for i, o := range list {
		if plan, err := s.Place(t.Context(), i, o.Entry); plan.Action != Done || err != nil {
			t.Errorf("again, %s: %v %v", o.Path, plan, err)
		}
	}
}

func TestConflicts(t *testing.T) {
	old, new1 := content(2*blk+5, 1), content(2*blk+5, 2)
	grown := append(bytes.Clone(old), content(blk, 3)...)
	changed := with(old, blk+3, 'x')
	type want struct {
		sent int
		err  error
		look map[string]string
	}
	keep := func(c []byte) map[string]string { return map[string]string{"f.txt": string(c)} }
	both := func(a, b []byte) map[string]string {
		return map[string]string{"f.txt": string(a), "f (2).txt": string(b)}
	}
	for _, c := range []struct {
		name   string
		there  []byte
		time   time.Time
		offer  []byte
		policy Policy
		want   want
	}{
		{"the same", old, then, old, Keep, want{0, nil, keep(old)}},
		{"the same and one second", old, then.Truncate(time.Second), old, Keep, want{0, nil, keep(old)}},
		{"same content", old, later, old, Keep, want{0, nil, keep(old)}},
		{"one block differs, keep", old, later, changed, Keep, want{0, fault.ErrExists, keep(old)}},
		{"one block differs, overwrite", old, later, changed, Overwrite, want{1, nil, keep(changed)}},
		{"one block differs, rename", old, later, changed, Rename, want{1, nil, both(old, changed)}},
		{"all differs, keep", old, later, new1, Keep, want{0, fault.ErrExists, keep(old)}},
		{"all differs, overwrite", old, later, new1, Overwrite, want{3, nil, keep(new1)}},
		{"grown, keep", old, then, grown, Keep, want{0, fault.ErrExists, keep(old)}},
		{"grown, overwrite", old, then, grown, Overwrite, want{2, nil, keep(grown)}},
		{"grown, rename", old, then, grown, Rename, want{2, nil, both(old, grown)}},
		{"shrunk, overwrite", grown, then, old, Overwrite, want{0, nil, keep(old)}},
		{"to empty, keep", old, then, nil, Keep, want{0, fault.ErrExists, keep(old)}},
		{"to empty, overwrite", old, then, nil, Overwrite, want{0, nil, keep(nil)}},
		{"to empty, rename", old, then, nil, Rename, want{0, nil, both(old, nil)}},
		{"empty", nil, later, nil, Keep, want{0, nil, keep(nil)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := t.TempDir()
			put(t, to, map[string][]byte{"f.txt": c.there})
			setTimes(t, filepath.Join(to, "f.txt"), c.time)
			s, r := open(t, to, &Options{Exists: c.policy})
			sent, errs := sendAll(t, s, r, file("f.txt", c.offer))
			if !errors.Is(errs[0], c.want.err) || sent != c.want.sent {
				t.Errorf("sent %d blocks, error %v; want %+v", sent, errs[0], c.want)
			}
			wantLook(t, to, c.want.look)
			if c.want.err == nil && c.policy != Rename && c.name != "the same and one second" {
				wantTime(t, filepath.Join(to, "f.txt"), then)
			}
			// What was done is found to be done.
			if err := s.Reset(t.Context(), &Options{Exists: c.policy}); err != nil {
				t.Fatal(err)
			}
			if sent, err := send(t.Context(), s, 0, file("f.txt", c.offer)); sent != 0 || !errors.Is(err, c.want.err) {
				t.Errorf("again: sent %d, %v", sent, err)
			}
			wantLook(t, to, c.want.look)
		})
	}
}

func TestAsk(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{"a": []byte("old"), "b": []byte("old"), "c": []byte("old!"), "d": []byte("old!"), "e": nil})
	var asked []string
	answers := map[string]Policy{"a": Overwrite, "b": Rename, "c": Rename, "d": Keep, "e": Overwrite}
	opt := &Options{Exists: Overwrite, Ask: func(ctx context.Context, c Conflict) (Policy, error) {
		asked = append(asked, fmt.Sprint(c.Entry.Path, c.Size))
		return answers[c.Entry.Path], ctx.Err()
	}}
	list := []offered{file("a", []byte("new!")), file("b", []byte("new!")), file("c", []byte("new!")), file("d", []byte("new!")), file("e", []byte("new!"))}
	s, r := open(t, to, opt)
	_, errs := sendAll(t, s, r, list...)
	wantKind(t, errs[3], fault.ErrExists, "d")
	errs[3] = nil
	wantNone(t, errs)
	wantLook(t, to, map[string]string{"a": "new!", "b": "old", "b (2)": "new!", "c": "old!", "c (2)": "new!", "d": "old!", "e": "new!"})
	// A second run does not ask again.
	if err := s.Reset(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	for i, o := range list {
		if _, err := send(t.Context(), s, i, o); (err != nil) != (i == 3) {
			t.Errorf("again: %v", err)
		}
	}
	if got, want := fmt.Sprint(asked), "[a3 b3 c4 d4 e0]"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestAskFails(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{"a": []byte("old"), "b": []byte("new!")})
	ctx, cancel := context.WithCancel(t.Context())
	s, _ := open(t, to, &Options{Ask: func(_ context.Context, c Conflict) (Policy, error) {
		if c.Entry.Path == "b" {
			cancel()
			return Overwrite, nil
		}
		return Overwrite, errors.New("nobody there")
	}})
	_, err := send(ctx, s, 0, file("a", []byte("new!")))
	wantKind(t, err, fault.ErrExists, "nobody there")
	_, err = send(ctx, s, 1, file("b", []byte("new?")))
	wantKind(t, err, context.Canceled, "")
	wantLook(t, to, map[string]string{"a": "old", "b": "new!"})
}

func TestInTheWay(t *testing.T) {
	secret := t.TempDir()
	put(t, secret, map[string][]byte{"s": []byte("secret")})
	for _, c := range []struct {
		name   string
		there  func(t *testing.T, dir string)
		offer  []offered
		policy Policy
		kind   error // of the last one
		want   map[string]string
	}{
		{"folder for a file", mkdir("f"), []offered{file("f", []byte("x"))}, Overwrite, fault.ErrExists, map[string]string{"f": "folder"}},
		{"folder for an empty file", mkdir("f"), []offered{file("f", nil)}, Overwrite, fault.ErrExists, map[string]string{"f": "folder"}},
		{"folder for a link", mkdir("f"), []offered{link("f", "g")}, Overwrite, fault.ErrExists, map[string]string{"f": "folder"}},
		{"folder, rename", mkdir("f"), []offered{file("f", []byte("x"))}, Rename, nil, map[string]string{"f": "folder", "f (2)": "x"}},
		{"link for a file", symlink("f", secret+"/s"), []offered{file("f", []byte("x"))}, Keep, fault.ErrExists, map[string]string{"f": "-> " + secret + "/s"}},
		{"link for a file, overwrite", symlink("f", secret+"/s"), []offered{file("f", []byte("x"))}, Overwrite, nil, map[string]string{"f": "x"}},
		{"link for an empty file, overwrite", symlink("f", secret+"/s"), []offered{file("f", nil)}, Overwrite, nil, map[string]string{"f": ""}},
		{"link, the same", symlink("f", "g"), []offered{link("f", "g")}, Keep, nil, map[string]string{"f": "-> g"}},
		{"link, another", symlink("f", "h"), []offered{link("f", "g")}, Keep, fault.ErrExists, map[string]string{"f": "-> h"}},
		{"link, overwrite", symlink("f", "h"), []offered{link("f", "g")}, Overwrite, nil, map[string]string{"f": "-> g"}},
		{"link, overwrite, from an earlier run", both(symlink("f", "h"), symlink(name.Partial("f"), "g")), []offered{link("f", "g")}, Overwrite, nil, map[string]string{"f": "-> g"}},
		{"link, rename", symlink("f", "h"), []offered{link("f", "g")}, Rename, nil, map[string]string{"f": "-> h", "f (2)": "-> g"}},
		{"link for a folder", symlink("f", secret), []offered{dir("f"), file("f/s", []byte("x"))}, Overwrite, fault.ErrExists, map[string]string{"f": "-> " + secret}},
		{"link inside for a folder", both(mkdir("g"), symlink("f", "g")), []offered{dir("f"), dir("f/a"), file("f/a/b", nil)}, Overwrite, fault.ErrExists, map[string]string{"f": "-> g", "g": "folder"}},
		{"link for a parent that was not listed", symlink("f", secret), []offered{file("f/s", []byte("x"))}, Overwrite, fault.ErrExists, map[string]string{"f": "-> " + secret}},
		{"file for a folder", write("f", "x"), []offered{dir("f"), file("f/a", nil)}, Overwrite, fault.ErrExists, map[string]string{"f": "x"}},
		{"link for the partial", symlink(name.Partial("f"), secret+"/s"), []offered{file("f", []byte("secret"))}, Keep, fault.ErrExists, map[string]string{name.Partial("f"): "-> " + secret + "/s"}},
		{"dangling link for the partial", symlink(name.Partial("f"), secret+"/new"), []offered{file("f", []byte("secret"))}, Keep, fault.ErrExists, map[string]string{name.Partial("f"): "-> " + secret + "/new"}},
		{"folder for the partial", mkdir(name.Partial("f")), []offered{file("f", []byte("x"))}, Keep, fault.ErrExists, map[string]string{name.Partial("f"): "folder"}},
		{"hard link for the partial", hardlink(name.Partial("f"), secret+"/s"), []offered{file("f", []byte("public"))}, Keep, fault.ErrExists, map[string]string{name.Partial("f"): "secret"}},
		{"many", both(write("f.tar.gz", "1"), both(write("f (2).tar.gz", "2"), mkdir("f (3).tar.gz"))), []offered{file("f.tar.gz", []byte("xx"))}, Rename, nil,
			map[string]string{"f.tar.gz": "1", "f (2).tar.gz": "2", "f (3).tar.gz": "folder", "f (4).tar.gz": "xx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := t.TempDir()
			c.there(t, to)
			s, r := open(t, to, &Options{Exists: c.policy})
			_, errs := sendAll(t, s, r, c.offer...)
			if err := errs[len(errs)-1]; !errors.Is(err, c.kind) {
				t.Errorf("got %v, want %v", err, c.kind)
			}
			wantLook(t, to, c.want)
			wantLook(t, secret, map[string]string{"s": "secret"})
		})
	}
}

func mkdir(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, name), 0o755)) }
}
