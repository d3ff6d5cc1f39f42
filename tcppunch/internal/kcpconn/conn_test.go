package kcpconn

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
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

// A socket's Data handler makes the stream of a peer that writes first.
func TestAccept(t *testing.T) {
	cfg := Config{ID: 7, Key: []byte("k")}
	accepted := make(chan *Conn, 1)
	server, err := datagram.Listen(t.Context(), "udp4", 0, &datagram.Handler{
		Data: func(s *datagram.Socket, _ []byte, from netip.AddrPort) { accepted <- New(s, from, &cfg) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := datagram.Listen(t.Context(), "udp4", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a := New(client, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.Local().Port()), &Config{ID: 7, Key: []byte("k"), Client: true})
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := <-accepted
	buf := make([]byte, 10)
	if n, err := b.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	if got := b.RemoteAddr().String(); got != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), client.Local().Port()).String() {
		t.Errorf("the peer is at %v", got)
	}
	closed := make(chan error, 1)
	go func() { closed <- a.Close() }()
	if n, err := b.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after Close: %d, %v", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	client.Close()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// The socket's end is the stream's end.
func TestSocketClosed(t *testing.T) {
	s, err := datagram.Listen(t.Context(), "udp4", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := New(s, netip.MustParseAddrPort("127.0.0.1:9"), &Config{ID: 7})
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	s.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	c.Discard()
}
