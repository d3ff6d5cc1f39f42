//go:build !linux

package bench

import "net"

// tcpCounters knows nothing on this system.
func tcpCounters(net.Conn) (Counters, bool) { return Counters{}, false }
