package tcppunch

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// A Conn is a direct, encrypted connection to the peer. After Close its methods
// return errors that wrap net.ErrClosed. By UDP, Close takes as long as it takes to
// deliver what was written, as no kernel will go on with that.
type Conn struct {
	*tls.Conn // on a buffered connection
	below     *buffered
	path      Path
	controls  bool
	tune      *tuning // nil before the connection has been nominated

	writing  sync.Mutex
	writeErr error // what was held back did not go out; TLS does not know
}

func newConn(l *link, congestion string) *Conn {
	return &Conn{Conn: l.Conn, below: l.below, path: l.path, controls: l.controls, tune: newTuning(l.below.Conn, l.path.RTT, congestion)}
}

// Write sends bytes to the peer. Much at once takes fewer system calls than the
// same in parts. On Linux Write fits a TCP connection to its path meanwhile, where
// the kernel lets it: BBR on a long path that loses packets, and a larger send
// buffer where the path holds more than the kernel's own.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(b) <= maxRecord || c.below == nil {
		return c.writeBatch(b)
	}
	sum := 0
	for batch := range slices.Chunk(b, maxBatch) {
		c.below.hold()
		n, err := c.writeBatch(batch)
		if flushErr := c.below.flush(); flushErr != nil {
			c.writeErr = flushErr
			return sum, flushErr
		}
		if sum += n; err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (c *Conn) writeBatch(b []byte) (int, error) {
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	n, err := c.Conn.Write(b)
	c.tune.wrote(n)
	return n, err
}

// CloseWrite tells the peer that nothing more comes, after what is being written.
// Reading goes on.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Conn.CloseWrite()
}

// Close tells the peer that this is the end, unless something is being written, and
// closes the connection.
func (c *Conn) Close() error {
	if !c.writing.TryLock() { // this is to end the write
		return c.NetConn().Close()
	}
	defer c.writing.Unlock()
	return c.Conn.Close()
}

// NetConn is the connection below TLS: of use to ask the system about it. What
// arrives there is for c to read.
func (c *Conn) NetConn() net.Conn {
	if c.below == nil { // made of a tls.Conn of somebody else's, as tests do
		return c.Conn.NetConn()
	}
	return c.below.Conn
}

// Path tells which way the connection goes and how it came about.
func (c *Conn) Path() Path { return c.path }

// Controls is true on one of the two sides and false on the other: of use where
// both run the same program and one must begin.
func (c *Conn) Controls() bool { return c.controls }

// Plain is the connection below TLS, fitted to its path as this one is: of use to
// measure what encryption costs. Neither side may have anything to say on c any more.
func (c *Conn) Plain() net.Conn { return &plainConn{c.NetConn(), c} }

type plainConn struct {
	net.Conn
	above *Conn
}

// Read begins with what was read together with TLS's last record.
func (c *plainConn) Read(b []byte) (int, error) { return c.above.below.rest(b) }

func (c *plainConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.above.tune.wrote(n)
	return n, err
}

// NetConn returns the connection itself.
func (c *plainConn) NetConn() net.Conn { return c.Conn }

// KCPInfo is what a stream over UDP says of itself at one moment.
type KCPInfo struct {
	Retransmits uint64        // packets sent again
	Packets     uint64        // packets with data sent, those among them
	RTT, MinRTT time.Duration // smoothed, and the least of late
	MTU         int           // bytes of UDP payload in the largest datagram
	Rate        float64       // the measured delivery rate, in bytes per second
}

// KCPInfo returns what the stream says of itself, and false where the connection is
// one by TCP.
func (c *Conn) KCPInfo() (KCPInfo, bool) {
	s, ok := c.NetConn().(*stream)
	if !ok {
		return KCPInfo{}, false
	}
	i := s.Stats()
	return KCPInfo{
		Retransmits: i.Retransmitted, Packets: i.Sent + i.Retransmitted,
		RTT: i.RTT, MinRTT: i.MinRTT, MTU: i.MTU, Rate: i.Rate,
	}, true
}

// Abort closes the connection at once, without delivering what was written: of use
// where the peer has fallen silent, for which Close would wait.
func (c *Conn) Abort() error {
	discard(c.NetConn())
	return nil
}

// Exporter returns the 32 bytes that Config.Auth was given: both sides know
// them of this connection, and nobody else does.
func (c *Conn) Exporter() ([]byte, error) {
	state := c.ConnectionState()
	b, err := state.ExportKeyingMaterial(exporterLabel, nil, exporterLen)
	if err != nil {
		return nil, fmt.Errorf("exporter: %w", err)
	}
	return b, nil
}
