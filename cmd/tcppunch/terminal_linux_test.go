package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A seat is a person at a terminal in which the command runs. What the screen
// shows is in Stderr, what was typed too.
type seat struct {
	*peer
	keyboard *os.File
}

// sit runs the command at a terminal of its own, of 80 columns and 24 lines.
func (s *side) sit(args ...string) *seat { return s.sitAt(80, 24, args...) }

func (s *side) sitAt(columns, rows uint16, args ...string) *seat {
	s.t.Helper()
	return s.sitWith(columns, rows, s.command(args...))
}

// sitIn has a shell run the command.
func (s *side) sitIn(script string, args ...string) *seat {
	s.t.Helper()
	cmd := s.command(args...)
	inner := cmd.Args
	shell := s.host.Command(context.WithoutCancel(s.t.Context()), "sh", append([]string{"-c", script, "sh"}, inner...)...)
	shell.Dir, shell.Env = cmd.Dir, cmd.Env
	return s.sitWith(80, 24, shell)
}

func (s *side) sitWith(columns, rows uint16, cmd *natlab.Cmd) *seat {
	s.t.Helper()
	master, terminal := newTerminal(s.t, columns, rows)
	cmd.Stderr = terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
	p := s.run(cmd)
	terminal.Close()
	shown := make(chan struct{})
	p.shown = shown
	go func() {
		defer close(shown)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			p.Stderr.Write(b[:n])
		}
	}()
	return &seat{peer: p, keyboard: master}
}

// newTerminal makes a pseudo-terminal.
func newTerminal(t *testing.T, columns, rows uint16) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
		if failed == nil {
			failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
		}
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}

// waitScreen waits until the screen shows what the expression finds, and returns
// its first group.
func (s *seat) waitScreen(expr string) string {
	s.t.Helper()
	re := regexp.MustCompile(expr)
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	text, err := s.Stderr.WaitFor(ctx, re.MatchString)
	if err != nil {
		s.t.Fatalf("%s: the screen does not show %q: %v:\n%s", s.name, expr, err, text)
	}
	return re.FindStringSubmatch(text)[re.NumSubexp()]
}

// types presses keys.
func (s *seat) types(keys string) {
	s.t.Helper()
	if _, err := s.keyboard.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

const stunAddr = "198.51.100.10:3478"

// homesWithSTUN is two homes and a STUN server.
func homesWithSTUN(t *testing.T, a, b natlab.NAT) *homes {
	t.Helper()
	top := twoNATs(a, b)
	top.Hosts = append(top.Hosts, natlab.Host{Name: "stun"})
	lab := natlab.New(t, top)
	ln, err := lab.Host("stun").Listen("tcp", ":3478")
	if err != nil {
		t.Fatal(err)
	}
	go (&stun.Server{}).Serve(t.Context(), ln) //nolint:errcheck // the test sees whether it serves
	return &homes{lab: lab, a: newSide(t, lab.Host("a")), b: newSide(t, lab.Host("b"), "TCPPUNCH_STUN="+stunAddr)}
}

const addressLine = `Your address, for the other side:\s+(\S+)\r`

// threeWords matches three words of the list, of which one has a dash in it.
const threeWords = `(yo-yo|[a-z]+)(-(yo-yo|[a-z]+)){2}`

// TestAsk: each side shows its address line, and is told the other's.
func TestAsk(t *testing.T) {
	t.Parallel()
	nats := map[string]natlab.NAT{
		"preserving": {},
		"sequential": {Ports: natlab.Sequential},
		"linux":      dropping,
	}
	for name, nat := range nats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := homesWithSTUN(t, nat, nat)
			file := h.a.file("file.bin", fileSize)
			send := h.a.sit("send", "--timeout=60s", "--peer", "ask", "--stun", strings.TrimSuffix(stunAddr, ":3478"), file)
			recv := h.b.sit("recv", "--timeout=60s", "--peer", "ask", "--out=out")
			for _, p := range []*seat{send, recv} {
				e, err := p.waitEvent("address", 30*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				private := p.host.Addr().String() + ":7070"
				public := h.lab.NAT(p.host.Behind()).Addr().String() + ":"
				if !strings.HasPrefix(e.TCP, public) || fmt.Sprint(e.Local) != "["+private+"]" {
					t.Errorf("%s: public %s, local %v", p.name, e.TCP, e.Local)
				}
				if nat.Ports == natlab.Preserving && e.TCP != public+"7070" {
					t.Errorf("%s: public %s behind a router that keeps ports", p.name, e.TCP)
				}
				if line := p.waitScreen(addressLine); !regexp.MustCompile(`^` + e.TCP + `,` + private + `/` + threeWords + `$`).MatchString(line) {
					t.Errorf("%s: address line %q", p.name, line)
				}
			}
			send.types("nonsense\n")
			send.waitScreen(`"nonsense"`)
			send.types(recv.waitScreen(addressLine) + "\n")
			time.Sleep(time.Second)
			recv.types(send.waitScreen(addressLine) + "\n")
			recv.waitScreen(`Receive file.bin \(1 file, 64.0 KiB\)\?`)
			if _, err := os.Stat(h.b.dir + "/out/file.bin"); err == nil {
				t.Error("it is there before it was accepted")
			}
			recv.types("\n")
			wantKind(t, "public", send.peer, recv.peer, file)
		})
	}
}

// TestAskRefused: who does not want the files says so, and the sender is told.
func TestAskRefused(t *testing.T) {
	t.Parallel()
	h := newHomes(t, natlab.NAT{}, natlab.NAT{})
	send := h.send(h.a.file("file.bin", fileSize))
	recv := h.b.sit("recv", "--timeout=60s", "--out=out", "--peer", h.toA+words)
	recv.waitScreen(`Receive file.bin`)
	recv.types("what?\nn\n")
	recv.wantFailure(statusFailed, "refused")
	send.wantFailure(statusRefused, "refused", "does not want this")
	wantOnly(t, h.b.dir)
}

// TestNoSTUN: without an answer the address line holds what is known, and a
// warning. Ctrl-C ends the question.
func TestNoSTUN(t *testing.T) {
	t.Parallel()
	servers := map[string]string{"silent": "198.51.100.99:3478", "refuses": "203.0.113.20", "no name": "stun.invalid"}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, natlab.NAT{}, natlab.NAT{Unsolicited: natlab.Reset})
			send := h.a.sit("send", "--peer", "ask", "--stun", server, h.a.file("file.bin", fileSize))
			line := send.waitScreen(addressLine)
			send.waitScreen(`Warning: the public address is unknown`)
			if !strings.HasPrefix(line, h.a.host.Addr().String()+":7070/") {
				t.Errorf("address line %q", line)
			}
			if took := time.Since(send.started); took > 15*time.Second {
				t.Errorf("asked after %v", took)
			}
			send.waitScreen(`The other side's address:`)
			send.types("\x03")
			send.wantFailure(statusInterrupted, "interrupted")
			send.wantNoSockets()
		})
	}
}

// TestInterruptedQuestion: Ctrl-C while somebody is being asked, on that side or
// on the other.
func TestInterruptedQuestion(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, words, question string
		sender                bool // who types Ctrl-C
		status                int  // of the other side
		code                  string
	}{
		{"offer, receiver", words, `Receive file.bin`, false, statusFailed, "interrupted"},
		{"offer, sender", words, `Receive file.bin`, true, statusFailed, "interrupted"},
		{"check words, receiver", "", `the same words\?`, false, statusWrongCode, "not-confirmed"},
		{"check words, sender", "", `the same words\?`, true, statusWrongCode, "not-confirmed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, natlab.NAT{}, natlab.NAT{})
			send := h.a.sit("send", "--timeout=60s", "--peer", h.toB+c.words, h.a.file("file.bin", fileSize))
			recv := h.b.sit("recv", "--timeout=60s", "--out=out", "--peer", h.toA+c.words)
			recv.waitScreen(c.question)
			if c.words == "" {
				send.waitScreen(c.question)
			}
			hit, other := recv, send
			if c.sender {
				hit, other = send, recv
			}
			hit.types("\x03")
			began := time.Now()
			hit.wantFailure(statusInterrupted, "interrupted")
			other.wantFailure(c.status, c.code)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v to end", took)
			}
			wantOnly(t, h.b.dir)
			hit.wantNoSockets()
			other.wantNoSockets()
		})
	}
}

// TestCheckWords: without words in common, both people compare what they see.
func TestCheckWords(t *testing.T) {
	t.Parallel()
	question := `Does the other screen show the same words\?`
	start := func(t *testing.T) (send, recv *seat, h *homes, name string) {
		h = newHomes(t, natlab.NAT{}, natlab.NAT{})
		name = h.a.file("file.bin", fileSize)
		send = h.a.sit("send", "--timeout=60s", "--peer", h.toB, name)
		recv = h.b.sit("recv", "--timeout=60s", "--out=out", "--peer", h.toA)
		send.waitScreen(question)
		recv.waitScreen(question)
		s, errS := send.waitEvent("check_words", 10*time.Second)
		r, errR := recv.waitEvent("check_words", 10*time.Second)
		if errS != nil || errR != nil || s.Words != r.Words || !regexp.MustCompile(`^`+threeWords+`$`).MatchString(s.Words) {
			t.Errorf("check words %q and %q", s.Words, r.Words)
		}
		for _, p := range []*seat{send, recv} {
			if got := p.waitScreen(`Check words: (\S+)\r`); got != s.Words {
				t.Errorf("%s: the screen shows %q, want %q", p.name, got, s.Words)
			}
			if _, ok := p.find("offer"); ok {
				t.Errorf("%s: an offer before the words were confirmed", p.name)
			}
		}
		return send, recv, h, name
	}
	t.Run("both confirm", func(t *testing.T) {
		t.Parallel()
		send, recv, _, name := start(t)
		send.types("y\n")
		time.Sleep(300 * time.Millisecond)
		if _, ok := recv.find("offer"); ok {
			t.Error("an offer before both have confirmed")
		}
		recv.types("yes\n")
		recv.waitScreen(`Receive file.bin`)
		recv.types("y\n")
		wantKind(t, "public", send.peer, recv.peer, name)
	})
	for name, sender := range map[string]bool{"sender denies": true, "receiver denies": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send, recv, h, _ := start(t)
			if sender {
				send.types("n\n")
			} else {
				recv.types("\n") // no answer is a no
			}
			for _, p := range []*seat{send, recv} {
				p.wantFailure(statusWrongCode, "not-confirmed")
				p.wantNoSockets()
				if _, ok := p.find("offer"); ok {
					t.Errorf("%s: an offer was made", p.name)
				}
			}
			wantOnly(t, h.b.dir)
		})
	}
	t.Run("one dies", func(t *testing.T) {
		t.Parallel()
		send, recv, h, _ := start(t)
		send.Kill()
		recv.wantFailure(statusFailed, "peer-gone", "lost")
		wantOnly(t, h.b.dir)
	})
	t.Run("yes to all", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		name := h.a.file("file.bin", fileSize)
		send := h.a.start("send", "--yes", "--timeout=60s", "--peer", h.toB, name)
		recv := h.b.start("recv", "--yes", "--timeout=60s", "--out=out", "--peer", h.toA)
		wantKind(t, "public", send, recv, name)
		for _, p := range []*peer{send, recv} {
			if !strings.Contains(p.Stderr.String(), "Warning: --yes") {
				t.Errorf("%s: no warning", p.name)
			}
		}
	})
	t.Run("no terminal", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, natlab.NAT{}, natlab.NAT{})
		send := h.a.sit("send", "--timeout=60s", "--peer", h.toB, h.a.file("file.bin", 100))
		recv := h.b.start("recv", "--timeout=60s", "--peer", h.toA, "--out=out")
		recv.wantFailure(statusWrongCode, "no-terminal", "--yes")
		send.waitScreen(`Waiting for`)
		time.Sleep(300 * time.Millisecond)
		send.types("\x03")
		send.wantFailure(statusInterrupted, "interrupted")
	})
}

// TestBar: on a terminal a bar moves, and Ctrl-C leaves nothing half drawn.
func TestBar(t *testing.T) {
	t.Parallel()
	h := newHomes(t, slow, natlab.NAT{})
	send := h.a.sit("send", "--timeout=60s", "--peer", h.toB+words, h.a.file("a-name-that-is-longer-than-its-place.bin", 16<<20))
	recv := h.b.sit("recv", "--timeout=60s", "--yes", "--peer", h.toA+words, "--out=out")
	for _, p := range []*seat{send, recv} {
		p.waitScreen(`\ra-name-tha…place.bin  16.0 MiB +[0-9]+ % █*░+ +[0-9.]+ [kM]B/s  [0-9.]+ s left`)
	}
	send.types("\x03")
	send.wantFailure(statusInterrupted, "interrupted")
	recv.wantFailure(statusFailed, "interrupted")
	for _, p := range []*seat{send, recv} {
		p.waitScreen(`\nError: .*interrupted.*\r\n(What has arrived is kept: .*\r\n)?$`) // below the bar
		if text := p.Stderr.String(); strings.Count(text, "\x1b[?25l") > strings.Count(text, "\x1b[?25h") {
			t.Errorf("%s: the cursor stays hidden", p.name)
		}
	}
	wantOnly(t, h.b.dir)
}
