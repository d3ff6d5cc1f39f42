package syn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func listen(t *testing.T, control func(string, string, syscall.RawConn) error) netip.AddrPort {
	t.Helper()
	lc := net.ListenConfig{Control: control}
	ln, err := lc.Listen(t.Context(), "tcp", anyPort.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// What a SYN meets at each kind of port.
func TestDial(t *testing.T) {
	held, refusing, err := Hold(anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, tt := range []struct {
		name string
		to   netip.AddrPort
		want func(error) bool
	}{
		{"listener", listen(t, nil), func(err error) bool { return err == nil }},
		{"held port", refusing, func(err error) bool { return Refused(err) && !errors.Is(err, ErrICMP) }},
		{"silent port", listen(t, Silence), func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	} {
		for _, back := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			if tt.name == "listener" {
				ctx = t.Context()
			}
			c, err := Dial(anyPort, tt.to, back)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := c.Wait(ctx)
			cancel()
			if !tt.want(err) {
				t.Errorf("%s, dialling back %v: %v", tt.name, back, err)
			}
			if conn != nil {
				Discard(conn)
			}
		}
	}
}

// Two sockets that dial each other open a connection, unless the one that has dialled first is deaf to SYNs: then it
// takes until its own SYN goes out again, after a second.
func TestDialBackIsDeaf(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		a, b := listen(t, Silence), listen(t, Silence) // the first SYN is not answered
		first, err := Dial(a, b, deaf)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Dial(b, a, false)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		conn, err := second.Wait(ctx)
		cancel()
		if deaf != errors.Is(err, context.DeadlineExceeded) || !deaf && err != nil {
			t.Errorf("deaf %v: %v", deaf, err)
		}
		if conn != nil {
			Discard(conn)
		}
		first.Close()
	}
}

// What has come by the time that a wait ends counts, and a connection that is gone again was one.
func TestWaitLate(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lc := net.ListenConfig{}
	ln, err := lc.Listen(t.Context(), "tcp", anyPort.String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	for _, reset := range []bool{false, true} {
		c, err := Dial(anyPort, to, true)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.State() != Connected {
			t.Error("the call is not connected")
		}
		if reset {
			Discard(peer)
		}
		conn, err := c.Wait(ended)
		if reset != errors.Is(err, ErrReset) || !reset && err != nil {
			t.Errorf("reset %v: %v", reset, err)
		}
		if conn != nil {
			Discard(conn)
		}
		peer.Close()
	}
}

func FuzzParseExtendedError(f *testing.F) {
	message := func(level, kind, size int) []byte {
		b := make([]byte, unix.CmsgSpace(size))
		f.Helper()
		h := unix.Cmsghdr{Level: int32(level), Type: int32(kind)}
		h.SetLen(unix.CmsgLen(size))
		copy(b, []byte{byte(h.Len), byte(h.Len >> 8), 0, 0, 0, 0, 0, 0, byte(level), 0, 0, 0, byte(kind), 0, 0, 0})
		if size > 16 {
			b[unix.CmsgLen(0)+16] = unix.AF_INET
		}
		return b
	}
	f.Add(message(unix.IPPROTO_IP, unix.IP_RECVERR, 32))
	f.Add(message(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 44))
	f.Add(message(unix.IPPROTO_IP, unix.IP_RECVERR, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := ParseExtendedError(b); !ok && e != (ExtendedError{}) {
			t.Errorf("%x is no error, and %+v", b, e)
		}
	})
}
