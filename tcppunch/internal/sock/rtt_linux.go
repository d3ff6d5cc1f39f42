package sock

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// RTT returns the smoothed round trip that the kernel has measured on a
// connection, 0 where it does not tell.
func RTT(c *net.TCPConn) time.Duration {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var rtt time.Duration
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
		}
	})
	return rtt
}
