package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// randomFile makes a file of size bytes and returns its path and what is in it.
func randomFile(t testing.TB, size int) (string, []byte) {
	t.Helper()
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = r.Read(data)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func scanFile(t testing.TB, path string) (*Tree, manifest.Entry) {
	t.Helper()
	tr, err := Scan(context.Background(), []string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr, entries(t, tr)[0]
}

func TestReadBlock(t *testing.T) {
	for _, size := range []int{1, tree.BlockSize - 1, tree.BlockSize, tree.BlockSize + 1, 3*tree.BlockSize + 7} {
		path, data := randomFile(t, size)
		tr, e := scanFile(t, path)
		f, err := tr.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := make([]byte, size)
		var wg sync.WaitGroup
		for n := range tree.Blocks(e.Size) {
			wg.Go(func() {
				buf := make([]byte, tree.BlockSize)
				m, err := f.ReadBlock(n, buf)
				if want := min(tree.BlockSize, size-int(n)*tree.BlockSize); err != nil || m != want {
					t.Errorf("block %d of %d bytes: %d, %v, want %d", n, size, m, err, want)
					return
				}
				copy(got[n*tree.BlockSize:], buf[:m])
			})
		}
		wg.Wait()
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes: others are read", size)
		}
		if err := f.Unchanged(); err != nil {
			t.Error(err)
		}
		for _, n := range []int64{-1, tree.Blocks(e.Size), 1 << 62} {
			if _, err := f.ReadBlock(n, make([]byte, tree.BlockSize)); err == nil {
				t.Errorf("block %d of %d bytes is read", n, size)
			}
		}
		if _, err := f.ReadBlock(0, nil); !errors.Is(err, io.ErrShortBuffer) {
			t.Errorf("into nothing: %v", err)
		}
	}
}

func TestOpenAfterChange(t *testing.T) {
	tests := []struct {
		name   string
		change func(path string) error
		want   error
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"grows", func(p string) error { return os.Truncate(p, 101) }, fault.ErrSourceChanged},
		{"shrinks", func(p string) error { return os.Truncate(p, 99) }, fault.ErrSourceChanged},
		{"to nothing", func(p string) error { return os.Truncate(p, 0) }, fault.ErrSourceChanged},
		{"vanishes", os.Remove, fault.ErrSourceChanged},
		{"later", func(p string) error { return os.Chtimes(p, when, when.Add(time.Second)) }, fault.ErrSourceChanged},
		{"earlier", func(p string) error { return os.Chtimes(p, when, when.Add(-time.Second)) }, fault.ErrSourceChanged},
		{"becomes a folder", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, fault.ErrSourceChanged},
		{"is replaced by the same", func(p string) error {
			return errors.Join(os.Remove(p), os.WriteFile(p, make([]byte, 100), 0o644), os.Chtimes(p, when, when))
		}, nil},
		{"other permissions", func(p string) error { return os.Chmod(p, 0o755) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _ := randomFile(t, 100)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
			tr, e := scanFile(t, path)
			if err := tt.change(path); err != nil {
				t.Fatal(err)
			}
			f, err := tr.Open(e)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			var fail *fault.Failure
			if tt.want != nil && (!errors.As(err, &fail) || fail.Name != "file" || strings.Contains(fail.Public(true), filepath.Dir(path))) {
				t.Errorf("%v does not name it, or tells where it is", err)
			}
			if err == nil {
				f.Close()
			}
		})
	}
}

func TestChangeWhileOpen(t *testing.T) {
	const size = 2*tree.BlockSize + 100
	tests := []struct {
		name      string
		change    func(path string) error
		read      error // of the last block
		unchanged error
	}{
		{"nothing", func(string) error { return nil }, nil, nil},
		{"shrinks", func(p string) error { return os.Truncate(p, size-1) }, fault.ErrSourceChanged, fault.ErrSourceChanged},
		{"loses a block", func(p string) error { return os.Truncate(p, tree.BlockSize) }, fault.ErrSourceChanged, fault.ErrSourceChanged},
		{"grows", func(p string) error { return os.Truncate(p, size+1) }, nil, fault.ErrSourceChanged},
		{"is written", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("other")
			return errors.Join(err, f.Close())
		}, nil, fault.ErrSourceChanged},
		{"vanishes", os.Remove, nil, nil}, // what is open is still whole
		{"is replaced", func(p string) error { return errors.Join(os.WriteFile(p+"2", nil, 0o644), os.Rename(p+"2", p)) }, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _ := randomFile(t, size)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
			tr, e := scanFile(t, path)
			f, err := tr.Open(e)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := tt.change(path); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, tree.BlockSize)
			if n, err := f.ReadBlock(2, buf); !errors.Is(err, tt.read) || err == nil && n != 100 {
				t.Errorf("last block: %d, %v, want %v", n, err, tt.read)
			}
			if err := f.Unchanged(); !errors.Is(err, tt.unchanged) {
				t.Errorf("afterwards: %v, want %v", err, tt.unchanged)
			}
		})
	}
}

func TestOpenWhatIsNotListed(t *testing.T) {
	root := plant(t, "d/a 1", "x 1")
	tr, err := Scan(context.Background(), in(root, "d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := entries(t, tr)[0]
	for _, e := range []manifest.Entry{d, {Path: "x", Size: 1}, {Path: ""}, {Type: manifest.Stream, Path: "d/a"}} {
		if f, err := tr.Open(e); err == nil || f != nil {
			t.Errorf("opened %v", e)
		}
	}
	a := entries(t, tr)[1]
	f, err := tr.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := f.ReadBlock(0, make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// With Follow the file behind a link is opened, in folders behind links too.
func TestOpenFollows(t *testing.T) {
	root := plant(t, "x/y 7", "d/l -> ../x", "d/m -> ../x/y")
	tr, err := Scan(context.Background(), in(root, "d"), &Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, e := range entries(t, tr) {
		if e.Type != manifest.File {
			continue
		}
		f, err := tr.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.ReadBlock(0, make([]byte, 7)); n != 7 || err != nil {
			t.Errorf("%s: %d, %v", e.Path, n, err)
		}
		f.Close()
		opened++
	}
	if opened != 2 {
		t.Errorf("%d files", opened)
	}
}
