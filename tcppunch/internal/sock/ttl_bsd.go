//go:build unix && !linux

package sock

import "golang.org/x/sys/unix"

// macOS and the BSDs treat an ICMP time-exceeded error as a soft error while
// connecting, so that a low TTL alone is enough; there is no need to ignore
// it. This is from their documentation and sources: it was built for macOS and
// FreeBSD, and not run on them.

func lower(fd int, v4 bool, ttl int) error {
	if v4 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
}

func raise(fd int, v4 bool) error {
	if v4 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, defaultTTL)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, -1)
}

func settle(fd int, v4 bool) error { return raise(fd, v4) }

// state is not asked: TCP_INFO and its like differ from system to system.
func state(int) (s State, again int) { return StateUnknown, -1 }
