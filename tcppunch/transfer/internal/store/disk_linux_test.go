package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// mount puts a file system in memory over a folder for a test's time.
func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("no right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
}

// A full disk: what is complete stays, and what was written of the rest is gone on with.
func TestDiskFull(t *testing.T) {
	to := t.TempDir()
	mount(t, to, 0, "size=4m")
	big := content(6*blk, 1)
	s, r := open(t, to, nil)
	if free, ok := s.Free(); !ok || free > 4<<20 || free < 3<<20 {
		t.Errorf("free: %d %v", free, ok)
	}
	_, errs := sendAll(t, s, r, file("a", []byte("first")), file("b", big))
	if errs[0] != nil {
		t.Error(errs[0])
	}
	wantKind(t, errs[1], fault.ErrNoSpace, "b: not enough space: cannot be written")
	got := look(t, to)
	if got["a"] != "first" || len(got[name.Partial("b")]) < 3*blk || len(got) != 2 {
		t.Errorf("%d files, partial of %d bytes", len(got), len(got[name.Partial("b")]))
	}
	must(t, s.Close())
	must(t, unix.Mount("tmpfs", to, "tmpfs", unix.MS_REMOUNT, "size=20m"))
	s, r = open(t, to, nil)
	sent, errs := sendAll(t, s, r, file("a", []byte("first")), file("b", big))
	wantNone(t, errs)
	if sent > 3 {
		t.Errorf("%d blocks sent again", sent)
	}
	wantLook(t, to, map[string]string{"a": "first", "b": string(big)})
}

// No more files: folders, links and empty files fail with the same kind.
func TestDiskWithoutInodes(t *testing.T) {
	to := t.TempDir()
	mount(t, to, 0, "nr_inodes=3")
	s, r := open(t, to, nil)
	_, errs := sendAll(t, s, r, file("a", nil), file("b", []byte("b")), file("c", nil), dir("d"), file("d/x", nil), file("e", []byte("e")), link("f", "a"))
	for i, err := range errs {
		if (err == nil) != (i < 2) || i >= 2 && !errors.Is(err, fault.ErrNoSpace) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	wantLook(t, to, map[string]string{"a": "", "b": "b"})
}

func TestDiskReadOnly(t *testing.T) {
	to := t.TempDir()
	mount(t, to, unix.MS_RDONLY, "")
	s, r := open(t, to, nil)
	_, errs := sendAll(t, s, r, file("a", nil), file("b", []byte("b")), dir("d"), file("d/x", nil), link("f", "a"))
	for i, err := range errs {
		if !errors.Is(err, syscall.EROFS) && i != 3 || err == nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if got, want := errs[1].Error(), "b: cannot be created: read-only file system"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A folder on another file system is made durable as well, and free of surprises.
func TestDiskMountedInside(t *testing.T) {
	to := t.TempDir()
	must(t, os.Mkdir(filepath.Join(to, "d"), 0o755))
	mount(t, filepath.Join(to, "d"), 0, "")
	list := []offered{dir("d")}
	for i := range 2 * fewFiles {
		list = append(list, file(fmt.Sprintf("d/%02d", i), []byte("x")))
	}
	list = append(list, file("e", []byte("e")))
	s, r := open(t, to, nil)
	_, errs := sendAll(t, s, r, list...)
	wantNone(t, errs)
	if got := look(t, to); len(got) != len(list) {
		t.Errorf("%d entries, want %d", len(got), len(list))
	}
}

// Devices and pipes are neither replaced nor opened.
func TestSpecialInTheWay(t *testing.T) {
	for _, c := range []struct {
		name string
		mode uint32
		dev  int
	}{{"pipe", unix.S_IFIFO, 0}, {"null", unix.S_IFCHR, 1<<8 | 3}} {
		t.Run(c.name, func(t *testing.T) {
			to := t.TempDir()
			for _, n := range []string{"f", name.Partial("g"), "d"} {
				if err := unix.Mknod(filepath.Join(to, n), c.mode|0o666, c.dev); err != nil {
					t.Skipf("no right to make it: %v", err)
				}
			}
			s, r := open(t, to, &Options{Exists: Overwrite})
			_, errs := sendAll(t, s, r, file("f", []byte("x")), file("g", []byte("x")), dir("d"), file("d/x", nil), link("f", "g"), file("f", nil))
			for i, err := range errs {
				if !errors.Is(err, fault.ErrExists) {
					t.Errorf("entry %d: %v", i, err)
				}
			}
			if got := look(t, to); len(got) != 3 {
				t.Errorf("there are %v", got)
			}
		})
	}
}

// A partial file that belongs to somebody else could be changed by them later.
func TestPartialOfAnother(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{name.Partial("f"): []byte("x"), name.Partial("g"): []byte("y")})
	if err := os.Chown(filepath.Join(to, name.Partial("f")), 12345, 12345); err != nil {
		t.Skip(err)
	}
	must(t, os.Chmod(filepath.Join(to, name.Partial("g")), 0o777|os.ModeSetuid))
	s, r := open(t, to, nil)
	_, errs := sendAll(t, s, r, file("f", []byte("x")), file("g", []byte("y")))
	wantKind(t, errs[0], fault.ErrExists, name.Partial("f")+" is in the way")
	if errs[1] != nil {
		t.Error(errs[1])
	}
	info, err := os.Stat(filepath.Join(to, "g"))
	must(t, err)
	if info.Mode() != 0o644 {
		t.Errorf("mode is %v", info.Mode())
	}
}

// What is swapped between the calls leads nowhere else.
func TestSwapped(t *testing.T) {
	outside := t.TempDir()
	put(t, outside, map[string][]byte{"f": []byte("secret"), "empty": nil})
	to := t.TempDir()
	s, r := open(t, to, &Options{Exists: Overwrite})
	swap := func(what string) {
		must(t, os.Rename(filepath.Join(to, what), filepath.Join(to, what+".away")))
		must(t, os.Symlink(outside, filepath.Join(to, what)))
	}
	place := func(i int, o offered) {
		if _, err := s.Place(t.Context(), i, o.Entry); err != nil {
			t.Fatal(err)
		}
	}
	place(0, dir("a"))
	place(1, file("a/f", []byte("public")))
	swap("a")
	place(2, dir("b")) // leaves a, whose handle may be closed from now on
	place(3, file("b/f", []byte("public")))
	f, err := s.File(3)
	must(t, err)
	swap("b")
	must(t, f.WriteBlock(0, []byte("public")))
	f.Commit(6)
	must(t, s.Flush(t.Context()))
	if f, err := s.File(1); err == nil {
		must(t, f.WriteBlock(0, []byte("public")))
		f.Commit(6)
		must(t, s.Flush(t.Context()))
	}
	// The folder is closed when enough others were used.
	place(4, dir("c"))
	place(5, file("c/f", []byte("public")))
	for i := range 2 * maxFolders {
		place(100+2*i, dir(fmt.Sprintf("d%03d", i)))
		place(101+2*i, file(fmt.Sprintf("d%03d/e", i), []byte("x")))
	}
	swap("c")
	_, err = s.File(5)
	wantKind(t, err, fault.ErrExists, "c/f: exists already: its folder cannot be opened: a link or a file is in the way")
	place(998, dir("e"))
	place(999, file("e/empty", nil))
	swap("e")
	must(t, s.Close())
	wantLook(t, outside, map[string]string{"f": "secret", "empty": ""})
	if info, _ := os.Stat(outside); time.Since(info.ModTime()) > time.Hour {
		t.Error("the time of a folder outside was set")
	}
	for i, err := range r.errs {
		if err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

// The folder goes away while files come into it.
func TestFolderDeleted(t *testing.T) {
	to := t.TempDir()
	s, r := open(t, to, nil)
	list := []offered{dir("a"), file("a/f", []byte("x")), file("a/g", []byte("x"))}
	for i, o := range list {
		if _, err := s.Place(t.Context(), i, o.Entry); err != nil {
			t.Fatal(err)
		}
	}
	f, err := s.File(1)
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(to, "a")))
	must(t, f.WriteBlock(0, []byte("x")))
	f.Commit(1)
	_, err = s.File(2)
	wantKind(t, err, os.ErrNotExist, "a/g: cannot be created")
	_, err = send(t.Context(), s, 3, file("a/h", nil))
	wantKind(t, err, os.ErrNotExist, "a/h: cannot be created")
	_, err = send(t.Context(), s, 4, dir("a/i"))
	wantKind(t, err, os.ErrNotExist, "a/i: cannot be made")
	must(t, s.Flush(t.Context()))
	err, _ = r.get(1)
	wantKind(t, err, os.ErrNotExist, "a/f: cannot be named")
	if n, err := send(t.Context(), s, 5, file("b", []byte("b"))); n != 1 || err != nil {
		t.Errorf("another file: %v", err)
	}
	must(t, s.Flush(t.Context()))
	wantLook(t, to, map[string]string{"b": "b"})
}

// Zeros cost no space, neither in a new file nor where a partial file had something.
func TestHoles(t *testing.T) {
	to := t.TempDir()
	mount(t, to, 0, "size=8m")
	put(t, to, map[string][]byte{name.Partial("f"): content(3*blk, 1)})
	zeros := make([]byte, 100*blk)
	s, r := open(t, to, nil)
	sent, errs := sendAll(t, s, r, file("f", zeros))
	wantNone(t, errs)
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(to, "f"), &st))
	if sent != 100 || st.Size != 100*blk || st.Blocks > 16 {
		t.Errorf("%d blocks sent, size %d, %d sectors used", sent, st.Size, st.Blocks)
	}
	// A copy of what is there keeps the holes.
	changed := with(zeros, 50*blk, 1)
	if err := s.Reset(t.Context(), &Options{Exists: Overwrite, Finished: func(_ int, _ manifest.Entry, err error) { must(t, err) }}); err != nil {
		t.Fatal(err)
	}
	o := file("f", changed)
	o.ModTime = later
	if sent, err := send(t.Context(), s, 1, o); err != nil || sent != 1 {
		t.Errorf("sent %d: %v", sent, err)
	}
	must(t, s.Flush(t.Context()))
	must(t, unix.Stat(filepath.Join(to, "f"), &st))
	if st.Size != 100*blk || st.Blocks > 4096 {
		t.Errorf("size %d, %d sectors used", st.Size, st.Blocks)
	}
	wantLook(t, to, map[string]string{"f": string(changed)})
}

// A disk that ignores case holds one of two names; another one both.
func TestTwin(t *testing.T) {
	to := t.TempDir()
	s, _ := open(t, to, nil)
	twin := file("Readme", []byte("B"))
	twin.Twin = true
	for i, o := range []offered{file("README", []byte("A")), twin} {
		if _, err := send(t.Context(), s, i, o); err != nil {
			t.Error(err)
		}
	}
	must(t, s.Flush(t.Context()))
	wantLook(t, to, map[string]string{"README": "A", "Readme": "B"})
	folds := true
	s.folders.top.folds = &folds // as probe would find
	if err := s.Reset(t.Context(), &Options{Exists: Overwrite}); err != nil {
		t.Fatal(err)
	}
	_, err := send(t.Context(), s, 0, twin)
	wantKind(t, err, fault.ErrExists, "differs only in case")
}

// Two Stores on one folder: each file belongs to one of them.
func TestBusy(t *testing.T) {
	to := t.TempDir()
	a, ra := open(t, to, nil)
	b, rb := open(t, to, nil)
	o := file("f", content(2*blk, 1))
	for _, s := range []*Store{a, b} {
		if _, err := s.Place(t.Context(), 0, o.Entry); err != nil {
			t.Fatal(err)
		}
	}
	f, err := a.File(0)
	must(t, err)
	must(t, f.WriteBlock(1, block(o.content, 1)))
	_, err = b.File(0)
	wantKind(t, err, fault.ErrBusy, "f")
	must(t, f.Drop())
	g, err := b.File(0) // goes on where the other one was
	must(t, err)
	for n := range int64(2) {
		there, err := g.Has(t.Context(), n, tree.Block(block(o.content, n)))
		if err != nil || there != (n == 1) {
			t.Errorf("block %d: %v %v", n, there, err)
		}
	}
	must(t, g.WriteBlock(0, block(o.content, 0)))
	g.Commit(2 * blk)
	must(t, b.Flush(t.Context()))
	if err, ok := rb.get(0); err != nil || !ok {
		t.Errorf("finished: %v %v", err, ok)
	}
	if _, ok := ra.get(0); ok {
		t.Error("the other one finished, too")
	}
	wantLook(t, to, map[string]string{"f": string(o.content)})
}
