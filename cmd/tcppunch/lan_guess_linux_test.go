package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// TestLANBesieged: a neighbour with twenty addresses guesses at the code of a sender from
// all of them at once. It has sixteen guesses. Without a server they end the code; with one,
// the two who have the right code meet there.
func TestLANBesieged(t *testing.T) {
	t.Parallel()
	for _, server := range []bool{false, true} {
		t.Run(fmt.Sprintf("server %t", server), func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlaceIn(t, natlab.Topology{
				NATs:  []natlab.NAT{{Name: "home"}, {Name: "office"}},
				Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "mallory", Behind: "home"}, {Name: "b", Behind: "office"}},
			})
			if !server {
				p.a.env = append(p.a.env, "TCPPUNCH_SERVER=")
			}
			file := p.a.file("file.bin", fileSize)
			send := p.a.start("send", "-v", "--timeout=60s", file)
			code := send.code()
			room, _, _ := strings.Cut(code, "-")
			port := announcedPort(t, p.lab.Host("mallory"), room)
			tried, known := besiege(t, p.lab.Host("mallory"), p.lab.Host("a").Addr().String(), port)
			t.Logf("%d connections, %d guesses", tried, known)
			if known != maxLANGuesses {
				t.Errorf("%d guesses, want %d", known, maxLANGuesses)
			}
			if !server {
				send.wantFailure(statusWrongCode, "wrong-code", "too many wrong codes", "local network")
				return
			}
			recv := p.b.start("recv", "--timeout=30s", "--out=out", code)
			wantKind(t, "public", send, recv, file)
			if !strings.Contains(send.Stderr.String(), "by the server alone") {
				t.Errorf("the sender does not tell of it:\n%s", send.Stderr)
			}
		})
	}
}

// announcedPort asks `tcppunch peers` where the sender is.
func announcedPort(t *testing.T, host *natlab.Machine, room string) string {
	t.Helper()
	s := newSide(t, host)
	p := s.start("peers", "--watch")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	text, err := p.Stdout.WaitFor(ctx, func(s string) bool { return strings.Contains(s, `"room":"`+room+`"`) })
	p.Kill()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(text, `"addr":"`)
	addr, _, _ := strings.Cut(after, `"`)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// besiege tries wrong words from many addresses, four at once from each, until all are
// turned away. It returns how many connections there were, and how many ended with a proof of
// the other side: those are guesses.
func besiege(t *testing.T, host *natlab.Machine, victim, port string) (tried, guesses int) {
	t.Helper()
	conf := &tls.Config{Certificates: []tls.Certificate{newCertificate(t)}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"tcppunch/1"}, MinVersion: tls.VersionTLS13}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 20 {
		own := fmt.Sprintf("192.168.1.%d", 100+i)
		if r := host.Run("ip", "addr", "add", own+"/24", "dev", "eth0"); r.Err != nil {
			t.Fatal(r.Stderr)
		}
		for range 4 {
			wg.Go(func() {
				var raw net.Conn
				err := host.Do(func() (err error) {
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(own)}, Timeout: 5 * time.Second}
					raw, err = d.Dial("tcp4", net.JoinHostPort(victim, port))
					return err
				})
				if err != nil {
					return
				}
				defer raw.Close()
				raw.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // a test
				err = new(mallory).guess(t.Context(), tls.Server(raw, conf), false)
				mu.Lock()
				defer mu.Unlock()
				tried++
				if errors.Is(err, pair.ErrWrongWords) { // else the victim has shown no proof
					guesses++
				}
			})
		}
	}
	wg.Wait()
	return tried, guesses
}
