package tcppunch

import (
	"crypto/tls"
	"fmt"
)

// A Conn is a direct, encrypted connection to the peer. After Close its methods
// return errors that wrap net.ErrClosed.
type Conn struct {
	*tls.Conn
	path Path
	tune *tuning
}

func newConn(c *tls.Conn, path Path) *Conn {
	return &Conn{Conn: c, path: path, tune: newTuning(c.NetConn(), path.RTT)}
}

// Write sends bytes to the peer. On Linux it fits a TCP connection to its path
// meanwhile, where the kernel lets it: BBR on a long path that loses packets,
// and a larger send buffer where the path holds more than the kernel's own.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.tune.wrote(n)
	return n, err
}

// Path tells which way the connection goes and how it came about.
func (c *Conn) Path() Path { return c.path }

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
