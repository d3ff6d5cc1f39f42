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
