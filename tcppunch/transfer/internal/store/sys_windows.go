package store

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

const plain = 0 // os.Root opens a link for what it is

func renameExclusive(int, string, string) error { return errors.ErrUnsupported }

func syncLight(f *os.File) error { return f.Sync() }

// lock takes one byte far behind any content: locks on Windows keep others from
// reading what they cover.
func lock(f *os.File) error {
	where := &windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, where)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errLocked
	}
	return nil
}

func own(f *os.File, _ fs.FileInfo, _ *handle) bool {
	var d windows.ByHandleFileInformation
	err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &d)
	return err == nil && d.NumberOfLinks == 1
}

func identify(fs.FileInfo) (device uint64, owner uint32) { return 0, 0 }

// freeSpace is what this user may still write there.
func freeSpace(h *handle) (uint64, bool) {
	path, err := windows.UTF16PtrFromString(h.root.Name())
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, false
	}
	return free, true
}

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}
