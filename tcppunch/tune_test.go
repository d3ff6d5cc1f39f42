package tcppunch

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// connPair makes Conns of both ends of a connection.
func connPair(t *testing.T, a, b net.Conn) (ca, cb *Conn) {
	t.Helper()
	ia, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ib, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ta, tb := tls.Client(a, ia.tlsConfig(ib.fp)), tls.Server(b, ib.tlsConfig(ia.fp))
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- tb.HandshakeContext(t.Context()) }()
	if err := ta.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	path := Path{RTT: time.Since(began)}
	ca, cb = newConn(&link{Conn: ta, raw: ta.NetConn(), path: path}, ""), newConn(&link{Conn: tb, raw: tb.NetConn(), path: path}, "")
	t.Cleanup(func() { a.Close(); b.Close() })
	return ca, cb
}

func TestConnTCPInfo(t *testing.T) {
	a, b := tcpPair(t)
	ca, cb := connPair(t, a, b)
	go func() {
		for buf := make([]byte, 1<<16); ; {
			if _, err := cb.Read(buf); err != nil {
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range 2 { // a Conn may be written to by several at once
		wg.Go(func() {
			for range 20 {
				if _, err := ca.Write(make([]byte, lookEvery/2+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	info, ok := ca.TCPInfo()
	for end := time.Now().Add(10 * time.Second); ok && info.BytesSent < 20*lookEvery && time.Now().Before(end); { // it is on its way
		time.Sleep(10 * time.Millisecond)
		info, ok = ca.TCPInfo()
	}
	if linux := runtime.GOOS == "linux"; ok != linux || linux && (info.CongestionControl == "" || info.BytesSent < 20*lookEvery || info.RTT == 0 || info.MinRTT > info.RTT) {
		t.Errorf("got %+v, %v", info, ok)
	}
	ca.Close()
	if info, ok := ca.TCPInfo(); ok {
		t.Errorf("after Close: %+v", info)
	}
}

// What is no TCP is left alone.
func TestConnNoTCPInfo(t *testing.T) {
	a, b := net.Pipe()
	ca, cb := connPair(t, a, b)
	go cb.Read(make([]byte, 1)) //nolint:errcheck // a test
	if _, err := ca.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if info, ok := ca.TCPInfo(); ok {
		t.Errorf("got %+v", info)
	}
}
