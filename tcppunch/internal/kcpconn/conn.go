package kcpconn

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

// Errors of a Conn.
var (
	// ErrReset says that the peer has ended the stream before everything was delivered.
	ErrReset = errors.New("stream reset by the peer")
	// ErrSilent says that nothing has been heard from the peer for too long.
	ErrSilent = errors.New("the peer is silent")
)

// Config says what both peers must agree on before the first datagram.
type Config struct {
	// ID tells this stream from others between the two peers. It is the same on both sides.
	ID uint32
	// Key is a secret of the two peers. It authenticates control datagrams; the
	// stream itself is neither encrypted nor authenticated. Never use a Key again
	// with the same ID.
	Key []byte
	// Client is true on one side and false on the other.
	Client bool
	// Receive is how many bytes may wait to be read, or for one that is missing.
	// That much memory is taken only by a reader that keeps up with a long fast
	// path. The default, and the most, is 48 MiB.
	Receive int
}

const (
	mostReceive  = 48 << 20
	firstReceive = 2 << 20
	baseMTU      = 1200 // bytes of UDP payload that every path carries
	maxMTU       = 1472
	leastQueued  = 128 // segments that Write may leave with KCP
	mostQueued   = 4096
	flushEvery   = 10 * time.Millisecond // KCP's shortest interval
	silentAfter  = 10 * time.Second
	lingerTime   = 5 * time.Second
	graveTime    = 10 * time.Second
)

// carrier is what a Conn needs of a datagram.Socket.
type carrier interface {
	Send(b []byte, to netip.AddrPort) error
	SendBatch(b *datagram.Batch, to netip.AddrPort) error
	Attach(st datagram.Stream, remote netip.AddrPort, tags ...uint32)
	Detach(st datagram.Stream, remote netip.AddrPort, tags ...uint32)
	Move(st datagram.Stream, from, to netip.AddrPort)
	Local() netip.AddrPort
}

// A Conn is a stream to one peer.
type Conn struct {
	via      carrier
	start    time.Time
	readers  sync.Mutex
	writers  sync.Mutex
	readable chan struct{} // has a token when a Read should look again
	writable chan struct{} // has a token when a Write should look again
	settled  chan struct{} // has a token when Close should look again
	work     chan struct{} // has a token when the pump should look again
	over     chan struct{} // closed when the stream has ended, well or badly
	pumped   chan struct{} // closed when the pump has ended
	readBy   *deadline
	writeBy  *deadline

	mu      sync.Mutex
	remote  netip.AddrPort
	secrets *secrets
	kcp     *kcp.KCP
	send    sender
	recv    receiver
	board   board
	rate    rate
	mtu     prober
	peer    peer
	held    []byte // a datagram that KCP has not seen yet
	acks    datagram.Batch
	free    [][]byte
	err     error // why the stream is over
	epitaph kind  // what a late datagram of the peer is answered
	answers int   // that may still be given
	local   bool  // Close or Discard has been called
}

// New makes a stream to the peer at remote. Both sides call it, either may write
// first, and nothing is sent before someone writes. The stream lives on when
// the peer's address changes.
func New(s *datagram.Socket, remote netip.AddrPort, cfg *Config) *Conn {
	return newConn(s, remote, cfg)
}

func newConn(via carrier, remote netip.AddrPort, cfg *Config) *Conn {
	c := &Conn{
		via: via, remote: remote, start: time.Now(), secrets: newSecrets(cfg),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), work: make(chan struct{}, 1), settled: make(chan struct{}, 1),
		over: make(chan struct{}), pumped: make(chan struct{}),
		readBy: newDeadline(), writeBy: newDeadline(),
		answers: 20,
	}
	most := mostReceive
	if cfg.Receive > 0 {
		most = min(cfg.Receive, most)
	}
	c.recv.most = max(most/maxMTU, 128)
	c.recv.window = min(firstReceive/maxMTU, c.recv.most)
	c.mtu.init(remote.Addr().Is4())
	c.kcp = kcp.NewKCP(c.secrets.conv, c.output)
	c.kcp.SetMtu(baseMTU)
	c.kcp.NoDelay(0, int(flushEvery/time.Millisecond), 0, 1)
	c.kcp.WndSize(1, c.recv.window)
	c.send.window = 128
	via.Attach(c, remote, c.secrets.conv, c.secrets.tag)
	go c.pump()
	return c
}

// now is the stream's clock.
func (c *Conn) now() time.Duration { return time.Since(c.start) }

func token(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// LocalAddr returns the socket's unspecified address and its port.
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.via.Local()) }

// RemoteAddr returns the peer's address, the last one if it has changed.
func (c *Conn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return net.UDPAddrFromAddrPort(c.remote)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readBy.set(t)
	c.writeBy.set(t)
	return nil
}

// SetReadDeadline sets the time after which Read returns os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readBy.set(t)
	return nil
}

// SetWriteDeadline sets the time after which Write returns os.ErrDeadlineExceeded.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.set(t)
	return nil
}

// Read reads what has arrived. It returns io.EOF after the peer's end of stream.
func (c *Conn) Read(p []byte) (int, error) {
	c.readers.Lock()
	defer c.readers.Unlock()
	for {
		if isClosed(c.readBy.wait()) {
			return 0, os.ErrDeadlineExceeded
		}
		c.mu.Lock()
		n, err := c.take(p)
		c.mu.Unlock()
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.over:
		case <-c.readBy.wait():
		}
	}
}

// Write gives p to the stream. It returns when p is queued, not when it has
// arrived: Close waits for that.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writers.Lock()
	defer c.writers.Unlock()
	for {
		if isClosed(c.writeBy.wait()) {
			return n, os.ErrDeadlineExceeded
		}
		c.mu.Lock()
		k, err := c.give(p[n:])
		c.mu.Unlock()
		if n += k; err != nil {
			return n, err
		}
		if k > 0 {
			token(c.work)
		}
		if n == len(p) {
			return n, nil
		}
		select {
		case <-c.writable:
		case <-c.over:
		case <-c.writeBy.wait():
		}
	}
}

// Stats is what a stream knows of its path and of itself.
type Stats struct {
	RTT, MinRTT   time.Duration // smoothed; shortest of late
	Rate          float64       // measured delivery rate, bytes per second
	Pace          float64       // at which it sends now, bytes per second
	Window        int           // bytes that may be in flight
	InFlight      int           // bytes sent, neither acknowledged nor lost
	MTU           int           // bytes of UDP payload in the largest datagram
	Sent          uint64        // segments, each counted once
	Retransmitted uint64        // segments sent again
	Lost          uint64        // segments found lost
	Spurious      uint64        // of them, those that arrived after all
	Received      uint64        // segments of the peer, repeated ones too
	Phase         string        // of the rate controller
}

// Stats returns how the stream is doing.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		RTT: c.rate.srtt, MinRTT: c.rate.minRTT, Rate: c.rate.bandwidth(), Pace: c.rate.pace(),
		Window: c.rate.limit(), InFlight: c.board.inflight, MTU: c.mtu.size,
		Sent: c.board.sent, Retransmitted: c.board.resent, Lost: c.board.losses, Spurious: c.board.spurious,
		Received: c.peer.segments, Phase: c.rate.phase.String(),
	}
}
