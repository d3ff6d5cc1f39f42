package lanfind

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// neighbours asks the kernel, by rtnetlink.
func neighbours() ([]Neighbour, error) {
	b, err := syscall.NetlinkRIB(unix.RTM_GETNEIGH, unix.AF_UNSPEC)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	all, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	var found []Neighbour
	for _, m := range all {
		if m.Header.Type != unix.RTM_NEWNEIGH {
			continue
		}
		if n, ok := readNeighbour(m.Data); ok {
			found = append(found, n)
		}
	}
	return found, nil
}

// readNeighbour reads an ndmsg and its attributes: see rtnetlink(7).
func readNeighbour(b []byte) (n Neighbour, ok bool) {
	const known = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT
	if len(b) < unix.SizeofNdMsg {
		return n, false
	}
	n.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	state := binary.NativeEndian.Uint16(b[8:])
	if state&unix.NUD_NOARP != 0 {
		return n, false // groups, and where there is no ARP
	}
	n.Answers = state&known != 0
	for b = b[unix.SizeofNdMsg:]; len(b) >= unix.SizeofRtAttr; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		if kind == unix.NDA_DST {
			n.Addr, ok = netip.AddrFromSlice(b[unix.SizeofRtAttr:size])
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	if n.Addr.Is6() && n.Addr.IsLinkLocalUnicast() {
		if i, err := net.InterfaceByIndex(n.Index); err == nil {
			n.Addr = n.Addr.WithZone(i.Name)
		}
	}
	return n, ok
}
