package syn

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sizes of struct sock_extended_err and of the socket addresses that follow it.
const (
	extendedErrSize = 16
	sockaddr4Size   = 16
	sockaddr6Size   = 28
)

// ParseExtendedError finds an error in control messages.
func ParseExtendedError(oob []byte) (e ExtendedError, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return e, false
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(m.Data) < extendedErrSize {
			continue
		}
		e.Origin = m.Data[4]
		sa := m.Data[extendedErrSize:]
		switch {
		case len(sa) >= sockaddr4Size && binary.NativeEndian.Uint16(sa) == unix.AF_INET:
			e.Offender, _ = netip.AddrFromSlice(sa[4:8])
		case len(sa) >= sockaddr6Size && binary.NativeEndian.Uint16(sa) == unix.AF_INET6:
			e.Offender, _ = netip.AddrFromSlice(sa[8:24])
		}
		return e, true
	}
	return e, false
}
