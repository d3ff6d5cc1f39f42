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
	if !strings.Contains(s, "://") {
		s = "ws://" + completePort(s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errServer, err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("%w: %q is none of ws, wss, http and https", errServer, u.Scheme)
	}
	if u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%w: %q is not host, host:port or a URL with nothing else", errServer, u.Redacted())
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + joinPath
	if u, err = url.Parse(u.String()); err != nil { // which is stricter with http than with ws
		return nil, fmt.Errorf("%w: %w", errServer, err)
	}
	return u, nil
}

var errServer = errors.New("malformed address of a rendezvous server")

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
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: d.tls, DisableKeepAlives: true, MaxResponseHeaderBytes: headerBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// join connects and returns when the server has taken the member in.
func (d *dialer) join(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	q := joinRequest{Room: d.room, Side: d.side, Token: d.token}
	conn, resp, err := websocket.Dial(ctx, d.url.String(), &websocket.DialOptions{
		HTTPClient: d.client(ctx), HTTPHeader: http.Header{joinHeader: {q.encode()}, "User-Agent": {"stunt"}},
	})
	if err != nil {
		if refused := refusal(resp); refused != nil {
			return nil, refused
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
		d.room = name
	case d.room == "" || d.room != name:
		return fmt.Errorf("%w: room %.70q", errMessage, name)
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
