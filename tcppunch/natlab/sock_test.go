//go:build linux

package natlab_test

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// shared lets several sockets have one local port.
func shared(_, _ string, c syscall.RawConn) error {
	var err error
	return errorsOr(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	}), &err)
}

// withOptions is shared, and sets integer options of IPPROTO_IP.
func withOptions(options map[int]int) func(_, _ string, c syscall.RawConn) error {
	return func(network, address string, c syscall.RawConn) error {
		err := shared(network, address, c)
		if err != nil {
			return err
		}
		return errorsOr(c.Control(func(fd uintptr) {
			for name, value := range options {
				if e := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, name, value); e != nil {
					err = e
				}
			}
		}), &err)
	}
}

func errorsOr(err error, other *error) error {
	if err != nil {
		return err
	}
	return *other
}
