//go:build linux

package kcpconn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
	"github.com/tcppunch/tcppunch/tcppunch/internal/kcpconn"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// vethPair makes two hosts of the lab that a plain veth joins, without an emulator.
func vethPair(t testing.TB) *natlab.Lab {
	t.Helper()
	lab := labPair(t, natlab.Link{})
	for _, c := range []struct{ host, args string }{
		{"a", "link add v0 type veth peer name v0 netns " + lab.Host("b").Namespace()},
		{"a", "addr add 10.99.0.1/24 dev v0"},
		{"b", "addr add 10.99.0.2/24 dev v0"},
		{"a", "link set v0 up"},
		{"b", "link set v0 up"},
	} {
		if r := lab.Host(c.host).Run(strings.Fields("ip " + c.args)...); r.Err != nil {
			t.Fatalf("ip %s: %v %s", c.args, r.Err, r.Stderr)
		}
	}
	return lab
}

// secure puts TLS 1.3 on top.
func secure(t testing.TB, a, b net.Conn) (net.Conn, net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return tls.Client(a, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}), //nolint:gosec // a test
		tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// KCP under TLS on a link that is as fast as the machine.
func TestVeth(t *testing.T) {
	attempt(t, func() error {
		if mb := overVeth(t, 3*time.Second); mb < 150 {
			return fmt.Errorf("%.0f MB/s", mb)
		}
		return nil
	})
}

// overVeth returns the speed in MB/s.
func overVeth(t *testing.T, length time.Duration) float64 {
	t.Helper()
	lab := vethPair(t)
	var s [2]*datagram.Socket
	for i, h := range lab.Hosts() {
		if err := h.Do(func() (err error) {
			s[i], err = datagram.Listen(t.Context(), "udp4", 7071, nil)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer s[i].Close()
	}
	at := func(i byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 0, i}), 7071)
	}
	ka := kcpconn.New(s[0], at(2), &kcpconn.Config{ID: 7, Key: []byte("k"), Client: true})
	kb := kcpconn.New(s[1], at(1), &kcpconn.Config{ID: 7, Key: []byte("k")})
	defer ka.Discard()
	defer kb.Discard()
	a, b := secure(t, ka, kb)
	go b.Read(nil) //nolint:errcheck // the handshake
	begin := time.Now().Add(time.Second)
	f := start(a, b, begin, begin.Add(length))
	time.Sleep(time.Second)
	cpu := cpuTime()
	mb := f.mbits(length) / 8
	cpu = cpuTime() - cpu
	t.Logf("%.0f MB/s, %.2f CPU s/GB for both ends, %+v", mb, cpu.Seconds()/(mb*length.Seconds()/1000), ka.Stats())
	return mb
}
