//go:build darwin || freebsd || netbsd || dragonfly || openbsd

package datagram

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// dontFragment sets DF where the system has an option for it.
func dontFragment(fd uintptr, v6 bool) {
	if v6 {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
		return
	}
	switch runtime.GOOS { // IP_DONTFRAG
	case "darwin":
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, 28, 1)
	case "freebsd":
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, 67, 1)
	}
}
