package stunt

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"
)

// proxyFromEnvironment returns the proxy that the environment names for a URL, or nil. Beside what net/http knows it
// heeds ALL_PROXY where no other applies, and as there a server on this machine is reached directly.
func proxyFromEnvironment(u *url.URL) (*url.URL, error) {
	c := httpproxy.FromEnvironment()
	all := os.Getenv("all_proxy")
	if all == "" {
		all = os.Getenv("ALL_PROXY")
	}
	if c.HTTPProxy == "" {
		c.HTTPProxy = all
	}
	if c.HTTPSProxy == "" {
		c.HTTPSProxy = all
	}
	return c.ProxyFunc()(u)
}

// dialThrough connects to addr through a proxy. Unlike net/http it asks an HTTP proxy for a tunnel in any case: on a
// request that is to become a WebSocket few proxies do what is needed.
func dialThrough(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	switch via.Scheme {
	case "http", "https":
		return dialTunnel(ctx, via, addr)
	case "socks5", "socks5h":
		return dialSOCKS(ctx, via, addr)
	}
	return nil, fmt.Errorf("a proxy of type %q is not known", via.Scheme)
}

// dialSOCKS leaves the look-up of names to the proxy (RFC 1928).
func dialSOCKS(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if via.User != nil {
		password, _ := via.User.Password()
		auth = &proxy.Auth{User: via.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", withPort(via, "1080"), auth, &net.Dialer{})
	if err != nil {
		return nil, err
	}
	cd, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, errors.New("asking the proxy cannot be interrupted")
	}
	return cd.DialContext(ctx, "tcp", addr)
}

// dialTunnel asks with CONNECT (RFC 9110, section 9.3.6).
func dialTunnel(ctx context.Context, via *url.URL, addr string) (_ net.Conn, err error) {
	defaultPort := "80"
	if via.Scheme == "https" {
		defaultPort = "443"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", withPort(via, defaultPort))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = conn.Close()
		}
	}()
	if via.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: via.Hostname()})
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if via.User != nil {
		password, _ := via.User.Password()
		secret := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+secret)
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	in := &headReader{conn: conn, left: headerBytes}
	resp, err := http.ReadResponse(bufio.NewReaderSize(in, 1), req)
	if err != nil {
		return nil, fmt.Errorf("reading the proxy's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy answers %.100q", resp.Status)
	}
	return conn, nil
}

// headReader reads a response's head byte by byte, because what follows it is the tunnel's, and not for ever.
type headReader struct {
	conn net.Conn
	left int
}

func (r *headReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, errors.New("the head is too long")
	}
	r.left--
	return r.conn.Read(b[:1])
}

// withPort is where a proxy listens.
func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}
