package transfer

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// freeSpace is what this user may still write there.
func freeSpace(root *os.Root) (uint64, bool) {
	path, err := windows.UTF16PtrFromString(root.Name())
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
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
