//go:build linux || darwin || freebsd

package transfer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace is what an unprivileged user may still write there.
func freeSpace(root *os.Root) (uint64, bool) {
	dir, err := root.Open(".")
	if err != nil {
		return 0, false
	}
	defer dir.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil || st.Blocks == 0 {
		return 0, false // file systems made of thin air count no blocks
	}
	free := int64(st.Bavail) // negative on FreeBSD when only root has room left
	return uint64(max(free, 0)) * uint64(st.Bsize), true
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
