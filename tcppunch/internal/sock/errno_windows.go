package sock

import "golang.org/x/sys/windows"

const (
	errAddrInUse    = windows.WSAEADDRINUSE
	errAddrNotAvail = windows.WSAEADDRNOTAVAIL
	errAlreadyConn  = windows.WSAEISCONN
	errConnRefused  = windows.WSAECONNREFUSED
	errConnReset    = windows.WSAECONNRESET
	errHostUnreach  = windows.WSAEHOSTUNREACH
	errNetUnreach   = windows.WSAENETUNREACH
)
