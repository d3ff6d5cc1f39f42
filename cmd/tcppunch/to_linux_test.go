package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// newNeighbours are hosts of one network, each with a home of its own.
func newNeighbours(t *testing.T, wall natlab.Firewall, link natlab.Link, names ...string) map[string]*side {
	t.Helper()
	link.Delay = time.Millisecond / 4
	top := natlab.Topology{LANs: []natlab.LAN{{Name: "lan"}}}
	for _, name := range names {
		top.Hosts = append(top.Hosts, natlab.Host{Name: name, Behind: "lan", Firewall: wall, Link: link})
	}
	lab := natlab.New(t, top)
	sides := map[string]*side{}
	for _, name := range names {
		sides[name] = newSide(t, lab.Host(name))
	}
	return sides
}

// config writes a file of the settings.
func (s *side) config(name string, b []byte) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "config", "tcppunch")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, name), b, 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

// identity is the side's key, made anew.
func (s *side) identity() pair.PublicKey {
	id := pair.NewIdentity()
	s.config("identity", id.Text())
	return id.Public()
}

// knows has the side know others by these keys.
func (s *side) knows(keys map[string]pair.PublicKey) {
	s.t.Helper()
	var all knownPeers
	for name, key := range keys {
		if _, err := all.meet(name, key, time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}
	s.config("known_peers", all.text())
}

// known is who the side knows.
func (s *side) known() knownPeers {
	s.t.Helper()
	all, err := readKnownFile(filepath.Join(s.dir, "config", "tcppunch", "known_peers"))
	if err != nil {
		s.t.Error(err)
	}
	return all
}

// acquainted makes two sides know each other.
func acquainted(a, b *side) {
	keyA, keyB := a.identity(), b.identity()
	a.knows(map[string]pair.PublicKey{b.host.Name(): keyB})
	b.knows(map[string]pair.PublicKey{a.host.Name(): keyA})
}

func (s *side) waitArgs(args ...string) []string {
	return append([]string{"recv", "--wait", "--out=out", "--name=" + s.host.Name()}, args...)
}

// waits starts a receiver with its host's name, and ends it with the test.
func (s *side) waits(args ...string) *peer { return s.begin(s.start(s.waitArgs(args...)...)) }

func (s *side) begin(p *peer) *peer {
	s.t.Helper()
	s.t.Cleanup(func() {
		p.Kill()
		p.Wait()
	})
	if _, err := p.waitEvent("waiting", 30*time.Second); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *side) toArgs(name, file string, args ...string) []string {
	return append([]string{"send", "--timeout=30s", "--to=" + name, "--name=" + s.host.Name(), file}, args...)
}

// sendsTo starts a sender with its host's name.
func (s *side) sendsTo(name, file string, args ...string) *peer {
	return s.start(s.toArgs(name, file, args...)...)
}

// wantOrder checks that what a side said on stdout has these parts in this order.
func (p *peer) wantOrder(parts ...string) {
	p.t.Helper()
	rest := p.Stdout.String()
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			p.t.Errorf("%s: no %s where it should be in:\n%s", p.name, part, p.Stdout)
			return
		}
		rest = after
	}
}

func (p *peer) wantNever(event string) {
	p.t.Helper()
	if e, ok := p.find(event); ok {
		p.t.Errorf("%s: the event %v", p.name, e)
	}
}

const bothSee = `Does the other screen show the same words\? \[y/N\] `

// TestTo: two neighbours meet for the first time, and again.
func TestTo(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.DropUnsolicited, natlab.Link{}, "anna", "ben")
	recv := n["anna"].sit(n["anna"].waitArgs()...)
	n["anna"].begin(recv.peer)
	recv.waitScreen(`tcppunch send --to anna FILE\r\nWaiting for files, as anna …`)

	file := n["ben"].file("first.bin", fileSize)
	send := n["ben"].sit(n["ben"].toArgs("anna", file)...)
	words := map[string]string{}
	for _, p := range []*seat{send, recv} {
		p.waitScreen(`is not known here yet`)
		words[p.waitScreen(`Check words: (\S+)\r`)] = p.waitScreen(bothSee)
		p.wantNever("offer")
		p.types("y\n")
	}
	if len(words) != 1 {
		t.Errorf("different check words: %v", words)
	}
	recv.waitScreen(`ben is remembered`)
	recv.waitScreen(`Receive first.bin \(1 file, 64.0 KiB\) from ben \(met just now\)\? \[y/N\] `)
	recv.types("y\n")
	send.wantDone()
	wantSame(t, file, n["anna"].dir)
	for me, other := range map[string]string{"anna": "ben", "ben": "anna"} {
		if all := n[me].known(); len(all) != 1 || all[0].name != other {
			t.Errorf("%s knows %v", me, all)
		}
	}
	recv.wantOrder(`"waiting","where":"lan"`, `"connected"`, `"kind":"lan"`, `"identity","name":"ben","key":"`, `"known":false}`, `"check_words"`, `"offer"`, `"done"`, `"waiting"`)
	send.wantOrder(`"waiting","where":"anna"`, `"connected"`, `"identity","name":"anna"`, `"known":false}`, `"check_words"`, `"offer"`, `"done"`)

	// The second time the offer is all that is asked for; what is typed ahead is no answer.
	recv.types("y\ny\n")
	second := n["ben"].sendsTo("anna", n["ben"].file("second.bin", fileSize))
	recv.waitScreen(`Receive second.bin \(1 file, 64.0 KiB\) from ben\? \[y/N\] `)
	recv.types("n\n")
	second.wantFailure(statusRefused, "refused", "does not want this")
	second.wantNever("check_words")
	second.wantOrder(`"identity","name":"anna"`, `"known":true}`, `"offer"`)
	// Who was refused is not listened to for a while.
	third := n["ben"].sendsTo("anna", file)
	third.wantFailure(statusRefused, "refused", "anna does not want this now", "for a while")
	third.wantNever("offer")
	if shown := strings.Count(recv.Stderr.String(), "Receive "); shown != 2 {
		t.Errorf("asked %d times", shown)
	}
	wantOnly(t, n["anna"].dir, "first.bin")
	recv.types("\x03")
	if status := recv.status(); status != statusInterrupted {
		t.Errorf("exit status %d after Ctrl-C", status)
	}
	recv.waitScreen(`Error: interrupted\r\n$`)
	recv.wantNoSockets()
}

// TestToDenied: whoever does not confirm the check words is not remembered, and nothing is
// sent.
func TestToDenied(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben")
	recv := n["anna"].sit(n["anna"].waitArgs()...)
	n["anna"].begin(recv.peer)
	send := n["ben"].sendsTo("anna", n["ben"].file("file.bin", fileSize), "--yes")
	recv.waitScreen(bothSee)
	recv.types("\n")
	send.wantFailure(statusWrongCode, "not-confirmed")
	recv.waitScreen(`Error: .*the check words were not confirmed(.|\n)*Waiting for files …`)
	for _, p := range []*peer{send, recv.peer} {
		p.wantNever("offer")
	}
	if a, b := n["anna"].known(), n["ben"].known(); len(a)+len(b) > 0 {
		t.Errorf("remembered: %v, %v", a, b)
	}
	n["ben"].sendsTo("anna", n["ben"].file("file.bin", fileSize), "--yes").wantFailure(statusRefused, "refused")
}

// TestToBrokenOff: a sender who breaks off, and one to whom nobody here has said no, may come
// again.
func TestToBrokenOff(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben")
	recv := n["anna"].sit(n["anna"].waitArgs()...)
	n["anna"].begin(recv.peer)
	file := n["ben"].file("file.bin", fileSize)
	for i, keys := range []string{"\x03", "n\n"} {
		send := n["ben"].sit(n["ben"].toArgs("anna", file)...)
		send.waitScreen(bothSee)
		recv.waitScreen(fmt.Sprintf(`(?s)(%s.*){%d}`, bothSee, i+1))
		send.types(keys)
		send.status()
		recv.waitScreen(fmt.Sprintf(`(?s)(Error: .*Waiting for files.*){%d}`, i+1))
	}
	send := n["ben"].sendsTo("anna", file, "--yes")
	recv.waitScreen(fmt.Sprintf(`(?s)(%s.*){3}`, bothSee))
	recv.types("y\n")
	recv.waitScreen(`Receive file.bin `)
	recv.types("y\n")
	send.wantDone()
	wantSame(t, file, n["anna"].dir)
}

// TestWaitGoesOn: what goes wrong for one guest, or for all for a while, is told, and is not the
// end.
func TestWaitGoesOn(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben")
	acquainted(n["anna"], n["ben"])
	known := n["anna"].known()
	recv := n["anna"].waits("--trust")
	n["anna"].holds("file.bin", "mine")
	file := n["ben"].file("file.bin", fileSize)
	n["ben"].sendsTo("anna", file).wantFailure(statusRefused, "exists")
	recv.waitsFor("error", func(e event) bool { return e.Code == "exists" })
	n["anna"].config("known_peers", []byte("nonsense\n"))
	send := n["ben"].sendsTo("anna", file)
	if _, err := recv.Stderr.WaitFor(t.Context(), func(s string) bool { return strings.Contains(s, "Nobody can come now: ") }); err != nil {
		t.Fatal(err)
	}
	n["anna"].config("known_peers", known.text())
	send.wantFailure(statusRefused, "exists")
	recv.waitsFor("error", func(event) bool { return strings.Count(recv.Stdout.String(), `"final":false}`) == 3 })
	recv.Signal(os.Interrupt)
	recv.wantFailure(statusInterrupted, "exists")
	var said []string
	for line := range strings.Lines(recv.Stdout.String()) {
		if strings.Contains(line, `"error"`) {
			said = append(said, fmt.Sprint(strings.Contains(line, `"final":false}`)))
		}
	}
	if got := strings.Join(said, " "); got != "true true true false" {
		t.Errorf("errors before the last one: %s in\n%s", got, recv.Stdout)
	}
}

// TestToChanged: somebody else has the name of a neighbour who is known.
func TestToChanged(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.DropUnsolicited, natlab.Link{}, "anna", "ben", "eve")
	acquainted(n["anna"], n["ben"])
	file := n["ben"].file("file.bin", fileSize)
	other := shortKey(n["eve"].identity())
	eve := n["eve"].waits("--yes", "--name=anna")
	send := n["ben"].sendsTo("anna", file, "--yes")
	send.wantFailure(statusWrongCode, "key-changed", "WARNING: THE KEY OF anna HAS CHANGED! Since ", "nothing was sent", "tcppunch peers --forget anna")
	send.wantOrder(`"identity","name":"anna"`, `"known":false,"changed":true}`, `"error","code":"key-changed"`)
	send.wantNever("connected")
	// Even who means that one has to compare check words.
	send = n["ben"].sendsTo("anna@"+other, file, "--yes")
	send.wantFailure(statusWrongCode, "no-terminal", "WARNING: THE KEY OF anna HAS CHANGED! Since ")

	// While anna is there, too, she is found.
	recv := n["anna"].waits("--trust")
	send = n["ben"].sendsTo("anna", file)
	send.wantDone()
	wantSame(t, file, n["anna"].dir)
	eve.wantNever("connected")
	recv.wantOrder(`"identity","name":"ben"`, `"known":true}`, `"done"`)

	if status := n["ben"].start("peers", "--forget", "Anna").status(); status != 0 || len(n["ben"].known()) > 0 {
		t.Errorf("peers --forget: exit status %d, and there are %v", status, n["ben"].known())
	}
	n["ben"].start("send", "--to=anna", "--via=kcp", file).wantFailure(statusUsage, "usage", "by TCP")
	n["ben"].start("recv", "--wait", "--yes", "--via=kcp").wantFailure(statusUsage, "usage", "by TCP")
	n["ben"].start("peers", "--forget", "anna").wantFailure(statusFailed, "not-found")
}

// TestTrust: with --trust nobody is asked about those who are known, and others have no
// chance where there is nobody to ask.
func TestTrust(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben", "carl")
	acquainted(n["anna"], n["ben"])
	recv := n["anna"].waits("--trust")
	carl := n["carl"].sendsTo("anna", n["carl"].file("carl.bin", fileSize), "--yes")
	impostor := n["carl"].sendsTo("anna", n["carl"].file("carl.bin", fileSize), "--yes", "--name=ben")
	for _, p := range []*peer{carl, impostor} {
		p.wantFailure(statusRefused, "refused", "nobody is there to be asked")
		p.wantNever("offer")
	}
	recv.wantOrder(`"identity","name":"ben"`, `"known":false,"changed":true}`)
	if text := recv.Stderr.String(); strings.Count(text, "WARNING: THE KEY OF ben HAS CHANGED!") != 1 {
		t.Errorf("no warning, or more than one:\n%s", text)
	}
	file := n["ben"].file("ben.bin", fileSize)
	n["ben"].sendsTo("anna", file).wantDone()
	wantSame(t, file, n["anna"].dir)
	recv.Kill()
	recv.Wait()

	// With a terminal, others are asked for.
	seat := n["anna"].sit(n["anna"].waitArgs("--trust")...)
	n["anna"].begin(seat.peer)
	n["ben"].sendsTo("anna", n["ben"].file("more.bin", fileSize)).wantDone()
	send := n["carl"].sendsTo("anna", n["carl"].file("carl.bin", fileSize), "--yes", "--name=ben")
	seat.waitScreen(`WARNING: THE KEY OF ben HAS CHANGED!(.|\n)*Go on only if you know why(.|\n)*` + bothSee)
	seat.types("y\n")
	seat.waitScreen(`ben is remembered as ben-2(.|\n)*Receive carl.bin .* from ben-2 \(met just now, .*\)\? \[y/N\] `)
	seat.types("y\n")
	send.wantDone()
	if strings.Contains(seat.Stderr.String(), "Receive more.bin") {
		t.Error("asked for what is trusted")
	}
	wantOnly(t, n["anna"].dir, "ben.bin", "carl.bin", "more.bin")
}

// TestToComeback: the sender and then the receiver are killed in the midst of a transfer and
// started again; and two senders take turns.
func TestToComeback(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.DropUnsolicited, natlab.Link{Rate: 20e6}, "anna", "ben", "carl")
	acquainted(n["anna"], n["ben"])
	recv := n["anna"].waits("--yes")
	big := n["ben"].file("big.bin", resumeSize)
	send := n["ben"].sendsTo("anna", big)
	inMidst(t, send, recv)
	send.Kill()
	send.Wait()
	send = n["ben"].sendsTo("anna", big)
	inMidst(t, send)
	small := n["carl"].file("small.bin", fileSize)
	carl := n["carl"].sendsTo("anna", small, "--yes")
	recv.Kill()
	recv.Wait()
	recv = n["anna"].waits("--yes")
	for _, p := range []*peer{send, carl} {
		if _, err := p.waitEvent("done", 30*time.Second); err != nil {
			t.Error(err)
			p.Kill()
		}
		if status := p.status(); status != 0 {
			t.Errorf("%s: exit status %d", p.name, status)
		}
		p.wantNoSockets()
	}
	if e, _ := send.find("resumed"); e.Bytes < 1<<20 || strings.Count(send.Stdout.String(), `"resumed"`) != 2 {
		t.Errorf("resumed with %d bytes, or not twice", e.Bytes)
	}
	if !strings.Contains(send.Stderr.String(), "If the program has ended there, this goes on, into the same folder: tcppunch recv --wait") {
		t.Errorf("no hint:\n%s", send.Stderr)
	}
	wantContent(t, big, filepath.Join(n["anna"].dir, "out", "big.bin"))
	wantContent(t, small, filepath.Join(n["anna"].dir, "out", "small.bin"))
	recv.waitsFor("done", func(event) bool { return strings.Count(recv.Stdout.String(), `"done"`) == 2 })
	if a, c := n["anna"].known(), n["carl"].known(); len(a) != 1 || a[0].name != "ben" || len(c) > 0 {
		t.Errorf("remembered without check words: %v, %v", a, c)
	}
	wantEntries(t, filepath.Join(n["anna"].dir, "out"), "big.bin", "small.bin")
}

// TestToUnchecked: who has compared check words remembers the other, who has not does not; and
// after a break that is not asked for again in this run.
func TestToUnchecked(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.DropUnsolicited, natlab.Link{Rate: 20e6}, "anna", "ben")
	recv := n["anna"].waits("--yes")
	big := n["ben"].file("big.bin", resumeSize)
	send := n["ben"].sit(n["ben"].toArgs("anna", big)...)
	send.waitScreen(bothSee)
	send.types("y\n")
	send.waitScreen(`anna is remembered`)
	inMidst(t, send.peer, recv)
	recv.Kill()
	recv.Wait()
	if text := recv.Stderr.String(); !strings.Contains(text, "ben is not remembered, as nobody here has compared the check words.") {
		t.Errorf("no word of it:\n%s", text)
	}
	n["anna"].waits("--yes")
	send.wantDone()
	wantContent(t, big, filepath.Join(n["anna"].dir, "out", "big.bin"))
	if text := send.Stderr.String(); strings.Count(text, "same words?") != 1 || strings.Contains(text, "--yes") {
		t.Errorf("asked not once, or as if it were with --yes:\n%s", text)
	}
	if a, b := n["anna"].known(), n["ben"].known(); len(a) > 0 || len(b) != 1 || b[0].name != "anna" {
		t.Errorf("remembered: %v, %v", a, b)
	}

	// --yes is no comparing either where the other side is known.
	n["ben"].config("known_peers", nil)
	n["ben"].sendsTo("anna", n["ben"].file("more.bin", fileSize), "--yes").wantDone()
	if b := n["ben"].known(); len(b) > 0 {
		t.Errorf("remembered: %v", b)
	}
}

// TestToUnsaid: somebody known has taken a name that another one may have; and of two
// programs with one key the one that was meant gets it.
func TestToUnsaid(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.DropUnsolicited, natlab.Link{}, "mallory", "ben")
	acquainted(n["mallory"], n["ben"])
	desk := n["mallory"].waits("--trust", "--name=desk")
	carol := n["mallory"].waits("--trust", "--name=carol")
	file := n["ben"].file("file.bin", fileSize)
	send := n["ben"].sendsTo("carol", file, "--yes")
	send.wantFailure(statusWrongCode, "no-terminal", "carol is whom you know as mallory", "--to mallory")
	send.wantNever("connected")

	seat := n["ben"].sit(n["ben"].toArgs("carol", file, "--yes")...)
	seat.waitScreen(`carol is whom you know as mallory\. Send to it\? \[y/N\] `)
	seat.types("\n")
	seat.wantFailure(statusWrongCode, "not-confirmed", "mallory is not meant; nothing was sent")
	seat.wantNever("connected")

	seat = n["ben"].sit(n["ben"].toArgs("car", file)...)
	seat.waitScreen(`carol is whom you know as mallory\. Send to it\? \[y/N\] `)
	seat.types("y\n")
	seat.wantDone()
	wantSame(t, file, n["mallory"].dir)
	carol.waitsFor("done", func(event) bool { return true })
	desk.wantNever("connected")
	n["ben"].sendsTo("mallory", n["ben"].file("more.bin", fileSize)).wantDone()
}

// TestToDeaf: of two whom multicast shows others, and not each other, one finds the other, by name
// and by key.
func TestToDeaf(t *testing.T) {
	t.Parallel()
	byDatagram := regexp.MustCompile(`found anna at .*, by datagram\n`)
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("known %v", known), func(t *testing.T) {
			t.Parallel()
			n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben", "carl")
			if known {
				acquainted(n["anna"], n["ben"])
			}
			for me, other := range map[string]string{"anna": "ben", "ben": "anna"} {
				for _, line := range []string{
					"ip -6 addr flush dev eth0", "nft add table inet deaf", "nft add chain inet deaf in { type filter hook input priority 0 ; }",
					"nft add rule inet deaf in ip saddr " + n[other].host.Addr().String() + " udp dport 5353 drop",
				} {
					if r := n[me].host.Run(strings.Fields(line)...); r.Err != nil {
						t.Fatal(line, r.Err, r.Stderr)
					}
				}
			}
			n["carl"].waits("--yes")
			n["anna"].waits("--yes")
			file := n["ben"].file("file.bin", fileSize)
			send := n["ben"].sendsTo("anna", file, "--yes", "--verbose")
			send.wantDone()
			wantSame(t, file, n["anna"].dir)
			if text := send.Stderr.String(); !strings.Contains(text, "found carl at ") || !byDatagram.MatchString(text) {
				t.Errorf("not found as it was to be:\n%s", text)
			}
		})
	}
}

// TestToNobody: who is meant is not there, or could be several.
func TestToNobody(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben", "eve")
	file := n["ben"].file("file.bin", 100)
	nobody := n["ben"].start("send", "--to=anna", "--timeout=2s", file)
	nobody.wantFailure(statusNoPath, "timeout", "nobody called anna waited for files", "recv --wait")
	n["anna"].waits("--yes")
	other := n["ben"].start("send", "--to=carl", "--timeout=2s", file)
	other.wantFailure(statusNoPath, "timeout", "(there are: anna@")
	n["ben"].sendsTo("anna", file).wantFailure(statusWrongCode, "no-terminal", "anna is not known here yet", "--yes")
	n["eve"].waits("--yes", "--name=anna")
	several := n["ben"].sendsTo("Anna", file, "--yes")
	several.wantFailure(statusFailed, "ambiguous", "more than one neighbour could be Anna: anna@", "--to anna@")
}
