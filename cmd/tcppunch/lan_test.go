package main

import (
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// wantKind checks a finished transfer and the kind of its path, and returns how
// long it took from the later one's start to its connection.
func wantKind(t *testing.T, kind string, send, recv *peer, name string) time.Duration {
	t.Helper()
	send.wantDone()
	recv.wantDone()
	wantSame(t, name, recv.dir)
	for _, p := range []*peer{send, recv} {
		if e, ok := p.find("connected"); !ok || e.Kind != kind {
			t.Errorf("%s: connected to a %s address, want %s", p.name, e.Kind, kind)
		}
	}
	e, _ := later(send, recv).find("connected")
	return time.Duration(e.SetupMS * float64(time.Millisecond))
}

// later is the one of two programs that was started last.
func later(a, b *peer) *peer {
	if b.started.After(a.started) {
		return b
	}
	return a
}

// TestLAN: two hosts of one network, both with a firewall that lets nothing in.
func TestLAN(t *testing.T) {
	cases := []struct {
		name     string
		firewall natlab.Firewall
		late     time.Duration
		within   time.Duration
	}{
		{"drop", natlab.DropUnsolicited, 0, 2 * time.Second},
		{"drop, one late", natlab.DropUnsolicited, 5 * time.Second, 2 * time.Second},
		{"reject", natlab.RejectUnsolicited, 0, 5 * time.Second},
		{"reject, one late", natlab.RejectUnsolicited, 5 * time.Second, 5 * time.Second},
		{"no firewall", natlab.NoFirewall, 0, 2 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, natlab.Topology{
				LANs: []natlab.LAN{{Name: "lan"}},
				Hosts: []natlab.Host{
					{Name: "a", Behind: "lan", Firewall: c.firewall, Link: natlab.Link{Delay: time.Millisecond / 4}},
					{Name: "b", Behind: "lan", Firewall: c.firewall, Link: natlab.Link{Delay: time.Millisecond / 4}},
				},
			})
			a, b := newSide(t, lab.Host("a")), newSide(t, lab.Host("b"))
			name := a.file("file.bin", fileSize)
			send := a.start("send", "--timeout=30s", "--peer", b.host.Addr().String()+words, name)
			time.Sleep(c.late)
			recv := b.start("recv", "--timeout=30s", "--out=out", "--peer", a.host.Addr().String()+words)
			if took := wantKind(t, "private", send, recv, name); took > c.within {
				t.Errorf("connected after %v, want at most %v", took, c.within)
			} else {
				t.Logf("connected after %v", took)
			}
		})
	}
}

// TestSameNAT: two hosts behind one NAT that know each other's public and
// private addresses take the short way.
func TestSameNAT(t *testing.T) {
	nats := map[string]natlab.NAT{
		"no hairpin": {},
		"hairpin":    {Hairpin: true},
		"reset":      {Unsolicited: natlab.Reset},
		"linux":      {Linux: true},
	}
	for name, nat := range nats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nat.Name, nat.Link.Delay = "home", oneWay
			lab := natlab.New(t, natlab.Topology{
				NATs:  []natlab.NAT{nat},
				Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "home"}},
			})
			a, b := newSide(t, lab.Host("a")), newSide(t, lab.Host("b"))
			public := lab.NAT("home").Addr().String() + ":7070,"
			file := a.file("file.bin", fileSize)
			send := a.start("send", "--timeout=30s", "--peer", public+b.host.Addr().String()+":7070"+words, file)
			recv := b.start("recv", "--timeout=30s", "--out=out", "--peer", public+a.host.Addr().String()+":7070"+words)
			t.Logf("connected after %v", wantKind(t, "private", send, recv, file))
		})
	}
}
