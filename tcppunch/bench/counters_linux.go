package bench

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpCounters asks the kernel about the TCP connection that conn is, or runs on.
func tcpCounters(conn net.Conn) (Counters, bool) {
	tcp, ok := below(conn)
	if !ok {
		return Counters{}, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return Counters{}, false
	}
	var c Counters
	known := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		c.Retransmits, c.Packets, known = int64(info.Total_retrans), int64(info.Data_segs_out), true
		c.Congestion, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	return c, err == nil && known
}

// below finds the TCP connection below TLS.
func below(conn net.Conn) (*net.TCPConn, bool) {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c, true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil, false
		}
	}
}
