package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
)

// asNobody runs f in a thread that may not read everything: the file system's user of
// a thread can be another than root.
func asNobody(t *testing.T, f func()) {
	if os.Getuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
		t.Skip("cannot be another user:", errno)
	}
	defer func() { _, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0) }()
	f()
}

func TestScanUnreadable(t *testing.T) {
	root := plant(t, "d/a/x 1", "d/b 1", "d/c/x 1")
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"d/a": 0, "d/b": 0, "d/c": 0o644} { // c can be listed, and no more
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(filepath.Join(root, name), 0o755)
	}
	asNobody(t, func() {
		tree, err := Scan(context.Background(), in(root, "d"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := show(t, tree), []string{"d/", "d/b 1", "d/c/"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := refusals(tree), []string{"failed d/a", "failed d/c/x"}; !slices.Equal(got, want) {
			t.Errorf("refused %q, want %q", got, want)
		}
		for _, f := range tree.Refused() {
			if !errors.Is(f, fs.ErrPermission) || f.Public(true) != f.Name+": permission denied" {
				t.Errorf("refused with %v, public %q", f, f.Public(true))
			}
		}
		if _, err := tree.Open(entries(t, tree)[1]); !errors.Is(err, fs.ErrPermission) || errors.Is(err, fault.ErrSourceChanged) {
			t.Errorf("opening it: %v", err)
		}
		for _, arg := range []string{"d/a", "d/b", "d/c/x"} {
			if _, err := Scan(context.Background(), in(root, arg), nil); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("as an argument, %s: %v", arg, err)
			}
		}
	})
}

func TestScanGenerated(t *testing.T) {
	tree, err := Scan(context.Background(), []string{"/proc/self/net/../status", "/proc/version", "/proc/self/limits"}, nil)
	if !errors.Is(err, fault.ErrUnsupported) || tree != nil {
		t.Errorf("files of /proc: %v", err)
	}
	root := plant(t, "d/a", "d/b")
	if tree, err = Scan(context.Background(), append(in(root, "d"), "/proc/version"), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, tree), []string{"d/", "d/a 0", "d/b 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := refusals(tree), []string{"unsupported version"}; !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
}

// Names and times that Linux has and a manifest has not.
func TestScanImpossible(t *testing.T) {
	root := plant(t, "d/ok 1", "d/a\xffb 1", "d/a\nb 1", "d/a\x1b[31m 1")
	tree, err := Scan(context.Background(), in(root, "d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, tree), []string{"d/", "d/ok 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, f := range tree.Refused() {
		if !errors.Is(f, fault.ErrName) || fault.Clean(f.Error()) != f.Error() || !strings.HasPrefix(f.Error(), "d/a\uFFFD") {
			t.Errorf("refused with %q", f)
		}
	}
	if tree.RefusedCount() != 3 {
		t.Errorf("%d refused", tree.RefusedCount())
	}

	// Some file systems hold more than the years 1 to 9999.
	for _, sec := range []int64{manifest.MaxTime + 1<<33, manifest.MinTime - 1<<33} {
		full := filepath.Join(root, "d/ok")
		ts, err := unix.TimeToTimespec(time.Unix(sec, 0))
		if err != nil {
			t.Skip("32 bits:", err)
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{ts, ts}, 0); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(full)
		if err != nil {
			t.Fatal(err)
		}
		t.Log("the file system makes of it", info.ModTime())
		tree, err := Scan(context.Background(), []string{full}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := entries(t, tree)[0]
		if want := info.ModTime(); !e.ModTime.Equal(want) && want.Unix() >= manifest.MinTime && want.Unix() <= manifest.MaxTime {
			t.Errorf("%v, want %v", e.ModTime, want)
		}
		f, err := tree.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, far := range []time.Time{time.Unix(manifest.MaxTime+9, 5), time.Unix(manifest.MinTime-9, 5)} {
		if got := modTime(infoAt{far}).Unix(); got != manifest.MaxTime && got != manifest.MinTime {
			t.Errorf("%v becomes %v", far, got)
		}
	}
}

type infoAt struct{ t time.Time }

func (i infoAt) Name() string       { return "" }
func (i infoAt) Size() int64        { return 0 }
func (i infoAt) Mode() fs.FileMode  { return 0 }
func (i infoAt) ModTime() time.Time { return i.t }
func (i infoAt) IsDir() bool        { return false }
func (i infoAt) Sys() any           { return nil }

// A sparse file may be larger than anything that could be sent.
func TestScanTooLarge(t *testing.T) {
	root := plant(t, "d/ok 1", "d/huge 0")
	if err := os.Truncate(filepath.Join(root, "d/huge"), manifest.MaxBytes+1); err != nil {
		root = "/dev/shm/" + filepath.Base(t.Name())
		if os.MkdirAll(root+"/d", 0o755) != nil || os.WriteFile(root+"/d/huge", nil, 0o644) != nil || os.WriteFile(root+"/d/ok", []byte("x"), 0o644) != nil {
			t.Skip("no memory file system")
		}
		defer os.RemoveAll(root)
		if err := os.Truncate(root+"/d/huge", manifest.MaxBytes+1); err != nil {
			t.Skip("no file system has such files:", err)
		}
	}
	tree, err := Scan(context.Background(), in(root, "d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := refusals(tree), []string{"unsupported d/huge"}; !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
}
