package stun

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ends checks that the server closes the connection without sending anything more.
func ends(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(conn); len(b) > 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %x, %v, want the end", b, err)
	}
}

func TestServeRefuses(t *testing.T) {
	server := serve(t, nil)
	for name, in := range map[string][]byte{
		"garbage":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"response":         message(success),
		"indication":       message(indicate),
		"too long":         append([]byte{0, 1, 0xFF, 0xFC}, message(request)[4:]...),
		"attribute beyond": append([]byte{0, 1, 0, 4}, append(message(request)[4:], 0x80, 0, 0xFF, 0)...),
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, server)
			if _, err := conn.Write(in); err != nil {
				t.Fatal(err)
			}
			ends(t, conn)
		})
	}
}

// Requests that arrive in one piece or in many are answered all the same, in order.
func TestServePipelined(t *testing.T) {
	conn := dial(t, serve(t, nil))
	var all []byte
	var ids []TransactionID
	for range 5 {
		req, id := newRequest()
		all, ids = append(all, req...), append(ids, id)
	}
	if _, err := conn.Write(all[:33]); err != nil {
		t.Fatal(err)
	}
	for _, b := range all[33:] {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range ids {
		b, err := readFrame(conn)
		if err != nil || !answers(b, id) {
			t.Fatalf("answer %d: %x, %v", i, b, err)
		}
	}
}

func TestServeMaxConns(t *testing.T) {
	server := serve(t, &Server{MaxConns: 2})
	a, b := dial(t, server), dial(t, server)
	for _, c := range []net.Conn{a, b} {
		if _, err := Query(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	ends(t, dial(t, server))
	a.Close()
	for range 100 { // its slot is free again soon
		if _, err := Query(t.Context(), dial(t, server)); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no connection is taken after another ended")
}

// One client, at however many addresses of its network, does not shut the others out.
func TestServeMaxPerClient(t *testing.T) {
	server := serve(t, &Server{MaxPerClient: 2})
	from := func(ip net.IP) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}
		conn, err := d.DialContext(t.Context(), "tcp", server.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for i := range byte(2) {
		if _, err := Query(t.Context(), from(net.IPv4(127, 0, 0, 2+i))); err != nil {
			t.Fatal(err)
		}
	}
	ends(t, from(net.IPv4(127, 0, 0, 9)))
	if _, err := Query(t.Context(), from(net.IPv4(127, 0, 1, 1))); err != nil {
		t.Errorf("another client: %v", err)
	}
}

func TestServeIdleTimeout(t *testing.T) {
	server := serve(t, &Server{IdleTimeout: 50 * time.Millisecond})
	silent, slow := dial(t, server), dial(t, server)
	if _, err := slow.Write(message(request)[:19]); err != nil {
		t.Fatal(err)
	}
	ends(t, silent)
	ends(t, slow)
}

func TestServeStops(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (*Server)(nil).Serve(ctx, ln) }()
	conn := dial(t, ln.Addr().(*net.TCPAddr).AddrPort())
	if _, err := Query(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v, want nil", err)
	}
	ends(t, conn)
}

// failing is a listener and a socket that cannot get anything, a few times for a passing reason.
type failing struct {
	net.Listener
	net.PacketConn
	mu   sync.Mutex
	errs []error
}

func (f *failing) next() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

func (f *failing) Accept() (net.Conn, error)                 { return nil, f.next() }
func (f *failing) ReadFrom([]byte) (int, net.Addr, error)    { return 0, nil, f.next() }
func (f *failing) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (f *failing) LocalAddr() net.Addr                       { return nil }
func (f *failing) Close() error                              { return nil }

func TestServeFails(t *testing.T) {
	final := errors.New("broken")
	for name, run := range map[string]func(*failing) error{
		"TCP": func(f *failing) error { return new(Server).Serve(t.Context(), f) },
		"UDP": func(f *failing) error { return new(Server).ServePacket(t.Context(), f) },
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{errs: []error{&net.OpError{Op: "accept", Err: syscall.EMFILE}, syscall.EMFILE, final}}
			if err := run(f); !errors.Is(err, final) || len(f.errs) > 0 {
				t.Errorf("got %v, want %v", err, final)
			}
		})
	}
}

// What is not a Binding request gets no answer, and does not stop the server.
func TestServePacketDrops(t *testing.T) {
	server := servePacket(t, nil)
	pc := listenPacket(t)
	to := net.UDPAddrFromAddrPort(server)
	for _, p := range [][]byte{nil, []byte("hello"), message(success), message(indicate), append(message(request), 0), make([]byte, 9000)} {
		if _, err := pc.WriteTo(p, to); err != nil {
			t.Fatal(err)
		}
	}
	req, id := newRequest()
	if _, err := pc.WriteTo(req, to); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	_ = pc.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := pc.ReadFrom(b)
	if err != nil || !answers(b[:n], id) {
		t.Errorf("the first answer is %x, %v", b[:n], err)
	}
}
