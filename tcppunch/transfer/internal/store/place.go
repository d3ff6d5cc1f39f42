package store

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// An item is an entry that was placed and is not finished.
type item struct {
	i    int
	e    manifest.Entry
	in   *folder
	base string // the last element of its path

	// What becomes of the name. Without any of these it was free.
	replace bool
	rename  bool
	number  int         // with rename: the first that may be free
	old     fs.FileInfo // a file under that name whose blocks may be the same
	like    bool        // old has the same size: there is a conflict only if a block differs

	open *held // guarded by Store.mu
}

// Place looks at what is there for the entry i, and makes folders, links and empty
// files at once. Entries come in the order of the manifest. An error is a
// *fault.Failure that concerns this entry only, but for those that match ErrNoSpace,
// and for ctx's. If it fails for a folder, it also fails for all that is in it.
func (s *Store) Place(ctx context.Context, i int, e manifest.Entry) (Plan, error) {
	s.mu.Lock()
	err := s.closedErr()
	s.mu.Unlock()
	if err != nil {
		return Plan{}, err
	}
	base := e.Name()
	parent := e.Path[:max(0, len(e.Path)-len(base)-1)]
	it := &item{i: i, e: e, in: s.walkTo(parent), base: base}
	plan, err := s.place(ctx, it)
	if e.Type == manifest.Dir {
		s.walk = append(s.walk, &folder{
			parent: it.in, path: e.Path, modTime: e.ModTime, stale: true, fresh: err == nil && it.old == nil, err: err,
		})
	}
	return plan, err
}

// walkTo leaves folders and enters others, and returns the one with that path.
func (s *Store) walkTo(path string) *folder {
	for {
		f := s.walk[len(s.walk)-1]
		if f.path == path {
			return f
		}
		if f.parent == nil || strings.HasPrefix(path, f.path) && path[len(f.path)] == '/' {
			break
		}
		s.walk[len(s.walk)-1] = nil
		s.walk = s.walk[:len(s.walk)-1]
		s.folders.leave(f)
	}
	// Folders that are not in the list must be there.
	f := s.walk[len(s.walk)-1]
	for f.path != path {
		start := 0
		if f.parent != nil {
			start = len(f.path) + 1
		}
		end := len(path)
		if j := strings.IndexByte(path[start:], '/'); j >= 0 {
			end = start + j
		}
		f = &folder{parent: f, path: path[:end], err: f.err}
		s.walk = append(s.walk, f)
	}
	return f
}

func (s *Store) place(ctx context.Context, it *item) (Plan, error) {
	if err := it.in.err; err != nil {
		kind := fault.FromCode(fault.Code(err))
		return Plan{}, &fault.Failure{Kind: kind, Name: it.e.Path, Text: "its folder could not be made"}
	}
	if runtime.GOOS == "windows" {
		if err := name.CheckWindows(it.base); err != nil {
			return Plan{}, s.failed(it.e, "", err)
		}
	}
	h, err := s.folders.enter(it.in)
	if err != nil {
		return Plan{}, s.failed(it.e, "its folder cannot be opened", err)
	}
	defer s.folders.exit(it.in)
	if it.e.Twin && s.ignoresCase(h, it.in) {
		return Plan{}, exists(it.e, "and differs only in case; this disk cannot hold both")
	}
	switch {
	case it.e.Type == manifest.Dir:
		return s.placeDir(h, it)
	case it.e.Type == manifest.Symlink:
		return s.placeLink(ctx, h, it)
	case it.e.Type == manifest.File && it.e.Size == 0:
		return s.placeEmpty(ctx, h, it)
	}
	return s.placeFile(ctx, h, it)
}

// placeDir makes a folder, or uses that which is there.
func (s *Store) placeDir(h *handle, it *item) (Plan, error) {
	err := h.root.Mkdir(it.base, it.e.Mode&0o755|0o700)
	if err == nil {
		s.folders.changed(it.in)
		return Plan{}, nil
	}
	info, err2 := h.root.Lstat(it.base)
	if err2 != nil {
		return Plan{}, s.failed(it.e, "cannot be made", err)
	}
	if !info.IsDir() {
		return Plan{}, exists(it.e, "and is not a folder")
	}
	it.old = info
	return Plan{}, nil
}

// placeLink makes a symbolic link.
func (s *Store) placeLink(ctx context.Context, h *handle, it *item) (Plan, error) {
	err := h.root.Symlink(it.e.Target, it.base)
	if err == nil {
		s.folders.changed(it.in)
		return Plan{}, nil
	}
	info, err2 := h.root.Lstat(it.base)
	if err2 != nil {
		return Plan{}, s.linkFailed(it.e, err)
	}
	if s.same(h, it.e, info) {
		return Plan{}, nil
	}
	if err := s.decide(ctx, it, info); err != nil {
		return Plan{}, err
	}
	if it.replace {
		return Plan{}, s.replaceLink(h, it)
	}
	for number := 2; ; number++ {
		next, there, err := s.freeName(h, it, number)
		if err != nil || there {
			return Plan{}, err
		}
		number = next
		if err = h.root.Symlink(it.e.Target, numbered(it.base, number)); err == nil {
			s.folders.changed(it.in)
			return Plan{}, nil
		} else if !errors.Is(err, fs.ErrExist) {
			return Plan{}, s.linkFailed(it.e, err)
		}
	}
}

// replaceLink makes the link under the hidden name and gives it its own in one step.
func (s *Store) replaceLink(h *handle, it *item) error {
	hidden := name.Partial(it.base)
	if err := h.root.Symlink(it.e.Target, hidden); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return s.linkFailed(it.e, err)
		}
		if target, err := h.root.Readlink(hidden); err != nil || target != it.e.Target {
			return s.failed(it.e, "", inTheWay(hidden))
		} // else it is from a run that ended right here
	}
	if err := s.rename(h, it); err != nil {
		_ = h.root.Remove(hidden)
		return err
	}
	return nil
}

func (s *Store) linkFailed(e manifest.Entry, err error) error {
	err = s.failed(e, "cannot be made", err)
	if f, ok := err.(*fault.Failure); ok && f.Kind == nil {
		f.Kind = fault.ErrLink // no such thing on this file system, or no right to it
	}
	return err
}

// placeEmpty makes an empty file. It cannot be half there, so that it needs no hidden name.
func (s *Store) placeEmpty(ctx context.Context, h *handle, it *item) (Plan, error) {
	made, err := s.makeEmpty(h, it, it.base)
	if made || err != nil {
		return Plan{}, err
	}
	info, err := h.root.Lstat(it.base)
	if err != nil {
		return Plan{}, s.failed(it.e, "cannot be looked up", err)
	}
	if info.Mode().IsRegular() && info.Size() == 0 {
		if !s.sameTime(h, info.ModTime(), it.e.ModTime) && saneTime(it.e.ModTime) {
			_ = setTime(h, it.base, nil, it.e.ModTime)
		}
		return Plan{}, nil
	}
	if err := s.decide(ctx, it, info); err != nil {
		return Plan{}, err
	}
	if it.replace {
		return Plan{}, s.replaceByEmpty(h, it)
	}
	for number := 2; ; number++ {
		next, there, err := s.freeName(h, it, number)
		if err != nil || there {
			return Plan{}, err
		}
		number = next
		if made, err := s.makeEmpty(h, it, numbered(it.base, number)); made || err != nil {
			return Plan{}, err
		}
	}
}

// makeEmpty makes an empty file unless something has the name.
func (s *Store) makeEmpty(h *handle, it *item, base string) (made bool, err error) {
	var t time.Time
	if saneTime(it.e.ModTime) {
		t = it.e.ModTime
	}
	err = createEmpty(h, base, permissions(it.e.Mode), t)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, s.failed(it.e, "cannot be created", err)
	}
	s.folders.changed(it.in)
	return true, nil
}

func (s *Store) replaceByEmpty(h *handle, it *item) error {
	f, _, err := openPartial(h, it.base, it.e.Mode)
	if err != nil {
		return s.failed(it.e, "cannot be created", err)
	}
	defer f.Close()
	if err := s.seal(h, it, f, 0); err != nil {
		return err
	}
	return s.rename(h, it)
}

// placeFile looks for what may be there of a file with content.
func (s *Store) placeFile(ctx context.Context, h *handle, it *item) (Plan, error) {
	plan := Plan{Action: Send}
	if !it.in.fresh {
		done, err := s.lookFor(ctx, h, it)
		if err != nil || done {
			return Plan{}, err
		}
		plan.Have = s.mayHave(h, it)
	}
	if plan.Have > 0 || it.like {
		plan.Action = Check
	}
	s.mu.Lock()
	again := s.placed[it.i] != nil
	if !again {
		s.placed[it.i] = it
	}
	s.mu.Unlock()
	if again {
		return Plan{}, fault.Protocol("an entry comes again")
	}
	s.folders.placed(it.in)
	return plan, nil
}

// lookFor looks at what has the name of a file, and reports whether that is all right as it is.
func (s *Store) lookFor(ctx context.Context, h *handle, it *item) (done bool, err error) {
	info, err := h.root.Lstat(it.base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, s.failed(it.e, "cannot be looked up", err)
	case s.same(h, it.e, info):
		return true, nil
	}
	if info.Mode().IsRegular() {
		it.old = info
		if it.like = it.e.Type == manifest.File && info.Size() == it.e.Size; it.like {
			return false, nil
		}
	}
	if err := s.decide(ctx, it, info); err != nil {
		return false, err
	}
	if it.rename {
		it.number, done, err = s.freeName(h, it, 2)
	}
	return done, err
}

// mayHave is how many blocks of a file may be there already.
func (s *Store) mayHave(h *handle, it *item) int64 {
	var have int64
	if it.old != nil {
		have = whole(it.e, it.old.Size())
	}
	return max(have, whole(it.e, partialSize(h, it.base)))
}

// partialSize is that of the partial file of a file with that name; 0 if there is none.
func partialSize(h *handle, base string) int64 {
	info, err := h.root.Lstat(name.Partial(base))
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// whole is how many blocks of the entry fit into so many bytes of another file.
func whole(e manifest.Entry, size int64) int64 {
	switch {
	case e.Type == manifest.Stream:
		return tree.Blocks(size)
	case size >= e.Size:
		return tree.Blocks(e.Size)
	}
	return size / tree.BlockSize
}

// Resumable is how many bytes of the entry are here already, by their number only: of
// its partial file, or of a file with its name that it would be compared with. It may
// be called at any time, as before anyone has agreed to anything.
func (s *Store) Resumable(e manifest.Entry) int64 {
	if e.Type != manifest.File && e.Type != manifest.Stream {
		return 0
	}
	parts := strings.Split(e.Path, "/")
	f := &s.folders.top
	for k := range parts[:len(parts)-1] {
		f = &folder{parent: f, path: strings.Join(parts[:k+1], "/")}
	}
	h, err := s.folders.enter(f)
	if err != nil {
		return 0
	}
	defer s.folders.forget(f)
	defer s.folders.exit(f)
	base := parts[len(parts)-1]
	var here int64
	info, err := h.root.Lstat(base)
	s.mu.Lock()
	replaces := s.opt.Exists != Keep
	s.mu.Unlock()
	if err == nil && info.Mode().IsRegular() && e.Type == manifest.File && (replaces || info.Size() == e.Size) {
		here = info.Size()
	}
	here = max(here, partialSize(h, base))
	if e.Type == manifest.File {
		here = min(here, e.Size)
	}
	return here
}
