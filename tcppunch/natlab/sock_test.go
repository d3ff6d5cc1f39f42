//go:build linux

package natlab_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"golang.org/x/sys/unix"
)

// shared lets several sockets have one local port.
func shared(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = share(int(fd)) }); e != nil {
		return e
	}
	return err
}

func share(fd int) error {
	return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// attempt is a TCP socket that is connecting.
type attempt struct {
	t  testing.TB
	fd int
	v6 bool
}

// attempt begins to connect from a port, with options of the IP or IPv6 level set first.
func (c client) attempt(t testing.TB, port int, to netip.AddrPort, options map[int]int) *attempt {
	t.Helper()
	a := &attempt{t: t, v6: to.Addr().Is6()}
	family, local, remote := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port}), unix.Sockaddr(nil)
	if a.v6 {
		family, local = unix.AF_INET6, &unix.SockaddrInet6{Port: port}
		remote = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		remote = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	err := c.m.Do(func() (err error) {
		a.fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		a.set(options)
		if err := errors.Join(share(a.fd), unix.Bind(a.fd, local)); err != nil {
			return err
		}
		if err := unix.Connect(a.fd, remote); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatalf("connecting from %s: %v", c.m.Name(), err)
	}
	t.Cleanup(a.close)
	return a
}

func (a *attempt) close() {
	if a.fd > 0 {
		unix.Close(a.fd)
		a.fd = 0
	}
}

func (a *attempt) set(options map[int]int) {
	level := unix.IPPROTO_IP
	if a.v6 {
		level = unix.IPPROTO_IPV6
	}
	for name, value := range options {
		if err := unix.SetsockoptInt(a.fd, level, name, value); err != nil {
			a.t.Errorf("socket option %d: %v", name, err)
		}
	}
}

// errPending is the outcome of an attempt that has none yet.
var errPending = errors.New("still connecting")

// outcome waits until the attempt has succeeded or failed, or returns errPending.
func (a *attempt) outcome(limit time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLOUT}}
	for end := time.Now().Add(limit); ; {
		n, err := unix.Poll(fds, max(0, int(time.Until(end).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 {
			return errPending
		}
		code, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// ping measures round trips of ICMP echoes from a host.
func ping(t *testing.T, m *natlab.Machine, to netip.Addr) (time.Duration, error) {
	t.Helper()
	var took time.Duration
	err := m.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		limit := unix.NsecToTimeval(int64(500 * time.Millisecond))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			return err
		}
		begin := time.Now()
		if err := unix.Sendto(fd, []byte{8, 0, 0, 0, 0, 0, 0, 1}, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
			return err
		}
		_, _, err = unix.Recvfrom(fd, make([]byte, 100), 0)
		took = time.Since(begin)
		return err
	})
	return took, err
}
