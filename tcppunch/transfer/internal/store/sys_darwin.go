package store

import (
	"os"

	"golang.org/x/sys/unix"
)

func renameExclusive(fd int, from, to string) error {
	return unix.RenameatxNp(fd, from, fd, to, unix.RENAME_EXCL)
}

// syncLight hands the file to the drive; the drive's own cache is emptied by the next
// Sync, which is the slow part, of any file.
func syncLight(f *os.File) error { return unix.Fsync(int(f.Fd())) }
