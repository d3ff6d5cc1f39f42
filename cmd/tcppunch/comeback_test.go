package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// comebackTime is how long a transfer of some seconds may take that was broken.
const comebackTime = time.Minute

// resumeSize is what takes some seconds on a slow link.
const resumeSize = 10 << 20

// begun starts a sender and a receiver in a room with a code of their own, and returns in
// the midst of the transfer.
func (p *meetingPlace) begun(t *testing.T, args ...string) (file string, send, recv *peer) {
	t.Helper()
	file = p.a.file("big.bin", resumeSize)
	send, recv = p.sends(file, args...), p.receives(args...)
	inMidst(t, send, recv)
	return file, send, recv
}

func (p *meetingPlace) sends(file string, args ...string) *peer {
	return p.a.start(append([]string{"send", "-v", "--timeout=60s", ownCode, file}, args...)...)
}

func (p *meetingPlace) receives(args ...string) *peer {
	return p.b.start(append([]string{"recv", "-v", "--timeout=60s", ownCode, "--out=out"}, args...)...)
}

// inMidst waits until two megabytes are there.
func inMidst(t *testing.T, all ...*peer) {
	t.Helper()
	for _, p := range all {
		p.waitsFor("progress", func(e event) bool { return e.Bytes >= 2<<20 })
	}
}

// waitsFor waits for an event of which something is true.
func (p *peer) waitsFor(name string, is func(event) bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		es, err := parseEvents(p.Stdout.String())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, e := range es {
			if e.Event == name && is(e) {
				return
			}
		}
	}
	p.t.Fatalf("%s: no such event %q", p.name, name)
}

// count counts events.
func (p *peer) count(name string) int {
	return strings.Count(p.Stdout.String(), `"event":"`+name+`"`)
}

// wantResumed checks that two programs have ended well, that the later one or both went on
// with what was there, and that nothing is left behind.
func wantResumed(t *testing.T, file string, send, recv *peer) {
	t.Helper()
	for _, p := range []*peer{send, recv} {
		if _, err := p.waitEvent("done", comebackTime); err != nil {
			t.Error(err)
			p.Kill()
		}
		if status := p.status(); status != 0 {
			t.Errorf("%s: exit status %d", p.name, status)
		}
		if e, ok := p.find("resumed"); !ok || e.Bytes < 1<<20 {
			t.Errorf("%s: resumed with %d bytes", p.name, e.Bytes)
		}
		p.wantNoSockets()
	}
	wantSame(t, file, recv.dir)
	wantNoJournal(t, send.dir)
}

// wantNoJournal checks that a sender has left none.
func wantNoJournal(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, "state", "tcppunch", "send-*")); len(left) > 0 {
		t.Errorf("the sender's journal is left: %q", left)
	}
}

// TestComebackKilled: a side dies without a word, the other one waits for it, and the same
// command goes on.
func TestComebackKilled(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name       string
		send, recv bool // who is killed
	}{
		{"sender", true, false},
		{"receiver", false, true},
		{"both", true, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlace(t, slow, natlab.NAT{Linux: true})
			file, send, recv := p.begun(t)
			if c.send {
				send.Kill()
				send.Wait()
			}
			if c.recv {
				recv.Kill()
				recv.Wait()
			}
			if !c.send {
				send.says("tcppunch recv home-abdomen-yogurt")
			}
			if !c.recv {
				recv.says("tcppunch send --code home-abdomen-yogurt …")
			}
			wantModes(t, map[string]os.FileMode{
				filepath.Join(p.b.dir, "out", ".tcppunch-home.journal"):          0o600,
				filepath.Join(p.a.dir, "state", "tcppunch", "send-home.journal"): 0o600,
			})
			if c.send {
				send = p.sends(file)
			}
			if c.recv {
				recv = p.receives()
			}
			wantResumed(t, file, send, recv)
		})
	}
	t.Run("sender of a code that was handed out", func(t *testing.T) {
		t.Parallel()
		p := newMeetingPlace(t, slow, natlab.NAT{})
		file := p.a.file("big.bin", resumeSize)
		send := p.a.start("send", "--timeout=60s", file)
		code := send.code()
		recv := p.b.start("recv", code, "--timeout=60s", "--out=out")
		inMidst(t, send, recv)
		send.Kill()
		send.Wait()
		recv.says("tcppunch send --code " + code + " …")
		send = p.a.start("send", "-v", "--timeout=60s", "--code", code, file)
		wantResumed(t, file, send, recv)
	})
	t.Run("receiver, and its journal is gone", func(t *testing.T) {
		t.Parallel()
		p := newMeetingPlace(t, slow, natlab.NAT{})
		file, send, recv := p.begun(t)
		recv.Kill()
		send.Kill()
		recv.Wait()
		send.Wait()
		if err := os.Remove(filepath.Join(p.b.dir, "out", ".tcppunch-home.journal")); err != nil {
			t.Fatal(err)
		}
		wantResumed(t, file, p.sends(file), p.receives())
	})
}

// cut takes both homes off the net for a while.
func (h *homes) cut(t *testing.T, d time.Duration) {
	t.Helper()
	set := func(down bool) {
		for _, nat := range []string{"home", "office"} {
			link := h.lab.Link(nat)
			link.Down = down
			if err := h.lab.SetLink(nat, link); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(true)
	time.Sleep(d)
	set(false)
}

// TestComebackNetwork: what happens between the two is over for them when it is over.
func TestComebackNetwork(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		breaks func(t *testing.T, p *meetingPlace)
	}{
		{"both links down", func(t *testing.T, p *meetingPlace) {
			p.cut(t, 14*time.Second)
		}},
		{"NAT rebooted", func(t *testing.T, p *meetingPlace) {
			if err := p.lab.NAT("home").Reboot(); err != nil {
				t.Fatal(err)
			}
		}},
		{"NAT rebooted, and no server", func(t *testing.T, p *meetingPlace) {
			p.serve.Kill()
			p.serve.Wait()
			if err := p.lab.NAT("home").Reboot(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Second)
			p.serves()
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			random := slow
			random.Ports = natlab.Random
			p := newMeetingPlace(t, random, natlab.NAT{})
			file, send, recv := p.begun(t)
			c.breaks(t, p)
			wantResumed(t, file, send, recv)
			for _, x := range []*peer{send, recv} {
				if n := x.count("connected"); n != 2 || x.count("offer") != 1 || x.count("waiting") != 2 {
					t.Errorf("%s: connected %d times, %d offers, waited %d times", x.name, n, x.count("offer"), x.count("waiting"))
				}
			}
		})
	}
}

// TestComebackInterrupted: Ctrl-C while the other side is looked for ends that at once, and
// the same commands go on later.
func TestComebackInterrupted(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, slow, natlab.NAT{})
	file := p.a.file("big.bin", resumeSize)
	send := p.a.start("send", "-v", "--timeout=60s", file)
	code := send.code()
	recv := p.b.start("recv", "-v", code, "--timeout=60s", "--out=out")
	inMidst(t, send, recv)
	send.Kill()
	send.Wait()
	recv.says("Looking for the other side again")
	time.Sleep(500 * time.Millisecond)
	recv.Signal(os.Interrupt)
	began := time.Now()
	recv.wantFailure(statusInterrupted, "interrupted", "the same command goes on")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v to end", took)
	}
	recv.wantNoSockets()
	wantResumed(t, file, p.a.start("send", "-v", "--timeout=60s", "--code", code, file), p.b.start("recv", "-v", code, "--timeout=60s", "--out=out"))
}

// TestComebackElsewhere: the sender's machine has moved to another network meanwhile.
func TestComebackElsewhere(t *testing.T) {
	t.Parallel()
	top := twoNATs(slow, natlab.NAT{})
	top.NATs = append(top.NATs, natlab.NAT{Name: "cafe", Ports: natlab.Sequential, Link: natlab.Link{Delay: oneWay}})
	top.Hosts = append(top.Hosts, natlab.Host{Name: "c", Behind: "cafe"})
	p := newMeetingPlaceIn(t, top)
	file, send, recv := p.begun(t)
	send.Kill()
	send.Wait()
	moved := *p.a
	moved.host = p.lab.Host("c")
	p.a = &moved
	send = p.sends(file)
	wantResumed(t, file, send, recv)
}

// TestComebackServerless: without a server, the two meet at the same addresses again.
func TestComebackServerless(t *testing.T) {
	t.Parallel()
	nat := dropping
	nat.Link = slow.Link
	for _, c := range []string{"sender killed", "receiver killed", "links down"} {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, nat, dropping)
			file := h.a.file("big.bin", resumeSize)
			send, recv := h.send("-v", file), h.recv("-v")
			inMidst(t, send, recv)
			switch c {
			case "sender killed":
				send.Kill()
				send.Wait()
				recv.says("start it again with the same command")
				send = h.send("-v", file)
			case "receiver killed":
				recv.Kill()
				recv.Wait()
				send.says("start it again with the same command")
				recv = h.recv("-v")
			default:
				h.cut(t, 14*time.Second)
			}
			wantResumed(t, file, send, recv)
		})
	}
}
