package stunt

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A testProxy passes every connection on to one server, whatever name was asked for, and notes the names.
type testProxy struct {
	t      *testing.T
	addr   string
	server string
	user   string // "name:password", if it asks for that

	mu    sync.Mutex
	asked []string
}

// startProxy runs a proxy whose handshake is greet: it returns what was asked for, and answers when that is reached.
func startProxy(t *testing.T, server, user string, greet func(p *testProxy, c net.Conn) (string, error)) *testProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &testProxy{t: t, addr: ln.Addr().String(), server: server, user: user}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.pass(conn, greet) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return p
}

func (p *testProxy) pass(conn net.Conn, greet func(p *testProxy, c net.Conn) (string, error)) {
	defer conn.Close()
	asked, err := greet(p, conn)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, asked)
	p.mu.Unlock()
	far, err := net.Dial("tcp", p.server)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer far.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer far.Close()
		_, _ = io.Copy(far, conn)
	})
	_, _ = io.Copy(conn, far)
	conn.Close()
	wg.Wait()
}

// greetHTTP reads CONNECT.
func greetHTTP(p *testProxy, c net.Conn) (string, error) {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return "", err
	}
	if req.Method != http.MethodConnect {
		fmt.Fprintf(c, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
		return "", errors.New(req.Method)
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user))
	if p.user != "" && req.Header.Get("Proxy-Authorization") != want {
		fmt.Fprintf(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno")
		return "", errors.New("who is it")
	}
	_, err = fmt.Fprintf(c, "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
	return req.Host, err
}

// greetSOCKS is the server's part of RFC 1928, and RFC 1929.
func greetSOCKS(p *testProxy, c net.Conn) (string, error) {
	read := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(c, b) // a short one fails later
		return b
	}
	methods := read(int(read(2)[1]))
	if p.user == "" {
		_, _ = c.Write([]byte{5, 0})
	} else {
		if !strings.Contains(string(methods), "\x02") {
			_, _ = c.Write([]byte{5, 0xff})
			return "", errors.New("no password is offered")
		}
		_, _ = c.Write([]byte{5, 2})
		name := string(read(int(read(2)[1])))
		password := string(read(int(read(1)[0])))
		if name+":"+password != p.user {
			_, _ = c.Write([]byte{1, 1})
			return "", errors.New("a wrong password")
		}
		_, _ = c.Write([]byte{1, 0})
	}
	head := read(4)
	if head[1] != 1 || head[3] != 3 {
		_, _ = c.Write([]byte{5, 8, 0, 1, 0, 0, 0, 0, 0, 0})
		return "", fmt.Errorf("command %d, address type %d: want CONNECT and a name", head[1], head[3])
	}
	host := string(read(int(read(1)[0])))
	port := binary.BigEndian.Uint16(read(2))
	_, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return fmt.Sprintf("%s:%d", host, port), err
}

// TestProxies: the room is reached through the proxy of the environment, which also looks up the name, before and after
// the connection breaks.
func TestProxies(t *testing.T) {
	for _, c := range []struct {
		name, scheme, user string
		greet              func(p *testProxy, c net.Conn) (string, error)
	}{
		{"HTTP", "http", "", greetHTTP},
		{"HTTP with a password", "http", "me:p@ss", greetHTTP},
		{"SOCKS5", "socks5", "", greetSOCKS},
		{"SOCKS5 with a password", "socks5h", "me:p@ss", greetSOCKS},
	} {
		for _, variable := range []string{"HTTP_PROXY", "ALL_PROXY"} {
			t.Run(c.name+" by "+variable, func(t *testing.T) {
				s := serve(t, nil)
				p := startProxy(t, s.addr, c.user, c.greet)
				line := newCutter(t, p.addr)
				u := url.URL{Scheme: c.scheme, Host: line.addr}
				if name, password, ok := strings.Cut(c.user, ":"); ok {
					u.User = url.UserPassword(name, password)
				}
				t.Setenv(variable, u.String())
				w := newWatch()
				o := &JoinOptions{Server: "rooms.invalid", Side: SideSend, Trace: w.trace()}
				a := join(t, o)
				line.cut()
				w.wait(t, 1, 0, 1)
				b := s.join(a.Name(), SideRecv) // on this machine, so directly
				wantTalk(t, meet(t, a), meet(t, b))
				p.mu.Lock()
				defer p.mu.Unlock()
				if got := strings.Join(p.asked, " "); got != "rooms.invalid:7478 rooms.invalid:7478" {
					t.Errorf("the proxy was asked for %q", got)
				}
			})
		}
	}
}

func TestProxyRefuses(t *testing.T) {
	s := serve(t, nil)
	private := startProxy(t, s.addr, "me:secret", greetHTTP)
	socks := startProxy(t, s.addr, "me:secret", greetSOCKS)
	silent := startProxy(t, s.addr, "", func(_ *testProxy, c net.Conn) (string, error) {
		_, err := io.Copy(io.Discard, c)
		return "", errors.Join(errors.New("says nothing"), err)
	})
	endless := startProxy(t, s.addr, "", func(_ *testProxy, c net.Conn) (string, error) {
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1000)); err != nil {
				return "", err
			}
		}
	})
	for name, c := range map[string]struct{ proxy, says string }{
		"no password":         {"http://" + private.addr, "407 Proxy Authentication Required"},
		"a wrong password":    {"http://me:hunter2@" + private.addr, "407 Proxy Authentication Required"},
		"SOCKS, no password":  {"socks5://" + socks.addr, "no acceptable authentication"},
		"SOCKS, a wrong one":  {"socks5://me:hunter2@" + socks.addr, "authentication failed"},
		"an unknown scheme":   {"gopher://" + private.addr, `"gopher"`},
		"silence":             {"http://" + silent.addr, ""},
		"SOCKS, silence":      {"socks5://" + silent.addr, ""},
		"an endless answer":   {"http://" + endless.addr, "too long"},
		"a server of its own": {"http://" + s.addr, "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(c.proxy)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if strings.Contains(name, "ilence") {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			_, err = Join(ctx, &JoinOptions{
				Server: "rooms.invalid", Side: SideSend, Proxy: func(*url.URL) (*url.URL, error) { return u, nil },
			})
			if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), u.Host) {
				t.Errorf("%v, want %v, the proxy's address and %q", err, ErrNoServer, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}
