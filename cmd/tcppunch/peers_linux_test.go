package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/miekg/dns"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// oneLAN is a local network with these hosts on it.
func oneLAN(t *testing.T, firewall natlab.Firewall, names ...string) *natlab.Lab {
	t.Helper()
	top := natlab.Topology{IPv6: true, LANs: []natlab.LAN{{Name: "lan"}}}
	for _, n := range names {
		top.Hosts = append(top.Hosts, natlab.Host{Name: n, Behind: "lan", Firewall: firewall})
	}
	return natlab.New(t, top)
}

// An announcer tells of itself by datagrams, in whatever words the test gives it.
type announcer struct {
	conn net.PacketConn
	to   net.Addr
}

func newAnnouncer(t *testing.T, at, to *natlab.Machine) *announcer {
	t.Helper()
	c, err := at.ListenPacket("udp4", fmt.Sprintf(":%d", lanfind.DefaultPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &announcer{c, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), lanfind.DefaultPort))}
}

// says announces an instance, or takes leave of it, with the words of its TXT record.
func (n *announcer) says(t *testing.T, label string, ttl uint32, txt ...string) {
	t.Helper()
	const service = "_tcppunch._tcp.local."
	name := strings.NewReplacer(`\`, `\\`, `.`, `\.`, ` `, `\ `, `(`, `\(`, `)`, `\)`).Replace(label) + "." + service
	head := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: []dns.RR{
		&dns.PTR{Hdr: head(service, dns.TypePTR), Ptr: name},
		&dns.SRV{Hdr: head(name, dns.TypeSRV), Port: 7070, Target: "h.local."},
		&dns.TXT{Hdr: head(name, dns.TypeTXT), Txt: txt},
	}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.conn.WriteTo(b, n.to); err != nil {
		t.Fatal(err)
	}
}

// peerEvents are the events of a name "peer".
func peerEvents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("stdout holds %q: %v", line, err)
		}
		if e["event"] == "peer" {
			all = append(all, e)
		}
	}
	return all
}

var friends = []struct {
	label string
	txt   []string
}{
	{"anna (00000000)", []string{"id=00000000000000a1", "since=1700000000", "room=4821"}},
	{"Zoë's \u7b14\u8bb0\u672c (00000000)", []string{"id=00000000000000b2", "key=abcd-efgh"}},
	{"\x1b[31mred\u202e\r\n", []string{"room=\x1b]0;x\x07", "key=\x1b[2J"}},
	{"a very long name for a machine of someone", []string{"id=00000000000000d4", "room=to-00000000000000b2"}},
}

// TestPeersList: the list of three seconds, for people and for programs.
func TestPeersList(t *testing.T) {
	t.Parallel()
	lab := oneLAN(t, natlab.NoFirewall, "a", "b")
	list := newSide(t, lab.Host("b")).start("peers", "-v")
	list.says("Looking around on eth0 (10.0.1.2/24) …")
	list.says("looking on eth0")
	wide := newSide(t, lab.Host("b")).sitAt(80, 24, "peers", "-v", "--json=false")
	narrow := newSide(t, lab.Host("b")).sitAt(40, 24, "peers", "-v", "--json=false")
	for _, s := range []*seat{wide, narrow} {
		s.waitScreen("looking on eth0")
	}
	n := newAnnouncer(t, lab.Host("a"), lab.Host("b"))
	began := time.Now()
	for time.Since(began) < 2*time.Second {
		for _, f := range friends {
			n.says(t, f.label, 120, f.txt...)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, p := range []*peer{list, wide.peer, narrow.peer} {
		if status := p.status(); status != 0 {
			t.Errorf("exit status %d:\n%s", status, p.Stderr)
		}
		if text := p.Stderr.String(); strings.ContainsAny(text, "\x1b\x07\u202e") {
			t.Errorf("what a neighbour says reaches the terminal: %q", text)
		}
	}
	all := peerEvents(t, list.Stdout.String())
	if len(all) != len(friends) {
		t.Fatalf("%d events, want %d: %v", len(all), len(friends), all)
	}
	for i, want := range []map[string]any{
		{"name": "[31mred", "waiting": "no", "room": "", "key": ""},
		{"name": "a very long name for a machine of someone", "waiting": "no", "room": "to-00000000000000b2"},
		{"name": "anna", "addr": "10.0.1.1:7070", "id": "00000000000000a1", "waiting": "room", "room": "4821", "kind": "found", "via": "datagram"},
		{"name": "Zoë's \u7b14\u8bb0\u672c", "waiting": "files", "key": "abcd-efgh"},
	} {
		for field, value := range want {
			if all[i][field] != value {
				t.Errorf("event %d: %s is %q, want %q", i, field, all[i][field], value)
			}
		}
	}
	for s, most := range map[*seat]int{wide: 80, narrow: 40} {
		wantLines(t, s.Stderr.String(), most, "anna", "in room 4821", "10.0.1.1", "Zoë's \u7b14\u8bb0\u672c", "for files")
	}
}

// wantLines checks that a screen shows these texts, and no line that is too long.
func wantLines(t *testing.T, screen string, most int, texts ...string) {
	t.Helper()
	for line := range strings.Lines(screen) {
		if n := runewidth.StringWidth(strings.TrimRight(line, "\r\n")); n > most && !strings.HasPrefix(line, "   ") { // of --verbose
			t.Errorf("%d columns of %d: %q", n, most, line)
		}
	}
	for _, text := range texts {
		if !strings.Contains(screen, text) {
			t.Errorf("a screen of %d columns does not show %q:\n%s", most, text, screen)
		}
	}
}

// TestPeersWatch: who comes, changes and goes, on a screen that is drawn anew and in a pipe.
func TestPeersWatch(t *testing.T) {
	t.Parallel()
	lab := oneLAN(t, natlab.NoFirewall, "a", "b")
	screen := newSide(t, lab.Host("b")).sitAt(80, 24, "peers", "--watch", "--json=false")
	screen.waitScreen("Nobody yet")
	pipe := newSide(t, lab.Host("b")).start("peers", "--watch", "-v")
	pipe.says("looking on eth0")
	n := newAnnouncer(t, lab.Host("a"), lab.Host("b"))
	keep := func(label string, ttl uint32, text, piped string, txt ...string) {
		t.Helper()
		saw := screen.Stderr.String()
		for range 50 {
			n.says(t, label, ttl, txt...)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			now, err := screen.Stderr.WaitFor(ctx, func(s string) bool { return strings.Contains(s[len(saw):], text) })
			cancel()
			if err == nil {
				if !strings.Contains(now[len(saw):], "\x1b[") {
					t.Errorf("the list is not drawn in its place: %q", now)
				}
				pipe.says(piped)
				return
			}
		}
		t.Fatalf("no %q:\n%q", text, screen.Stderr.String()[len(saw):])
	}
	keep("anna", 120, "in room 4821", "found: anna at 10.0.1.1, waiting in room 4821\n", "id=00000000000000a1", "room=4821")
	keep("ben", 120, "ben ", "found: ben at 10.0.1.1\n", "id=00000000000000b2")
	keep("anna", 120, "for files", "changed: anna at 10.0.1.1, waiting for files\n", "id=00000000000000a1", "key=abcd")
	keep("anna", 0, "ADDRESS", "gone: anna\n", "id=00000000000000a1")
	keep("ben", 0, "Nobody yet", "gone: ben\n", "id=00000000000000b2")
	for _, p := range []*peer{screen.peer, pipe} {
		p.Signal(os.Interrupt)
		if status := p.status(); status != 0 {
			t.Errorf("exit status %d after Ctrl-C:\n%s", status, p.Stderr)
		}
	}
	pipe.wantNoSockets()
	var kinds []string
	for _, e := range peerEvents(t, pipe.Stdout.String()) {
		kinds = append(kinds, fmt.Sprint(e["kind"], " ", e["name"]))
	}
	if got, want := strings.Join(kinds, ", "), "found anna, found ben, changed anna, gone anna, gone ben"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestPeersNobody: that nobody is there is no failure; that there is no network is one.
func TestPeersNobody(t *testing.T) {
	t.Parallel()
	lab := oneLAN(t, natlab.NoFirewall, "a", "b")
	nobody := newSide(t, lab.Host("a")).start("peers", "--timeout=1s")
	if status := nobody.status(); status != 0 || nobody.Stdout.String() != "" {
		t.Errorf("exit status %d, events %q", status, nobody.Stdout)
	}
	nobody.says("`tcppunch peers --doctor`")
	if r := lab.Host("b").Run("ip", "link", "set", "eth0", "down"); r.Err != nil {
		t.Fatal(r.Stderr)
	}
	newSide(t, lab.Host("b")).start("peers").wantFailure(statusNoPath, "no-network", "eth0: down", "--doctor")
}

// avahiShows matches what avahi-browse -rp prints of a program that waits in a room.
var avahiShows = regexp.MustCompile(`(?m)^=;eth0;IPv4;anna[^;]*;_tcppunch\._tcp;local;tcppunch-[0-9a-f]{16}\.local;10\.0\.1\.1;[0-9]+;.*"room=4821"`)

// TestPeersSend: who waits with a code is on the list of others, and not on that of
// other networks; who looks, on nobody's.
func TestPeersSend(t *testing.T) {
	t.Parallel()
	for name, firewall := range map[string]natlab.Firewall{"no firewall": natlab.NoFirewall, "firewalls": natlab.DropUnsolicited} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := oneLAN(t, firewall, "a", "b")
			a := newSide(t, lab.Host("a"))
			watch := newSide(t, lab.Host("b")).start("peers", "--watch")
			send := a.start("send", "--name=anna", "--code=4821-otter-lamp", a.file("file.bin", 100))
			watch.says("found: anna at")
			list := newSide(t, lab.Host("b")).start("peers")
			list.says("in room 4821")
			list.status()
			send.Signal(os.Interrupt)
			send.status()
			watch.says("gone: anna")
			watch.Signal(os.Interrupt)
			watch.status()
			all := peerEvents(t, list.Stdout.String())
			if len(all) != 1 || all[0]["name"] != "anna" || all[0]["waiting"] != "room" || all[0]["room"] != "4821" {
				t.Errorf("got %v", all)
			}
			for _, e := range peerEvents(t, watch.Stdout.String()) {
				if e["name"] != "anna" {
					t.Errorf("who only looks is announced: %v", e)
				}
			}
		})
	}
}

// TestPeersAvahi: what avahi-publish announces in our name is on the list, and avahi-browse
// shows who waits with a code.
func TestPeersAvahi(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"unshare", "dbus-daemon", "avahi-daemon", "avahi-browse", "avahi-publish"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v (install dbus, avahi-daemon and avahi-utils)", err)
		}
	}
	if ids, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.HasSuffix(strings.TrimSpace(string(ids)), "4294967295") {
		t.Skip("the daemons have users of their own, which are not in this user namespace")
	}
	script, err := filepath.Abs("../../lanfind/testdata/avahi")
	if err != nil {
		t.Fatal(err)
	}
	lab := oneLAN(t, natlab.DropUnsolicited, "a", "debian")
	for _, rule := range []string{"ip daddr 224.0.0.251", "ip6 daddr ff02::fb"} {
		for _, h := range lab.Hosts() {
			if r := h.Run("sh", "-c", "nft insert rule inet filter input "+rule+" udp dport 5353 accept"); r.Err != nil {
				t.Fatal(r.Stderr)
			}
		}
	}
	avahi := lab.Host("debian").Start("unshare", "-m", "--propagation", "private", script, t.TempDir(),
		"-s", "Bob's Mac v1.2", "_tcppunch._tcp", "9999", "room=77")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := avahi.Stderr.WaitFor(ctx, func(s string) bool { return strings.Contains(s, "Established under name") }); err != nil {
		t.Fatalf("avahi-publish: %v\n%s", err, avahi.Stderr)
	}
	a := newSide(t, lab.Host("a"))
	send := a.start("send", "--name=anna", "--code=4821-otter-lamp", a.file("file.bin", 100))
	if text, err := avahi.Stdout.WaitFor(ctx, func(s string) bool { return avahiShows.MatchString(s) }); err != nil {
		t.Errorf("avahi-browse does not show who waits: %v\n%s\n%s", err, text, send.Stderr)
	}
	send.Signal(os.Interrupt)
	send.status()
	list := a.start("peers")
	list.says("Bob's Mac v1.2  10.0.1.2 +1")
	list.status()
	all := peerEvents(t, list.Stdout.String())
	if len(all) != 1 || all[0]["name"] != "Bob's Mac v1.2" || all[0]["addr"] != "10.0.1.2:9999" || all[0]["room"] != "77" {
		t.Errorf("got %v", all)
	}
	avahi.Kill()
}
