package store

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const syncsAll = true

func renameExclusive(fd int, from, to string) error {
	return unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
}

// setTime sets the modification time of f, which has that name, or of a folder if f is nil.
func setTime(h *handle, name string, f *os.File, t time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.UnixNano())}
	if f != nil && unix.UtimesNanoAt(int(f.Fd()), "", ts, unix.AT_EMPTY_PATH) == nil {
		return nil
	}
	return unix.UtimesNanoAt(h.fd, name, ts, unix.AT_SYMLINK_NOFOLLOW) // before Linux 5.8
}

// syncAll makes all that was written to the file system of the folder durable. Before
// Linux 5.8 it does not report what could not be written.
func syncAll(h *handle) error {
	return unix.Syncfs(h.fd)
}

// syncLight is Sync for one of many: another one's Sync that follows completes it.
func syncLight(f *os.File) error { return f.Sync() }

// dataSync makes durable what is needed to read what was written to f.
func dataSync(f *os.File) func() error {
	return func() error {
		err := error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			err = unix.Fdatasync(int(f.Fd()))
		}
		return err
	}
}

// punch makes zeros of a part of a file, and reports whether it could.
func punch(f *os.File, off, n int64) bool {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil
}

// createEmpty makes an empty file, with a time unless it is zero, if nothing has the
// name. There may be very many, and os.File first finds out for each, with five system
// calls, that it cannot be polled: that was a third of the time on tmpfs.
func createEmpty(h *handle, name string, mode fs.FileMode, t time.Time) error {
	fd, err := -1, error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Openat(h.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode))
	}
	if err != nil {
		return err
	}
	if !t.IsZero() {
		_ = setTime(h, name, nil, t) // some file systems cannot: no reason to fail
	}
	return unix.Close(fd)
}
