package syn

import (
	"errors"
	"syscall"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/sys/unix"
)

// CanSilence says that this system has ports that do not answer.
const CanSilence = true

// ErrICMP says that an ICMP error ended a dial, not a RST.
var ErrICMP = errors.New("an ICMP error came back")

// Silence prepares a listener that drops what it gets, by a packet filter of the socket's own, for which no privilege
// is needed. So a client's SYN opens the client's NAT, and is answered by nobody.
func Silence(network, address string, c syscall.RawConn) error {
	if err := reuseport.Control(network, address, c); err != nil {
		return err
	}
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = attachFilter(int(fd), []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}) // keeps 0 bytes
	})
	return errors.Join(cerr, err)
}

func attachFilter(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// ignoreSYNs makes a socket that dials deaf to segments without ACK. Else a client's SYN, which is sent again after a
// second, would meet it, and the SYN-ACK that follows would enter a NAT that refuses SYNs.
func ignoreSYNs(fd int) {
	const flags, ack = 13, 0x10 // the byte of the TCP header, where the filter begins, and the flag in it
	// Without the filter, such a NAT passes for one that lets SYNs in.
	_ = attachFilter(fd, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: ack, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
		{Code: unix.BPF_RET | unix.BPF_K},
	})
}

// reportICMP has the kernel queue ICMP errors beside the error that they cause, which is the same as for a RST.
func reportICMP(fd int, v4 bool) {
	if v4 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1) // else ICMP passes for RST
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1) // likewise
}

// icmpReported looks for an ICMP error in the error queue.
func icmpReported(fd int) (ExtendedError, bool) {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return ExtendedError{}, false
	}
	e, ok := ParseExtendedError(oob[:n])
	return e, ok && (e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6)
}
