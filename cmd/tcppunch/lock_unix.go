//go:build unix && !aix && !solaris

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
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
		for {
			if locked = unix.Flock(int(fd), unix.LOCK_EX); !errors.Is(locked, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, locked)
}
