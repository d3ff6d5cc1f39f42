package tcppunch

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"
)

// tcpPair returns the two ends of a connection over loopback.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// secured makes links of both ends of a connection; a is the client's.
func secured(t testing.TB, a, b net.Conn, ia, ib *identity) (la, lb *link) {
	t.Helper()
	la, lb = &link{below: newBuffered(a), ended: make(chan struct{})}, &link{below: newBuffered(b), ended: make(chan struct{})}
	la.Conn, lb.Conn = tls.Client(la.below, ia.tlsConfig(ib.fp)), tls.Server(lb.below, ib.tlsConfig(ia.fp))
	done := make(chan error, 1)
	go func() { done <- lb.HandshakeContext(t.Context()) }()
	if err := errors.Join(la.HandshakeContext(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	return la, lb
}

// shake runs a handshake and returns the errors of both sides.
func shake(t *testing.T, client, server *tls.Config) (c, s error) {
	t.Helper()
	pc, ps := tcpPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer ps.Close()
		conn := tls.Server(ps, server)
		err := conn.HandshakeContext(ctx)
		if err == nil {
			_, err = conn.Write([]byte("x")) // a TLS 1.3 client learns of a refusal when it reads
		}
		done <- err
	}()
	conn := tls.Client(pc, client)
	c = conn.HandshakeContext(ctx)
	if c == nil {
		_, c = conn.Read(make([]byte, 1))
	}
	pc.Close()
	return c, <-done
}

func TestTLS(t *testing.T) {
	a, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	var any fingerprint
	edit := func(c *tls.Config, f func(*tls.Config)) *tls.Config { f(c); return c }
	tests := []struct {
		name           string
		client, server *tls.Config
		ok             bool
		want           error // of either side
	}{
		{"strangers", a.tlsConfig(any), b.tlsConfig(any), true, nil},
		{"pinned", a.tlsConfig(b.fp), b.tlsConfig(a.fp), true, nil},
		{"client pins another", a.tlsConfig(a.fp), b.tlsConfig(any), false, errOtherCertificate},
		{"server pins another", a.tlsConfig(any), b.tlsConfig(b.fp), false, errOtherCertificate},
		{"oneself", a.tlsConfig(any), a.tlsConfig(any), false, errOwnCertificate},
		{"no client certificate", edit(a.tlsConfig(any), func(c *tls.Config) { c.Certificates = nil }), b.tlsConfig(any), false, nil},
		{"another protocol", edit(a.tlsConfig(any), func(c *tls.Config) { c.NextProtos = []string{"h2"} }), b.tlsConfig(any), false, nil},
		{"no protocol", edit(a.tlsConfig(any), func(c *tls.Config) { c.NextProtos = nil }), b.tlsConfig(any), false, nil},
		{"TLS 1.2", edit(a.tlsConfig(any), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), b.tlsConfig(any), false, nil},
	}
	for _, tt := range tests {
		c, s := shake(t, tt.client, tt.server)
		if ok := c == nil && s == nil; ok != tt.ok {
			t.Errorf("%s: client %v, server %v", tt.name, c, s)
		}
		if tt.want != nil && !errors.Is(c, tt.want) && !errors.Is(s, tt.want) {
			t.Errorf("%s: client %v, server %v, want %v", tt.name, c, s, tt.want)
		}
	}
}

func TestControls(t *testing.T) {
	if !controls(SideA) || controls(SideB) {
		t.Error("SideA must control")
	}
}
