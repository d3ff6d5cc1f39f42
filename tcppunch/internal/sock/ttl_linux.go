package sock

import "golang.org/x/sys/unix"

// Measured on Linux 6.18, by this project's lab, with the routers and NATs
// being Linux kernels as well as emulated ones.

// quotedTTL is above the TTL that a router quotes of a packet that expired: 1,
// or 0 where it counts down first. It is not higher, because what comes from
// the peer with less is dropped unanswered, which poisons the tuple: an
// opener's SYN may just reach a peer that is near.
const quotedTTL = 2

// shutOut is the IPV6_MINHOPCOUNT that ignores every ICMPv6 error that was
// not sent by a neighbour.
const shutOut = 255

// lower makes packets expire after ttl routers and keeps the socket alive
// through the ICMP error that this causes.
//
// IPv4: the kernel compares IP_MINTTL with the TTL of the packet quoted in the
// error, which is 1 or 0 where it expired, and ignores the error
// (net/ipv4/tcp_ipv4.c, tcp_v4_err). Packets from the peer arrive with more.
//
// IPv6: IPV6_MINHOPCOUNT is compared with the hop limit of the ICMPv6 packet
// itself, and with that of the peer's packets too: 255 shuts out both, so
// raise must end it before the peer's SYN arrives.
func lower(fd int, v4 bool, ttl int) error {
	if v4 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, quotedTTL); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, shutOut); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
}

// raise lets packets arrive again. On IPv4 errors about low packets that are
// still under way stay ignored.
func raise(fd int, v4 bool) error {
	if v4 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, defaultTTL)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, -1); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 0)
}

// settle gives a connected socket its ordinary options back.
func settle(fd int, v4 bool) error {
	if err := raise(fd, v4); err != nil || !v4 {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 0)
}

func state(fd int) (s State, again int) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return StateUnknown, -1
	}
	switch info.State {
	case unix.BPF_TCP_SYN_SENT:
		return StateSynSent, int(info.Retransmits)
	case unix.BPF_TCP_SYN_RECV:
		return StateSynRecv, int(info.Retransmits)
	}
	return StateFinished, -1
}
