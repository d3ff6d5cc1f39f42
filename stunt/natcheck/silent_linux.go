package natcheck

import (
	"errors"
	"syscall"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/sys/unix"
)

// silencable says that this system has ports that do not answer.
const silencable = true

// errICMP says that an ICMP error ended a dial, not a RST.
var errICMP = errors.New("an ICMP error came back")

// silence prepares a listener that drops what it gets, by a packet filter of the socket's own, for which no privilege
// is needed. So a client's SYN opens the client's NAT, and is answered by nobody.
func silence(network, address string, c syscall.RawConn) error {
	if err := reuseport.Control(network, address, c); err != nil {
		return err
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // keeps 0 bytes
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(drop)), Filter: &drop[0]})
	})
	return errors.Join(cerr, err)
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
func icmpReported(fd int) bool {
	oob := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return false
	}
	e, ok := parseExtendedError(oob[:n])
	return ok && (e.origin == unix.SO_EE_ORIGIN_ICMP || e.origin == unix.SO_EE_ORIGIN_ICMP6)
}
