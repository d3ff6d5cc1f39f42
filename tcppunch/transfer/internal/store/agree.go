package store

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// agreed are the hashes of blocks that are the same in the file that is there. They are
// needed to copy these blocks should another one differ, as the file may be changed
// meanwhile by its owner.
type agreed struct {
	thousands map[int64]*[1024]tree.Hash // by block number / 1024
}

func (a *agreed) add(n int64, h tree.Hash) {
	if a.thousands == nil {
		a.thousands = make(map[int64]*[1024]tree.Hash)
	}
	some := a.thousands[n/1024]
	if some == nil {
		some = new([1024]tree.Hash)
		a.thousands[n/1024] = some
	}
	some[n%1024] = h
}

// disagree makes a new file after all: it decides on the conflict, and copies what
// was the same so far.
func (f *held) disagree(ctx context.Context, buf *[tree.BlockSize]byte) error {
	info := f.it.old
	if err := f.s.decide(ctx, f.it, info); err != nil {
		return err
	}
	h, err := f.s.folders.enter(f.it.in)
	if err != nil {
		return f.s.failed(f.it.e, "its folder cannot be opened", err)
	}
	defer f.s.folders.exit(f.it.in)
	there := false
	if f.it.rename {
		if f.it.number, there, err = f.s.freeName(h, f.it, 2); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.closedErr()
	}
	if there {
		f.settled = true
		return nil
	}
	if f.file == nil { // else an earlier try ended with its ctx
		if err := f.create(h); err != nil {
			return err
		}
	}
	if err := f.copyAgreed(ctx, buf); err != nil {
		return err
	}
	f.like = false
	return nil
}

// copyAgreed copies what is the same in old. mu is held for writing.
func (f *held) copyAgreed(ctx context.Context, buf *[tree.BlockSize]byte) error {
	for _, k := range slices.Sorted(maps.Keys(f.agreed.thousands)) {
		for j, h := range f.agreed.thousands[k] {
			if h == (tree.Hash{}) {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n := k*1024 + int64(j)
			data := buf[:tree.SizeOf(f.it.e.Size, n)]
			if _, err := f.old.ReadAt(data, n*tree.BlockSize); err != nil || tree.Block(data) != h {
				return exists(f.it.e, "and another program is changing it")
			}
			if err := f.keep(n*tree.BlockSize, data); err != nil {
				return err
			}
		}
	}
	f.agreed.thousands = nil
	return nil
}

// touch finishes a file that was there with another time only.
func (f *held) touch(h *handle) error {
	now, err := f.old.Stat()
	was := f.it.old
	if err != nil || now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) || !sameName(h, f.it.base, now) {
		return exists(f.it.e, "and another program is changing it")
	}
	if saneTime(f.it.e.ModTime) {
		_ = setTime(h, f.it.base, f.old, f.it.e.ModTime) // not ours to change, perhaps
	}
	return nil
}

func sameName(h *handle, name string, info fs.FileInfo) bool {
	now, err := h.root.Lstat(name)
	return err == nil && os.SameFile(info, now)
}
