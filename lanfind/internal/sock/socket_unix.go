//go:build unix

package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// listenGroup opens a socket for one group on one interface. It is bound to the group, which package net does not do:
// bound to all addresses, it would take unicast packets from the responder of the system, which has the same port.
func listenGroup(i *net.Interface, group netip.Addr) (*net.UDPConn, error) {
	if group.Is4() {
		return listenUDP(unix.AF_INET, &unix.SockaddrInet4{Port: MulticastPort, Addr: group.As4()}, shareGroup...)
	}
	return listenUDP(unix.AF_INET6, &unix.SockaddrInet6{Port: MulticastPort, Addr: group.As16(), ZoneId: uint32(i.Index)}, shareGroup...)
}

// listenShared opens a socket on a port that other programs on this host may have too.
func listenShared(port uint16) (*net.UDPConn, error) {
	return listenUDP(unix.AF_INET, &unix.SockaddrInet4{Port: int(port)}, unix.SO_REUSEADDR, unix.SO_REUSEPORT)
}

// listenUDP opens a socket with these options, which let others have the port too.
func listenUDP(family int, at unix.Sockaddr, share ...int) (*net.UDPConn, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "udp")
	defer f.Close() // net.FilePacketConn makes a copy
	errs := []error{
		unix.SetNonblock(fd, true),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		onlyOwnGroups(fd, family),
	}
	for _, option := range share {
		errs = append(errs, unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1))
	}
	if family == unix.AF_INET6 {
		errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("setting socket options: %w", err)
	}
	if err := unix.Bind(fd, at); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}
