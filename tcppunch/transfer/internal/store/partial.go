package store

import (
	"errors"
	"io/fs"
	"os"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

var errLocked = errors.New("locked")

// permissions are those of the source, less set-user-ID and the like and writing for
// others; the owner may always read and write. The umask takes more away.
func permissions(mode fs.FileMode) fs.FileMode { return mode&0o755 | 0o600 }

// openPartial opens or makes the partial file of a file with that name, and takes it
// for this Store. It is a plain file, with no other name, and found under this one.
func openPartial(h *handle, base string, mode fs.FileMode) (f *os.File, size int64, err error) {
	hidden := name.Partial(base)
	for range 10 { // it may come and go as others finish with it
		f, err = h.root.OpenFile(hidden, os.O_RDWR|os.O_CREATE|os.O_EXCL, permissions(mode))
		made := err == nil
		if errors.Is(err, fs.ErrExist) {
			if f, err = openPlain(h, hidden, os.O_RDWR); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if err != nil {
			return nil, 0, err
		}
		if err = lock(f); err != nil {
			f.Close()
			return nil, 0, &fault.Failure{Kind: fault.ErrBusy, Cause: err}
		}
		// Who had it before may have given it its name between open and lock.
		info, same := stillNamed(h, hidden, f)
		if !same {
			f.Close()
			continue
		}
		if !made {
			err = adopt(h, f, info, mode)
		}
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, info.Size(), nil
	}
	return nil, 0, &fault.Failure{Kind: fault.ErrBusy}
}

// openPlain opens a regular file that is there, and never what a link leads to.
func openPlain(h *handle, name string, flag int) (*os.File, error) {
	before, err := h.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, inTheWay(name)
	}
	f, err := h.root.OpenFile(name, flag|plain, 0)
	if err != nil {
		return nil, err
	}
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		f.Close()
		return nil, inTheWay(name)
	}
	return f, nil
}

func inTheWay(name string) error {
	return &fault.Failure{Kind: fault.ErrExists, Text: name + " is in the way, and is not an unfinished file"}
}

// stillNamed reports whether the name is that of the open file.
func stillNamed(h *handle, name string, f *os.File) (fs.FileInfo, bool) {
	info, err := f.Stat()
	if err != nil {
		return nil, false
	}
	return info, sameName(h, name, info)
}

// adopt takes over a partial file that was there. Others must not be able to write to
// it once it has its name, neither through another name of it nor as its owner.
func adopt(h *handle, f *os.File, info fs.FileInfo, mode fs.FileMode) error {
	if !own(f, info, h) {
		return inTheWay(info.Name())
	}
	want, got := permissions(mode), info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)
	// The umask of whoever made it stays in force: nothing is added but the right to
	// execute, for those who may read.
	if perm := got&want | want&(got>>2&0o111) | 0o600; perm != got {
		_ = f.Chmod(perm) // some file systems cannot
	}
	return nil
}

// clearPartial removes the partial file, if there is one, of a file that was completed in
// another way. f is that partial file if it is open.
func clearPartial(h *handle, base string, f *os.File) {
	hidden := name.Partial(base)
	if f == nil {
		var err error
		if f, err = openPlain(h, hidden, os.O_RDWR); err != nil {
			return
		}
		defer f.Close()
		if lock(f) != nil {
			return
		}
	}
	if info, same := stillNamed(h, hidden, f); same && own(f, info, h) {
		_ = h.root.Remove(hidden)
	}
}
