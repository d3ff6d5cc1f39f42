//go:build !unix

package natcheck

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

// dialable says that this system cannot dial from ports that other sockets have, as far as was tried: a server here
// makes no tests.
const dialable = false

type controlFunc = func(network, address string, c syscall.RawConn) error

// connecting is given to the system to send a SYN after it was told to.
const connecting = 20 * time.Millisecond

// A call is a dial that has been started.
type call struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when conn and err are set
	conn   net.Conn
	err    error
}

// dial starts to connect from a local address and port, and returns when the SYN should be out.
func dial(from, to netip.AddrPort, _ bool) (*call, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call{cancel: cancel, done: make(chan struct{})}
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

// wait returns the connection, or why there is none. It ends the call in every case.
func (c *call) wait(ctx context.Context) (net.Conn, error) {
	defer c.cancel()
	select {
	case <-c.done:
		return c.conn, c.err
	case <-ctx.Done():
		c.close()
		return nil, ctx.Err()
	}
}

// close ends a call that nobody waits for.
func (c *call) close() {
	c.cancel()
	<-c.done
	if c.conn != nil {
		discard(c.conn)
	}
}

// wsaRefused is what Windows calls a refused connection.
const wsaRefused = syscall.Errno(10061)

func refused(err error) bool {
	return errors.Is(err, wsaRefused) || errors.Is(err, syscall.ECONNREFUSED)
}

// noSuchFamily reports whether this machine lacks a whole address family.
func noSuchFamily(err error) bool { return errors.Is(err, syscall.EAFNOSUPPORT) }

func hold(at netip.AddrPort) (io.Closer, netip.AddrPort, error) {
	return nil, at, fmt.Errorf("reserving a port: %w", errors.ErrUnsupported)
}
