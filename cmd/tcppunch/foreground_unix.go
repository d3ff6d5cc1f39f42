//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// ignoreBackground has reading a terminal from the background be an error, where else the
// whole process is stopped.
func ignoreBackground() { signal.Ignore(syscall.SIGTTIN) }

// foreground tells whether this process is in the foreground of its terminal.
func foreground(terminal *os.File) bool {
	raw, err := terminal.SyscallConn() // not Fd(), which would make the file blocking
	if err != nil {
		return false
	}
	var group int
	var failed error
	err = raw.Control(func(fd uintptr) { group, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) })
	own := unix.Getpgrp()
	// The system writes 32 bits, which on machines with the other byte order are the upper half.
	return err == nil && failed == nil && (int(int32(group)) == own || group>>32 == own)
}
