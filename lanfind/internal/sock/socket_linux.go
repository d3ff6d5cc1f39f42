package sock

import "golang.org/x/sys/unix"

// shareGroup lets several sockets have a group. With SO_REUSEPORT Linux (6.18) gives what comes to
// the group on one interface to the socket of another one: it looks early for the one socket
// that the packet is for, and then takes any of those that share the port with it.
var shareGroup = []int{unix.SO_REUSEADDR}

// onlyOwnGroups has a socket receive what comes to groups it has joined itself, on the interface on which it has.
// Otherwise, on Linux, it receives whatever any socket has joined.
func onlyOwnGroups(fd, family int) error {
	if family == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0) // since Linux 4.20; it is bound to an interface anyway
		return nil
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
}
