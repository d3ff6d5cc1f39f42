package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// slowDisk takes so long for each sync.
type slowDisk struct {
	syncs int
	each  time.Duration
	fail  int // this sync fails, and no other
}

var errDisk = errors.New("disk error")

func (d *slowDisk) sync() error {
	time.Sleep(d.each)
	d.syncs++
	if d.syncs == d.fail {
		return errDisk
	}
	return nil
}

func (f *flusher) behind() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting + f.under
}

func TestFlusherBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const block, blocks = 1 << 20, 1024
		d := &slowDisk{each: time.Second}
		f := newFlusher(d.sync)
		began := time.Now()
		for n := range blocks {
			if err := f.wrote(block); err != nil {
				t.Fatal(err)
			}
			if behind := f.behind(); behind > maxUnflushed {
				t.Fatalf("after %d blocks %d bytes are not on the disk, %d may be", n, behind, maxUnflushed)
			}
		}
		if err := f.end(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 8*time.Second {
			t.Errorf("%d MiB took %v: nobody has waited for the disk", blocks, took)
		}
		if d.syncs < blocks*block/maxUnflushed || d.syncs > blocks*block/flushStep {
			t.Errorf("%d syncs", d.syncs)
		}
		if f.waiting >= flushStep {
			t.Errorf("%d bytes are left to the last sync", f.waiting)
		}
	})
}

// TestFlusherFewBytes: what is less than a step is left to who makes the file durable.
func TestFlusherFewBytes(t *testing.T) {
	d := new(slowDisk)
	f := newFlusher(d.sync)
	if err := f.wrote(flushStep - 1); err != nil {
		t.Fatal(err)
	}
	if err := f.end(); err != nil || d.syncs != 0 {
		t.Errorf("%d syncs, %v", d.syncs, err)
	}
}

// TestFlusherError: an error is told to who writes next, and to who asks at the end, even
// if they wait at that moment.
func TestFlusherError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{each: time.Second, fail: 2}
		f := newFlusher(d.sync)
		var err error
		for n := 0; err == nil; n++ {
			if n > 4*maxUnflushed/flushStep {
				t.Error("no error")
				break
			}
			err = f.wrote(flushStep)
		}
		if !errors.Is(err, errDisk) || !errors.Is(f.wrote(1), errDisk) || !errors.Is(f.end(), errDisk) {
			t.Errorf("errors are %v, %v", err, f.end())
		}
		if d.syncs != 2 {
			t.Errorf("%d syncs", d.syncs)
		}
	})
}

// TestDiskFlushFails: a file that the disk did not take is never said to be there, and what
// is remembered of it is not believed.
func TestDiskFlushFails(t *testing.T) {
	whole := content(flushStep+blk, 1)
	for _, committed := range []bool{true, false} {
		to := t.TempDir()
		s, r := open(t, to, nil)
		o := file("f", whole)
		if _, err := s.Place(t.Context(), 0, o.Entry); err != nil {
			t.Fatal(err)
		}
		f, err := s.File(0)
		if err != nil {
			t.Fatal(err)
		}
		f.to.(*held).flush.sync = func() error { return errDisk }
		for n := range tree.Blocks(o.Size) {
			err = errors.Join(err, f.WriteBlock(n, block(whole, n))) // the last one may come before the error
		}
		if committed {
			f.Commit(o.Size)
			must(t, s.Flush(t.Context()))
			err, _ = r.get(0)
		} else {
			err = f.Drop()
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("committed %v: the error is %v", committed, err)
		}
		if _, err := os.Stat(filepath.Join(to, "f")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("committed %v: the file has its name: %v", committed, err)
		}
		if _, err := s.Place(t.Context(), 1, o.Entry); err != nil {
			t.Fatal(err)
		}
		if f, err = s.File(1); err != nil || f.Trusted() {
			t.Errorf("committed %v: trusted %v, %v", committed, f.Trusted(), err)
		}
		must(t, f.Drop())
	}
}
