package natlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// tap is a network interface whose wire end is a file.
type tap struct {
	*os.File
	mac [6]byte
}

func (t *tap) address() [6]byte { return t.mac }

// openTap makes an Ethernet interface in the namespace of the calling thread. Ethernet, and not the plain IP of
// IFF_TUN, since programs take a point-to-point interface for a VPN and look for no LAN there.
func openTap(name string, mac [6]byte) (*tap, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: tunPath, Err: err}
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		if err == nil {
			// To take an interface away takes the kernel 30 ms; so that goes with the namespace, which nobody waits for.
			err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making interface %s: %w", name, err)
	}
	return &tap{os.NewFile(uintptr(fd), tunPath), mac}, nil
}

// openWire opens the wire end of a veth pair in the namespace of the calling thread.
func openWire(name string, mac [6]byte) (*tap, error) {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	fail := func(err error) (*tap, error) {
		unix.Close(fd)
		return nil, fmt.Errorf("opening wire %s: %w", name, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return fail(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return fail(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fail(err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: int(req.Uint32())}); err != nil {
		return fail(err)
	}
	return &tap{os.NewFile(uintptr(fd), "packet socket "+name), mac}, nil
}

// checksumsOff makes the kernel write complete checksums into packets that leave by an interface of the calling
// thread's namespace.
func checksumsOff(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STXCSUM}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:], name)
	req.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return fmt.Errorf("turning checksum offload off: %w", errno)
	}
	return nil
}

// tunUsable reports why /dev/net/tun cannot be used, or nil.
func tunUsable() error {
	f, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Close())
}
