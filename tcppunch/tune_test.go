package tcppunch

import (
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
	began := time.Now()
	la, lb := secured(t, a, b, ia, ib)
	la.path.RTT = time.Since(began)
	lb.path.RTT = la.path.RTT
	ca, cb = newConn(la, ""), newConn(lb, "")
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
