package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connKinds are the connections that everything has to work over.
var connKinds = []struct {
	name string
	make func(testing.TB) (a, b net.Conn)
}{
	{"pipe", pipePair},
	{"tcp", tcpPair},
	{"tls", tlsPair},
}

func pipePair(t testing.TB) (net.Conn, net.Conn) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return pipePair(t)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Error(err)
		return pipePair(t)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Error(err)
		return pipePair(t)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func tlsPair(t testing.TB) (net.Conn, net.Conn) {
	a, b := tcpPair(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Error(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Error(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
	client := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.HandshakeContext(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := client.HandshakeContext(context.Background()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	return server, client
}

// A market is where the two sides of a test get the two ends of their connections.
type market struct {
	t     testing.TB
	make  func(testing.TB) (a, b net.Conn)
	other chan net.Conn
}

func newMarket(t testing.TB, makePair func(testing.TB) (a, b net.Conn)) *market {
	return &market{t: t, make: makePair, other: make(chan net.Conn, 1)}
}

// dial is a Transport.Dial: the sides exchange a word, one makes a pair and the other
// takes its end.
func (m *market) dial(ctx context.Context, s *Signals) (net.Conn, error) {
	word := fmt.Sprint("word of ", s.First())
	if err := s.Send(ctx, []byte(word)); err != nil {
		return nil, err
	}
	got, err := s.Recv(ctx)
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprint("word of ", !s.First()); string(got) != want {
		m.t.Errorf("a signal says %q, want %q", got, want)
	}
	if s.First() {
		a, b := m.make(m.t)
		m.other <- b
		return a, nil
	}
	select {
	case c := <-m.other:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// both runs the two sides of a benchmark.
type ending struct {
	report *Report
	err    error
}

func both(ctx context.Context, a, b net.Conn, oa, ob *Options) (ea, eb ending) {
	var wg sync.WaitGroup
	wg.Go(func() { ea.report, ea.err = Run(ctx, a, oa); a.Close() })
	wg.Go(func() { eb.report, eb.err = Run(ctx, b, ob); b.Close() })
	wg.Wait()
	return ea, eb
}
