package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

type dialled struct {
	conn *Conn
	err  error
}

// dialBoth runs both sides of a Dial in this process, over loopback.
func dialBoth(t *testing.T, a, b *Config) (dialled, dialled) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ca, cb := make(chan dialled, 1), make(chan dialled, 1)
	for cfg, c := range map[*Config]chan dialled{a: ca, b: cb} {
		go func() {
			conn, err := Dial(ctx, cfg)
			c <- dialled{conn, err}
		}()
	}
	ra, rb := <-ca, <-cb
	for _, r := range []dialled{ra, rb} {
		if r.conn != nil {
			t.Cleanup(func() { r.conn.Close() })
		}
	}
	return ra, rb
}

// freePorts finds n runs of ports that a serverless Dial may use.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for len(ports) < n {
		ln, err := net.Listen("tcp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		p := ln.Addr().(*net.TCPAddr).AddrPort().Port()
		ln.Close()
		if p > 65500 {
			continue
		}
		ports = append(ports, p)
	}
	return ports
}

func loopback(t *testing.T) (a, b *Config) {
	p := freePorts(t, 2)
	peer := func(port uint16) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	}
	return &Config{Side: SideA, Port: p[0], Peer: peer(p[1])}, &Config{Side: SideB, Port: p[1], Peer: peer(p[0])}
}

func TestDialLoopback(t *testing.T) {
	a, b := loopback(t)
	ra, rb := dialBoth(t, a, b)
	if ra.err != nil || rb.err != nil {
		t.Fatal(ra.err, rb.err)
	}
	if got, want := ra.conn.Path().Local, rb.conn.Path().Remote; got != want {
		t.Errorf("the two sides use different connections: %v, %v", got, want)
	}
	go fmt.Fprint(ra.conn, "over the hole")
	buf := make([]byte, 13)
	if _, err := io.ReadFull(rb.conn, buf); err != nil || string(buf) != "over the hole" {
		t.Errorf("got %q, %v", buf, err)
	}
	ea, err := ra.conn.Exporter()
	if err != nil {
		t.Fatal(err)
	}
	if eb, _ := rb.conn.Exporter(); string(ea) != string(eb) || len(ea) != 32 {
		t.Errorf("exporters %x and %x", ea, eb)
	}
	ra.conn.Close()
	if _, err := ra.conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

func TestDialAgainAtOnce(t *testing.T) {
	a, b := loopback(t)
	for range 3 { // TIME_WAIT must not stand in the way
		ra, rb := dialBoth(t, a, b)
		if ra.err != nil || rb.err != nil {
			t.Fatal(ra.err, rb.err)
		}
		ra.conn.Close()
		rb.conn.Close()
	}
}

func TestDialRejected(t *testing.T) {
	a, b := loopback(t)
	wrong := errors.New("other words")
	a.Auth = func(context.Context, net.Conn, []byte) error { return fmt.Errorf("%w: %w", ErrRejected, wrong) }
	b.Auth = a.Auth
	ra, rb := dialBoth(t, a, b)
	for _, r := range []dialled{ra, rb} {
		var de *DialError
		if !errors.Is(r.err, ErrRejected) || !errors.Is(r.err, wrong) || !errors.As(r.err, &de) {
			t.Errorf("got %v, want a DialError that wraps ErrRejected and its cause", r.err)
		}
	}
}

func TestDialNobodyThere(t *testing.T) {
	a, _ := loopback(t)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, err := Dial(ctx, a)
	var de *DialError
	if !errors.As(err, &de) || !errors.Is(err, ErrNoPath) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if !de.Answered || len(de.Attempts) == 0 || de.Attempts[0].Count < 2 {
		t.Errorf("answered %v, attempts %v", de.Answered, de.Attempts)
	}
}

func TestDialPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, _ := loopback(t)
	a.Port = ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if a.Port > 65500 {
		t.Skip("drew a port without room for the spares")
	}
	if _, err := Dial(t.Context(), a); !errors.Is(err, ErrPortInUse) {
		t.Errorf("got %v, want ErrPortInUse", err)
	}
}

func TestConfigErrors(t *testing.T) {
	peer := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7070")}
	tests := map[string]*Config{
		"nil":          nil,
		"no side":      {Peer: peer},
		"nobody":       {Side: SideA},
		"spare":        {Side: SideA, Peer: peer, Spare: 4},
		"multicast":    {Side: SideA, Peer: []netip.AddrPort{netip.MustParseAddrPort("224.0.0.1:7070")}},
		"no port":      {Side: SideA, Peer: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")}},
		"port too big": {Side: SideA, Peer: peer, Port: 65534},
		"near":         {Side: SideA, Near: &Near{}},
		"two rooms":    {Side: SideA, Signaler: channels{}, Meet: func(context.Context) (Signaler, *Local, error) { return nil, nil, nil }},
	}
	for name, cfg := range tests {
		if _, err := Dial(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
