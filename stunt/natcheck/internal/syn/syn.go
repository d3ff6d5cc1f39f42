// Package syn sends single SYNs from chosen ports and tells what they met: a connection, nothing, a RST, an ICMP error.
// It also keeps ports at which a SYN from elsewhere meets nothing, or a RST. It needs no privilege.
package syn

import (
	"errors"
	"net"
	"net/netip"
)

// ErrReset says that a dial was answered by a connection, and that a RST has ended it since.
var ErrReset = errors.New("reset since it was connected")

// ErrOwnFirewall says that an ICMP error of this machine's own ended a dial.
var ErrOwnFirewall = errors.New("this machine refuses it")

// A State is how far a call has come.
type State int

const (
	// Waiting: nothing has answered the SYN.
	Waiting State = iota
	// Connected: a connection was there.
	Connected
	// Failed: it was refused, or reset.
	Failed
)

// An ExtendedError is what the kernel says of an error in an error queue.
type ExtendedError struct {
	Origin   byte
	Offender netip.Addr // who sent the ICMP error, if one did
}

// Discard closes a connection without leaving its ports in TIME_WAIT.
func Discard(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it is closed anyway
	}
	_ = conn.Close()
}
