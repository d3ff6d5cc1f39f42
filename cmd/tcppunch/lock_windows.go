package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile waits until no other program has the file locked, and locks it until it is
// closed.
func lockFile(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = raw.Control(func(fd uintptr) {
		locked = windows.LockFileEx(windows.Handle(fd), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &windows.Overlapped{})
	})
	return errors.Join(err, locked)
}
