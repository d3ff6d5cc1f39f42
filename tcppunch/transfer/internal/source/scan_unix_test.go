//go:build unix

package source

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
)

func TestScanPipesAndSockets(t *testing.T) {
	root := plant(t, "d/a 1", "d/l -> pipe")
	if err := syscall.Mkfifo(filepath.Join(root, "d/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root) // the path of a socket must be short
	l, err := net.Listen("unix", "d/sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tree, err := Scan(context.Background(), []string{"d"}, &Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, tree), []string{"d/", "d/a 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := refusals(tree), []string{"unsupported d/l", "unsupported d/pipe", "unsupported d/sock"}; !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
	for _, arg := range []string{"d/pipe", "d/sock", "d/l"} {
		if _, err := Scan(context.Background(), []string{arg}, nil); !errors.Is(err, fault.ErrUnsupported) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// A file that has become a pipe or a link is told at once: opening a pipe to see would
// wait for whoever writes to it.
func TestOpenWhatIsNoFileNow(t *testing.T) {
	root := plant(t, "d/a 1", "d/b 1", "d/c/x 1", "x 1")
	tree, err := Scan(context.Background(), in(root, "d", "x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"d/a", "d/b", "d/c/x", "d/c"} {
		must(os.Remove(filepath.Join(root, name)))
	}
	must(syscall.Mkfifo(filepath.Join(root, "d/a"), 0o644))
	must(os.Symlink("../x", filepath.Join(root, "d/b")))
	must(os.WriteFile(filepath.Join(root, "d/c"), nil, 0o644))
	for _, e := range entries(t, tree) {
		if e.Type != manifest.File || e.Path == "x" {
			continue
		}
		if f, err := tree.Open(e); !errors.Is(err, fault.ErrSourceChanged) || f != nil {
			t.Errorf("%s: %v", e.Path, err)
		}
	}
}
