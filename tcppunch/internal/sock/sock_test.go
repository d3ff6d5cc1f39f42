package sock_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, num uint16) *sock.Port {
	t.Helper()
	p, err := sock.Open(t.Context(), num)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func loopback(p *sock.Port) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.Number())
}

func TestConnect(t *testing.T) {
	a, b := open(t, 0), open(t, 0)
	p, err := a.Connect(loopback(b), 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Discard(conn)
	if got := conn.LocalAddr().(*net.TCPAddr).Port; got != int(a.Number()) {
		t.Errorf("connected from port %d, want %d", got, a.Number())
	}
	other, err := b.Listeners()[0].AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	again, err := a.Connect(loopback(b), 0)
	if err == nil {
		_, err = again.Wait(t.Context())
	}
	if !sock.TupleTaken(err) {
		t.Errorf("the same 4-tuple again: %v", err)
	}
}

func TestConnectRefused(t *testing.T) {
	a, b := open(t, 0), open(t, 0)
	b.Close()
	p, err := a.Connect(loopback(b), 0)
	if err == nil {
		_, err = p.Wait(t.Context())
	}
	if !sock.Refused(err) || sock.TupleTaken(err) || sock.Unroutable(err) {
		t.Errorf("got %v", err)
	}
}

func TestConnectToItself(t *testing.T) {
	a := open(t, 0)
	for _, l := range a.Listeners() {
		l.Close() // else it is the listener that answers
	}
	p, err := a.Connect(loopback(a), 0)
	if err == nil {
		var conn net.Conn
		if conn, err = p.Wait(t.Context()); err == nil {
			conn.Close()
		}
	}
	if err == nil {
		t.Error("a socket that met itself passes for a connection")
	}
}

func TestWaitEnds(t *testing.T) {
	a := open(t, 0)
	// 192.0.2.0/24 answers nobody (RFC 5737); without a route there the test
	// has nothing to wait for.
	p, err := a.Connect(netip.MustParseAddrPort("192.0.2.1:9"), 0)
	if err != nil {
		t.Skipf("no route: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(ctx); err == nil {
		t.Error("connected to nobody")
	}
	if got, _ := p.State(); got != sock.StateFinished && got != sock.StateUnknown {
		t.Errorf("state %v after Wait", got)
	}
}

func TestOpenInUse(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		ln, err := net.Listen(network, ":0")
		if err != nil {
			t.Logf("%s: %v", network, err)
			continue
		}
		defer ln.Close()
		num := uint16(ln.Addr().(*net.TCPAddr).Port)
		if p, err := sock.Open(t.Context(), num); !errors.Is(err, sock.ErrInUse) {
			t.Errorf("%s: got %v, want ErrInUse", network, err)
			if err == nil {
				p.Close()
			}
		}
	}
	mine := open(t, 0)
	if _, err := sock.Open(t.Context(), mine.Number()); !errors.Is(err, sock.ErrInUse) {
		t.Errorf("a second one of ours: got %v, want ErrInUse", err)
	}
}

// After a connection that this side closed first, the port is in TIME_WAIT and
// not in use.
func TestOpenAfterClose(t *testing.T) {
	a, b := open(t, 0), open(t, 0)
	p, err := a.Connect(loopback(b), 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Listeners()[0].AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	other.Read(make([]byte, 1)) //nolint:errcheck // its end is what is waited for
	other.Close()
	a.Close()
	again, err := sock.Open(t.Context(), a.Number())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
