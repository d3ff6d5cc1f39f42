package datagram

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// transient says that an error is about a datagram sent earlier, or passes.
// WSAECONNRESET is an ICMP port unreachable, WSAENETRESET a TTL that expired.
func transient(err error) bool {
	return errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAENETRESET) || errors.Is(err, windows.WSAEHOSTUNREACH) ||
		errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAENOBUFS) || errors.Is(err, windows.WSAEMSGSIZE)
}

// inUse makes the error be syscall.EADDRINUSE, as on other systems.
func inUse(err error) error {
	if errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES) {
		return errors.Join(syscall.EADDRINUSE, err)
	}
	return err
}
