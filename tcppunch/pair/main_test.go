package pair

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// side is one end of a test connection.
type side struct {
	conn     net.Conn
	exporter []byte
}

// kinds are the connections that every protocol test runs over.
var kinds = []struct {
	name string
	dial func(t *testing.T) (a, b side)
}{
	{"pipe", pipe},
	{"tls", overTLS},
}

// pipe has no buffer at all: a write returns when the peer has read it.
func pipe(t *testing.T) (side, side) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	exporter := make([]byte, minExporter)
	return side{a, exporter}, side{b, exporter}
}

// overTCP makes a connection with buffers, and without TLS.
func overTCP(t *testing.T) (side, side) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	exporter := make([]byte, minExporter)
	return side{c, exporter}, side{s, exporter}
}

// overTLS makes a TLS 1.3 session over TCP. Side a is the client.
func overTLS(t *testing.T) (side, side) {
	t.Helper()
	c, s := overTCP(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	server := tls.Server(s.conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}})
	t.Cleanup(func() { client.Close(); server.Close() })
	errs := make(chan error, 1)
	go func() { errs <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return side{client, export(t, client)}, side{server, export(t, server)}
}

func export(t *testing.T, c *tls.Conn) []byte {
	t.Helper()
	st := c.ConnectionState()
	b, err := st.ExportKeyingMaterial("test", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// both runs the two sides at once and returns their errors.
func both(t *testing.T, a, b func(ctx context.Context) error) (errA, errB error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- b(ctx) }()
	errA = a(ctx)
	return errA, <-done
}

func secret(t *testing.T, own, peer string) Secret {
	t.Helper()
	s, err := NewSecret(own, peer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
