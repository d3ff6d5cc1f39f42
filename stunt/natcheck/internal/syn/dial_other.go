//go:build !unix

package syn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/libp2p/go-reuseport"
)

// CanDialBack says that this system cannot dial from ports that other sockets have, as far as was tried: a server here
// makes no tests.
const CanDialBack = false

// connecting is given to the system to send a SYN after it was told to.
const connecting = 20 * time.Millisecond

// A Call is a dial that has been started.
type Call struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when conn and err are set
	conn   net.Conn
	err    error
}

// Dial starts to connect from a local address and port, and returns when the SYN should be out.
func Dial(from, to netip.AddrPort, _ bool) (*Call, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Call{cancel: cancel, done: make(chan struct{})}
	called := make(chan struct{})
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Control: func(network, address string, raw syscall.RawConn) error {
		defer close(called)
		return reuseport.Control(network, address, raw)
	}}
	d.SetMultipathTCP(false)
	go func() {
		defer close(c.done)
		c.conn, c.err = d.DialContext(ctx, "tcp", to.String())
	}()
	select {
	case <-c.done:
	case <-called:
		t := time.NewTimer(connecting)
		defer t.Stop()
		select {
		case <-c.done:
		case <-t.C:
		}
	}
	return c, nil
}

// Wait returns the connection, or why there is none. It ends the call in every case.
func (c *Call) Wait(ctx context.Context) (net.Conn, error) {
	defer c.cancel()
	select {
	case <-c.done:
		return c.conn, c.err
	case <-ctx.Done():
	}
	select {
	case <-c.done: // what has come meanwhile counts: this machine may have been late to look
		return c.conn, c.err
	default:
		c.Close()
		return nil, ctx.Err()
	}
}

// State tells how far a call has come.
func (c *Call) State() State {
	select {
	case <-c.done:
		if c.err != nil {
			return Failed
		}
		return Connected
	default:
		return Waiting
	}
}

// Close ends a call that nobody waits for.
func (c *Call) Close() {
	c.cancel()
	<-c.done
	if c.conn != nil {
		Discard(c.conn)
	}
}

// wsaRefused is what Windows calls a refused connection.
const wsaRefused = syscall.Errno(10061)

// Refused reports whether the other end refused a connection.
func Refused(err error) bool {
	return errors.Is(err, wsaRefused) || errors.Is(err, syscall.ECONNREFUSED)
}

// NoSuchFamily reports whether this machine lacks a whole address family.
func NoSuchFamily(err error) bool { return errors.Is(err, syscall.EAFNOSUPPORT) }

// Hold is for unix only.
func Hold(at netip.AddrPort) (io.Closer, netip.AddrPort, error) {
	return nil, at, fmt.Errorf("reserving a port: %w", errors.ErrUnsupported)
}
