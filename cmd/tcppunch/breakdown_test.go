package main

import (
	"bytes"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// homes is two homes far apart with a side in each.
type homes struct {
	lab      *natlab.Lab
	a, b     *side
	flags    []string // of both programs
	toA, toB string   // addresses, without words
}

func newHomes(t *testing.T, a, b natlab.NAT, env ...string) *homes {
	t.Helper()
	lab := natlab.New(t, twoNATs(a, b))
	return &homes{
		lab: lab, a: newSide(t, lab.Host("a"), env...), b: newSide(t, lab.Host("b"), env...),
		toA: lab.NAT("home").Addr().String() + ":7070", toB: lab.NAT("office").Addr().String() + ":7070",
	}
}

// send and recv start the two programs as they should be started.
func (h *homes) send(args ...string) *peer {
	return h.a.start(slices.Concat([]string{"send", "--timeout=60s", "--peer", h.toB + words}, h.flags, args)...)
}

func (h *homes) recv(args ...string) *peer {
	return h.b.start(slices.Concat([]string{"recv", "--timeout=60s", "--out=out", "--peer", h.toA + words}, h.flags, args)...)
}

// slow is a NAT on a link that takes some seconds for what midTransfer sends.
var slow = natlab.NAT{Link: natlab.Link{Rate: 20e6}}

// midTransfer starts a transfer of six seconds and returns in the midst of it.
func (h *homes) midTransfer(t *testing.T) (send, recv *peer) {
	t.Helper()
	send, recv = h.send(h.a.file("big.bin", 16<<20)), h.recv()
	for _, p := range []*peer{send, recv} {
		if _, err := p.waitEvent("progress", time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	return send, recv
}

// TestNobodyThere: the time that was given passes, and that is said.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	t.Run("no program", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		send := h.a.start("send", "-v", "--timeout=3s", "--peer", h.toB+words, h.a.file("file.bin", 100))
		if send.status(); !regexp.MustCompile(`public opener to 203\.0\.113\.20:\d+ from port \d+, round \d, TTL 4\n`).MatchString(send.Stderr.String()) {
			t.Error("no SYN was one that opens only this side's NAT")
		}
		send.wantFailure(statusNoPath, "timeout", h.toB, "both run at the same time")
		if took := time.Since(send.started); took < 3*time.Second || took > 15*time.Second {
			t.Errorf("ended after %v, want 3 s", took)
		}
		send.wantNoSockets()
	})
	t.Run("no program, router resets", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{Unsolicited: natlab.Reset})
		send := h.a.start("send", "--timeout=5s", "--peer", h.toB+words, h.a.file("file.bin", 100))
		send.wantFailure(statusNoPath, "no-path", h.toB+" refuses")
		send.wantNoSockets()
	})
	t.Run("no such address", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		recv := h.b.start("recv", "--timeout=3s", "--peer", "203.0.113.77:7070"+words, "--out=out")
		recv.wantFailure(statusNoPath, "timeout", "203.0.113.77:7070")
		recv.wantNoSockets()
		wantOnly(t, h.b.dir)
	})
	t.Run("one mistyped address", func(t *testing.T) { // the other side waits in vain, too
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		send := h.a.start("send", "--timeout=6s", "--peer", "203.0.113.21:7070"+words, h.a.file("file.bin", 100))
		recv := h.b.start("recv", "--timeout=6s", "--peer", h.toA+words, "--out=out")
		send.wantFailure(statusNoPath, "timeout", "203.0.113.21:7070")
		recv.wantFailure(statusNoPath, "timeout", h.toA)
		wantOnly(t, h.b.dir)
	})
}

// TestNoNetwork: a cable that is out, a route or an address that is missing.
func TestNoNetwork(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		breaks func(h *homes)
		code   string
		quick  bool
	}{
		{"no address", func(h *homes) {
			h.a.host.Run("sh", "-c", "ip -4 addr flush scope global; ip -6 addr flush scope global")
		}, "no-network", true},
		{"interface down", func(h *homes) {
			h.a.host.Run("sh", "-c", `for i in $(ls /sys/class/net); do ip link set "$i" down; done`)
		}, "no-network", true},
		{"no route", func(h *homes) { h.a.host.Run("sh", "-c", "ip route del default; ip route") }, "no-network", false},
		{"cable out", func(h *homes) { h.lab.SetLink("a", natlab.Link{Down: true}) }, "timeout", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, natlab.NAT{}, natlab.NAT{})
			c.breaks(h)
			send := h.a.start("send", "--timeout=5s", "--peer", h.toB+words, h.a.file("file.bin", 100))
			send.wantFailure(statusNoPath, c.code)
			if took := time.Since(send.started); c.quick && took > 4*time.Second {
				t.Errorf("ended after %v, want at once", took)
			}
		})
	}
}

// TestPortInUse: another program has the port; that is said at once.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	h := newHomes(t, natlab.NAT{}, natlab.NAT{})
	for _, address := range []string{":7070", "127.0.0.1:7070"} {
		ln, err := h.a.host.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		send := h.send(h.a.file("file.bin", 100))
		send.wantFailure(statusFailed, "port-in-use", "7070", "--port")
		if took := time.Since(send.started); took > 5*time.Second {
			t.Errorf("ended after %v, want at once", took)
		}
		ln.Close()
		send.wantNoSockets()
	}
	// A second tcppunch with the same port is such a program.
	first := h.send(filepath.Join(h.a.dir, "file.bin"))
	if _, err := first.waitEvent("waiting", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	h.send(filepath.Join(h.a.dir, "file.bin")).wantFailure(statusFailed, "port-in-use")
	// Its neighbours are not: 7071 to 7073 help, but are not needed.
	first.Signal(os.Interrupt)
	first.wantFailure(statusInterrupted, "interrupted")
	for _, address := range []string{":7071", ":7072", ":7073"} {
		ln, err := h.a.host.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
	}
	send, recv := h.send(filepath.Join(h.a.dir, "file.bin")), h.recv()
	if s, r := send.status(), recv.status(); s != 0 || r != 0 {
		t.Errorf("with the spare ports taken: exit status %d and %d", s, r)
	}
}

// TestWords: both sides learn within seconds that their words are not the same.
func TestWords(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, sends, receives, says string }{
		{"wrong", "/otter-lamp-sofa", "/otter-lamp-soda", "not the same on both sides"},
		{"only the sender", "/otter-lamp-sofa", "", "only one of the two sides"},
		{"only the receiver", "", "/otter-lamp-sofa", "only one of the two sides"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, natlab.NAT{}, natlab.NAT{})
			send := h.a.start("send", "--timeout=60s", "--yes", "--peer", h.toB+c.sends, h.a.file("file.bin", 100))
			recv := h.b.start("recv", "--timeout=60s", "--yes", "--peer", h.toA+c.receives, "--out=out")
			for _, p := range []*peer{send, recv} {
				p.wantFailure(statusWrongCode, "wrong-code", c.says)
				if took := time.Since(p.started); took > 20*time.Second {
					t.Errorf("%s: ended after %v", p.name, took)
				}
				p.wantNoSockets()
			}
			if _, ok := recv.find("offer"); ok {
				t.Error("an offer was made")
			}
			wantOnly(t, h.b.dir)
		})
	}
}

// TestInterrupted: Ctrl-C on either side, while it waits and while it transfers.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		for _, p := range []*peer{h.send(h.a.file("file.bin", 100)), h.b.start("recv", "--peer", "203.0.113.77:7070"+words, "--out=out")} {
			if _, err := p.waitEvent("waiting", 10*time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
			p.Signal(os.Interrupt)
			began := time.Now()
			p.wantFailure(statusInterrupted, "interrupted")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: took %v to end", p.name, took)
			}
			p.wantNoSockets()
		}
		wantOnly(t, h.b.dir)
	})
	for name, sender := range map[string]bool{"sender": true, "receiver": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, slow, natlab.NAT{})
			send, recv := h.midTransfer(t)
			hit, other := recv, send
			if sender {
				hit, other = send, recv
			}
			hit.Signal(os.Interrupt)
			began := time.Now()
			hit.wantFailure(statusInterrupted, "interrupted")
			other.wantFailure(statusFailed, "interrupted", "the other side interrupted the transfer")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v to end", took)
			}
			wantOnly(t, h.b.dir)
			send.wantNoSockets()
			recv.wantNoSockets()
		})
	}
}

// TestHangup: a terminal window that is closed ends a transfer as Ctrl-C does,
// and nohup keeps it from doing so.
func TestHangup(t *testing.T) {
	t.Parallel()
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("nohup is in force, for the programs that would be tested too")
	}
	h := newHomes(t, slow, natlab.NAT{})
	send, recv := h.midTransfer(t)
	recv.Signal(syscall.SIGHUP)
	recv.wantFailure(statusInterrupted, "interrupted")
	send.wantFailure(statusFailed, "interrupted")
	wantOnly(t, h.b.dir)

	cmd := h.a.command("send", "--peer", h.toB+words, filepath.Join(h.a.dir, "big.bin"))
	cmd.Path, cmd.Args = "/usr/bin/env", append([]string{"env", "nohup", command}, cmd.Args[1:]...)
	cmd.SysProcAttr = noTerminal()
	ignores := h.a.run(cmd)
	if _, err := ignores.waitEvent("waiting", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	ignores.Signal(syscall.SIGHUP)
	time.Sleep(500 * time.Millisecond)
	select {
	case <-ignores.Done():
		t.Error("ended under nohup")
	default:
	}
	ignores.Signal(os.Interrupt)
	ignores.wantFailure(statusInterrupted, "interrupted")
}

// TestKilled: a peer that dies in the midst of a transfer is noticed, and an error where
// nobody wants to wait for it.
func TestKilled(t *testing.T) {
	t.Parallel()
	for name, sender := range map[string]bool{"sender": true, "receiver": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, slow, natlab.NAT{})
			h.flags = []string{"--retry=0"}
			send, recv := h.midTransfer(t)
			hit, other := recv, send
			if sender {
				hit, other = send, recv
			}
			hit.Kill()
			began := time.Now()
			other.wantFailure(statusFailed, "peer-gone")
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("took %v to notice", took)
			}
			if sender {
				wantOnly(t, h.b.dir)
			}
			other.wantNoSockets()
		})
	}
}

// TestCut: a network that goes away in the midst of a transfer ends it after the
// idle time, on both sides.
func TestCut(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the idle time, 10 s")
	}
	t.Parallel()
	h := newHomes(t, slow, natlab.NAT{})
	h.flags = []string{"--retry=0"}
	send, recv := h.midTransfer(t)
	if err := h.lab.SetLink("office", natlab.Link{Down: true}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, p := range []*peer{send, recv} {
		p.wantFailure(statusFailed, "peer-gone")
		if took := time.Since(began); took < 8*time.Second || took > 40*time.Second {
			t.Errorf("%s: took %v to notice", p.name, took)
		}
		p.wantNoSockets()
	}
	wantOnly(t, h.b.dir)
}

// TestSourceChanges: of files that grow, or vanish, before they are sent, the names are told on
// both sides; the others arrive.
func TestSourceChanges(t *testing.T) {
	t.Parallel()
	h := newHomes(t, slow, natlab.NAT{})
	grows, vanishes, stays := h.a.file("a-grows.bin", 24<<20), h.a.file("b-vanishes.bin", 100), h.a.file("c-stays.bin", 100)
	send, recv := h.send(grows, vanishes, stays), h.recv()
	if _, err := recv.waitEvent("progress", time.Minute); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(grows, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("and more"); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if err := os.Remove(vanishes); err != nil {
		t.Fatal(err)
	}
	send.wantFailure(statusFailed, "source-changed", "2 of 3 failed")
	recv.wantFailure(statusFailed, "source-changed", "2 of 3 failed")
	for _, p := range []*peer{send, recv} {
		for _, name := range []string{"a-grows.bin", "b-vanishes.bin"} {
			if !strings.Contains(p.Stdout.String(), `"event":"failed","name":"`+name+`","code":"source-changed"`) {
				t.Errorf("%s does not name %s", p.name, name)
			}
		}
	}
	want, err1 := os.ReadFile(stays)
	got, err2 := os.ReadFile(filepath.Join(h.b.dir, "out", "c-stays.bin"))
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what did not change: %v", err)
	}
}

// TestReadOnly: a folder that cannot be written to.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	h := newHomes(t, natlab.NAT{}, natlab.NAT{})
	out := filepath.Join(h.b.dir, "out")
	mountTmpfs(t, out, "ro")
	send, recv := h.send(h.a.file("file.bin", 100)), h.recv()
	recv.wantFailure(statusFailed, "failed", "read-only")
	send.wantFailure(statusFailed, "failed", "the other side")
	wantOnly(t, h.b.dir)
}

// TestDiskFull: the receiver's disk is too small, or becomes so.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	t.Run("from the start", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		mountTmpfs(t, filepath.Join(h.b.dir, "out"), "size=1m")
		send, recv := h.send(h.a.file("big.bin", 2<<20)), h.recv()
		recv.wantFailure(statusFailed, "no-space", "--out")
		send.wantFailure(statusFailed, "no-space", "the other side says")
		if _, ok := recv.find("progress"); ok {
			t.Error("it was begun although it could not end well")
		}
		wantOnly(t, h.b.dir)
		send.wantNoSockets()
		recv.wantNoSockets()
	})
	t.Run("meanwhile", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, slow, natlab.NAT{})
		out := filepath.Join(h.b.dir, "out")
		mountTmpfs(t, out, "size=20m")
		send, recv := h.midTransfer(t)
		// More than the whole disk: what has arrived may not be on it yet.
		err := os.WriteFile(filepath.Join(out, "filler"), make([]byte, 21<<20), 0o666)
		if err == nil || !strings.Contains(err.Error(), "space") {
			t.Fatalf("filling the disk: %v", err)
		}
		recv.wantFailure(statusFailed, "no-space")
		send.wantFailure(statusFailed, "no-space", "the other side says")
		wantOnly(t, h.b.dir, "filler")
		send.wantNoSockets()
		recv.wantNoSockets()
	})
}
