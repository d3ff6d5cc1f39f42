package stunt

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// clientAddr is who sent a request: the last address in X-Forwarded-For that is no trusted proxy's, as far as trusted
// proxies have written it.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	from := hostAddr(r.RemoteAddr)
	if !contains(trusted, from) {
		return from
	}
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			if a = hostAddr(strings.TrimSpace(chain[i])); !a.IsValid() {
				return from // what stands before it was not written by a proxy that can be trusted
			}
		}
		from = a.Unmap()
		if !contains(trusted, from) {
			return from
		}
	}
	return from
}

// hostAddr is the address in "address:port", or none.
func hostAddr(s string) netip.Addr {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

const socketBuffer = 64 << 10

// countingListener closes connections of networks that have too many. Requests that are refused in words come from
// those that have not.
type countingListener struct {
	net.Listener
	hub     *hub
	trusted []netip.Prefix
}

func (l *countingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			// What the kernel keeps for a member that does not read, or that nobody reads from, shall be little too.
			_ = tcp.SetWriteBuffer(socketBuffer)
			_ = tcp.SetReadBuffer(socketBuffer)
		}
		from := hostAddr(conn.RemoteAddr().String())
		if contains(l.trusted, from) {
			return conn, nil
		}
		if n := l.hub.connect(from); n != nil {
			return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { n.addConns(-1) })}, nil
		}
		_ = conn.Close()
	}
}

// countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// connect counts a connection, or returns nil if it is one too many.
func (h *hub) connect(from netip.Addr) *network {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.networks.of(from, time.Now())
	if n.busy(h.limits) {
		h.met.conns.Inc()
		return nil
	}
	n.addConns(1)
	return n
}
