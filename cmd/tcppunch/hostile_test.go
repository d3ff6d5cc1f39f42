package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// secret is what files consist of that nobody else may see.
const secret = "nobody else may read this line. "

// A stranger is a host that has the address at which somebody expects another,
// and remembers all that it is told.
type stranger struct {
	mu    sync.Mutex
	conns int
	heard bytes.Buffer
}

// listen waits on all ports that a peer may use.
func (s *stranger) listen(t *testing.T, host *natlab.Machine, behave func(net.Conn, io.Writer)) {
	for port := 7070; port <= 7073; port++ {
		ln, err := host.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				s.mu.Lock()
				s.conns++
				s.mu.Unlock()
				go func() {
					defer conn.Close()
					behave(tapped{conn, s}, s)
				}()
			}
		}()
	}
}

func (s *stranger) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.Write(b)
}

// tapped remembers the bytes as they come off the wire.
type tapped struct {
	net.Conn
	s *stranger
}

func (c tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.Write(b[:n])
	return n, err
}

// behaviours of strangers. The writer takes what only they can see.
func strangers(t *testing.T) map[string]func(net.Conn, io.Writer) {
	cert := newCertificate(t)
	conf := &tls.Config{
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"tcppunch/1"}, MinVersion: tls.VersionTLS13,
	}
	return map[string]func(net.Conn, io.Writer){
		"says nothing": func(c net.Conn, _ io.Writer) { io.Copy(io.Discard, c) },
		"echoes":       func(c net.Conn, _ io.Writer) { io.Copy(c, c) },
		"garbage": func(c net.Conn, _ io.Writer) {
			go io.Copy(io.Discard, c)
			io.CopyN(c, rand.Reader, 1<<20)
			time.Sleep(time.Minute)
		},
		"TLS server, then nothing": func(c net.Conn, w io.Writer) { io.Copy(w, tls.Server(c, conf)) },
		"TLS client, then nothing": func(c net.Conn, w io.Writer) {
			conn := tls.Client(c, conf)
			if conn.Handshake() == nil {
				io.Copy(w, conn)
			}
		},
		"TLS server, echoes": func(c net.Conn, w io.Writer) {
			conn := tls.Server(c, conf)
			io.Copy(conn, io.TeeReader(conn, w))
		},
		"TLS server, nominates": func(c net.Conn, w io.Writer) {
			conn := tls.Server(c, conf)
			conn.Write([]byte("ANAN"))
			io.Copy(w, conn)
		},
	}
}

func newCertificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// strangeHomes is two homes with the same private addresses. In each, the
// address that the peer has at home belongs to somebody else.
func strangeHomes() natlab.Topology {
	top := twoNATs(natlab.NAT{}, natlab.NAT{})
	lan := netip.MustParsePrefix("192.168.1.0/24")
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, last}) }
	top.NATs[0].LAN, top.NATs[1].LAN = lan, lan
	top.Hosts = []natlab.Host{
		{Name: "a", Behind: "home", Addr: at(2)},
		{Name: "not-b", Behind: "home", Addr: at(3)},
		{Name: "b", Behind: "office", Addr: at(3)},
		{Name: "not-a", Behind: "office", Addr: at(2)},
	}
	return top
}

// secretFile makes a file that can be found again in what strangers heard.
func (s *side) secretFile(name string, times int) string {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, bytes.Repeat([]byte(secret), times), 0o666); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// exchange sends a file between the homes of strangeHomes over the public path.
func exchange(t *testing.T, lab *natlab.Lab) {
	t.Helper()
	a, b := newSide(t, lab.Host("a")), newSide(t, lab.Host("b"))
	name := a.secretFile("file.txt", 20000)
	send := a.start("send", "--timeout=40s", "--peer", "203.0.113.20:7070,192.168.1.3:7070"+words, name)
	recv := b.start("recv", "--timeout=40s", "--peer", "203.0.113.10:7070,192.168.1.2:7070"+words, "--out=out")
	t.Logf("connected after %v", wantKind(t, "public", send, recv, name))
}

// TestHostilePrivateAddress: whoever has the peer's private address on this
// network gets nothing of the file, and does not keep it from arriving.
func TestHostilePrivateAddress(t *testing.T) {
	for name, behave := range strangers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, strangeHomes())
			var notA, notB stranger
			notA.listen(t, lab.Host("not-a"), behave)
			notB.listen(t, lab.Host("not-b"), behave)
			exchange(t, lab)
			for _, s := range []*stranger{&notA, &notB} {
				s.mu.Lock()
				if s.conns == 0 {
					t.Error("nobody called the stranger: nothing was tested")
				}
				if bytes.Contains(s.heard.Bytes(), []byte(secret)) || s.heard.Len() > 100_000 {
					t.Errorf("a stranger got %d bytes, or the file", s.heard.Len())
				}
				t.Logf("a stranger had %d connections and %d bytes", s.conns, s.heard.Len())
				s.mu.Unlock()
			}
		})
	}
	t.Run("the same program with other words", func(t *testing.T) {
		t.Parallel()
		lab := natlab.New(t, strangeHomes())
		notA, notB := newSide(t, lab.Host("not-a")), newSide(t, lab.Host("not-b"))
		wrongRecv := notB.start("recv", "--timeout=60s", "--peer", "192.168.1.2:7070/guess-guess-guess", "--out=out")
		wrongSend := notA.start("send", "--timeout=60s", "--peer", "192.168.1.3:7070/guess-guess-guess", notA.file("virus.exe", 1000))
		for _, p := range []*peer{wrongRecv, wrongSend} {
			if _, err := p.waitEvent("waiting", 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		exchange(t, lab)
		wrongRecv.wantFailure(statusWrongCode, "wrong-code")
		wrongSend.wantFailure(statusWrongCode, "wrong-code")
		wantOnly(t, notB.dir)
	})
}
