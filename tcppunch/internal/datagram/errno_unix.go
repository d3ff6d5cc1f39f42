//go:build unix

package datagram

import (
	"errors"

	"golang.org/x/sys/unix"
)

// transient says that an error is about a datagram sent earlier, or passes.
func transient(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) ||
		errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EHOSTDOWN) || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EPROTO)
}

func inUse(err error) error { return err }
