//go:build unix

package sock

import "golang.org/x/sys/unix"

const (
	errAddrInUse    = unix.EADDRINUSE
	errAddrNotAvail = unix.EADDRNOTAVAIL
	errAlreadyConn  = unix.EISCONN
	errConnRefused  = unix.ECONNREFUSED
	errConnReset    = unix.ECONNRESET
	errHostUnreach  = unix.EHOSTUNREACH
	errNetUnreach   = unix.ENETUNREACH
)
