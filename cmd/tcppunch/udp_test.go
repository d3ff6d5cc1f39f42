package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// fallbackTime is how long it may take, from knowing the peer's addresses, until
// the two are connected by UDP.
const fallbackTime = 3 * time.Second

// wantVia checks that both sides have connected by a network, in time, said so, and
// that the file arrived.
func wantVia(t *testing.T, network string, most time.Duration, send, recv *peer, name string) {
	t.Helper()
	send.wantDone()
	recv.wantDone()
	wantSame(t, name, recv.dir)
	for _, p := range []*peer{send, recv} {
		e, ok := p.find("connected")
		if !ok || e.Network != network {
			t.Errorf("%s: connected by %q, want %q", p.name, e.Network, network)
			continue
		}
		punch := time.Duration(e.Phases.Dial * float64(time.Millisecond))
		if punch > most && !raceEnabled {
			t.Errorf("%s: it took %v from knowing the addresses, want %v at most", p.name, punch, most)
		}
		word := map[string]string{"tcp": "Connected by TCP, directly,", "kcp": "Connected by UDP (KCP), directly,"}[network]
		if !strings.Contains(p.Stderr.String(), word) {
			t.Errorf("%s: the screen does not say %q:\n%s", p.name, word, p.Stderr)
		}
		t.Logf("%s: %s %s, %s, round %d, punch %v", p.name, e.Network, e.Kind, e.Technique, e.Round, punch)
	}
}

// noTCP is a host's firewall that lets no TCP out but to the server.
const noTCP = `nft add table ip no
nft add chain ip no out '{ type filter hook output priority 0; }'
nft add rule ip no out ip protocol tcp ip daddr != ` + serverAddr + ` drop`

// TestFallback: where TCP is impossible the transfer runs over UDP, whatever the
// NATs are.
func TestFallback(t *testing.T) {
	t.Parallel()
	refuses := natlab.NAT{RefuseInboundSYN: true}
	resets := natlab.NAT{RefuseInboundSYN: true, Unsolicited: natlab.Reset}
	random := natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random, RefuseInboundSYN: true}
	sequential := natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Sequential, Step: 2, Churn: 2, RefuseInboundSYN: true}
	linux := func(u natlab.Unsolicited) natlab.NAT { return natlab.NAT{Linux: true, Unsolicited: u} }
	cases := []struct {
		name  string
		a, b  natlab.NAT
		block bool // TCP from a to anybody but the server
	}{
		{"both refuse SYNs", refuses, resets, false},
		{"TCP blocked on one side", natlab.NAT{}, natlab.NAT{}, true},
		{"random ports on one side", random, refuses, false},
		{"sequential ports on one side", refuses, sequential, false},
		{"sequential ports on both sides", sequential, sequential, false},
		{"Linux NATs, drop and open", linux(natlab.Drop), linux(natlab.Accept), true},
		{"Linux NATs, both open", linux(natlab.Accept), linux(natlab.Accept), true},
		{"Linux NATs, reject and open", linux(natlab.Reset), linux(natlab.Accept), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlace(t, c.a, c.b)
			if c.block {
				if r := p.a.host.Run("sh", "-e", "-c", noTCP); r.Code != 0 {
					t.Fatal(r)
				}
			}
			name := p.a.file("file.bin", fileSize)
			send := p.a.start("send", "--timeout=60s", "-v", name)
			recv := p.b.start("recv", send.code(), "--timeout=60s", "--out=out", "-v")
			most := fallbackTime
			if c.a.Ports == natlab.Random || c.b.Ports == natlab.Sequential {
				most = 25 * time.Second // TCP has a longer head start where it has to search, and both need luck
			}
			wantVia(t, "kcp", most, send, recv, name)
		})
	}
}

// TestFallbackServerless: the same without a server.
func TestFallbackServerless(t *testing.T) {
	t.Parallel()
	blocked := natlab.NAT{Blocked: []natlab.Protocol{natlab.TCP}}
	refuses := natlab.NAT{RefuseInboundSYN: true}
	for _, c := range []struct {
		name string
		a, b natlab.NAT
	}{{"both refuse SYNs", refuses, refuses}, {"TCP blocked on one side", blocked, natlab.NAT{}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, c.a, c.b)
			name := h.a.file("file.bin", fileSize)
			to := func(nat string) string {
				return netip.AddrPortFrom(h.lab.NAT(nat).Addr(), 7070).String() + words
			}
			send := h.a.start("send", "--timeout=60s", "--peer", to("office"), name)
			time.Sleep(1500 * time.Millisecond)
			recv := h.b.start("recv", "--timeout=60s", "--peer", to("home"), "--out=out")
			wantVia(t, "kcp", 12*time.Second, send, recv, name)
		})
	}
}

// TestFallbackRestarted: a peer that is killed while UDP waits for TCP's head start, and
// started again, is found again.
func TestFallbackRestarted(t *testing.T) {
	t.Parallel()
	refuses := natlab.NAT{RefuseInboundSYN: true}
	for _, sender := range []bool{true, false} {
		t.Run(map[bool]string{true: "sender", false: "receiver"}[sender], func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, refuses, refuses)
			h.flags = []string{"-v", "--head-start=3s"}
			name := h.a.file("file.bin", fileSize)
			send, recv := h.send(name), h.recv()
			hit := recv
			if sender {
				hit = send
			}
			hit.says("authenticated: UDP")
			hit.Kill()
			time.Sleep(time.Second)
			if sender {
				send = h.send(name)
			} else {
				recv = h.recv()
			}
			wantVia(t, "kcp", time.Minute, send, recv, name)
			if e, _ := send.find("connected"); e.PunchMS > 15000 {
				t.Errorf("the punch is said to have taken %.0f ms", e.PunchMS)
			}
		})
	}
}

// TestUDPBlocked: where UDP is blocked, TCP connects as quickly as ever.
func TestUDPBlocked(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{Blocked: []natlab.Protocol{natlab.UDP}}, natlab.NAT{})
	name := p.a.file("file.bin", fileSize)
	for _, via := range []string{"auto", "tcp"} {
		send := p.a.start("send", "--timeout=60s", "--via", via, name)
		recv := p.b.start("recv", send.code(), "--timeout=60s", "--via", via, "--out=out", "--overwrite")
		wantVia(t, "tcp", time.Second, send, recv, name)
		e, _ := recv.find("connected")
		t.Logf("--via %s: from start to connected %.0f ms, waited for addresses %.0f ms", via, e.SetupMS, e.Phases.Wait)
	}
}

// TestVia: each transport can be forced, and one that the other side does not want
// is an error that says so.
func TestVia(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	name := p.a.file("file.bin", fileSize)
	for _, c := range []struct{ a, b, want string }{
		{"auto", "auto", "tcp"}, {"tcp", "auto", "tcp"}, {"auto", "kcp", "kcp"}, {"kcp", "kcp", "kcp"},
	} {
		send := p.a.start("send", "--timeout=60s", "--via", c.a, name)
		recv := p.b.start("recv", send.code(), "--timeout=60s", "--via", c.b, "--out=out", "--overwrite")
		t.Log(fmt.Sprint(c))
		wantVia(t, c.want, time.Second, send, recv, name)
	}
	send := p.a.start("send", "--timeout=20s", "--via=tcp", name)
	recv := p.b.start("recv", send.code(), "--timeout=20s", "--via=kcp", "--out=out", "--overwrite")
	send.wantFailure(statusNoPath, "no-path", "different transports")
	recv.wantFailure(statusNoPath, "no-path", "different transports")
}

// TestKCPBreaks: what breaks in the midst of a transfer over UDP is noticed, told and
// tidied up as it is over TCP.
func TestKCPBreaks(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*homes, *peer, *peer) {
		t.Parallel()
		h := newHomes(t, slow, natlab.NAT{})
		h.flags = []string{"--via=kcp", "--retry=0"}
		send, recv := h.midTransfer(t)
		return h, send, recv
	}
	// ends checks that neither side takes long, and that neither leaves anything.
	ends := func(t *testing.T, began time.Time, most time.Duration, ps ...*peer) {
		t.Helper()
		if took := time.Since(began); took > most {
			t.Errorf("took %v to end, want %v at most", took, most)
		}
		for _, p := range ps {
			p.wantNoSockets()
		}
	}
	for _, sender := range []bool{true, false} {
		name := map[bool]string{true: "sender", false: "receiver"}[sender]
		t.Run(name+" interrupted", func(t *testing.T) {
			h, send, recv := start(t)
			hit, other := recv, send
			if sender {
				hit, other = send, recv
			}
			hit.Signal(os.Interrupt)
			began := time.Now()
			hit.wantFailure(statusInterrupted, "interrupted")
			other.wantFailure(statusFailed, "interrupted", "the other side interrupted the transfer")
			ends(t, began, 12*time.Second, send, recv)
			wantOnly(t, h.b.dir)
		})
		t.Run(name+" killed", func(t *testing.T) {
			h, send, recv := start(t)
			hit, other := recv, send
			if sender {
				hit, other = send, recv
			}
			hit.Kill()
			began := time.Now()
			other.wantFailure(statusFailed, "peer-gone")
			ends(t, began, 20*time.Second, other)
			if sender {
				wantOnly(t, h.b.dir)
			}
		})
	}
	t.Run("disk full", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, slow, natlab.NAT{})
		h.flags = []string{"--via=kcp", "--retry=0"}
		out := filepath.Join(h.b.dir, "out")
		mountTmpfs(t, out, "size=20m")
		send, recv := h.midTransfer(t)
		if err := os.WriteFile(filepath.Join(out, "filler"), make([]byte, 21<<20), 0o666); err == nil {
			t.Fatal("the disk is not full")
		}
		recv.wantFailure(statusFailed, "no-space")
		send.wantFailure(statusFailed, "no-space", "the other side says")
		wantOnly(t, h.b.dir, "filler")
	})
	t.Run("three seconds of silence", func(t *testing.T) {
		h, send, recv := start(t)
		if err := h.lab.SetLink("office", natlab.Link{Delay: oneWay, Down: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := h.lab.SetLink("office", natlab.Link{Delay: oneWay}); err != nil {
			t.Fatal(err)
		}
		send.wantDone()
		recv.wantDone()
		wantSame(t, filepath.Join(h.a.dir, "big.bin"), h.b.dir)
	})
	t.Run("reordering, duplicates and losses", func(t *testing.T) {
		t.Parallel()
		bad := natlab.Link{Rate: 50e6, Reorder: 0.02, Duplicate: 0.02, Loss: 0.01}
		h := newHomes(t, natlab.NAT{Link: bad}, natlab.NAT{})
		h.flags = []string{"--via=kcp", "--retry=0"}
		name := h.a.file("big.bin", 8<<20)
		send, recv := h.send(name), h.recv()
		send.wantDone()
		recv.wantDone()
		wantSame(t, name, h.b.dir)
	})
	t.Run("silence for good", func(t *testing.T) {
		h, send, recv := start(t)
		if err := h.lab.SetLink("office", natlab.Link{Down: true}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		send.wantFailure(statusFailed, "peer-gone")
		recv.wantFailure(statusFailed, "peer-gone")
		ends(t, began, 20*time.Second, send, recv)
		wantOnly(t, h.b.dir)
	})
}
