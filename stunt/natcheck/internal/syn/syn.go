// Package syn sends single SYNs from chosen ports and tells what they met: a connection, nothing, a RST, an ICMP error.
// It also keeps ports at which a SYN from elsewhere meets nothing, or a RST. It needs no privilege.
package syn

import "net"

// Discard closes a connection without leaving its ports in TIME_WAIT.
func Discard(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it is closed anyway
	}
	_ = conn.Close()
}
