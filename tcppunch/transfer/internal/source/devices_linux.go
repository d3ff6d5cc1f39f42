package source

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// devices remembers what kind of file system the last file was on.
type devices struct {
	known bool
	dev   uint64
	made  bool
}

// generated reports the files of file systems that make up what is in a file when it is
// read: the sizes that these show are 0 or a page, and never what is in them.
func (d *devices) generated(full string, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	dev := uint64(st.Dev)
	if d.known && d.dev == dev {
		return d.made
	}
	var sys unix.Statfs_t
	if unix.Statfs(full, &sys) != nil {
		return false
	}
	d.known, d.dev, d.made = true, dev, false
	switch uint32(sys.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
		unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC:
		d.made = true
	}
	return d.made
}
