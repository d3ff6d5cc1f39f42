package stun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server answers Binding requests. The zero value and nil are useful. One Server may serve several listeners and
// sockets at once; its fields must not change meanwhile.
type Server struct {
	// Software is told to those who ask, cut to 127 bytes. Default: nothing is told.
	Software string
	// Other is announced as OTHER-ADDRESS (RFC 5780). Default: none.
	Other netip.AddrPort
	// MaxConns limits the open connections of each Serve; more are closed at once. Default: 8192.
	MaxConns int
	// MaxPerClient limits those of one client, which is an IPv4 /24 or an IPv6 /64, so that no one shuts the others out.
	// Default: 64.
	MaxPerClient int
	// IdleTimeout is how long a connection may go without a whole request. A client that holds a mapping open has to
	// ask again within this time. For the first request it has 15 s at most. Default: 5 minutes.
	IdleTimeout time.Duration
	// NewSession, when set, makes what answers the requests of one connection. Default: they are answered as Respond
	// does.
	NewSession func(conn net.Conn) Session
}

// A Session answers the requests of one connection. Its methods are called one at a time.
type Session interface {
	// Respond makes the response to one message. An error ends the connection.
	Respond(ctx context.Context, request []byte) ([]byte, error)
	// Close is called when the connection has ended.
	Close()
}

const (
	defaultMaxConns     = 8192
	defaultMaxPerClient = 64
	defaultIdleTimeout  = 5 * time.Minute
	firstTimeout        = 15 * time.Second
	maxPause            = time.Second // between attempts, when accepting or reading fails for lack of resources
)

// Serve answers on every connection that ln accepts. It returns nil when ctx ended it, else the error that did, and
// has then closed ln and every connection and ended its goroutines.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s = s.orDefault()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()

	slots := &slots{max: s.MaxConns, maxPerClient: s.MaxPerClient, by: make(map[netip.Prefix]int)}
	var pause time.Duration
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			if !temporary(err) {
				return fmt.Errorf("accepting STUN connections: %w", err)
			}
			pause = sleep(ctx, pause)
			continue
		}
		pause = 0
		from, _ := addrPort(conn.RemoteAddr())
		client := clientOf(from.Addr())
		if !slots.take(client) {
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer slots.free(client)
			s.serveConn(ctx, conn)
		})
	}
}

// slots count the open connections of a listener.
type slots struct {
	max, maxPerClient int

	mu  sync.Mutex
	all int                  // guarded by mu
	by  map[netip.Prefix]int // of each client that has any; guarded by mu
}

// clientOf is whom a connection is counted for: an address alone is too easily changed.
func clientOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits) // without an address, all are one client
	return p
}

func (s *slots) take(client netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.max || s.by[client] >= s.maxPerClient {
		return false
	}
	s.all++
	s.by[client]++
	return true
}

func (s *slots) free(client netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.by[client]--; s.by[client] == 0 {
		delete(s.by, client)
	}
}

// serveConn answers one request after the other, until the peer closes, sends something else, or idles.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	from, ok := addrPort(conn.RemoteAddr())
	if !ok {
		return
	}
	origin, _ := addrPort(conn.LocalAddr())
	respond := func(_ context.Context, req []byte) ([]byte, error) { return s.respond(req, from, origin) }
	if s.NewSession != nil {
		session := s.NewSession(conn)
		defer session.Close()
		respond = session.Respond
	}
	for idle := min(s.IdleTimeout, firstTimeout); ; idle = s.IdleTimeout {
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		req, err := readFrame(conn)
		if err != nil {
			return
		}
		resp, err := respond(ctx, req)
		if err != nil {
			return
		}
		if _, err := conn.Write(resp); err != nil {
			return
		}
	}
}

// ServePacket answers every request that pc receives, and drops all else. It returns nil when ctx ended it, else the
// error that did, and has then closed pc. RESPONSE-ORIGIN is sent only if pc is bound to one address.
func (s *Server) ServePacket(ctx context.Context, pc net.PacketConn) error {
	s = s.orDefault()
	defer pc.Close()
	stop := context.AfterFunc(ctx, func() { _ = pc.Close() })
	defer stop()
	origin, _ := addrPort(pc.LocalAddr())
	buf := make([]byte, 1<<16)
	var pause time.Duration
	for {
		n, addr, err := pc.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if !temporary(err) {
				return fmt.Errorf("reading STUN packets: %w", err)
			}
			pause = sleep(ctx, pause)
			continue
		}
		pause = 0
		from, ok := addrPort(addr)
		if !ok {
			continue
		}
		if resp, err := s.respond(buf[:n], from, origin); err == nil {
			// A packet that cannot be sent is as good as lost: the client will ask again.
			_, _ = pc.WriteTo(resp, addr)
		}
	}
}

func (s *Server) respond(req []byte, from, origin netip.AddrPort) ([]byte, error) {
	return Respond(req, Result{Mapped: from, Origin: origin, Other: s.Other, Software: s.Software})
}

// orDefault returns a copy of s with the defaults filled in.
func (s *Server) orDefault() *Server {
	var c Server
	if s != nil {
		c = *s
	}
	if c.MaxConns <= 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.MaxPerClient <= 0 {
		c.MaxPerClient = defaultMaxPerClient
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	return &c
}

// temporary reports whether accepting or reading may succeed again later, as when file descriptors ran out.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// sleep waits a little longer than the last time, or until ctx ends.
func sleep(ctx context.Context, last time.Duration) time.Duration {
	pause := min(max(2*last, 5*time.Millisecond), maxPause)
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return pause
}
