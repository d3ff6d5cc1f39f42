package stun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	codec "github.com/pion/stun/v4"
)

func TestQuery(t *testing.T) {
	server := serve(t, &Server{Software: "tcppunch", Other: addr("192.0.2.1:3479")})
	conn := dial(t, server)
	want := Result{Mapped: local(conn), Origin: server, Other: addr("192.0.2.1:3479"), Software: "tcppunch"}
	for range 3 { // the connection is kept, and asked again to hold the mapping
		got, err := Query(t.Context(), conn)
		if err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestQueryPacket(t *testing.T) {
	server := servePacket(t, nil)
	pc := listenPacket(t)
	for range 3 {
		got, err := QueryPacket(t.Context(), pc, server)
		if want := (Result{Mapped: local(pc), Origin: server}); err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// reply answers a request that a test server has read.
func reply(req []byte) []byte {
	b, err := Respond(req, Result{Mapped: addr("192.0.2.1:7070")})
	if err != nil {
		panic(err)
	}
	return b
}

// TestQueryStream plays servers of all kinds. They close after they are done, and then read no more.
func TestQueryStream(t *testing.T) {
	write := func(conn net.Conn, b []byte) { _, _ = conn.Write(b) }
	tests := []struct {
		name  string
		serve func(conn net.Conn, req []byte)
		want  error
	}{
		{"byte by byte", func(conn net.Conn, req []byte) {
			for _, b := range reply(req) {
				write(conn, []byte{b})
			}
		}, nil},
		{"two replies in one segment", func(conn net.Conn, req []byte) { write(conn, append(reply(req), reply(req)...)) }, nil},
		{"a late reply to somebody else first", func(conn net.Conn, req []byte) {
			write(conn, slices.Concat(reply(message(request)), message(indicate), reply(req)))
		}, nil},
		{"only replies to somebody else", func(conn net.Conn, req []byte) {
			for range maxStrays {
				write(conn, reply(message(request)))
			}
		}, ErrMalformed},
		{"our own request", func(conn net.Conn, req []byte) { write(conn, req) }, io.ErrUnexpectedEOF},
		{"closes at once", func(net.Conn, []byte) {}, io.ErrUnexpectedEOF},
		{"closes inside the header", func(conn net.Conn, req []byte) { write(conn, reply(req)[:7]) }, io.ErrUnexpectedEOF},
		{"closes inside the body", func(conn net.Conn, req []byte) { write(conn, reply(req)[:25]) }, io.ErrUnexpectedEOF},
		{"garbage", func(conn net.Conn, _ []byte) { write(conn, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, ErrMalformed},
		{"reply without an address", func(conn net.Conn, req []byte) {
			write(conn, slices.Concat([]byte{1, 1, 0, 0}, req[4:headerSize]))
		}, ErrMalformed},
		{"silence", func(conn net.Conn, _ []byte) { _, _ = io.Copy(io.Discard, conn) }, context.DeadlineExceeded},
		{"half a reply, then silence", func(conn net.Conn, req []byte) {
			write(conn, reply(req)[:25])
			_, _ = io.Copy(io.Discard, conn)
		}, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, peer := net.Pipe()
			t.Cleanup(func() { conn.Close(); peer.Close() })
			go func() {
				defer peer.Close()
				if req, err := readFrame(peer); err == nil {
					tt.serve(peer, req)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if tt.want == nil {
				ctx = t.Context()
			}
			got, err := Query(ctx, conn)
			if !errors.Is(err, tt.want) || (err == nil) != (got.Mapped == addr("192.0.2.1:7070")) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestQueryErrorResponse(t *testing.T) {
	conn, peer := net.Pipe()
	defer conn.Close()
	defer peer.Close()
	go func() {
		req, _ := readFrame(peer)
		m := &codec.Message{Type: codec.BindingError, TransactionID: idOf(req)}
		m.WriteHeader()
		_ = codec.CodeServerError.AddTo(m)
		_, _ = peer.Write(m.Raw)
		req, _ = readFrame(peer)
		_, _ = peer.Write(reply(req))
	}()
	_, err := Query(t.Context(), conn)
	var e *Error
	if !errors.As(err, &e) || e.Code != 500 {
		t.Errorf("got %v, want error 500", err)
	}
	if _, err := Query(t.Context(), conn); err != nil {
		t.Errorf("asking again: %v", err)
	}
}

func TestQueryContext(t *testing.T) {
	conn, peer := net.Pipe()
	defer conn.Close()
	defer peer.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	for range 2 { // the second time it has ended before
		if _, err := Query(ctx, conn); !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
	}
	// The deadline is gone.
	go func() { time.Sleep(20 * time.Millisecond); _, _ = peer.Write([]byte{1}) }()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("reading afterwards: %v", err)
	}
}

func TestQueryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := net.Pipe()
		defer peer.Close()
		defer conn.Close()
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		start := time.Now()
		if _, err := Query(t.Context(), conn); !errors.Is(err, ErrNoAnswer) || time.Since(start) != maxTime {
			t.Errorf("after %v: %v, want %v after %v", time.Since(start), err, ErrNoAnswer, maxTime)
		}
	})
}

// pipePackets makes packets of the writes to a net.Pipe, which works with the clock of synctest.
type pipePackets struct {
	net.Conn
	from netip.AddrPort
}

func (p pipePackets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, net.UDPAddrFromAddrPort(p.from), err
}

func (p pipePackets) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

func TestQueryPacketSchedule(t *testing.T) {
	server := addr("192.0.2.9:3478")
	times := []time.Duration{0, 500, 1500, 3500, 7500, 15500, 31500} // ms
	for answered := range len(times) + 1 {
		t.Run(fmt.Sprintf("answer to request %d", answered), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := net.Pipe()
				defer conn.Close()
				defer peer.Close()
				start := time.Now()
				go func() {
					var first []byte
					for i := 0; ; i++ {
						b := make([]byte, 1500)
						n, err := peer.Read(b)
						if err != nil {
							return
						}
						if first == nil {
							first = b[:n]
						}
						if i >= len(times) || time.Since(start) != times[i]*time.Millisecond || !slices.Equal(first, b[:n]) {
							t.Errorf("request %d after %v: %x", i, time.Since(start), b[:n])
						}
						if i == answered {
							_, _ = peer.Write(reply(b[:n]))
						}
					}
				}()
				_, err := QueryPacket(t.Context(), pipePackets{conn, server}, server)
				if answered < len(times) && err != nil {
					t.Error(err)
				}
				if answered == len(times) && (!errors.Is(err, ErrNoAnswer) || time.Since(start) != maxTime) {
					t.Errorf("after %v: %v, want %v", time.Since(start), err, ErrNoAnswer)
				}
			})
		})
	}
}

// Packets of others come first: none of them ends the query or is taken for the answer.
func TestQueryPacketStrays(t *testing.T) {
	server, other, pc := listenPacket(t), listenPacket(t), listenPacket(t)
	go func() {
		b := make([]byte, 1500)
		n, from, err := server.ReadFrom(b)
		if err != nil {
			return
		}
		forged, _ := Respond(b[:n], Result{Mapped: addr("192.0.2.66:666")})
		_, _ = other.WriteTo(forged, from)
		for _, p := range [][]byte{nil, []byte("hello"), b[:n], reply(message(request)), reply(b[:n])[:19], reply(b[:n])} {
			_, _ = server.WriteTo(p, from)
		}
	}()
	got, err := QueryPacket(t.Context(), pc, local(server))
	if want := (Result{Mapped: addr("192.0.2.1:7070")}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestQueryPacketContext(t *testing.T) {
	silent, pc := listenPacket(t), listenPacket(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	start := time.Now()
	for range 2 {
		if _, err := QueryPacket(ctx, pc, local(silent)); !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
	}
	if d := time.Since(start); d > firstRTO {
		t.Errorf("took %v", d)
	}
}

// TestCoturn asks Debian's coturn, where it is installed.
func TestCoturn(t *testing.T) {
	bin, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("coturn is not installed")
	}
	port := local(listenPacket(t)).Port() + 1
	server := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	dir := t.TempDir()
	cmd := exec.Command(bin, "-n", "--listening-ip=127.0.0.1", fmt.Sprintf("--listening-port=%d", port), "--no-tls", "--no-dtls",
		"--no-cli", "--stun-only", "--log-file=stdout", "--simple-log", "--pidfile="+dir+"/pid", "--userdb="+dir+"/db")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pc := listenPacket(t)
	got, err := QueryPacket(ctx, pc, server) // repeats until coturn is up
	if err != nil || got.Mapped != local(pc) {
		t.Fatalf("UDP: got %+v, %v, want %v", got, err, local(pc))
	}
	var conn net.Conn
	for conn == nil && ctx.Err() == nil { // its TCP side may come up later
		conn, err = net.Dial("tcp", server.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		if got, err = Query(ctx, conn); err != nil || got.Mapped != local(conn) {
			t.Errorf("TCP: got %+v, %v, want %v", got, err, local(conn))
		}
	}
	t.Logf("%+v", got)
}
