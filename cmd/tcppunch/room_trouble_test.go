package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

const ownCode = "--code=home-abdomen-yogurt"

// TestWrongCode: who has a wrong code is told so, and who holds the code goes on,
// whichever side that is.
func TestWrongCode(t *testing.T) {
	t.Parallel()
	for name, sender := range map[string]bool{"sender holds the code": true, "receiver holds the code": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
			file := p.a.file("file.bin", fileSize)
			sends := func(code string) *peer { return p.a.start("send", "--timeout=60s", code, file) }
			receives := func(code string) *peer { return p.b.start("recv", "--timeout=60s", "--out=out", code) }
			holds, joins := sends, receives
			if !sender {
				holds, joins = receives, sends
			}
			holder := holds(ownCode)
			holder.waits()
			wrong := joins("--code=home-abdomen-acid")
			wrong.wantFailure(statusWrongCode, "wrong-code", "the code is wrong", "the other screen")
			wrong.wantNoSockets()
			holder.says("Warning: somebody tried a wrong code (1 of 5).\n")
			right := joins("--code=home-abdomen-yogurt")
			send, recv := holder, right
			if !sender {
				send, recv = right, holder
			}
			wantKind(t, "public", send, recv, file)
			if strings.Contains(wrong.Stderr.String()+holder.Stderr.String()+wrong.Stdout.String(), "yogurt") {
				t.Error("the words are on the screen of somebody who typed them")
			}
		})
	}
}

// TestGuessed: the fifth wrong guess ends a code. The pauses between them grow.
func TestGuessed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the pauses after wrong guesses, 15 s")
	}
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	send := p.a.start("send", "--timeout=120s", p.a.file("file.bin", 100))
	room, _, _ := strings.Cut(send.code(), "-")
	began := time.Now()
	for range 5 {
		wrong := p.b.start("recv", "--timeout=60s", "--out=out", room+"-guess-guess-guess")
		wrong.wantFailure(statusWrongCode, "wrong-code")
	}
	if took := time.Since(began); took < 15*time.Second {
		t.Errorf("five guesses took %v, want more than 1 + 2 + 4 + 8 s", took)
	}
	send.wantFailure(statusWrongCode, "wrong-code", "too many wrong codes", "(4 of 5)")
	send.wantNoSockets()
	wantOnly(t, p.b.dir)
}

// TestThirdParty: who comes to a room in which two are is refused, and the two
// feel nothing of it.
func TestThirdParty(t *testing.T) {
	t.Parallel()
	top := twoNATs(natlab.NAT{RefuseInboundSYN: true}, natlab.NAT{RefuseInboundSYN: true}) // so that they stay for a while
	top.Hosts = append(top.Hosts, natlab.Host{Name: "c"})
	p := newMeetingPlaceIn(t, top)
	file := p.a.file("file.bin", 100)
	send := p.a.start("send", "--timeout=60s", "-v", "--via=tcp", ownCode, file)
	send.waits()
	c := newSide(t, p.lab.Host("c"), "TCPPUNCH_SERVER="+serverAddr)
	again := c.start("send", "--timeout=60s", ownCode, c.file("virus.exe", 100))
	again.wantFailure(statusFailed, "code-in-use")
	recv := p.b.start("recv", "--timeout=60s", "--via=tcp", ownCode, "--out=out")
	send.says("the other side is in the room")
	thirds := []*peer{
		c.start("recv", "--no-lan", "--timeout=60s", "--out=out", ownCode), // they would meet there, on one host
		c.start("send", "--no-lan", "--timeout=60s", ownCode, c.file("virus.exe", 100)),
	}
	for _, third := range thirds {
		third.wantFailure(statusFailed, "code-in-use")
		third.wantNoSockets()
	}
	// The two homes cannot connect by TCP: that is why they were still there.
	send.wantFailure(statusNoPath, "no-path", "another network")
	recv.wantFailure(statusNoPath, "no-path", "another network")
	wantOnly(t, p.b.dir)
	wantOnly(t, c.dir)
}

// TestCodeKilled: a side that dies is waited for, and may be started again.
func TestCodeKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		sender   bool // who is killed
		punching bool // or waiting
	}{
		{"sender, waiting", true, false},
		{"receiver, waiting", false, false},
		{"sender, punching", true, true},
		{"receiver, punching", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlace(t, natlab.NAT{Linux: true}, natlab.NAT{Linux: true})
			file := p.a.file("file.bin", fileSize)
			sends := func() *peer { return p.a.start("send", "--timeout=60s", "-v", ownCode, file) }
			receives := func() *peer { return p.b.start("recv", "--timeout=60s", "-v", ownCode, "--out=out") }
			first, second := sends, receives
			if !c.sender {
				first, second = receives, sends
			}
			killed := first()
			killed.waits()
			var other *peer
			if c.punching {
				other = second()
				other.says("the other side is in the room")
			}
			killed.Kill()
			killed.Wait()
			if !c.punching {
				other = second()
				other.waits()
			}
			restarted := first()
			send, recv := other, restarted
			if c.sender {
				send, recv = restarted, other
			}
			t.Logf("connected after %v", wantKind(t, "public", send, recv, file))
		})
	}
}

// TestServerRestarts: the server goes away while a side waits, and comes back.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]bool{"killed": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
			file := p.a.file("file.bin", fileSize)
			send := p.a.start("send", "--timeout=60s", file)
			code := send.code()
			send.waits()
			if killed {
				p.serve.Kill()
			} else {
				p.serve.Signal(os.Interrupt)
			}
			p.serve.Wait()
			send.says("Warning: the server " + serverAddr + " cannot be reached; still trying …\n")
			p.serves()
			send.says("The server " + serverAddr + " is back.\n")
			recv := p.b.start("recv", code, "--timeout=60s", "--out=out")
			wantKind(t, "public", send, recv, file)
			if n := strings.Count(send.Stderr.String(), "Warning: "); n != 1 {
				t.Errorf("%d warnings, want one", n)
			}
		})
	}
	t.Run("quickly", func(t *testing.T) {
		t.Parallel()
		p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
		file := p.a.file("file.bin", fileSize)
		recv := p.b.start("recv", ownCode, "--timeout=60s", "--out=out")
		recv.waits()
		p.serve.Kill()
		p.serve.Wait()
		p.serves()
		send := p.a.start("send", ownCode, "--timeout=60s", file)
		wantKind(t, "public", send, recv, file)
	})
	t.Run("never", func(t *testing.T) {
		t.Parallel()
		p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
		recv := p.b.start("recv", ownCode, "--timeout=4s", "--out=out")
		recv.waits()
		p.serve.Kill()
		recv.wantFailure(statusNoPath, "no-server", "was lost")
		recv.wantNoSockets()
	})
}

// TestRouterReboots: the line to the server dies without a word while a side
// waits. That it is dead is found out, the side rejoins, and who came meanwhile
// is met.
func TestRouterReboots(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until a dead line is tested, 20 s")
	}
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{Ports: natlab.Random}, natlab.NAT{})
	file := p.a.file("file.bin", fileSize)
	send := p.a.start("send", "-v", "--timeout=120s", file)
	code := send.code()
	send.waits()
	if err := p.lab.NAT("home").Reboot(); err != nil {
		t.Fatal(err)
	}
	recv := p.b.start("recv", "-v", code, "--timeout=120s", "--out=out")
	for _, x := range []*peer{send, recv} {
		if _, err := x.waitEvent("connected", 90*time.Second); err != nil {
			t.Error(err)
		}
		if status := x.status(); status != 0 {
			t.Errorf("%s: exit status %d", x.name, status)
		}
	}
	wantSame(t, file, p.b.dir)
}

// TestNoServer: a server that is not there is an error at once.
func TestNoServer(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	ln, err := p.server.host.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.NotFoundHandler()}
	go web.Serve(ln) //nolint:errcheck // until it is closed
	t.Cleanup(func() { web.Close() })
	file := p.a.file("file.bin", 100)
	for name, c := range map[string]struct{ server, says string }{
		"refuses":        {serverAddr + ":99", "refused"},
		"silent":         {"198.51.100.99", ""},
		"no name":        {"no-such-host.invalid", ""},
		"something else": {"http://" + serverAddr, "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send := p.a.start("send", "--timeout=5s", "--server", c.server, file)
			send.wantFailure(statusNoPath, "no-server", strings.TrimPrefix(c.server, "http://"), c.says)
			recv := p.b.start("recv", "--timeout=5s", "--server", c.server, "4821-otter-lamp", "--out=out")
			recv.wantFailure(statusNoPath, "no-server", strings.TrimPrefix(c.server, "http://"), c.says)
		})
	}
}

// TestProxy: the server is reached through a proxy that the environment names.
func TestProxy(t *testing.T) {
	t.Parallel()
	top := twoNATs(natlab.NAT{}, natlab.NAT{})
	p := newMeetingPlaceIn(t, top, "HTTP_PROXY=http://"+serverAddr+":3128")
	p.serve.Kill()
	p.serve.Wait()
	p.serve = p.server.start("serve", "--listen=127.0.0.1:7478") // nobody else gets there
	if _, err := p.serve.waitEvent("listening", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	var tunnels atomic.Int32
	startProxy(t, p.server.host, func(addr string) string {
		tunnels.Add(1)
		if addr != serverAddr+":7478" {
			t.Errorf("a tunnel to %s was asked for", addr)
		}
		return "127.0.0.1:7478"
	})
	file := p.a.file("file.bin", fileSize)
	send := p.a.start("send", "--timeout=60s", file)
	code := send.code()
	recv := p.b.start("recv", code, "--timeout=60s", "--out=out")
	wantKind(t, "public", send, recv, file)
	if n := tunnels.Load(); n < 2 {
		t.Errorf("%d tunnels, want one for each side", n)
	}
}

// startProxy is a proxy with CONNECT and nothing else, on port 3128 of a host.
func startProxy(t *testing.T, host *natlab.Machine, route func(addr string) string) {
	t.Helper()
	ln, err := host.Listen("tcp", ":3128")
	if err != nil {
		t.Fatal(err)
	}
	proxy(t, ln, func(ctx context.Context, addr string) (net.Conn, error) { return host.Dial(ctx, "tcp", route(addr)) })
}

func proxy(t *testing.T, ln net.Listener, dial func(ctx context.Context, addr string) (net.Conn, error)) {
	t.Cleanup(func() { ln.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		req, err := http.ReadRequest(in)
		if err != nil || req.Method != http.MethodConnect {
			return
		}
		to, err := dial(context.WithoutCancel(t.Context()), req.Host)
		if err != nil {
			return
		}
		defer to.Close()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(to, in) //nolint:errcheck // until either side closes
			to.Close()
		}()
		io.Copy(conn, to) //nolint:errcheck // until either side closes
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
}

// TestCodeInterrupted: Ctrl-C on either side, while it waits and while it punches.
func TestCodeInterrupted(t *testing.T) {
	t.Parallel()
	for name, sender := range map[string]bool{"sender": true, "receiver": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// These two cannot connect, and try for some seconds.
			nat := natlab.NAT{RefuseInboundSYN: true}
			p := newMeetingPlace(t, nat, nat)
			file := p.a.file("file.bin", 100)
			send := p.a.start("send", "--timeout=60s", "-v", ownCode, file)
			send.waits()
			recv := p.b.start("recv", "--timeout=60s", "-v", ownCode, "--out=out")
			for _, x := range []*peer{send, recv} {
				x.says("trying: ")
			}
			hit, other := recv, send
			if sender {
				hit, other = send, recv
			}
			hit.Signal(os.Interrupt)
			began := time.Now()
			hit.wantFailure(statusInterrupted, "interrupted")
			other.says("The other side went away")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the other side noticed after %v", took)
			}
			hit.wantNoSockets()
			// Alone again, it is interrupted, too.
			other.Signal(os.Interrupt)
			other.wantFailure(statusInterrupted, "interrupted")
			other.wantNoSockets()
		})
	}
}

// TestNobodyWithCode: the time that was given passes.
func TestNobodyWithCode(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	for _, x := range []*peer{
		p.a.start("send", "--timeout=3s", p.a.file("file.bin", 100)),
		p.b.start("recv", "--timeout=3s", "1234-otter-lamp", "--out=out"),
	} {
		x.wantFailure(statusNoPath, "timeout", "nobody came with this code within 3s", "the same server")
		x.wantNoSockets()
		if took := time.Since(x.started); took < 3*time.Second || took > 15*time.Second {
			t.Errorf("%s: ended after %v, want 3 s", x.name, took)
		}
	}
}
