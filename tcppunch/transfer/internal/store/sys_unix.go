//go:build linux || darwin || freebsd

package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// plain opens what is a regular file already: a pipe put in its place meanwhile must
// not make the opener wait.
const plain = unix.O_NOFOLLOW | unix.O_NONBLOCK

// lock takes the file for this process and this Store. Where locks do not work, as on
// some network drives, it goes without.
func lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return nil
}

// own reports whether a file has one name only and belongs to this user, or, on file
// systems where all belong to one, to the owner of its folder.
func own(_ *os.File, info fs.FileInfo, h *handle) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1 && (int(st.Uid) == os.Geteuid() || st.Uid == h.owner)
}

// identify tells the file system that a folder is on, and its owner.
func identify(info fs.FileInfo) (device uint64, owner uint32) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), st.Uid
	}
	return 0, 0
}

// freeSpace is what an unprivileged user may still write there.
func freeSpace(h *handle) (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(h.fd, &st); err != nil || st.Blocks == 0 {
		return 0, false // file systems made of thin air count no blocks
	}
	free := int64(st.Bavail) // negative on FreeBSD when only root has room left
	return uint64(max(free, 0)) * uint64(st.Bsize), true
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
