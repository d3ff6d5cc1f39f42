package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// attacker is where a lying server wants the two sides to connect to.
const attacker = "198.51.100.66"

// A lyingServer speaks the protocol of stunt's rooms, and does with the messages
// what it likes.
type lyingServer struct {
	// pass returns what to deliver when a side has sent its n-th message.
	pass func(from stunt.Side, n int, msg []byte) []delivery
	// met, if there is one, runs when both sides are there.
	met func(s *lyingServer)

	mu      sync.Mutex
	members map[stunt.Side]*lyingMember
	heard   [][]byte
}

type delivery struct {
	to  stunt.Side
	msg []byte
}

type lyingMember struct {
	conn *websocket.Conn
	in   chan []byte // what it said, for who plays the other side
	sent int
}

type lyingEnvelope struct {
	Type    string `json:"type"`
	Meeting uint64 `json:"meeting,omitempty"`
	First   bool   `json:"first,omitempty"`
	Data    []byte `json:"data,omitempty"`
}

func otherSide(s stunt.Side) stunt.Side {
	if s == stunt.SideSend {
		return stunt.SideRecv
	}
	return stunt.SideSend
}

// honest passes everything on.
func honest(from stunt.Side, _ int, msg []byte) []delivery {
	return []delivery{{otherSide(from), msg}}
}

func (s *lyingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, _ := url.ParseQuery(r.Header.Get("Stunt-Join"))
	side := stunt.Side(q.Get("side"))
	w.Header().Set("Stunt-Room", url.QueryEscape(q.Get("room")))
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // over
	m := &lyingMember{conn: conn, in: make(chan []byte, 64)}
	s.mu.Lock()
	s.members[side] = m
	both := len(s.members) == 2
	s.mu.Unlock()
	if both {
		s.tell(stunt.SideSend, lyingEnvelope{Type: "met", Meeting: 7, First: true})
		s.tell(stunt.SideRecv, lyingEnvelope{Type: "met", Meeting: 7})
		if s.met != nil {
			go s.met(s)
		}
	}
	for {
		_, b, err := conn.Read(context.Background())
		var e lyingEnvelope
		if err != nil || json.Unmarshal(b, &e) != nil || e.Type == "leave" {
			return
		}
		switch e.Type {
		case "drop":
			s.tell(side, lyingEnvelope{Type: "over", Meeting: 7})
		case "message":
			s.hear(side, m, e.Data)
		}
	}
}

func (s *lyingServer) hear(side stunt.Side, m *lyingMember, msg []byte) {
	s.mu.Lock()
	s.heard = append(s.heard, msg)
	s.mu.Unlock()
	select {
	case m.in <- msg:
	default:
	}
	if s.pass != nil {
		for _, d := range s.pass(side, m.sent, slices.Clone(msg)) {
			s.tell(d.to, lyingEnvelope{Type: "message", Meeting: 7, Data: d.msg})
		}
	}
	m.sent++
}

func (s *lyingServer) tell(to stunt.Side, e lyingEnvelope) {
	s.mu.Lock()
	m := s.members[to]
	s.mu.Unlock()
	b, _ := json.Marshal(e)
	if m != nil {
		m.conn.Write(context.Background(), websocket.MessageText, b) //nolint:errcheck // it may have left
	}
}

// lyingChannel is the server in the place of one side's peer.
type lyingChannel struct {
	s  *lyingServer
	to stunt.Side
}

func (c lyingChannel) Send(_ context.Context, msg []byte) error {
	c.s.tell(c.to, lyingEnvelope{Type: "message", Meeting: 7, Data: msg})
	return nil
}

func (c lyingChannel) Recv(ctx context.Context) ([]byte, error) {
	c.s.mu.Lock()
	m := c.s.members[c.to]
	c.s.mu.Unlock()
	select {
	case msg := <-m.in:
		return msg, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forged is an offer, or an answer, that leads to the attacker.
func forged(typ string) []byte {
	return fmt.Appendf(nil, `{"type":%q,"round":0,"fingerprint":%q,"report":{"hosts":[],"lanes":[{"port":7070,"mapped":["%s:7070"]}]}}`,
		typ, bytes.Repeat([]byte{7}, 32), attacker)
}

// serveLies runs the server where the two sides look for theirs.
func serveLies(t *testing.T, host *natlab.Machine, s *lyingServer) {
	t.Helper()
	ln, err := host.Listen("tcp", ":7478")
	if err != nil {
		t.Fatal(err)
	}
	s.members = map[stunt.Side]*lyingMember{}
	web := &http.Server{Handler: s}
	go web.Serve(ln) //nolint:errcheck // until it is closed
	t.Cleanup(func() {
		web.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.members {
			m.conn.CloseNow() //nolint:errcheck // over
		}
	})
}

// firstSealed is the number of a side's first sealed message.
func firstSealed(side stunt.Side) int {
	if side == stunt.SideSend {
		return 2
	}
	return 1
}

// lies are what servers try.
func lies() map[string]func() *lyingServer {
	sealed := func(f func(from stunt.Side, n int, msg []byte) []delivery) func() *lyingServer {
		return func() *lyingServer {
			return &lyingServer{pass: func(from stunt.Side, n int, msg []byte) []delivery {
				if n < firstSealed(from) {
					return honest(from, n, msg)
				}
				return f(from, n, msg)
			}}
		}
	}
	return map[string]func() *lyingServer{
		"changes what is sealed": sealed(func(from stunt.Side, n int, msg []byte) []delivery {
			msg[len(msg)/2] ^= 1
			return honest(from, n, msg)
		}),
		"injects candidates": sealed(func(from stunt.Side, n int, msg []byte) []delivery {
			return []delivery{{otherSide(from), forged("offer")}, {otherSide(from), forged("answer")}, {otherSide(from), msg}}
		}),
		"withholds what is sealed": sealed(func(stunt.Side, int, []byte) []delivery { return nil }),
		"says only the first over and over": func() *lyingServer {
			first := map[stunt.Side][]byte{}
			return &lyingServer{pass: func(from stunt.Side, n int, msg []byte) []delivery {
				if n == 0 {
					first[from] = msg
				}
				return []delivery{{otherSide(from), first[from]}}
			}}
		},
		"reflects what is sealed": sealed(func(from stunt.Side, _ int, msg []byte) []delivery {
			return []delivery{{from, msg}}
		}),
		"reflects all": func() *lyingServer {
			return &lyingServer{pass: func(from stunt.Side, _ int, msg []byte) []delivery { return []delivery{{from, msg}} }}
		},
		"changes the pairing": func() *lyingServer {
			return &lyingServer{pass: func(from stunt.Side, n int, msg []byte) []delivery {
				msg[len(msg)-1] ^= 1
				return honest(from, n, msg)
			}}
		},
		"speaks for both": func() *lyingServer {
			return &lyingServer{met: func(s *lyingServer) {
				for _, side := range []stunt.Side{stunt.SideSend, stunt.SideRecv} {
					s.tell(side, lyingEnvelope{Type: "message", Meeting: 7, Data: forged("offer")})
				}
			}}
		},
		"pairs with both": func() *lyingServer {
			return &lyingServer{met: func(s *lyingServer) {
				guess, _ := pair.ParseCode("home-abdomen-acid")
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				for _, side := range []stunt.Side{stunt.SideSend, stunt.SideRecv} {
					sealed, err := pair.Seal(ctx, lyingChannel{s, side}, guess, side == stunt.SideRecv)
					if err == nil {
						sealed.Send(ctx, forged("offer")) //nolint:errcheck // it was let in, which the test sees
					}
				}
			}}
		},
	}
}

// TestLyingServer: a server that does not do as it should keeps the two sides
// from each other, and that is all it can do.
func TestLyingServer(t *testing.T) {
	t.Parallel()
	for name, lie := range lies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newLyingPlace(t)
			s := lie()
			serveLies(t, p.server.host, s)
			send := p.a.start("send", "-v", "--timeout=8s", ownCode, p.a.secretFile("file.txt", 10))
			send.waits()
			recv := p.b.start("recv", "-v", "--timeout=8s", ownCode, "--out=out")
			for _, x := range []*peer{send, recv} {
				if status := x.status(); status != statusNoPath && status != statusWrongCode {
					t.Errorf("%s: exit status %d", x.name, status)
				}
				if _, ok := x.find("connected"); ok || strings.Contains(x.Stderr.String(), attacker) {
					t.Errorf("%s: connected, or tries to reach the attacker", x.name)
				}
				x.wantNoSockets()
			}
			wantOnly(t, p.b.dir)
			s.learnsNothing(t)
		})
	}
	t.Run("none", func(t *testing.T) { // which shows that the server can do its work
		t.Parallel()
		p := newLyingPlace(t)
		s := &lyingServer{pass: honest}
		serveLies(t, p.server.host, s)
		file := p.a.secretFile("file.txt", 10)
		send := p.a.start("send", "--timeout=60s", ownCode, file)
		send.waits()
		recv := p.b.start("recv", "--timeout=60s", ownCode, "--out=out")
		wantKind(t, "public", send, recv, file)
		s.learnsNothing(t)
	})
}

// newLyingPlace is a meeting place whose server leaves the rooms to another.
func newLyingPlace(t *testing.T) *meetingPlace {
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	p.serve.Signal(os.Interrupt)
	p.serve.Wait()
	p.serve = p.server.start("serve", "--listen=127.0.0.1:1") // STUN goes on
	if _, err := p.serve.waitEvent("listening", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	return p
}

// learnsNothing checks that no address, word or byte of a file is in what went
// through the server.
func (s *lyingServer) learnsNothing(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heard) == 0 {
		t.Error("the server heard nothing: nothing was tested")
	}
	for _, msg := range s.heard {
		for _, private := range []string{"192.168.", "203.0.113.", "fingerprint", "abdomen", "yogurt", secret} {
			if bytes.Contains(msg, []byte(private)) {
				t.Errorf("the server heard %q", private)
			}
		}
	}
}

// TestReplayedRoom: a server that says again what was said under the same code
// once before gets nowhere with either side.
func TestReplayedRoom(t *testing.T) {
	t.Parallel()
	p := newLyingPlace(t)
	var mu sync.Mutex
	said := map[stunt.Side][][]byte{}
	s := &lyingServer{pass: func(from stunt.Side, n int, msg []byte) []delivery {
		mu.Lock()
		defer mu.Unlock()
		said[from] = append(said[from], msg)
		return honest(from, n, msg)
	}}
	serveLies(t, p.server.host, s)
	file := p.a.secretFile("file.txt", 10)
	send := p.a.start("send", "--timeout=60s", ownCode, file)
	send.waits()
	recv := p.b.start("recv", "--timeout=60s", ownCode, "--out=out")
	wantKind(t, "public", send, recv, file)

	s.mu.Lock()
	s.members = map[stunt.Side]*lyingMember{}
	s.pass = nil
	s.met = func(s *lyingServer) {
		for _, side := range []stunt.Side{stunt.SideSend, stunt.SideRecv} {
			for _, msg := range said[side] {
				s.tell(otherSide(side), lyingEnvelope{Type: "message", Meeting: 7, Data: msg})
			}
		}
	}
	s.mu.Unlock()
	send = p.a.start("send", "--timeout=4s", ownCode, file)
	send.waits()
	recv = p.b.start("recv", "--timeout=4s", "--overwrite", ownCode, "--out=out")
	send.wantFailure(statusNoPath, "timeout")
	recv.wantFailure(statusWrongCode, "wrong-code")
	send.says("Warning: somebody tried a wrong code")
}

// TestHostileMember: who comes to a room without its words can hold it for a
// while, at most.
func TestHostileMember(t *testing.T) {
	t.Parallel()
	garbage := make([]byte, 200)
	rand.Read(garbage)
	garbage[0] = 0xff // which begins no message, not even one of another version
	say := func(msgs ...[]byte) func(*testing.T, *meetingPlace, func() *stunt.Room) {
		return func(t *testing.T, p *meetingPlace, join func() *stunt.Room) {
			room := join()
			defer room.Close() //nolint:errcheck // it is sent away
			m, err := room.Meet(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			for _, msg := range msgs {
				m.Send(t.Context(), msg) //nolint:errcheck // it may be sent away already
			}
			select {
			case <-m.Done():
			case <-time.After(30 * time.Second):
				t.Error("it was not sent away")
			}
		}
	}
	cases := map[string]func(*testing.T, *meetingPlace, func() *stunt.Room){
		"silence": say(),
		"garbage": say(garbage),
		"huge":    say(make([]byte, stunt.MaxMessage)),
		"many":    say(slices.Repeat([][]byte{garbage}, 100)...),
		"joins": func(t *testing.T, _ *meetingPlace, join func() *stunt.Room) {
			for range 15 {
				join().Close() //nolint:errcheck // it has left
			}
		},
	}
	for name, hostile := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := twoNATs(natlab.NAT{}, natlab.NAT{})
			top.Hosts = append(top.Hosts, natlab.Host{Name: "c"})
			p := newMeetingPlaceIn(t, top)
			file := p.a.file("file.bin", fileSize)
			send := p.a.start("send", "-v", "--timeout=90s", ownCode, file)
			send.waits()
			hostile(t, p, func() *stunt.Room { return joinFrom(t, p.lab.Host("c"), "home", stunt.SideRecv) })
			recv := p.b.start("recv", "--timeout=60s", ownCode, "--out=out")
			wantKind(t, "public", send, recv, file)
			if strings.Contains(send.Stderr.String(), "Warning") {
				t.Error("a warning about what was no guess")
			}
		})
	}
}

// joinFrom joins a room from a host of the lab, by way of a proxy in there.
func joinFrom(t *testing.T, host *natlab.Machine, room string, side stunt.Side) *stunt.Room {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy(t, ln, func(ctx context.Context, addr string) (net.Conn, error) { return host.Dial(ctx, "tcp", addr) })
	via := &url.URL{Scheme: "http", Host: ln.Addr().String()}
	r, err := stunt.Join(t.Context(), &stunt.JoinOptions{
		Server: serverAddr, Room: room, Side: side, Proxy: func(*url.URL) (*url.URL, error) { return via, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
