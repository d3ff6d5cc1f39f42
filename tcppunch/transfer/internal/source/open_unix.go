//go:build unix

package source

import (
	"errors"
	"os"
	"syscall"
)

// openFile opens a file or a folder for reading. Opening never waits for a writer: what was
// a file may be a pipe by now. Not to follow concerns the last element only.
func openFile(path string, follow bool) (*os.File, error) {
	flag := os.O_RDONLY | syscall.O_NONBLOCK
	if !follow {
		flag |= syscall.O_NOFOLLOW
	}
	return os.OpenFile(path, flag, 0)
}

// isLoop reports errors for a path on which something has become a link or a file.
func isLoop(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}
