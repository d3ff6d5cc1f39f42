package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// slowDisk takes so long for each sync.
type slowDisk struct {
	syncs atomic.Int64
	each  time.Duration
	fail  int64 // this sync fails, and no other
}

var errDisk = errors.New("disk error")

func (d *slowDisk) sync() error {
	time.Sleep(d.each)
	if d.syncs.Add(1) == d.fail {
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
		const blocks = 1024
		d := &slowDisk{each: time.Second}
		f := newFlusher(d.sync)
		began := time.Now()
		for n := range blocks {
			if err := f.wrote(blk); err != nil {
				t.Fatal(err)
			}
			f.pace(t.Context())
			if behind := f.behind(); behind > maxUnflushed {
				t.Fatalf("after %d blocks %d bytes are not on the disk, %d may be", n, behind, maxUnflushed)
			}
		}
		if took := time.Since(began); took < blocks*blk/maxUnflushed*time.Second*3/4 {
			t.Errorf("%d MiB took %v: nobody has waited for the disk", blocks, took)
		}
		if n := d.syncs.Load(); n > blocks*blk/flushStep {
			t.Errorf("%d syncs", n)
		}
		if err := f.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFlusherEnds: who stops waits for one sync at most, and begins no other.
func TestFlusherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{each: time.Second}
		f := newFlusher(d.sync)
		must(t, f.wrote(flushStep))
		synctest.Wait()
		must(t, f.wrote(maxUnflushed))
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		time.AfterFunc(100*time.Millisecond, cancel)
		f.pace(ctx)
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("after the end of its context pace waits: %v", took)
		}
		must(t, f.end())
		must(t, f.wrote(flushStep))
		synctest.Wait()
		if took, n := time.Since(began), d.syncs.Load(); took != time.Second || n != 1 {
			t.Errorf("the end took %v and %d syncs", took, n)
		}
	})
}

// TestFlusherFewBytes: what is less than a step is left to who makes the file durable.
func TestFlusherFewBytes(t *testing.T) {
	d := new(slowDisk)
	f := newFlusher(d.sync)
	must(t, f.wrote(flushStep-1))
	if err := f.end(); err != nil || d.syncs.Load() != 0 {
		t.Errorf("%d syncs, %v", d.syncs.Load(), err)
	}
}

// TestFlusherError: an error is told to who writes next and to who ends, and nobody waits
// any more.
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
			f.pace(t.Context())
		}
		if !errors.Is(err, errDisk) || !errors.Is(f.wrote(1), errDisk) || !errors.Is(f.end(), errDisk) {
			t.Errorf("errors are %v, %v", err, f.end())
		}
		if n := d.syncs.Load(); n != 2 {
			t.Errorf("%d syncs", n)
		}
	})
}

// TestDiskFlushFails: a file that the disk did not take is never said to be there, and
// nothing of it counts as there when it is sent again.
func TestDiskFlushFails(t *testing.T) {
	whole := content(flushStep+blk, 1)
	o := file("f", whole)
	for _, how := range []string{"committed", "dropped"} {
		t.Run(how, func(t *testing.T) {
			to := t.TempDir()
			s, r := open(t, to, nil)
			_, err := s.Place(t.Context(), 0, o.Entry)
			must(t, err)
			f, err := s.File(0)
			must(t, err)
			begun := make(chan struct{})
			f.to.(*held).flush.sync = func() error {
				close(begun)
				return errDisk
			}
			for n := range tree.Blocks(o.Size) {
				if err := f.WriteBlock(n, block(whole, n)); err != nil && !errors.Is(err, errDisk) {
					t.Fatal(err)
				}
			}
			<-begun
			if how == "dropped" {
				err = f.Drop()
			} else {
				f.Commit(o.Size)
				must(t, s.Flush(t.Context()))
				err, _ = r.get(0)
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("the error is %v", err)
			}
			if _, err := os.Stat(filepath.Join(to, "f")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file has its name: %v", err)
			}
			plan, err := s.Place(t.Context(), 1, o.Entry)
			must(t, err)
			f, err = s.File(1)
			must(t, err)
			if plan.Have != 0 || f.Trusted() {
				t.Errorf("%d blocks count as there, trusted %v", plan.Have, f.Trusted())
			}
			must(t, f.Drop())
		})
	}
}
