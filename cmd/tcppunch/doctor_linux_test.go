package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// findings are what the doctor said, by code.
func findings(t *testing.T, p *peer) map[string]finding {
	t.Helper()
	if status := p.status(); status != 0 {
		t.Errorf("%s: exit status %d", p.name, status)
	}
	all := make(map[string]finding)
	for line := range strings.Lines(p.Stdout.String()) {
		var f struct {
			Event string
			finding
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("stdout holds %q: %v", line, err)
		}
		if f.Event == "finding" {
			all[f.Code] = f.finding
		}
	}
	return all
}

// sh runs a shell script in a host, which must succeed.
func sh(t *testing.T, host *natlab.Machine, script string) {
	t.Helper()
	if r := host.Run("sh", "-ec", script); r.Err != nil {
		t.Fatalf("%s: %s: %v\n%s", host.Name(), script, r.Err, r.Stderr)
	}
}

// TestDoctor: each trouble is made, and told from the others.
func TestDoctor(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		firewall natlab.Firewall
		prepare  string // in the host, by sh
		want     string // the findings that are no "ok", sorted: code/level
		says     string
	}{
		{"nothing wrong", natlab.NoFirewall, "", "alone/suspected peers/note", "Multicast goes out by eth0 and is let in"},
		{"no network", natlab.NoFirewall, "ip link set eth0 down", "no-interface/problem peers/note", "eth0: down"},
		{"no address", natlab.NoFirewall, "ip addr flush dev eth0", "no-interface/problem peers/note", "DHCP"},
		{"address of its own making", natlab.NoFirewall, "ip -4 addr flush dev eth0; ip addr add 169.254.7.9/16 dev eth0",
			"alone/suspected peers/note self-assigned/suspected", "DHCP"},
		{"multicast off", natlab.NoFirewall, "ip link set eth0 multicast off", "alone/suspected multicast-off/problem peers/note", "ip link set dev eth0 multicast on"},
		{"firewall", natlab.DropUnsolicited, "", "alone/suspected multicast-dropped/problem peers/note", "This machine's firewall drops multicast that comes in by eth0"},
		{"firewall that lets multicast in", natlab.DropUnsolicited,
			"nft insert rule inet filter input ip daddr 224.0.0.251 udp dport 5353 accept; nft insert rule inet filter input ip6 daddr ff02::fb udp dport 5353 accept",
			"alone/suspected peers/note", ""},
		{"firewall that lets IPv4 multicast in", natlab.DropUnsolicited, "nft insert rule inet filter input ip daddr 224.0.0.251 udp dport 5353 accept",
			"alone/suspected multicast/note peers/note", "but not that of IPv6"},
		{"firewall for what goes out", natlab.NoFirewall,
			"nft add table inet out; nft add chain inet out output '{ type filter hook output priority 0; policy accept; }'; nft add rule inet out output oif eth0 drop",
			"multicast-unsent/problem peers/note sending-forbidden/problem unknown/note", "does not let packets out"},
		{"VPN for all else", natlab.NoFirewall, vpn + "ip route add default dev tun0", "alone/suspected peers/note vpn/note", "takes all that leaves the local network, but not what stays there"},
		{"VPN in the way", natlab.NoFirewall, vpn + "ip route add 10.0.1.0/25 dev tun0; ip route add 10.0.1.128/25 dev tun0",
			"alone/suspected peers/note vpn-route/problem", "The VPN tun0 takes what should go to hosts on eth0"},
		{"overlapping networks", natlab.NoFirewall, "ip tuntap add dev eth1 mode tap; ip addr add 10.0.0.1/16 dev eth1; ip link set eth1 up; ip route add 10.0.1.0/25 dev eth1",
			"alone/suspected peers/note route/problem", "networks that overlap"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := oneLAN(t, c.firewall, "a")
			a := lab.Host("a")
			if c.prepare != "" {
				sh(t, a, c.prepare)
			}
			p := newSide(t, a).start("peers", "--doctor")
			wantFindings(t, p, c.want, c.says)
			p.wantNoSockets()
		})
	}
}

// vpn makes the device of one.
const vpn = "ip tuntap add dev tun0 mode tun; ip addr add 10.8.0.2/24 dev tun0; ip link set tun0 up; "

// wantFindings checks what was found but for what is well, and a text among it.
func wantFindings(t *testing.T, p *peer, want, says string) {
	t.Helper()
	var codes []string
	text := ""
	all := findings(t, p)
	for _, code := range slices.Sorted(maps.Keys(all)) {
		f := all[code]
		if f.Level != isOK {
			codes = append(codes, fmt.Sprintf("%s/%s", code, f.Level))
		}
		text += f.Result + ". " + f.Tested + ". " + f.Advice + ".\n"
		if f.Tested == "" || f.Result == "" || (f.Level == isProblem || f.Level == isSuspected) && f.Advice == "" {
			t.Errorf("%s: a finding that does not say what was tested, or what to do: %+v", p.name, f)
		}
	}
	if got := strings.Join(codes, " "); got != want || !strings.Contains(text, says) {
		t.Errorf("%s: found %q, want %q, and %q in\n%s", p.name, got, want, says, text)
	}
}

// TestDoctorPort: another program has the port of datagrams.
func TestDoctorPort(t *testing.T) {
	t.Parallel()
	lab := oneLAN(t, natlab.NoFirewall, "a")
	c, err := lab.Host("a").ListenPacket("udp4", ":7479")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantFindings(t, newSide(t, lab.Host("a")).start("peers", "--doctor"), "peers/note port-taken/problem unknown/note", "End that program")
}

// TestDoctorOtherSubnet: a neighbour on the same wire has an address of another network.
func TestDoctorOtherSubnet(t *testing.T) {
	t.Parallel()
	lab := oneLAN(t, natlab.NoFirewall, "a", "b")
	sh(t, lab.Host("b"), "ip addr flush dev eth0; ip addr add 192.168.7.9/24 dev eth0")
	b := newSide(t, lab.Host("b")).start("peers", "--watch")
	b.says("Looking around")
	wantFindings(t, newSide(t, lab.Host("a")).start("peers", "--doctor"), "alone/suspected other-subnet/problem peers/note", "192.168.7.9")
	b.Signal(os.Interrupt)
	b.status()
}

// An office is a network of cables with ARP: hosts at a switch, which a third host is,
// and has an address too. They are few, since all hosts of a machine share one table of
// neighbours.
func newOffice(t *testing.T, ports string) (a, b *natlab.Machine) {
	t.Helper()
	lab := oneLAN(t, natlab.NoFirewall, "a", "b", "switch")
	sw := lab.Host("switch")
	for i, h := range []*natlab.Machine{lab.Host("a"), lab.Host("b")} {
		sh(t, h, fmt.Sprintf("ip link del eth0 2>/dev/null || ip link set eth0 down; ip link add lan0 type veth peer name p%d netns %s", i, sw.Namespace()))
		sh(t, h, fmt.Sprintf("ip addr add 10.9.1.%d/26 dev lan0; ip link set lan0 up; ip route add default via 10.9.1.62", i+1))
	}
	sh(t, sw, `ip link set eth0 down; ip link add br0 type bridge; ip addr add 10.9.1.62/26 dev br0; ip link set br0 up
for p in p0 p1; do ip link set $p master br0; ip link set $p `+ports+` up; done`)
	return lab.Host("a"), lab.Host("b")
}

// TestDoctorOffice: who else is there, and who is kept apart.
func TestDoctorOffice(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, ports, prepareB string
		want, says            string
	}{
		{"somebody who says nothing", "", "", "peers/note", "1 other host is on lan0 and can be reached, but none of them announces itself"},
		{"somebody behind a firewall", "", drops, "isolation/suspected peers/note", "their firewalls drop it, or the network keeps hosts apart"},
		{"client isolation", "type bridge_slave isolated on; ip link set $p", "", "isolation/suspected peers/note", "only the router answers"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := newOffice(t, c.ports)
			if c.prepareB != "" {
				sh(t, b, c.prepareB)
			}
			wantFindings(t, newSide(t, a).start("peers", "--doctor"), c.want, c.says)
		})
	}
}

const drops = "nft add table inet in; nft add chain inet in input '{ type filter hook input priority 0; policy drop; }'"

// TestDoctorSeesPeers: with a firewall, those that datagrams find.
func TestDoctorSeesPeers(t *testing.T) {
	t.Parallel()
	lab := oneLAN(t, natlab.NoFirewall, "a", "b")
	p := newSide(t, lab.Host("b")).start("peers", "--doctor", "-v")
	screens := map[*seat]int{}
	for _, columns := range []int{80, 40} {
		screens[newSide(t, lab.Host("b")).sitAt(uint16(columns), 50, "peers", "--doctor", "--json=false")] = columns
	}
	p.says("looking on eth0")
	n := newAnnouncer(t, lab.Host("a"), lab.Host("b"))
	for range 20 {
		n.says(t, "anna", 120, "id=00000000000000a1", "room=4821")
		time.Sleep(100 * time.Millisecond)
	}
	wantFindings(t, p, "", "1 peer is seen, 1 by datagrams alone")
	for s, columns := range screens {
		s.status()
		for line := range strings.Lines(s.Stderr.String()) {
			if n := runewidth.StringWidth(strings.TrimRight(line, "\r\n")); n > columns {
				t.Errorf("%d columns of %d: %q", n, columns, line)
			}
		}
		s.waitScreen(`peer is\s+seen, 1 by datagrams\s+alone`)
	}
}

// TestVerdicts: what has not been seen in a lab.
func TestVerdicts(t *testing.T) {
	lan := func(change func(*lanSeen)) lanSeen {
		s := lanSeen{Asked: [2]int{4, 4}, Echoed: [2]int{4, 4}, Swept: 254, Table: true}
		s.Name, s.Index, s.Multicast = "eth0", 2, true
		s.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("fe80::1/64")}
		change(&s)
		return s
	}
	host := netip.MustParseAddr("10.0.1.9")
	cases := []struct {
		name string
		r    lanReport
		want string
	}{
		{"peers", lanReport{Interfaces: []lanSeen{lan(func(s *lanSeen) { s.Voices = []netip.Addr{host} })}, Peers: 2}, "interface/ok multicast/ok peers/ok"},
		{"voices, no peers", lanReport{Interfaces: []lanSeen{lan(func(s *lanSeen) { s.Voices = []netip.Addr{host} })}}, "interface/ok multicast/ok peers/note"},
		{"firewall, but peers", lanReport{Interfaces: []lanSeen{lan(func(s *lanSeen) { s.Echoed = [2]int{} })}, Peers: 1, ByDatagram: 1},
			"interface/ok multicast-dropped/note peers/ok"},
		{"table unread", lanReport{Interfaces: []lanSeen{lan(func(s *lanSeen) { s.Table = false })}}, "interface/ok multicast/ok peers/note unknown/note"},
		{"no route", lanReport{Interfaces: []lanSeen{lan(func(s *lanSeen) { s.Detours = []detour{{To: host}}; s.Voices = []netip.Addr{host} })}},
			"interface/ok multicast/ok peers/note route/problem"},
		{"terminal codes in a name", lanReport{Interfaces: []lanSeen{lan(func(s *lanSeen) { s.Name, s.Unfit = "\x1b[2J", "down" })}}, "no-interface/problem peers/note"},
		{"nothing at all", lanReport{}, "no-interface/problem peers/note"},
	}
	for _, c := range cases {
		var got []string
		for _, f := range verdicts(&c.r) {
			got = append(got, fmt.Sprintf("%s/%s", f.Code, f.Level))
			for _, columns := range []int{20, 40, 80} {
				for _, line := range findingLines(f, columns) {
					if strings.ContainsRune(line, '\x1b') || runewidth.StringWidth(line) > columns && strings.Contains(strings.TrimSpace(line), " ") {
						t.Errorf("%s: a line for %d columns: %q", c.name, columns, line)
					}
				}
			}
		}
		if text := strings.Join(slices.Sorted(slices.Values(got)), " "); text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}
