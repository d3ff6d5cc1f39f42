package store

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// What is in the partial file counts by its content only.
func TestPartial(t *testing.T) {
	whole := content(3*blk+10, 1)
	for _, c := range []struct {
		name    string
		partial []byte
		have    int64
		sent    int
	}{
		{"none", nil, 0, 4},
		{"empty", []byte{}, 0, 4},
		{"a part of a block", whole[:blk-1], 0, 4},
		{"two blocks", whole[:2*blk], 2, 2},
		{"two blocks and some", whole[:2*blk+9], 2, 2},
		{"all", whole, 4, 0},
		{"longer", append(bytes.Clone(whole), "and more"...), 4, 0},
		{"one bit wrong", with(whole, blk+5, whole[blk+5]^1), 4, 1},
		{"something else", content(5*blk, 2), 4, 4},
		{"with a hole", append(make([]byte, blk), whole[blk:3*blk]...), 3, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := t.TempDir()
			if c.partial != nil {
				put(t, to, map[string][]byte{name.Partial("f"): c.partial})
			}
			o := file("f", whole)
			s, r := open(t, to, nil)
			if got := s.Resumable(o.Entry); got != min(int64(len(c.partial)), o.Size) {
				t.Errorf("resumable: %d", got)
			}
			plan, err := s.Place(t.Context(), 0, o.Entry)
			if err != nil || plan.Have != c.have || (plan.Action == Check) != (c.have > 0) {
				t.Errorf("got %+v %v, want %d blocks", plan, err, c.have)
			}
			must(t, s.Drop(0))
			sent, errs := sendAll(t, s, r, o)
			wantNone(t, errs)
			if sent != c.sent {
				t.Errorf("sent %d blocks, want %d", sent, c.sent)
			}
			wantLook(t, to, map[string]string{"f": string(whole)})
		})
	}
}

func TestResumable(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{
		"d/e/" + name.Partial("f"): content(100, 1), "same": content(50, 1), "less": content(20, 1),
	})
	for _, c := range []struct {
		o      offered
		policy Policy
		want   int64
	}{
		{file("d/e/f", content(200, 1)), Keep, 100},
		{file("d/e/f", content(60, 1)), Keep, 60},
		{file("d/e/g", content(60, 1)), Keep, 0},
		{file("d/x/f", content(60, 1)), Keep, 0},
		{file("same", content(50, 1)), Keep, 50},
		{file("less", content(50, 1)), Keep, 0},
		{file("less", content(50, 1)), Overwrite, 20},
		{dir("d"), Overwrite, 0},
	} {
		s, _ := open(t, to, &Options{Exists: c.policy})
		if got := s.Resumable(c.o.Entry); got != c.want {
			t.Errorf("%s of %d, policy %d: got %d, want %d", c.o.Path, c.o.Size, c.policy, got, c.want)
		}
	}
}

// Blocks come in any order and from any goroutine.
func TestConcurrent(t *testing.T) {
	to := t.TempDir()
	b := content(20*blk+3, 1)
	clear(b[7*blk : 9*blk])
	put(t, to, map[string][]byte{name.Partial("f"): content(12*blk, 2)})
	s, r := open(t, to, nil)
	_, err := s.Place(t.Context(), 0, file("f", b).Entry)
	must(t, err)
	var all sync.WaitGroup
	for k := range int64(4) {
		all.Go(func() {
			f, err := s.File(0)
			if err != nil {
				t.Error(err)
				return
			}
			for n := 20 - k; n >= 0; n -= 4 {
				data := block(b, n)
				if there, err := f.Has(t.Context(), n, tree.Block(data)); there || err != nil {
					t.Errorf("block %d: %v %v", n, there, err)
				}
				if tree.IsZero(data) {
					err = f.WriteZeros(n, len(data))
				} else {
					err = f.WriteBlock(n, data)
				}
				if there, err2 := f.Has(t.Context(), n, tree.Block(data)); err != nil || !there || err2 != nil {
					t.Errorf("block %d: %v, and then %v %v", n, err, there, err2)
				}
			}
		})
	}
	all.Wait()
	f, err := s.File(0)
	must(t, err)
	f.Commit(int64(len(b)))
	must(t, s.Flush(t.Context()))
	if err, ok := r.get(0); err != nil || !ok {
		t.Errorf("finished: %v %v", err, ok)
	}
	wantLook(t, to, map[string]string{"f": string(b)})
}

func TestStream(t *testing.T) {
	to := t.TempDir()
	b := content(2*blk+9, 1)
	o := stream("f", b)
	s, r := open(t, to, nil)
	for range 2 { // the second goes on
		_, err := s.Place(t.Context(), 0, o.Entry)
		must(t, err)
		f, err := s.File(0)
		must(t, err)
		for n := range int64(2) {
			if there, _ := f.Has(t.Context(), n, tree.Block(block(b, n))); !there {
				must(t, f.WriteBlock(n, block(b, n)))
				break
			}
		}
		must(t, f.Drop())
		must(t, s.Reset(t.Context(), &Options{Finished: r.finished}))
	}
	if got := s.Resumable(o.Entry); got != 2*blk {
		t.Errorf("resumable: %d", got)
	}
	sent, errs := sendAll(t, s, r, o)
	wantNone(t, errs)
	if sent != 1 {
		t.Errorf("sent %d blocks", sent)
	}
	wantLook(t, to, map[string]string{"f": string(b)})
	wantTime(t, filepath.Join(to, "f"), then)
	must(t, s.Reset(t.Context(), nil))
	_, err := s.Place(t.Context(), 0, o.Entry)
	wantKind(t, err, fault.ErrExists, "f") // nobody knows whether it is the same
}

// What the peer must not do.
func TestViolations(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{"like": content(blk, 2)})
	s, _ := open(t, to, nil)
	o, b := file("f", content(blk+5, 1)), content(blk+5, 1)
	for i, o := range []offered{o, stream("s", nil), file("like", content(blk, 1))} {
		_, err := s.Place(t.Context(), i, o.Entry)
		must(t, err)
	}
	if _, err := s.Place(t.Context(), 0, o.Entry); !errors.Is(err, fault.ErrProtocol) {
		t.Errorf("placed twice: %v", err)
	}
	f, err := s.File(0)
	must(t, err)
	g, err := s.File(1)
	must(t, err)
	like, err := s.File(2)
	must(t, err)
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"a file that was not placed", func() error { _, err := s.File(7); return err }},
		{"a block before the first", func() error { return f.WriteBlock(-1, b[:blk]) }},
		{"a block behind the last", func() error { return f.WriteBlock(2, b[:5]) }},
		{"an overflow", func() error { return f.WriteBlock(1<<62, b[:blk]) }},
		{"an overflow in a stream", func() error { return g.WriteBlock(1<<62, b[:blk]) }},
		{"a short block", func() error { return f.WriteBlock(0, b[:5]) }},
		{"a long last block", func() error { return f.WriteBlock(1, b[:6]) }},
		{"a long block in a stream", func() error { return g.WriteBlock(1, b) }},
		{"an empty block in a stream", func() error { return g.WriteBlock(1, nil) }},
		{"zeros that do not fit", func() error { return f.WriteZeros(1, 6) }},
		{"less than no zeros", func() error { return g.WriteZeros(1, -6) }},
		{"a check of a block before the first", func() error { _, err := f.Has(t.Context(), -1, tree.Hash{}); return err }},
		{"a check of a block behind the last", func() error { _, err := f.Has(t.Context(), 2, tree.Hash{}); return err }},
		{"a block that was to be checked", func() error { return like.WriteBlock(0, b[:blk]) }},
		{"zeros that were to be checked", func() error { return like.WriteZeros(0, blk) }},
	} {
		if err := c.do(); !errors.Is(err, fault.ErrProtocol) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	must(t, s.Drop(2))
	wantLook(t, to, map[string]string{"like": string(content(blk, 2)), name.Partial("f"): "", name.Partial("s"): ""})
}

func TestMaxOpen(t *testing.T) {
	s, _ := open(t, t.TempDir(), nil)
	for i := range MaxOpen + 1 {
		_, err := s.Place(t.Context(), i, file(fmt.Sprint(i), []byte("x")).Entry)
		must(t, err)
		if _, err := s.File(i); errors.Is(err, fault.ErrProtocol) != (i == MaxOpen) {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	must(t, s.Drop(5))
	if _, err := s.File(MaxOpen); err != nil {
		t.Error(err)
	}
	f, err := s.File(0)
	must(t, err)
	must(t, f.WriteBlock(0, []byte("x")))
	f.Commit(1)
	_, err = s.Place(t.Context(), 1000, file("y", []byte("x")).Entry)
	must(t, err)
	if _, err := s.File(1000); err != nil {
		t.Errorf("after a commit: %v", err)
	}
}

// A name that is taken between Place and Commit.
func TestAppeared(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		kind   error
		want   map[string]string
	}{
		{Keep, fault.ErrExists, map[string]string{"f": "theirs", name.Partial("f"): "ours"}},
		{Overwrite, fault.ErrExists, map[string]string{"f": "theirs", name.Partial("f"): "ours"}},
		{Rename, nil, map[string]string{"f": "theirs", "f (2)": "ours"}},
	} {
		to := t.TempDir()
		s, r := open(t, to, &Options{Exists: c.policy})
		_, err := s.Place(t.Context(), 0, file("f", []byte("ours")).Entry)
		must(t, err)
		f, err := s.File(0)
		must(t, err)
		put(t, to, map[string][]byte{"f": []byte("theirs")})
		must(t, f.WriteBlock(0, []byte("ours")))
		f.Commit(4)
		must(t, s.Flush(t.Context()))
		if err, ok := r.get(0); !ok || !errors.Is(err, c.kind) {
			t.Errorf("policy %d: %v %v", c.policy, err, ok)
		}
		wantLook(t, to, c.want)
	}
}

// The file that is compared with changes while that goes on.
func TestChangedMeanwhile(t *testing.T) {
	to := t.TempDir()
	path := filepath.Join(to, "f")
	b := content(3*blk, 1)
	for _, c := range []struct {
		name  string
		offer []byte
	}{{"all the same", b}, {"the last differs", with(b, 2*blk, 'x')}} {
		put(t, to, map[string][]byte{"f": b})
		setTimes(t, path, later)
		s, r := open(t, to, &Options{Exists: Overwrite})
		plan, err := s.Place(t.Context(), 0, file("f", c.offer).Entry)
		must(t, err)
		f, err := s.File(0)
		must(t, err)
		for n := range plan.Have {
			var there bool
			there, err = f.Has(t.Context(), n, tree.Block(block(c.offer, n)))
			if n == 0 {
				if !there || err != nil {
					t.Errorf("%s: %v %v", c.name, there, err)
				}
				put(t, to, map[string][]byte{"f": with(b, 5, 'y')})
			}
		}
		if err == nil {
			f.Commit(3 * blk)
			must(t, s.Flush(t.Context()))
			err, _ = r.get(0)
		}
		wantKind(t, err, fault.ErrExists, "another program is changing it")
		must(t, s.Close())
		if got := look(t, to)["f"]; got != string(with(b, 5, 'y')) {
			t.Errorf("%s: it has %d bytes", c.name, len(got))
		}
	}
}

// A partial file is of no more use when the file turned out to be there.
func TestPartialCleared(t *testing.T) {
	to := t.TempDir()
	b := content(100, 1)
	put(t, to, map[string][]byte{"f": b, name.Partial("f"): []byte("junk"), name.Partial("g"): []byte("of another")})
	s, r := open(t, to, nil)
	o := file("f", b)
	o.ModTime = later
	sent, errs := sendAll(t, s, r, o)
	wantNone(t, errs)
	if sent != 0 {
		t.Errorf("sent %d blocks", sent)
	}
	wantLook(t, to, map[string]string{"f": string(b), name.Partial("g"): "of another"})
	wantTime(t, filepath.Join(to, "f"), later)
}

func TestClosed(t *testing.T) {
	to := t.TempDir()
	s, r := open(t, to, nil)
	_, err := s.Place(t.Context(), 0, file("f", content(2*blk, 1)).Entry)
	must(t, err)
	f, err := s.File(0)
	must(t, err)
	must(t, f.WriteBlock(1, content(blk, 1)))
	must(t, s.Close())
	must(t, s.Close())
	f.Commit(2 * blk)
	_, err1 := s.Place(t.Context(), 1, dir("d").Entry)
	_, err2 := s.File(0)
	_, err3 := f.Has(t.Context(), 0, tree.Hash{})
	for i, err := range []error{err1, err2, err3, f.WriteBlock(0, content(blk, 1)), f.WriteZeros(0, blk), s.Flush(t.Context()), s.Reset(t.Context(), nil)} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, ok := r.get(0); ok {
		t.Error("finished after Close")
	}
	if got := look(t, to); len(got) != 1 || len(got[name.Partial("f")]) != 2*blk {
		t.Errorf("there are %d", len(got))
	}
	if _, ok := s.Free(); ok || s.Resumable(manifest.Entry{Path: "f", Size: 5}) != 0 || s.Drop(0) != nil {
		t.Error("something works after Close")
	}
}

func TestOpenFails(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{"f": nil})
	for _, dir := range []string{filepath.Join(to, "none"), filepath.Join(to, "f")} {
		if s, err := Open(dir, nil); err == nil {
			t.Errorf("%s: %v", dir, s.Close())
		}
	}
}

func TestNumbered(t *testing.T) {
	long := string(bytes.Repeat([]byte("é"), 127))
	for in, want := range map[string]string{
		"a": "a (2)", "a.txt": "a (2).txt", ".bashrc": ".bashrc (2)", "a.tar.gz": "a (2).tar.gz", "a.b.c": "a.b (2).c",
		"Mr. Smith": "Mr. Smith (2)", ".tar.gz": ".tar.gz (2)", long: long[:250] + " (2)", long[:250] + ".txt": long[:246] + " (2).txt",
	} {
		if got := numbered(in, 2); got != want || len(got) > 255 {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Two files of the same name under way at once would share the partial file.
func TestManyRuns(t *testing.T) {
	to := t.TempDir()
	s, _ := open(t, to, nil)
	for run := range 3 {
		r := new(results)
		must(t, s.Reset(t.Context(), &Options{Finished: r.finished}))
		var list []offered
		for d := range 3 {
			list = append(list, dir(fmt.Sprintf("d%d", d)))
			for k := range 40 {
				list = append(list, file(fmt.Sprintf("d%d/%d", d, k), content(k*7, uint64(k))))
			}
		}
		sent, errs := sendAll(t, s, r, list...)
		wantNone(t, errs)
		if run == 0 && sent != 3*39 || run > 0 && sent != 0 {
			t.Errorf("run %d: sent %d blocks", run, sent)
		}
		for d := range 3 {
			wantTime(t, filepath.Join(to, fmt.Sprintf("d%d", d)), then)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "d2/39")); err != nil {
		t.Error(err)
	}
}

func TestSameTime(t *testing.T) {
	at := func(sec, nsec int64) time.Time { return time.Unix(1_700_000_000+sec, nsec) }
	for _, c := range []struct {
		disk, offered time.Time
		clock         time.Duration // of the disk
		want          bool
	}{
		{at(0, 123456789), at(0, 123456789), 1, true},
		{at(0, 123456789), at(0, 123456788), 1, false},
		{at(0, 123456700), at(0, 123456789), 1, true}, // NTFS
		{at(0, 123456000), at(0, 123456789), 1, true},
		{at(0, 120000000), at(0, 123456789), 1, true}, // exFAT
		{at(0, 0), at(0, 999999999), 1, true},
		{at(0, 999999999), at(0, 0), 1, true},
		{at(0, 0), at(1, 0), 1, false},
		{at(0, 0), at(1, 5), 2 * time.Second, true}, // FAT
		{at(1, 0), at(2, 0), 2 * time.Second, false},
		{at(1, 0), at(0, 0), 2 * time.Second, false},
	} {
		s := &Store{grain: c.clock}
		if got := s.sameTime(nil, c.disk, c.offered); got != c.want {
			t.Errorf("%v and %v, clock %v: got %v", c.disk, c.offered, c.clock, got)
		}
	}
}

// What systems do that have no rename that fails if the name is taken.
func TestLinkNew(t *testing.T) {
	to := t.TempDir()
	put(t, to, map[string][]byte{"a": []byte("a"), "b": []byte("b")})
	root, err := os.OpenRoot(to)
	must(t, err)
	defer root.Close()
	if err := linkNew(root, "a", "b"); !errors.Is(err, os.ErrExist) {
		t.Errorf("taken: %v", err)
	}
	if err := linkNew(root, "none", "c"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
	must(t, linkNew(root, "a", "c"))
	wantLook(t, to, map[string]string{"b": "b", "c": "a"})
}

// The probe leaves nothing behind. What it finds depends on the system.
func TestProbe(t *testing.T) {
	to := t.TempDir()
	s, _ := open(t, to, nil)
	folds := s.ignoresCase(s.folders.top.here, &s.folders.top)
	clock := s.clock(s.folders.top.here)
	if runtime.GOOS == "linux" && folds || clock > 2*time.Second {
		t.Errorf("ignores case: %v, clock: %v", folds, clock)
	}
	wantLook(t, to, nil)
}
