package stun

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server over TCP until the test ends.
func serve(t *testing.T, s *Server) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// servePacket runs a server over UDP until the test ends.
func servePacket(t *testing.T, s *Server) netip.AddrPort {
	t.Helper()
	pc := listenPacket(t)
	background(t, func(ctx context.Context) error { return s.ServePacket(ctx, pc) })
	return local(pc)
}

func background(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("server: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("server does not stop")
		}
	})
}

func dial(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func listenPacket(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

func local(c interface{ LocalAddr() net.Addr }) netip.AddrPort {
	a, ok := addrPort(c.LocalAddr())
	if !ok {
		panic(errors.New("no address"))
	}
	return a
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
