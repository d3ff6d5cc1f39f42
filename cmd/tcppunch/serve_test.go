package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestServe runs the server on a public host, and uses all that it serves from behind a NAT.
func TestServe(t *testing.T) {
	t.Parallel()
	lab := serveLab(t)
	server := newSide(t, lab.Host("server")).start("serve", "--drain", "20s", "-v", "--log-format", "json",
		"--metrics-from", "203.0.113.10")
	stunPorts := wantListening(t, server)
	for _, address := range stunPorts {
		wantMapped(t, lab, address)
	}

	// Nothing else can have the ports.
	second := newSide(t, lab.Host("server")).start("serve")
	second.wantFailure(statusFailed, "port-in-use", ":7478", "--listen")
	third := newSide(t, lab.Host("server")).start("serve", "--listen", ":7479")
	third.wantFailure(statusFailed, "port-in-use", ":3478", "--stun-ports")

	at := forward(t, lab.Host("a"), lab.Host("server").Addr().String()+":7478")
	if body := fetch(t, "http://"+at+"/healthz"); body != "ok\n" {
		t.Errorf("/healthz: %q", body)
	}
	send, recv := joinAt(t, at, "", stunt.SideSend), joinAt(t, at, "4821", stunt.SideRecv)
	other := joinAt(t, at, send.Name(), stunt.SideRecv)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if body := fetch(t, "http://"+at+"/metrics"); !strings.Contains(body, "\nstunt_members 3\n") {
		t.Errorf("/metrics: %q", body)
	}

	// At the first signal a meeting goes on, with STUN; who waits is sent away, and rejoins in vain.
	a, b := meetIn(ctx, t, send), meetIn(ctx, t, other)
	if err := server.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Stderr.WaitFor(ctx, func(s string) bool { return strings.Contains(s, `"stopping"`) }); err != nil {
		t.Fatal(err)
	}
	wantMapped(t, lab, stunPorts[0])
	if err := a.Send(ctx, []byte("still here")); err != nil {
		t.Error(err)
	}
	if got, err := b.Recv(ctx); err != nil || string(got) != "still here" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, r := range []*stunt.Room{send, other, recv} {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if status := server.status(); status != 0 {
		t.Errorf("exit status %d after a signal, want 0", status)
	}
	for line := range strings.Lines(server.Stderr.String()) {
		if strings.HasPrefix(line, "{") && !json.Valid([]byte(line)) {
			t.Errorf("the log holds %q", line)
		}
		if strings.Contains(line, send.Name()) {
			t.Errorf("the log tells the room: %q", line)
		}
	}
}

// TestServeAgain: a second signal does not wait for meetings.
func TestServeAgain(t *testing.T) {
	t.Parallel()
	lab := serveLab(t)
	server := newSide(t, lab.Host("server")).start("serve", "--drain", "1h")
	wantListening(t, server)
	at := forward(t, lab.Host("a"), lab.Host("server").Addr().String()+":7478")
	send := joinAt(t, at, "", stunt.SideSend)
	recv := joinAt(t, at, send.Name(), stunt.SideRecv)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m := meetIn(ctx, t, send)
	meetIn(ctx, t, recv)
	if err := server.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Stderr.WaitFor(ctx, func(s string) bool { return strings.Contains(s, "stopping") }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Done():
		t.Error("the server has not waited for the meeting")
	default:
	}
	for ended := false; !ended; { // one that comes too soon after the first counts as the same
		_ = server.Signal(syscall.SIGTERM) // fails when it has ended
		select {
		case <-server.Done():
			ended = true
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("the server does not heed a second signal")
		}
	}
	if _, err := m.Recv(ctx); !errors.Is(err, stunt.ErrDisconnected) {
		t.Errorf("the meeting: %v, want %v", err, stunt.ErrDisconnected)
	}
}

// TestServeTLS: with certificate files, which may change while it runs.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	lab := serveLab(t)
	s := newSide(t, lab.Host("server"))
	roots := writeCertificate(t, s.dir)
	server := s.start("serve", "--listen", ":443", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
	wantListening(t, server)
	at := forward(t, lab.Host("a"), lab.Host("server").Addr().String()+":443")
	join := func(roots *x509.CertPool) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := stunt.Join(ctx, &stunt.JoinOptions{
			Server: "https://" + at, Side: stunt.SideSend, TLS: &tls.Config{RootCAs: roots, ServerName: "stunt.test"},
		})
		if err != nil {
			return err
		}
		return r.Close()
	}
	if err := join(roots); err != nil {
		t.Fatal(err)
	}
	newRoots := writeCertificate(t, s.dir)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := join(newRoots)
		if err == nil {
			break
		}
		if !errors.As(err, new(x509.UnknownAuthorityError)) || time.Now().After(deadline) {
			t.Fatalf("with the new certificate: %v", err)
		}
	}
	// What cannot be read is not taken.
	if err := os.WriteFile(filepath.Join(s.dir, "cert.pem"), []byte("nonsense"), 0o666); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(server.Stderr.String(), "keeping the old certificate"); {
		if err := join(newRoots); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the log does not say that the certificate is bad")
		}
		time.Sleep(100 * time.Millisecond)
	}
	server.Signal(os.Interrupt)
	if status := server.status(); status != 0 {
		t.Errorf("exit status %d after a signal, want 0", status)
	}
}

// TestServeLimits: the flags' defaults are the package's.
func TestServeLimits(t *testing.T) {
	var c struct{ Serve serveCmd }
	parser, err := kong.New(&c.Serve)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Serve.Limits.limits(), stunt.DefaultLimits(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func serveLab(t *testing.T) *natlab.Lab {
	t.Helper()
	return natlab.New(t, natlab.Topology{
		NATs:  []natlab.NAT{{Name: "home"}},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "server"}},
	})
}

// wantListening waits until the server is ready, and returns where STUN is on its public address.
func wantListening(t *testing.T, p *peer) []string {
	t.Helper()
	if _, err := p.waitEvent("listening", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	var e struct {
		Rooms string   `json:"rooms"`
		STUN  []string `json:"stun"`
	}
	line, _, _ := strings.Cut(p.Stdout.String(), "\n")
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	if _, err := netip.ParseAddrPort(e.Rooms); err != nil || len(e.STUN) < 2 {
		t.Fatalf("listening: %s", line)
	}
	var all []string
	for _, s := range e.STUN {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			t.Fatalf("listening: %s", line)
		}
		if a.Addr().Is4() {
			all = append(all, netip.AddrPortFrom(p.host.Addr(), a.Port()).String())
		}
	}
	if len(all) != 2 {
		t.Fatalf("listening: %s", line)
	}
	return all
}

// wantMapped asks a STUN server from behind the NAT, by TCP and UDP.
func wantMapped(t *testing.T, lab *natlab.Lab, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	want := netip.MustParseAddr("203.0.113.10")
	conn, err := lab.Host("a").Dial(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if res, err := stun.Query(ctx, conn); err != nil || res.Mapped.Addr() != want {
		t.Errorf("STUN over TCP at %s: %v, %v, want %v", address, res.Mapped, err, want)
	}
	pc, err := lab.Host("a").ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if res, err := stun.QueryPacket(ctx, pc, netip.MustParseAddrPort(address)); err != nil || res.Mapped.Addr() != want {
		t.Errorf("STUN over UDP at %s: %v, %v, want %v", address, res.Mapped, err, want)
	}
}

// forward leads from loopback into the lab, as if from a host.
func forward(t *testing.T, host *natlab.Machine, to string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	pass := func(near net.Conn) {
		defer near.Close()
		far, err := host.Dial(context.Background(), "tcp", to)
		if err != nil {
			return
		}
		defer far.Close()
		wg.Go(func() {
			defer far.Close()
			_, _ = io.Copy(far, near)
		})
		_, _ = io.Copy(near, far)
	}
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { pass(near) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func joinAt(t *testing.T, server, room string, side stunt.Side) *stunt.Room {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := stunt.Join(ctx, &stunt.JoinOptions{Server: server, Room: room, Side: side})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func meetIn(ctx context.Context, t *testing.T, r *stunt.Room) *stunt.Meeting {
	t.Helper()
	m, err := r.Meet(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// writeCertificate makes a new certificate for stunt.test, and returns who trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"stunt.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{
		"cert.pem": certPEM, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return roots
}
