package main

import (
	"os"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestCodePrompt: at a terminal the code is asked for, and Tab completes words.
func TestCodePrompt(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	name := p.a.file("file.bin", fileSize)
	send := p.a.start("send", "--timeout=60s", "--code=home-abdomen-yogurt", name)
	send.waits()
	recv := p.b.sit("recv", "--timeout=60s", "--yes", "--out=out")
	recv.waitScreen(`Code: `)
	recv.types("home\r")
	recv.waitScreen(`cut off\?`)
	recv.types("home-abd\t")
	recv.waitScreen(`home-abdomen-`)
	recv.types("yox\x7f\x7fog\t") // a typing error, taken back
	recv.waitScreen(`yogurt`)
	recv.types("\r")
	wantKind(t, "public", send, recv.peer, name)
}

// TestCodePromptEnded: Ctrl-C, Ctrl-D and a signal end the question, and leave a
// terminal on which one can go on.
func TestCodePromptEnded(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a"}}})
	for name, end := range map[string]func(*seat){
		"Ctrl-C":             func(s *seat) { s.types("\x03") },
		"Ctrl-C in the line": func(s *seat) { s.types("4821-\x03") },
		"Ctrl-D":             func(s *seat) { s.types("\x04") },
		"signal":             func(s *seat) { s.Signal(os.Interrupt) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recv := newSide(t, lab.Host("a")).sit("recv", "--server=192.0.2.1", "--out=out")
			recv.waitScreen(`Code: `)
			end(recv)
			recv.wantFailure(statusInterrupted, "interrupted")
		})
	}
}

// TestQR: a code for a camera is shown where people look at a screen with room
// for it, and nowhere else.
func TestQR(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	name := p.a.file("file.bin", 100)
	stop := func(send *peer) {
		send.waits()
		send.Signal(os.Interrupt)
		send.wantFailure(statusInterrupted, "interrupted")
	}
	sizes := []struct {
		name          string
		columns, rows uint16
		want          bool
	}{
		{"large", 100, 50, true},
		{"just right", 40, 24, true},
		{"low", 100, 15, false},
		{"narrow", 25, 50, false},
	}
	for _, s := range sizes {
		send := p.a.sitAt(s.columns, s.rows, "send", "--json=false", name)
		code := send.waitScreen(`Code: (\S+)`)
		send.waitScreen(`Waiting for`)
		send.Signal(os.Interrupt)
		send.status()
		text := send.Stderr.String()
		if got := strings.Contains(text, "█"); got != s.want {
			t.Errorf("%s: a QR code is shown: %v, want %v\n%s", s.name, got, s.want, text)
		}
		for _, line := range qrLines("tcppunch recv " + code) {
			if s.want && !strings.Contains(text, "\x1b[40;97m"+line+"\x1b[0m\r\n") {
				t.Errorf("%s: the screen does not show the line %q", s.name, line)
			}
		}
	}
	withJSON := p.a.sitAt(100, 50, "send", name)
	piped := p.a.start("send", "--json=false", name)
	piped.says("Waiting for")
	piped.Signal(os.Interrupt)
	piped.status()
	stop(withJSON.peer)
	for _, send := range []*peer{withJSON.peer, piped} {
		if strings.Contains(send.Stderr.String(), "█") {
			t.Errorf("a QR code is shown:\n%s", send.Stderr)
		}
	}
}
