package store

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const plain = unix.O_NOFOLLOW | unix.O_NONBLOCK

func renameNew(h *handle, from, to string) error {
	fd := h.fd
	err := unix.RenameatxNp(fd, from, fd, to, unix.RENAME_EXCL)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return fs.ErrExist
	case errors.Is(err, unix.ENOENT):
		return fs.ErrNotExist
	}
	return linkNew(h.root, from, to) // a file system that cannot
}

// syncLight hands the file to the drive; the drive's own cache is emptied by the next
// Sync, which is the slow part, of any file.
func syncLight(f *os.File) error { return unix.Fsync(int(f.Fd())) }
