//go:build unix

package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/sys/unix"
)

// A Pending is a socket in connect: its SYN has been sent. Its methods may be
// called from several goroutines. Wait must be called, after Close too.
type Pending struct {
	file  *os.File
	raw   syscall.RawConn
	raddr netip.AddrPort
	low   int
}

// Connect sends a SYN from the port to raddr and returns at once. A low TTL
// above 0 makes it an opener: the SYN expires after that many routers and the
// ICMP error that comes back does not end the socket, where the system can do
// that. Call Raise before the peer's SYN can arrive.
func (p *Port) Connect(raddr netip.AddrPort, low int) (*Pending, error) {
	fd, err := socket(raddr)
	if err != nil {
		return nil, fmt.Errorf("socket for %v: %w", raddr, err)
	}
	if err := connect(fd, p.local(raddr), raddr, low); err != nil {
		unix.Close(fd) //nolint:errcheck // the first error tells
		return nil, fmt.Errorf("connecting to %v: %w", raddr, err)
	}
	if p.num == 0 {
		p.num = boundPort(fd)
	}
	// Only now: epoll reports a hang-up for a socket that has not started.
	f := os.NewFile(uintptr(fd), "tcp")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("socket for %v: %w", raddr, err)
	}
	return &Pending{file: f, raw: raw, raddr: raddr, low: low}, nil
}

func socket(raddr netip.AddrPort) (int, error) {
	family := unix.AF_INET6
	if raddr.Addr().Is4() {
		family = unix.AF_INET
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
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd) //nolint:errcheck // the first error tells
		return -1, err
	}
	return fd, nil
}

func boundPort(fd int) uint16 {
	switch a, _ := unix.Getsockname(fd); a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

func connect(fd int, local, raddr netip.AddrPort, low int) error {
	network := "tcp6"
	if raddr.Addr().Is4() {
		network = "tcp4"
	} else if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return err
	}
	if err := reuseport.Control(network, local.String(), rawFD(fd)); err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(local)); err != nil {
		return err
	}
	if low > 0 {
		if err := lower(fd, raddr.Addr().Is4(), low); err != nil {
			return err
		}
	}
	err := unix.Connect(fd, sockaddr(raddr))
	if errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// State asks the kernel where the socket stands, and how often it has sent its
// SYN again, -1 where that is not known.
func (c *Pending) State() (s State, again int) {
	s, again = StateFinished, -1
	_ = c.raw.Control(func(fd uintptr) { s, again = state(int(fd)) })
	return s, again
}

// Raise lets what is sent from now on arrive. On IPv6 it also lets in what the
// opener had to shut out, so call it a little after the ICMPv6 error is due.
func (c *Pending) Raise() {
	if c.low > 0 {
		_ = c.raw.Control(func(fd uintptr) { _ = raise(int(fd), c.raddr.Addr().Is4()) })
	}
}

// Wait returns the connection when the handshake is complete, or why it
// failed. It ends the Pending in every case but one: when ctx ends first the
// socket is closed too, and ctx's error is returned.
func (c *Pending) Wait(ctx context.Context) (*net.TCPConn, error) {
	stop := context.AfterFunc(ctx, func() { c.file.SetWriteDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: Wait has returned
	defer stop()
	defer c.file.Close()
	var sockErr error
	err := c.raw.Write(func(fd uintptr) bool {
		var done bool
		done, sockErr = finished(int(fd))
		return done
	})
	switch {
	case ctx.Err() != nil:
		c.abandon()
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("connecting to %v: %w", c.raddr, err)
	case sockErr != nil:
		return nil, fmt.Errorf("connecting to %v: %w", c.raddr, sockErr)
	}
	return c.adopt()
}

// adopt makes a net.TCPConn of the connected socket.
func (c *Pending) adopt() (*net.TCPConn, error) {
	if c.low > 0 {
		_ = c.raw.Control(func(fd uintptr) { _ = settle(int(fd), c.raddr.Addr().Is4()) })
	}
	var conn net.Conn
	var err error
	// Inside Control, a Close at the same time cannot give the descriptor away.
	if cerr := c.raw.Control(func(uintptr) { conn, err = net.FileConn(c.file) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to %v: %w", c.raddr, err)
	}
	if conn.RemoteAddr() == nil { // reset since it was connected: it has no peer's name any more
		Discard(conn)
		return nil, fmt.Errorf("connecting to %v: %w", c.raddr, unix.ECONNRESET)
	}
	if selfConnected(conn) {
		Discard(conn)
		return nil, errSelf
	}
	c.file.Close() // from here on a Close that comes too late does nothing
	tcp := conn.(*net.TCPConn)
	if err := tcp.SetLinger(-1); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("connecting to %v: %w", c.raddr, err)
	}
	return tcp, nil
}

// Close ends the socket, without a packet unless it has seen the peer's SYN; a
// Wait that is under way fails.
func (c *Pending) Close() error {
	c.abandon()
	return c.file.Close()
}

// abandon makes the close that follows final. A socket in SYN_RECV whose answers
// do not arrive would go on sending its FIN for a minute, and hold the tuple.
func (c *Pending) abandon() {
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
}

// finished asks poll, not getpeername: in SYN_RECV a socket has a peer's name
// already but cannot be written to.
func finished(fd int) (bool, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	if err != nil {
		return !errors.Is(err, unix.EINTR), err
	}
	if n == 0 || p[0].Revents == 0 {
		return false, nil
	}
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, err
	}
	if e != 0 {
		return true, syscall.Errno(e)
	}
	if p[0].Revents&unix.POLLOUT == 0 {
		return true, unix.ECONNRESET
	}
	return true, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if z := a.Addr().Zone(); z != "" {
		if i, err := net.InterfaceByName(z); err == nil {
			sa.ZoneId = uint32(i.Index)
		}
	}
	return sa
}

// rawFD lets go-reuseport set its options on a descriptor of ours.
type rawFD int

func (fd rawFD) Control(f func(uintptr)) error    { f(uintptr(fd)); return nil }
func (fd rawFD) Read(f func(uintptr) bool) error  { return errors.ErrUnsupported }
func (fd rawFD) Write(f func(uintptr) bool) error { return errors.ErrUnsupported }
