//go:build unix

package syn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/sys/unix"
)

// CanDialBack says that this system can dial from ports that other sockets have.
const CanDialBack = true

// A Call is a TCP socket in connect: its SYN is out. That order, which a net.Dialer does not show, is what the tests
// are about.
type Call struct {
	file *os.File
	raw  syscall.RawConn
	to   netip.AddrPort
	back bool // of a dial-back
}

// Dial sends a SYN from a local address and port, which other sockets may have too, and returns at once. One that dials
// back tells ICMP errors from RSTs and is deaf to SYNs, where the system can do that.
func Dial(from, to netip.AddrPort, back bool) (*Call, error) {
	fd, err := bound(from)
	if err != nil {
		return nil, fmt.Errorf("dialling %v: %w", to, err)
	}
	if back {
		ignoreSYNs(fd)
		reportICMP(fd, to.Addr().Is4())
	}
	err = unix.Connect(fd, sockaddr(to))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		_ = unix.Close(fd) // the first error tells
		return nil, fmt.Errorf("dialling %v: %w", to, err)
	}
	f := os.NewFile(uintptr(fd), "tcp") // only now: epoll reports a hang-up for a socket that has not started
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("dialling %v: %w", to, err)
	}
	return &Call{f, raw, to, back}, nil
}

// bound makes a socket that shares its local port.
func bound(from netip.AddrPort) (int, error) {
	family, network := unix.AF_INET6, "tcp6"
	if from.Addr().Is4() {
		family, network = unix.AF_INET, "tcp4"
	}
	syscall.ForkLock.RLock() // not every unix has SOCK_CLOEXEC
	fd, err := unix.Socket(family, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	err = unix.SetNonblock(fd, true)
	if err == nil && network == "tcp6" {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = reuseport.Control(network, from.String(), rawFD(fd))
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(from))
	}
	if err != nil {
		_ = unix.Close(fd) // the first error tells
		return -1, err
	}
	return fd, nil
}

// State tells how far a call has come, and leaves it as it is, but for a refusal, which it takes out of the socket.
func (c *Call) State() State {
	state := Failed
	_ = c.raw.Control(func(fd uintptr) {
		switch done, err := finished(int(fd)); {
		case !done:
			state = Waiting
		case err == nil:
			state = Connected
		}
	}) // else it is closed
	return state
}

// Wait returns the connection, or why there is none. It ends the call in every case.
func (c *Call) Wait(ctx context.Context) (net.Conn, error) {
	defer c.file.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var done bool
	var failed error
	look := func(fd uintptr) bool {
		if done, failed = finished(int(fd)); done && failed != nil && c.back {
			failed = icmp(int(fd), failed)
		}
		return done
	}
	err := c.raw.Write(look)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
		// What has come meanwhile counts: this machine may have been late to look.
		_ = c.raw.Control(func(fd uintptr) { look(fd) }) // else it is closed
	}
	if done {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("dialling %v: %w", c.to, err)
	}
	var conn net.Conn
	if cerr := c.raw.Control(func(uintptr) { conn, err = net.FileConn(c.file) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("dialling %v: %w", c.to, err)
	}
	if conn.RemoteAddr() == nil { // reset since it was connected
		_ = conn.Close()
		return nil, fmt.Errorf("dialling %v: %w", c.to, ErrReset)
	}
	return conn, nil
}

// icmp says more of an error that an ICMP error has caused, if it is not this machine's own.
func icmp(fd int, err error) error {
	e, ok := icmpReported(fd)
	if !ok {
		return err
	}
	if sa, serr := unix.Getsockname(fd); serr == nil {
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			ok = e.Offender != netip.AddrFrom4(sa.Addr)
		case *unix.SockaddrInet6:
			ok = e.Offender != netip.AddrFrom16(sa.Addr)
		}
	}
	if !ok {
		return fmt.Errorf("%w: %w", ErrOwnFirewall, err)
	}
	return fmt.Errorf("%w: %w", ErrICMP, err)
}

// Close ends a call that nobody waits for, without a packet unless it is connected.
func (c *Call) Close() {
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	_ = c.file.Close()
}

// finished asks poll whether connect is over: getpeername knows a peer before that.
func finished(fd int) (bool, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	if err != nil {
		return !errors.Is(err, unix.EINTR), err
	}
	if n == 0 {
		return false, nil
	}
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return true, err
	case syscall.Errno(e) == unix.ECONNRESET: // a SYN is refused by another error
		return true, ErrReset
	case e != 0:
		return true, syscall.Errno(e)
	case p[0].Revents&unix.POLLOUT == 0:
		return true, unix.ENOTCONN
	}
	return true, nil
}

// Refused reports whether a RST has answered a SYN; on other systems than Linux, some ICMP errors pass for that.
func Refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// NoSuchFamily reports whether this machine lacks a whole address family.
func NoSuchFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// Hold keeps a port without listening on it: a SYN meets a RST.
func Hold(at netip.AddrPort) (io.Closer, netip.AddrPort, error) {
	fd, err := bound(at)
	if err != nil {
		return nil, at, fmt.Errorf("reserving a port: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd) // the first error tells
		return nil, at, fmt.Errorf("reserving a port: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(at.Addr(), uint16(sa.Port))
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(at.Addr(), uint16(sa.Port))
	}
	return heldFD(fd), at, nil
}

// heldFD is a socket that does nothing.
type heldFD int

func (fd heldFD) Close() error { return unix.Close(int(fd)) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// rawFD lets go-reuseport set its options on a descriptor of ours.
type rawFD int

func (fd rawFD) Control(f func(uintptr)) error    { f(uintptr(fd)); return nil }
func (fd rawFD) Read(f func(uintptr) bool) error  { return errors.ErrUnsupported }
func (fd rawFD) Write(f func(uintptr) bool) error { return errors.ErrUnsupported }
