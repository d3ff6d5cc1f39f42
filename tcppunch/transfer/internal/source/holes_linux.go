package source

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const sector = 512 // bytes, in which a file system counts what a file takes

// sparse reports whether a file takes less room than it has bytes, and is on a file
// system that is known to tell the truth about its holes: ZFS, for one, has taken what
// was just written for one.
func sparse(f *os.File, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Blocks*sector >= info.Size() {
		return false
	}
	var sys unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &sys) != nil {
		return false
	}
	switch uint32(sys.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// hole reports whether all of these bytes are in a hole: to read it takes longer.
func hole(f *os.File, off, size int64) bool {
	data, err := f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // there is no more data, or no more file
		info, err := f.Stat()
		return err == nil && info.Size() >= off+size
	}
	return err == nil && data >= off+size
}
