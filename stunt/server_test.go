package stunt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestStop: who waits is sent away at once, who is in a meeting may finish it, and nobody comes in.
func TestStop(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{Drain: 30 * time.Second, TrustedProxies: behindProxy})
	alone := s.raw("192.0.2.1", "", SideSend)
	a := s.raw("192.0.2.1", "", SideSend)
	b := s.raw("192.0.2.1", a.room, SideRecv)
	id := a.hear(typeMet).Meeting
	b.hear(typeMet)
	s.stop()
	alone.wantEnd("stopping")
	if _, err := s.rawJoin("192.0.2.1", "", SideSend); err == nil { // in words, or by a closed connection
		t.Error("somebody could join")
	}
	for range 10 {
		a.say(envelope{Type: typeMessage, Meeting: id, Data: []byte("hello")})
		if got := b.hear(typeMessage); string(got.Data) != "hello" {
			t.Errorf("got %q", got.Data)
		}
	}
	select {
	case <-s.done:
		t.Error("the server has not waited for the meeting")
	default:
	}
	a.say(envelope{Type: typeLeave})
	b.wantEnd("stopping")
	began := time.Now()
	s.end()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopped %v after the last meeting", took)
	}
}

// TestStopBound: a meeting that does not end, of members that do not read, holds the server up for a bounded time.
func TestStopBound(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{Drain: 100 * time.Millisecond, TrustedProxies: behindProxy})
	a := s.raw("192.0.2.1", "", SideSend)
	s.raw("192.0.2.1", a.room, SideRecv)
	began := time.Now()
	s.end()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

func TestServeBroken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := new(Server).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

// get asks without the proxies of the environment.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return getAs(t, url, "")
}

// getAs asks as if through a proxy, for somebody.
func getAs(t *testing.T, url, somebody string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if somebody != "" {
		req.Header.Set("X-Forwarded-For", somebody)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestPages(t *testing.T) {
	s := serve(t, nil)
	s.pair("")
	s.wantRefused(s.join("", SideSend).Name(), SideSend, ErrSideTaken)
	if status, body := get(t, "http://"+s.addr+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	_, body := get(t, "http://"+s.addr+"/metrics")
	for _, want := range []string{
		"stunt_rooms 2", "stunt_members 3", "stunt_meetings 1", `stunt_joins_total{result="ok"} 3`, "stunt_networks 1",
		`stunt_joins_total{result="side-taken"} 1`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	for _, path := range []string{"/metrics", "/metrics/"} {
		if status, body := getAs(t, "http://"+s.addr+path, "127.0.0.1"); strings.Contains(body, "stunt_") {
			t.Errorf("%s through a proxy that is not trusted: %d", path, status)
		}
	}
	status, body := get(t, "http://"+s.addr+"/v1/join")
	var j refusalJSON
	if err := json.Unmarshal([]byte(body), &j); err != nil || status != 400 || j.Code != "bad-request" || j.Message == "" {
		t.Errorf("/v1/join: %d %q", status, body)
	}
	if status, _ := get(t, "http://"+s.addr+"/"); status != 404 {
		t.Errorf("/: %d, want 404", status)
	}
}

// TestMetricsFrom: the figures are for this machine, for trusted proxies, or for those who are named.
func TestMetricsFrom(t *testing.T) {
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for _, c := range []struct {
		name, remote, forwarded string
		server                  Server
		want                    bool
	}{
		{"this machine", "127.0.0.1:1", "", Server{}, true},
		{"this machine, IPv6", "[::1]:1", "", Server{}, true},
		{"anybody", "192.0.2.1:1", "", Server{}, false},
		{"anybody who says so", "192.0.2.1:1", "127.0.0.1", Server{}, false},
		{"a proxy here that is not trusted", "127.0.0.1:1", "192.0.2.1", Server{}, false},
		{"a trusted proxy", "10.0.0.1:1", "", Server{TrustedProxies: prefix("10.0.0.0/8")}, true},
		{"anybody through a trusted proxy", "10.0.0.1:1", "192.0.2.1",
			Server{TrustedProxies: prefix("10.0.0.0/8")}, false},
		{"named", "192.0.2.1:1", "", Server{MetricsFrom: prefix("192.0.2.0/24")}, true},
		{"named, mapped", "[::ffff:192.0.2.1]:1", "", Server{MetricsFrom: prefix("192.0.2.0/24")}, true},
		{"not named", "127.0.0.1:1", "", Server{MetricsFrom: prefix("192.0.2.0/24")}, false},
		{"named, through a trusted proxy", "10.0.0.1:1", "192.0.2.1",
			Server{MetricsFrom: prefix("192.0.2.0/24"), TrustedProxies: prefix("10.0.0.0/8")}, true},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := c.server.mayWatch(r); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestSilentServer: one that accepts and says nothing is given up in time, and nothing of the attempt is left, which
// goleak sees.
func TestSilentServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // the kernel accepts
	before := goleak.IgnoreCurrent()
	for _, scheme := range []string{"ws://", "wss://"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := Join(ctx, &JoinOptions{Server: scheme + ln.Addr().String(), Side: SideSend})
		cancel()
		if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "did not answer within") {
			t.Errorf("%s: %v, want %v and that it did not answer", scheme, err, ErrNoServer)
		}
	}
	goleak.VerifyNone(t, before)
}

// certificate makes one for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	web := httptest.NewTLSServer(http.NotFoundHandler())
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return web.TLS.Certificates[0], roots
}

func TestTLS(t *testing.T) {
	cert, roots := certificate(t)
	s := serve(t, &Server{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	for _, scheme := range []string{"wss", "https"} {
		o := &JoinOptions{Server: scheme + "://" + s.addr + "/", Side: SideSend, TLS: &tls.Config{RootCAs: roots}}
		a := join(t, o)
		o.Room, o.Side = a.Name(), SideRecv
		b := join(t, o)
		wantTalk(t, meet(t, a), meet(t, b))
	}
	_, err := Join(within(t), &JoinOptions{Server: "wss://" + s.addr, Side: SideSend})
	if !errors.Is(err, ErrNoServer) || !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("unknown certificate: %v, want %v and the cause", err, ErrNoServer)
	}
	_, err = Join(within(t), &JoinOptions{Server: "ws://" + s.addr, Side: SideSend})
	if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "400 Bad Request") {
		t.Errorf("ws to a server of wss: %v", err)
	}
}

// TestNoServer: what is there instead is told.
func TestNoServer(t *testing.T) {
	plain := serve(t, nil)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	answers := func(f http.HandlerFunc) string {
		web := httptest.NewServer(f)
		t.Cleanup(web.Close)
		return web.Listener.Addr().String()
	}
	for name, c := range map[string]struct{ server, says string }{
		"nobody":         {closed.Addr().String(), "connect"},
		"no TLS":         {"wss://" + plain.addr, "HTTP response to HTTPS client"},
		"a web server":   {answers(http.NotFound), "404 Not Found"},
		"a redirect":     {answers(http.RedirectHandler("https://192.0.2.1/", http.StatusMovedPermanently).ServeHTTP), "https://192.0.2.1/"},
		"nonsense":       {answers(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }), "EOF"},
		"a long refusal": {answers(longRefusal), "503 Service Unavailable"},
	} {
		_, err := Join(within(t), &JoinOptions{Server: c.server, Side: SideSend})
		if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v and %q", name, err, ErrNoServer, c.says)
		}
	}
}

func longRefusal(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"code":"busy","message":"`+strings.Repeat("x", 1<<20)+`"}`)
}

func TestClientAddr(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"direct", "192.0.2.1:1000", nil, "192.0.2.1"},
		{"direct, with a claim", "192.0.2.1:1000", []string{"198.51.100.1"}, "192.0.2.1"},
		{"through a proxy", "10.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"through a proxy, with a claim", "10.0.0.1:1000", []string{"203.0.113.1, 198.51.100.1"}, "198.51.100.1"},
		{"through two", "10.0.0.1:1000", []string{"203.0.113.1, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"in two headers", "[::1]:1000", []string{"203.0.113.1", "198.51.100.1"}, "198.51.100.1"},
		{"with a port", "10.0.0.1:1000", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "10.0.0.1:1000", []string{"2001:db8::1"}, "2001:db8::1"},
		{"mapped", "[::ffff:10.0.0.1]:1000", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a proxy that says nothing", "10.0.0.1:1000", nil, "10.0.0.1"},
		{"a proxy that says nonsense", "10.0.0.1:1000", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"only proxies", "10.0.0.1:1000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := clientAddr(r, trusted); got.String() != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}
