package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// folder makes a folder of files of random bytes.
func (s *side) folder(name string, files, size int) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Join(path, "empty"), 0o777); err != nil {
		s.t.Fatal(err)
	}
	for i := range files {
		s.file(fmt.Sprintf("%s/img_%04d.jpg", name, i), size)
	}
	return path
}

// holds makes a file in the folder to receive into.
func (s *side) holds(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "out", name), []byte(content), 0o666); err != nil {
		s.t.Fatal(err)
	}
}

// TestOffers: what the person is asked, for each sort of offer.
func TestOffers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		offers func(s *side) []string
		stdin  string
		asks   string
	}{
		{"folder", func(s *side) []string { return []string{s.folder("photos", 3, 1000)} }, "",
			`Receive photos/ \(3 files in 2 folders, 2.9 KiB\)\? \[Y/n\] `},
		{"several", func(s *side) []string {
			var all []string
			for i := range 5 {
				all = append(all, s.file(fmt.Sprintf("%d.bin", i), 10))
			}
			return append(all, s.folder("photos", 1, 10))
		}, "", `Receive 0.bin, 1.bin, 2.bin, … \(6 files in 2 folders, 60 B\)\? `},
		{"stream", func(*side) []string { return []string{"-"} }, "some text", `Receive stdin \(a stream\)\? `},
		{"long name", func(s *side) []string { return []string{s.file(strings.Repeat("long", 30), 10)} }, "",
			`Receive (long)+…(long|ong)+ \(1 file, 10 B\)\? `},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, natlab.NAT{}, natlab.NAT{})
			cmd := h.a.command(append([]string{"send", "--timeout=60s", "--peer", h.toB + words}, c.offers(h.a)...)...)
			cmd.Stdin, cmd.SysProcAttr = strings.NewReader(c.stdin), noTerminal()
			send := h.a.run(cmd)
			recv := h.b.sit("recv", "--timeout=60s", "--out=out", "--peer", h.toA+words)
			recv.waitScreen(c.asks)
			recv.types("\n")
			send.wantDone()
			recv.wantDone()
		})
	}
}

// TestOfferResumed: a person is told how much is there, and asked once.
func TestOfferResumed(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, slow, natlab.NAT{})
	file := p.a.file("big.bin", resumeSize)
	send := p.sends(file)
	recv := p.b.sit("recv", ownCode, "--timeout=60s", "--out=out")
	recv.waitScreen(`Receive big.bin \(1 file, 10.0 MiB\)\? `)
	recv.types("y\n")
	inMidst(t, send, recv.peer)
	recv.Kill()
	recv.Wait()
	// It is not asked again what it has said yes to …
	again := p.b.sit("recv", ownCode, "--timeout=60s", "--out=out")
	again.waitScreen(`Going on with an earlier transfer`)
	again.waitScreen(`Going on at [2-9][0-9] %: [0-9.]+ MiB of 10.0 MiB are here already`)
	again.Kill()
	send.Kill()
	again.Wait()
	send.Wait()
	// … unless that is not known any more.
	if err := os.Remove(filepath.Join(p.b.dir, "out", ".tcppunch-home.journal")); err != nil {
		t.Fatal(err)
	}
	send = p.sends(file)
	last := p.b.sit("recv", ownCode, "--timeout=60s", "--out=out")
	last.waitScreen(`Receive big.bin \(1 file, 10.0 MiB; [2-9][0-9] % is here already\)\? `)
	if strings.Contains(again.Stderr.String(), "Receive big.bin") {
		t.Error("asked again")
	}
	last.types("y\n")
	wantResumed(t, file, send, last.peer)
}

// TestConflicts: what to do with files that exist and differ.
func TestConflicts(t *testing.T) {
	t.Parallel()
	const ask = `%s exists and differs. Overwrite it\?\r\n \[y\]es, \[n\]o, \[r\]ename it; Y, N, R: the same for all `
	h := newHomes(t, natlab.NAT{}, natlab.NAT{})
	var files []string
	for _, name := range []string{"a.txt", "b.txt", "c.txt", "d.txt", "e.txt"} {
		files = append(files, h.a.file(name, 100))
		h.b.holds(name, "mine")
	}
	send := h.send(append([]string{h.a.file("big.bin", 3<<20)}, files...)...)
	recv := h.b.sit("recv", "--timeout=60s", "--out=out", "--peer", h.toA+words)
	recv.waitScreen(`Receive `)
	recv.types("y\n")
	recv.waitScreen(fmt.Sprintf(ask, "a.txt"))
	recv.types("what?\ny\n")
	recv.waitScreen(fmt.Sprintf(ask, "b.txt"))
	recv.types("n\n")
	recv.waitScreen(fmt.Sprintf(ask, "c.txt"))
	recv.types("R\n")
	recv.wantFailure(statusFailed, "exists")
	send.wantFailure(statusRefused, "exists")
	out := filepath.Join(h.b.dir, "out")
	wantContent(t, files[0], filepath.Join(out, "a.txt"))
	for _, name := range []string{"c", "d", "e"} {
		wantContent(t, filepath.Join(h.a.dir, name+".txt"), filepath.Join(out, name+" (2).txt"))
	}
	wantEntries(t, out, "a.txt", "b.txt", "big.bin", "c (2).txt", "c.txt", "d (2).txt", "d.txt", "e (2).txt", "e.txt")
	if b, _ := os.ReadFile(filepath.Join(out, "b.txt")); string(b) != "mine" {
		t.Error("what was to stay did not")
	}
}

// TestBars: what is on the screen with many files, with a stream, and over a break, on a
// wide terminal and on a narrow one.
func TestBars(t *testing.T) {
	t.Parallel()
	for columns, label := range map[uint16]string{80: `\r[0-9]+/100 [^ ]*…[^ ]*`, 40: `\r[0-9]+/100`} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			t.Parallel()
			random := slow
			random.Ports = natlab.Random
			p := newMeetingPlace(t, random, natlab.NAT{})
			send := p.a.sitAt(columns, 24, "send", ownCode, "--timeout=60s", p.a.folder("photos", 100, 100<<10))
			recv := p.b.sitAt(columns, 24, "recv", ownCode, "--timeout=60s", "--yes", "--out=out")
			for _, x := range []*seat{send, recv} {
				x.waitScreen(label + `  9.8 MiB +[0-9]+ % `)
			}
			inMidst(t, send.peer, recv.peer)
			if err := p.lab.NAT("home").Reboot(); err != nil {
				t.Fatal(err)
			}
			for _, x := range []*seat{send, recv} {
				x.waitScreen(`The connection is lost. Looking for the other side again …\r\n`)
				x.waitScreen(`Going on at [0-9]+ %: `)
				x.waitScreen(`(?s)Going on at.*` + label + `  9.8 MiB +[2-9][0-9] % `)
			}
			for _, x := range []*seat{send, recv} {
				if _, err := x.waitEvent("done", time.Minute); err != nil {
					t.Error(err)
					x.Kill()
				}
				x.status()
				if text := x.Stderr.String(); strings.Count(text, "\x1b[?25l") > strings.Count(text, "\x1b[?25h") {
					t.Errorf("%s: the cursor stays hidden", x.name)
				}
			}
			wantEntries(t, filepath.Join(p.b.dir, "out"), "photos")
		})
	}
	t.Run("stream", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, slow, natlab.NAT{})
		file := h.a.file("big.bin", 4<<20)
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := h.a.command("send", "--timeout=60s", "--peer", h.toB+words, "-", "--as=big.bin")
		cmd.Stdin, cmd.SysProcAttr = in, noTerminal()
		send := h.a.run(cmd)
		recv := h.b.sit("recv", "--timeout=60s", "--yes", "--out=out", "--peer", h.toA+words)
		recv.waitScreen(`\rbig.bin  [0-9.]+ MiB +[0-9.]+ [kM]B/s`)
		send.wantDone()
		recv.wantDone()
		wantSame(t, file, h.b.dir)
	})
}
