//go:build linux

package natlab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// within is how long anything in these tests may take before it counts as not happening at all.
const within = 5 * time.Second

// check fails the test on an error.
func check[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// reflector answers on a host, by TCP and UDP, with the address that it sees.
func reflector(t testing.TB, m *natlab.Machine, address string) netip.AddrPort {
	t.Helper()
	ln := check(m.Listen("tcp", address))(t)
	pc := check(m.ListenPacket("udp", address))(t)
	t.Cleanup(func() { ln.Close(); pc.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String()+"\n")
			t.Cleanup(func() { c.Close() })
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(from.String()+"\n"), from)
		}
	}()
	_, port, _ := net.SplitHostPort(address)
	return netip.MustParseAddrPort(net.JoinHostPort(m.Addr().String(), port))
}

// client opens UDP sockets and TCP connections on one port of a host.
type client struct {
	t testing.TB
	m *natlab.Machine
}

// tcp connects from port to the address and returns the connection. The port can be shared.
func (c client) tcp(port int, to netip.AddrPort) (net.Conn, error) {
	return c.tcpWithin(within, port, to)
}

func (c client) tcpWithin(limit time.Duration, port int, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := c.m.Do(func() (err error) {
		d := net.Dialer{Control: shared, LocalAddr: &net.TCPAddr{Port: port}, Timeout: limit}
		conn, err = d.Dial("tcp", to.String())
		return err
	})
	if err == nil {
		c.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// seen connects from port to a reflector and returns the endpoint that it saw.
func (c client) seen(port int, to netip.AddrPort) netip.AddrPort {
	c.t.Helper()
	conn, err := c.tcp(port, to)
	if err != nil {
		c.t.Fatal(err)
	}
	return readSeen(c.t, conn)
}

// listen listens on a port that connections leave from too.
func (c client) listen(port int) net.Listener {
	c.t.Helper()
	var ln net.Listener
	err := c.m.Do(func() (err error) {
		lc := net.ListenConfig{Control: shared}
		ln, err = lc.Listen(context.Background(), "tcp4", (&net.TCPAddr{Port: port}).String())
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { ln.Close() })
	return ln
}

// listenAny listens for both families.
func (c client) listenAny(port int) net.Listener {
	c.t.Helper()
	ln, err := c.m.Listen("tcp", (&net.TCPAddr{Port: port}).String())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { ln.Close() })
	return ln
}

// udp opens a UDP socket on port.
func (c client) udp(port int) *net.UDPConn {
	c.t.Helper()
	pc, err := c.m.ListenPacket("udp4", (&net.UDPAddr{Port: port}).String())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}

// seenUDP asks a reflector what it sees of the socket.
func seenUDP(t testing.TB, pc *net.UDPConn, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	if _, err := pc.WriteToUDPAddrPort([]byte("?"), to); err != nil {
		t.Fatal(err)
	}
	return readSeen(t, pc)
}

func readSeen(t testing.TB, r interface {
	io.Reader
	SetReadDeadline(time.Time) error
}) netip.AddrPort {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 100)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netip.ParseAddrPort(string(buf[:max(0, n-1)]))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// arrives reports whether a datagram sent to the endpoint arrives at the socket.
func arrives(t testing.TB, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn) bool {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte("hello"), to); err != nil {
		t.Fatal(err)
	}
	_ = at.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, err := at.Read(make([]byte, 100))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Fatal(err)
	}
	return err == nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
