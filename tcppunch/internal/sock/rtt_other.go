//go:build !linux

package sock

import (
	"net"
	"time"
)

// RTT returns the smoothed round trip that the kernel has measured on a
// connection, 0 where it does not tell.
func RTT(*net.TCPConn) time.Duration { return 0 }
