package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestLANLinkLocal: a cable between two machines is enough, without any address but those
// that they give themselves.
func TestLANLinkLocal(t *testing.T) {
	t.Parallel()
	sides := office(t, natlab.DropUnsolicited, "anna", "ben")
	for _, s := range sides {
		s.allowMulticast()
		for _, args := range []string{"-4 addr flush dev eth0", "-6 addr flush dev eth0 scope global"} {
			if r := s.host.Run(append([]string{"ip"}, strings.Fields(args)...)...); r.Err != nil {
				t.Fatal(r.Stderr)
			}
		}
	}
	file := sides[0].file("file.bin", fileSize)
	send := sides[0].start("send", "--timeout=30s", file)
	recv := sides[1].start("recv", "--timeout=30s", "--out=out", send.code())
	wantKind(t, "lan", send, recv, file)
	if e, _ := send.find("connected"); !netip.MustParseAddrPort(e.Remote).Addr().IsLinkLocalUnicast() {
		t.Errorf("connected to %s", e.Remote)
	}
}

// TestLANNoNetwork: without any there is nothing to wait for.
func TestLANNoNetwork(t *testing.T) {
	t.Parallel()
	s := office(t, natlab.NoFirewall, "anna")[0]
	s.host.Run("ip", "link", "set", "eth0", "down")
	s.start("send", "--timeout=30s", s.file("file.bin", 1)).wantFailure(statusNoPath, "no-network", "no network")
}

// TestLANNobody: the time passes, and what to try next is said.
func TestLANNobody(t *testing.T) {
	t.Parallel()
	s := office(t, natlab.DropUnsolicited, "anna")[0]
	s.start("recv", "--timeout=2s", "4821-otter-lamp").wantFailure(statusNoPath, "timeout", "peers --doctor")
}

// TestLANServerAway: with a server that is not there the local network does, unless the
// person has just named it.
func TestLANServerAway(t *testing.T) {
	t.Parallel()
	sides := office(t, natlab.DropUnsolicited, "anna", "ben")
	for _, s := range sides {
		s.allowMulticast()
		s.env = append(s.env, "TCPPUNCH_SERVER=127.0.0.1")
	}
	sides[0].start("send", "--server=127.0.0.1", sides[0].file("x", 1)).wantFailure(statusNoPath, "no-server", "127.0.0.1")
	file := sides[0].file("file.bin", fileSize)
	send := sides[0].start("send", "--timeout=40s", file)
	recv := sides[1].start("recv", "--timeout=40s", "--out=out", send.code())
	t.Logf("connected after %v", wantKind(t, "lan", send, recv, file))
	if !strings.Contains(send.Stderr.String(), "local network only") {
		t.Errorf("the sender does not hear of it:\n%s", send.Stderr)
	}
}

// TestLANFarAway: two homes behind one carrier's NAT have one public address and no network
// in common. What they look for there in vain keeps them waiting for less than a second.
func TestLANFarAway(t *testing.T) {
	t.Parallel()
	setup := func(lan string) time.Duration {
		p := newMeetingPlaceIn(t, oneCarrier(natlab.NAT{Hairpin: true}))
		file := p.a.file("file.bin", fileSize)
		send := p.a.start("send", lan, "--timeout=30s", file)
		code := send.code()
		time.Sleep(2 * time.Second)
		recv := p.b.start("recv", lan, "--timeout=30s", "--out=out", code)
		return wantKind(t, "public", send, recv, file)
	}
	without, with := setup("--no-lan"), setup("--lan")
	for tries := 1; with > without+time.Second && tries < 3; tries++ { // it may have been the machine
		with = setup("--lan")
	}
	t.Logf("connected after %v, without the local network after %v", with, without)
	if with > without+time.Second {
		t.Error("that takes too long")
	}
}

// TestLANComeback: a side that dies is waited for on the local network, where the same
// command goes on; so is one whose link was down.
func TestLANComeback(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"receiver killed", "sender killed", "link down"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			top := natlab.Topology{LANs: []natlab.LAN{{Name: "office"}}}
			for _, name := range []string{"a", "b"} {
				top.Hosts = append(top.Hosts, natlab.Host{Name: name, Behind: "office", Firewall: natlab.DropUnsolicited, Link: natlab.Link{Rate: 16e6}})
			}
			lab := natlab.New(t, top)
			p := &meetingPlace{homes: &homes{lab: lab, a: newSide(t, lab.Host("a")), b: newSide(t, lab.Host("b"))}}
			p.a.allowMulticast()
			p.b.allowMulticast()
			file, send, recv := p.begun(t)
			began := time.Now()
			switch what {
			case "receiver killed":
				recv.Kill()
				recv.Wait()
				recv = p.receives()
			case "sender killed":
				send.Kill()
				send.Wait()
				send = p.sends(file)
			case "link down":
				link := lab.Link("b")
				link.Down = true
				if err := lab.SetLink("b", link); err != nil {
					t.Fatal(err)
				}
				if _, err := send.Stderr.WaitFor(t.Context(), func(s string) bool { return strings.Contains(s, "The connection is lost") }); err != nil {
					t.Fatal(err)
				}
				link.Down = false
				if err := lab.SetLink("b", link); err != nil {
					t.Fatal(err)
				}
			}
			wantResumed(t, file, send, recv)
			t.Logf("done %v after the break", time.Since(began))
			for _, x := range []*peer{send, recv} {
				if e, _ := x.find("connected"); e.Kind != "lan" {
					t.Errorf("connected by %q", e.Kind)
				}
			}
		})
	}
}

// TestLANBench: two sides of which none is the sender draw who begins.
func TestLANBench(t *testing.T) {
	t.Parallel()
	sides := office(t, natlab.DropUnsolicited, "anna", "ben")
	for _, s := range sides {
		s.allowMulticast()
	}
	one := sides[0].start("bench", "--timeout=30s", "--time=200ms")
	other := sides[1].start("bench", "--timeout=30s", "--time=200ms", one.code())
	for _, p := range []*peer{one, other} {
		if status := p.status(); status != 0 {
			t.Errorf("%s: exit status %d", p.name, status)
		}
		if e, _ := p.find("connected"); e.Kind != "lan" {
			t.Errorf("%s: connected by %q", p.name, e.Kind)
		}
		for _, transport := range []string{`"transport":"tcp"`, `"transport":"kcp"`} {
			if !strings.Contains(p.Stdout.String(), transport) {
				t.Errorf("%s: no result with %s", p.name, transport)
			}
		}
		p.wantNoSockets()
	}
}

// TestLANInterface: a sender's network goes and comes back while it waits, and it is found.
func TestLANInterface(t *testing.T) {
	t.Parallel()
	sides := office(t, natlab.DropUnsolicited, "anna", "ben")
	for _, s := range sides {
		s.allowMulticast()
	}
	file := sides[0].file("file.bin", fileSize)
	send := sides[0].start("send", "-v", "--timeout=40s", file)
	code := send.code()
	for _, state := range []string{"down", "up"} {
		time.Sleep(2 * time.Second) // until it waits, and then as it looks at its interfaces once a second
		if r := sides[0].host.Run("ip", "link", "set", "eth0", state); r.Err != nil {
			t.Fatal(r.Stderr)
		}
	}
	recv := sides[1].start("recv", "--timeout=30s", "--out=out", code)
	t.Logf("connected after %v", wantKind(t, "lan", send, recv, file))
}

// TestLANNameless: whoever does not want to tell a name does not.
func TestLANNameless(t *testing.T) {
	t.Parallel()
	sides := office(t, natlab.NoFirewall, "anna", "ben")
	send := sides[0].start("send", "--name=", "--code=4821-otter-lamp", sides[0].file("secret-plan.txt", 1))
	send.waits()
	peers := sides[1].start("peers")
	if status := peers.status(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	text := peers.Stdout.String()
	if !strings.Contains(text, `"name":""`) || !strings.Contains(text, `"room":"4821"`) {
		t.Errorf("the sender is shown as\n%s", text)
	}
	for _, secret := range []string{host, "otter", "lamp", "secret-plan"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is told:\n%s", secret, text)
		}
	}
	send.Kill()
}
