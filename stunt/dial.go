package stunt

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// joinTime bounds one attempt to join.
const joinTime = 15 * time.Second

// serverURL makes a URL of what people write.
func serverURL(s string) (*url.URL, error) {
	s = strings.TrimSpace(s)
	if strings.Contains(s, "@") {
		return nil, fmt.Errorf("%w: it takes no user and no password", ErrServer)
	}
	if !strings.Contains(s, "://") {
		s = "ws://" + completePort(s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errNotServer
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("%w: the scheme is none of ws, wss, http and https", ErrServer)
	}
	if u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errNotServer
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + joinPath
	if u, err = url.Parse(u.String()); err != nil { // which is stricter with http than with ws
		return nil, errNotServer
	}
	return u, nil
}

var errNotServer = fmt.Errorf("%w: it is not host, host:port or a URL with nothing else", ErrServer)

// completePort adds the usual port to a host without one.
func completePort(s string) string {
	port := strconv.Itoa(DefaultPort)
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if a, err := netip.ParseAddr(bare); err == nil && a.Is6() {
		return net.JoinHostPort(bare, port)
	}
	host, path, slash := strings.Cut(s, "/")
	if !strings.Contains(host, ":") {
		host = net.JoinHostPort(host, port)
	}
	if slash {
		host += "/" + path
	}
	return host
}

// A dialer joins one room again and again, as the same member.
type dialer struct {
	url   *url.URL
	room  string // "" until a number is handed out
	side  Side
	token string
	tls   *tls.Config
	via   *url.URL // the proxy, or nil

	joined bool // once: the next joins are rejoins
	number bool // the room's name was handed out to this member
	made   bool // nobody was there before it
}

func newDialer(o *JoinOptions) (*dialer, error) {
	u, err := serverURL(o.Server)
	if err != nil {
		return nil, err
	}
	find := o.Proxy
	if find == nil {
		find = proxyFromEnvironment
	}
	via, err := find(u)
	if err != nil {
		return nil, fmt.Errorf("choosing a proxy: %w", err)
	}
	return &dialer{url: u, room: o.Room, side: o.Side, token: newToken(), tls: o.TLS, via: via}, nil
}

func newToken() string {
	var b [tokenDigits / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// client makes one that is good for requests of this context: a http.Transport's own dials would outlive it.
func (d *dialer) client(ctx context.Context) *http.Client {
	dial := func(_ context.Context, network, addr string) (net.Conn, error) {
		if d.via != nil {
			return dialThrough(ctx, d.via, addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	dialTLS := func(_ context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, d.tlsConfig())
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, DialTLSContext: dialTLS, DisableKeepAlives: true, MaxResponseHeaderBytes: headerBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (d *dialer) tlsConfig() *tls.Config {
	c := &tls.Config{}
	if d.tls != nil {
		c = d.tls.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = d.url.Hostname()
	}
	c.NextProtos = []string{"http/1.1"} // WebSockets come with it alone
	return c
}

// join connects and returns when the server has taken the member in.
func (d *dialer) join(ctx context.Context) (*websocket.Conn, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	q := joinRequest{Room: d.room, Side: d.side, Token: d.token, Rejoin: d.joined, Made: d.joined && d.made}
	conn, resp, err := websocket.Dial(ctx, d.url.String(), &websocket.DialOptions{
		HTTPClient: d.client(ctx), HTTPHeader: http.Header{joinHeader: {q.encode()}, "User-Agent": {"stunt"}},
	})
	if err != nil {
		if refused := refusal(resp); refused != nil {
			return nil, refused
		}
		if resp == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%w at %s: it did not answer within %v", ErrNoServer, d.where(),
				time.Since(began).Round(100*time.Millisecond))
		}
		return nil, fmt.Errorf("%w at %s: %w", ErrNoServer, d.where(), d.why(resp, err))
	}
	if err := d.named(resp); err != nil {
		_ = conn.CloseNow()
		return nil, fmt.Errorf("%w at %s: %w", ErrNoServer, d.where(), err)
	}
	return conn, nil
}

// named learns the room's number, or checks that the room is the one that was asked for.
func (d *dialer) named(resp *http.Response) error {
	name, err := url.QueryUnescape(resp.Header.Get(roomHeader))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errMessage, err)
	case d.room == "" && isNumber(name):
		d.room, d.number = name, true
	case d.room == "" || d.room != name:
		return fmt.Errorf("%w: room %.70q", errMessage, name)
	}
	if !d.joined {
		d.joined, d.made = true, d.number || resp.Header.Get(madeHeader) != ""
	}
	return nil
}

// refusal is what a server of this protocol says when it does not take a member in.
func refusal(resp *http.Response) *RefusedError {
	if resp == nil || resp.Body == nil || resp.Header.Get("Content-Type") != "application/json" {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal+1))
	if err != nil {
		return nil
	}
	return decodeRefusal(b)
}

// where is the server, for people.
func (d *dialer) where() string {
	if d.via != nil {
		return d.url.Host + ", through the proxy " + d.via.Redacted()
	}
	return d.url.Host
}

// why says in words what is there instead of a server.
func (d *dialer) why(resp *http.Response, err error) error {
	if resp == nil {
		var u *url.Error
		if errors.As(err, &u) { // which repeats the method and the whole URL
			return u.Err
		}
		return err
	}
	if to := resp.Header.Get("Location"); to != "" {
		return fmt.Errorf("it points to %.200q", to)
	}
	return fmt.Errorf("something else answers there: %.100q", resp.Status)
}
