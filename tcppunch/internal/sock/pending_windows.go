package sock

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/sys/windows"
)

// Windows has SO_REUSEADDR only, which go-reuseport sets, and no equivalent of
// IP_MINTTL. Go connects with ConnectEx. After a RST Windows sends the SYN
// again and reports the refusal after about 2 s. All of this is from its
// documentation: the file was built, and not run on Windows.

// A Pending is a socket in connect: its SYN has been, or is being, sent. Its
// methods may be called from several goroutines. Wait must be called, after
// Close too.
type Pending struct {
	raddr  netip.AddrPort
	low    int
	cancel context.CancelFunc
	done   chan struct{} // closed when conn and err are set
	conn   net.Conn
	err    error

	mu  sync.Mutex
	raw syscall.RawConn // set when the socket exists, cleared when connect has returned
}

// Connect sends a SYN from the port to raddr and returns at once. A low TTL
// above 0 makes it an opener: the SYN expires after that many routers. Call
// Raise before the peer's SYN can arrive.
func (p *Port) Connect(raddr netip.AddrPort, low int) (*Pending, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Pending{raddr: raddr, low: low, cancel: cancel, done: make(chan struct{})}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(p.local(raddr)), Control: c.control}
	d.SetMultipathTCP(false)
	go func() {
		defer close(c.done)
		c.conn, c.err = d.DialContext(ctx, "tcp", raddr.String())
		c.mu.Lock()
		c.raw = nil
		c.mu.Unlock()
	}()
	return c, nil
}

func (c *Pending) control(network, address string, raw syscall.RawConn) error {
	if err := reuseport.Control(network, address, raw); err != nil {
		return err
	}
	c.mu.Lock()
	c.raw = raw
	c.mu.Unlock()
	c.setTTL(c.low)
	return nil
}

func (c *Pending) setTTL(ttl int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw != nil && c.low > 0 {
		setTTL(c.raw, c.raddr.Addr().Is4(), ttl)
	}
}

func setTTL(raw syscall.RawConn, v4 bool, ttl int) {
	_ = raw.Control(func(fd uintptr) {
		if v4 {
			_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, windows.IP_TTL, ttl)
			return
		}
		_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, windows.IPV6_UNICAST_HOPS, ttl)
	})
}

// State is not known on Windows, before the socket's end.
func (c *Pending) State() (s State, again int) {
	select {
	case <-c.done:
		return StateFinished, -1
	default:
		return StateUnknown, -1
	}
}

// Raise lets what is sent from now on arrive.
func (c *Pending) Raise() { c.setTTL(defaultTTL) }

// Wait returns the connection when the handshake is complete, or why it
// failed. When ctx ends first the socket is closed and ctx's error returned.
func (c *Pending) Wait(ctx context.Context) (*net.TCPConn, error) {
	stop := context.AfterFunc(ctx, c.cancel)
	defer stop()
	<-c.done
	c.cancel()
	if ctx.Err() != nil {
		if c.conn != nil {
			Discard(c.conn)
		}
		return nil, ctx.Err()
	}
	if c.err != nil {
		return nil, c.err
	}
	if selfConnected(c.conn) {
		Discard(c.conn)
		return nil, errSelf
	}
	conn := c.conn.(*net.TCPConn)
	if raw, err := conn.SyscallConn(); err == nil && c.low > 0 { // connected before Raise
		setTTL(raw, c.raddr.Addr().Is4(), defaultTTL)
	}
	return conn, nil
}

// Close ends the socket; a Wait that is under way fails.
func (c *Pending) Close() error {
	c.cancel()
	return nil
}
