package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

const childEnv = "TCPPUNCH_STORE_TEST_CHILD"

// model is what is sent in a version of it: some of the files change from one to the next.
func model(seed uint64, version int) []offered {
	var list []offered
	r := rand.New(rand.NewPCG(seed, 0))
	for d := range 4 {
		folder := fmt.Sprintf("d%d", d)
		list = append(list, dir(folder))
		for k := range 12 {
			sizes := []int{0, 1, 4096, blk, blk + 1, 3*blk + 7}
			size := sizes[r.IntN(len(sizes))]
			b := content(size, seed)
			changes := r.IntN(4) == 0
			when := then
			if changes && version > 0 && size > 0 {
				b = with(b, r.IntN(size), byte(version))
				if r.IntN(2) == 0 {
					b = append(b, content(version, 7)...)
				}
				when = then.Add(time.Duration(version) * time.Minute)
			} else {
				r.IntN(2) // keep in step
			}
			if k == 5 {
				clear(b[:len(b)/2])
			}
			o := file(fmt.Sprintf("%s/f%02d", folder, k), b)
			o.ModTime = when
			list = append(list, o)
		}
		list = append(list, link(folder+"/link", "f01"))
	}
	return list
}

// child receives the model with its operations in a random order, as far as the
// Store allows, and is killed at some time.
func child() {
	var seed uint64
	var version int
	var to string
	if _, err := fmt.Sscanf(os.Getenv(childEnv), "%d %d %s", &seed, &version, &to); err != nil {
		panic(err)
	}
	s, err := Open(to, &Options{Exists: Overwrite, Finished: func(_ int, e manifest.Entry, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, e.Path, err)
			os.Exit(3)
		}
	}})
	if err == nil {
		fmt.Print("!")
		err = receive(s, model(seed, version))
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// receive has up to eight files open, and gives each random blocks in turn.
func receive(s *Store, list []offered) error {
	type job struct {
		i    int
		f    *File
		left []int64
	}
	ctx := context.Background()
	var jobs []*job
	step := func() error {
		k := rand.IntN(len(jobs))
		j := jobs[k]
		b := list[j.i].content
		if len(j.left) == 0 {
			j.f.Commit(int64(len(b)))
			jobs = append(jobs[:k], jobs[k+1:]...)
			return nil
		}
		n := j.left[0]
		j.left = j.left[1:]
		if data := block(b, n); tree.IsZero(data) {
			return j.f.WriteZeros(n, len(data))
		} else {
			return j.f.WriteBlock(n, data)
		}
	}
	for i, o := range list {
		plan, err := s.Place(ctx, i, o.Entry)
		if err != nil {
			return err
		}
		if plan.Action == Done {
			continue
		}
		f, err := s.File(i)
		if err != nil {
			return err
		}
		j := &job{i: i, f: f}
		for n := range tree.Blocks(o.Size) {
			there := false
			if plan.Action == Check && n < plan.Have {
				if there, err = f.Has(ctx, n, tree.Block(block(o.content, n))); err != nil {
					return err
				}
			}
			if !there {
				j.left = append(j.left, n)
			}
		}
		rand.Shuffle(len(j.left), func(a, b int) { j.left[a], j.left[b] = j.left[b], j.left[a] })
		jobs = append(jobs, j)
		for len(jobs) > 8 || len(jobs) > 0 && rand.IntN(2) == 0 {
			if err := step(); err != nil {
				return err
			}
		}
	}
	for len(jobs) > 0 {
		if err := step(); err != nil {
			return err
		}
	}
	return s.Flush(ctx)
}

// Whenever it is killed, every name shows a whole file of some version, and in the end
// all is there, with nothing left over.
func TestModel(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	kills := 0
	for seed := range uint64(2) {
		to := t.TempDir()
		whole := make(map[string]bool) // path and content
		for version := range 3 {
			list := model(seed, version)
			for _, o := range list {
				whole[o.Path+"="+string(o.content)] = true
			}
			longest := 40 * time.Millisecond
			for !runChild(t, to, seed, version, longest) {
				kills++
				longest += longest / 4 // a slow disk gets its chance to finish something
				for path, c := range look(t, to) {
					if c != "folder" && !strings.HasPrefix(c, "-> ") && !strings.HasSuffix(path, ".tcppunch-part") && !whole[path+"="+c] {
						t.Fatalf("seed %d: %s is there with %d bytes of nothing offered", seed, path, len(c))
					}
				}
				if version < 2 {
					break // the source changes before it goes on
				}
			}
		}
		want := make(map[string]string)
		for _, o := range model(seed, 2) {
			switch o.Type {
			case manifest.Dir:
				want[o.Path] = "folder"
			case manifest.Symlink:
				want[o.Path] = "-> " + o.Target
			default:
				want[o.Path] = string(o.content)
				wantTime(t, filepath.Join(to, o.Path), o.ModTime)
			}
		}
		wantLook(t, to, want)
	}
	t.Logf("killed %d times", kills)
}

// runChild reports whether the child came to its end before it was killed.
func runChild(t *testing.T, to string, seed uint64, version int, longest time.Duration) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", childEnv, seed, version, to))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, _ = io.ReadFull(out, make([]byte, 1)) // it has begun
	kill := time.AfterFunc(rand.N(longest), func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		t.Fatalf("seed %d, version %d: %v: %s", seed, version, err, errs.String())
	}
	return err == nil
}
