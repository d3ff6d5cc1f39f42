//go:build !linux

package datagram

import (
	"errors"
	"net"
	"net/netip"
)

// port reads and writes one datagram at a time.
type port struct {
	conn *net.UDPConn
	buf  []byte // belongs to the reading goroutine
}

func newPort(conn *net.UDPConn, v6 bool) *port {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { dontFragment(fd, v6) })
	}
	return &port{conn: conn, buf: make([]byte, plainSize)}
}

// widen makes the buffer fit for a stream.
func (p *port) widen() { p.buf = make([]byte, 65535) }

func enlarge(conn *net.UDPConn) {
	for size := socketBuffer; size >= 256<<10; size /= 2 { // BSDs refuse what is over their limit
		if conn.SetReadBuffer(size) == nil {
			break
		}
	}
	for size := socketBuffer; size >= 256<<10; size /= 2 {
		if conn.SetWriteBuffer(size) == nil {
			break
		}
	}
}

func (p *port) read(deliver func(b []byte, from netip.AddrPort)) error {
	n, from, err := p.conn.ReadFromUDPAddrPort(p.buf)
	if err != nil {
		return err
	}
	if n == len(p.buf) { // cut off: too large to be one of ours
		return nil
	}
	deliver(p.buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	return nil
}

func (p *port) write(b *Batch, to netip.AddrPort) error {
	var first error
	for n := range b.Len() {
		_, err := p.conn.WriteToUDPAddrPort(b.Datagram(n), to)
		if transient(err) {
			_, err = p.conn.WriteToUDPAddrPort(b.Datagram(n), to)
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}
