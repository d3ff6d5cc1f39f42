//go:build unix && !linux

package sock

import "golang.org/x/sys/unix"

// shareGroup lets several sockets have a group.
var shareGroup = []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT}

// onlyOwnGroups has nothing to do where sockets receive only what comes to groups of their own.
func onlyOwnGroups(int, int) error { return nil }
