package kcpconn

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).sched"), goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).prepend"))
}

func loopback(t testing.TB) (a, b *Conn) {
	t.Helper()
	var s [2]*datagram.Socket
	for i := range s {
		var err error
		if s[i], err = datagram.Listen(t.Context(), "udp4", 0, nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s[i].Close() })
	}
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s[i].Local().Port())
	}
	a = New(s[0], at(1), &Config{ID: 7, Key: []byte("k"), Client: true})
	b = New(s[1], at(0), &Config{ID: 7, Key: []byte("k")})
	return a, b
}

func TestLoopback(t *testing.T) {
	a, b := loopback(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	sum := sha256.Sum256(data)
	done := make(chan error, 1)
	go func() {
		begin := time.Now()
		_, err := a.Write(data)
		if err == nil {
			err = a.Close()
		}
		t.Logf("%.1f MB/s, %+v", float64(len(data))/1e6/time.Since(begin).Seconds(), a.Stats())
		done <- err
	}()
	h := sha256.New()
	n, err := io.Copy(h, b)
	if err != nil || n != int64(len(data)) || !bytes.Equal(h.Sum(nil), sum[:]) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
