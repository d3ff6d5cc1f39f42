package stunt

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/coder/websocket"
)

// A raw member speaks the protocol as badly as a test wants.
type raw struct {
	t    *testing.T
	conn *websocket.Conn
	room string
}

// behindProxy makes a server believe the network that a raw member claims.
var behindProxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// rawJoin joins as somebody of a network; the server must trust proxies on loopback.
func (r *running) rawJoin(network, room string, side Side) (*raw, error) {
	d, err := newDialer(&JoinOptions{Server: r.addr, Room: room, Side: side})
	if err != nil {
		return nil, err
	}
	q := joinRequest{Room: room, Side: side, Token: d.token}
	header := http.Header{joinHeader: {q.encode()}, "X-Forwarded-For": {network}}
	ctx := within(r.t)
	o := &websocket.DialOptions{HTTPClient: d.client(ctx), HTTPHeader: header}
	conn, resp, err := websocket.Dial(ctx, d.url.String(), o)
	if err != nil {
		if refused := refusal(resp); refused != nil {
			return nil, refused
		}
		return nil, err
	}
	conn.SetReadLimit(1 << 20)
	r.t.Cleanup(func() { conn.CloseNow() })
	if err := d.named(resp); err != nil {
		return nil, err
	}
	return &raw{t: r.t, conn: conn, room: d.room}, nil
}

func (r *running) raw(network, room string, side Side) *raw {
	r.t.Helper()
	m, err := r.rawJoin(network, room, side)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// wantRawRefused checks that somebody of a network is refused.
func (r *running) wantRawRefused(network, room string, side Side, want string) *RefusedError {
	r.t.Helper()
	_, err := r.rawJoin(network, room, side)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != want || refused.Message == "" {
		r.t.Fatalf("joining %q from %s: %v, want %q and a sentence", room, network, err, want)
	}
	return refused
}

func (m *raw) write(b []byte) error {
	return m.conn.Write(within(m.t), websocket.MessageText, b)
}

func (m *raw) say(e envelope) {
	m.t.Helper()
	if err := m.write(e.encode()); err != nil {
		m.t.Fatal(err)
	}
}

// hear returns the next message of a type, and fails when the connection ends first.
func (m *raw) hear(typ string) envelope {
	m.t.Helper()
	for {
		_, b, err := m.conn.Read(within(m.t))
		if err != nil {
			m.t.Fatalf("waiting for %q: %v", typ, err)
		}
		e, err := fromServer(b)
		if err != nil {
			m.t.Fatal(err)
		}
		if e.Type == typ {
			return e
		}
	}
}

// end reads until the server closes the connection, and returns the server's reason.
func (m *raw) end() *RefusedError {
	for {
		_, _, err := m.conn.Read(within(m.t))
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			if refused := decodeReason(closed.Reason); refused != nil {
				return refused
			}
		}
		if err != nil {
			return &RefusedError{Code: "", Message: err.Error()}
		}
	}
}

func (m *raw) wantEnd(want string) {
	m.t.Helper()
	if e := m.end(); e.Code != want {
		m.t.Errorf("ended with %q (%s), want %q", e.Code, e.Message, want)
	}
}

// wantQuiet checks that two others, of networks of their own, can meet and talk.
func (r *running) wantQuiet() {
	r.t.Helper()
	a := r.raw("198.51.100.1", "", SideSend)
	b := r.raw("203.0.113.1", a.room, SideRecv)
	id := a.hear(typeMet).Meeting
	b.hear(typeMet)
	a.say(envelope{Type: typeMessage, Meeting: id, Data: []byte("hello")})
	if got := b.hear(typeMessage); string(got.Data) != "hello" {
		r.t.Errorf("got %q", got.Data)
	}
	a.say(envelope{Type: typeLeave})
	b.hear(typeOver)
	b.say(envelope{Type: typeLeave})
	b.end()
}
