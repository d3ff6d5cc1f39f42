package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// maxDecided is how many answers of Ask are remembered. Who has answered that often
// has answered for all of them.
const maxDecided = 4096

// decide finds out what happens with an entry whose name is taken.
func (s *Store) decide(ctx context.Context, it *item, info fs.FileInfo) error {
	policy, err := s.policy(ctx, it.e, info)
	if err != nil {
		return err
	}
	kind := info.Mode().Type()
	switch {
	case policy == Rename:
		it.rename = true
	case policy != Overwrite:
		return exists(it.e, "")
	case kind != 0 && kind != fs.ModeSymlink:
		return exists(it.e, "and it is not a file")
	default:
		it.replace = true
	}
	return nil
}

func (s *Store) policy(ctx context.Context, e manifest.Entry, info fs.FileInfo) (Policy, error) {
	s.mu.Lock()
	opt := s.opt
	policy, ok := s.decided[e.Path]
	s.mu.Unlock()
	if ok || opt.Ask == nil {
		if !ok {
			policy = opt.Exists
		}
		return policy, nil
	}
	policy, err := opt.Ask(ctx, Conflict{Entry: e, Type: info.Mode().Type(), Size: info.Size(), ModTime: info.ModTime()})
	if ctx.Err() != nil {
		return Keep, context.Cause(ctx)
	}
	if err != nil {
		return Keep, &fault.Failure{Kind: fault.ErrExists, Name: e.Path, Cause: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.decided) < maxDecided {
		s.decided[e.Path] = policy
	}
	return policy, nil
}

func exists(e manifest.Entry, text string) error {
	return &fault.Failure{Kind: fault.ErrExists, Name: e.Path, Text: text}
}

// freeName finds the name for an entry that gets a number, beginning with number. It
// reports whether the entry itself is there already under such a name.
func (s *Store) freeName(h *handle, it *item, number int) (next int, there bool, err error) {
	for ; number < maxNumber; number++ {
		info, err := h.root.Lstat(numbered(it.base, number))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return number, false, nil
		case err != nil:
			return 0, false, s.failed(it.e, "cannot be looked up", err)
		case s.same(h, it.e, info):
			return number, true, nil
		}
	}
	return 0, false, exists(it.e, "and so do very many with a number")
}

// same reports whether a file has the size and the time of the entry, or a link its target.
func (s *Store) same(h *handle, e manifest.Entry, info fs.FileInfo) bool {
	switch {
	case e.Type == manifest.File && info.Mode().IsRegular():
		return info.Size() == e.Size && s.sameTime(h, info.ModTime(), e.ModTime)
	case e.Type == manifest.Symlink && info.Mode().Type() == fs.ModeSymlink:
		target, err := h.root.Readlink(info.Name())
		return err == nil && target == e.Target
	}
	return false
}

// sameTime compares to the coarser of the two clocks.
func (s *Store) sameTime(h *handle, disk, offered time.Time) bool {
	if disk.Equal(offered) {
		return true
	}
	g := max(grain(disk), grain(offered))
	// Nothing tells an even second from a clock that has no others. It is rare
	// enough to try what this disk can hold.
	if grain(disk) == time.Second && disk.Unix()%2 == 0 && offered.Unix() == disk.Unix()+1 {
		g = max(g, s.clock(h))
	}
	return floor(disk, g) == floor(offered, g)
}

// grain is the coarsest clock that could have told that time.
func grain(t time.Time) time.Duration {
	for _, g := range []time.Duration{time.Second, 10 * time.Millisecond, time.Millisecond, time.Microsecond, 100} {
		if t.Nanosecond()%int(g) == 0 {
			return g
		}
	}
	return 1
}

func floor(t time.Time, g time.Duration) [2]int64 {
	sec := t.Unix()
	if g > time.Second {
		sec -= sec % int64(g/time.Second)
		return [2]int64{sec}
	}
	return [2]int64{sec, int64(t.Nanosecond()) / int64(g)}
}

// clock is the grain of the disk's clock: two seconds, or fine enough.
func (s *Store) clock(h *handle) time.Duration {
	if s.grain == 0 {
		_, s.grain = probe(h)
	}
	return s.grain
}

// ignoresCase reports whether the folder does. It may be different for each.
func (s *Store) ignoresCase(h *handle, f *folder) bool {
	if f.folds == nil {
		folds, _ := probe(h)
		f.folds = &folds
	}
	return *f.folds
}

// probe tries with a file of its own whether the folder ignores case, and what its
// clock is. If it cannot, it says what makes fewer things the same.
func probe(h *handle) (folds bool, clock time.Duration) {
	hidden := name.Partial(rand.Text()[:10])
	clock = 1
	f, err := h.root.OpenFile(hidden, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, clock
	}
	defer func() { _ = h.root.Remove(hidden) }()
	defer f.Close()
	odd := time.Unix(1_000_000_001, 0)
	_ = setTime(h, hidden, f, odd)
	info, err := h.root.Lstat(hidden)
	if err != nil {
		return false, clock
	}
	if info.ModTime().Equal(odd.Add(-time.Second)) || info.ModTime().Equal(odd.Add(time.Second)) {
		clock = 2 * time.Second
	}
	other, err := h.root.Lstat(strings.ToUpper(hidden))
	return err == nil && os.SameFile(info, other), clock
}
