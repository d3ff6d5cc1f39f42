package natlab

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// segmentOf builds a packet with right checksums.
func segmentOf(proto byte, src, dst netip.AddrPort, payload string) []byte {
	head := map[byte]int{ip.TCP: 20, ip.UDP: 8, ip.ICMP: 8, ip.ICMPv6: 8}[proto]
	v6 := src.Addr().Is6()
	b := make([]byte, map[bool]int{false: 20, true: 40}[v6]+head+len(payload))
	l4 := ip.WriteHeader(b, v6, proto, src.Addr(), dst.Addr(), len(b))
	copy(b[l4+head:], payload)
	field := l4 + 2
	switch proto {
	case ip.TCP:
		b[l4+12], b[l4+13] = 5<<4, ip.SYN
		field = l4 + 16
	case ip.UDP:
		binary.BigEndian.PutUint16(b[l4+4:], uint16(len(b)-l4))
		field = l4 + 6
	case ip.ICMP:
		b[l4] = 8
		binary.BigEndian.PutUint16(b[l4+4:], src.Port())
	case ip.ICMPv6:
		b[l4] = 128
		binary.BigEndian.PutUint16(b[l4+4:], src.Port())
	}
	if proto == ip.TCP || proto == ip.UDP {
		binary.BigEndian.PutUint16(b[l4:], src.Port())
		binary.BigEndian.PutUint16(b[l4+2:], dst.Port())
	}
	ip.SealTransport(b, proto, l4, field)
	return b
}

func samples() [][]byte {
	a4, b4 := netip.MustParseAddrPort("192.168.1.2:7070"), netip.MustParseAddrPort("198.51.100.10:3478")
	a6, b6 := netip.MustParseAddrPort("[2001:db8:0:1::2]:7070"), netip.MustParseAddrPort("[2001:db8::10]:3478")
	var all [][]byte
	for _, text := range []string{"", "odd", "even"} {
		all = append(all, segmentOf(ip.TCP, a4, b4, text), segmentOf(ip.UDP, a4, b4, text), segmentOf(ip.ICMP, a4, b4, text),
			segmentOf(ip.TCP, a6, b6, text), segmentOf(ip.UDP, a6, b6, text), segmentOf(ip.ICMPv6, a6, b6, text))
	}
	for _, cause := range all[:6] {
		p := new(ip.Packet)
		from := netip.MustParseAddr("198.18.0.1")
		if cause[0]>>4 == 6 {
			from = netip.MustParseAddr("2001:db8:ff02::1")
		}
		if ip.ICMPError(p, ip.TimeExceeded, from, cause) {
			all = append(all, bytes.Clone(p.IP()))
		}
	}
	return all
}

// TestChurnRate: ports go as time passes, evenly on average and at random.
func TestChurnRate(t *testing.T) {
	const rate, gaps = 20.0, 400
	table := newMappings(NAT{Ports: Sequential, Step: 3, ChurnRate: rate}, netip.MustParseAddr("203.0.113.10"), rand.New(rand.NewPCG(1, 2)))
	now, last, sum, squares := int64(0), 0, 0.0, 0.0
	for i := range gaps + 1 {
		now += int64(time.Second / 2)
		port := int(table.choosePort(now, ip.TCP, 7070))
		if i > 0 {
			others := (port - last - 3) / 3
			if port < last { // after the highest port comes the lowest
				others = (port - last + highPort - lowPort + 1 - 3) / 3
			}
			sum += float64(others)
			squares += float64(others * others)
		}
		last = port
	}
	// A Poisson process has 10 in half a second, with a variance of 10.
	mean := sum / gaps
	if variance := squares/gaps - mean*mean; mean < 9 || mean > 11 || variance < 7 || variance > 13 {
		t.Errorf("others took %.2f ports between two of ours, with a variance of %.2f, want 10 and 10", mean, variance)
	}
}

func TestSamplesAreSound(t *testing.T) {
	for i, b := range samples() {
		if !ip.Sound(b) {
			t.Errorf("sample %d is not sound: %x", i, b)
		}
	}
}

// FuzzNAT sends any packet through a NAT, out and in, and through a wire with routers. What comes out has right checksums if
// what went in had.
func FuzzNAT(f *testing.F) {
	for _, b := range samples() {
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, outwards bool) {
		if len(b) > ip.MTU {
			return
		}
		n, inside, outside := loneNAT()
		// A mapping that the packet may use.
		for _, seed := range samples()[:6] {
			n.send(inside, seed)
		}
		n.got = nil
		to := outside
		if outwards {
			to = inside
		}
		was := ip.Sound(b)
		n.send(to, bytes.Clone(b))
		for _, out := range n.got {
			if _, ok := ip.Parse(out, false); !ok {
				t.Errorf("%x became %x, which is no packet", b, out)
			}
			if was && !ip.Sound(out) {
				t.Errorf("%x became %x, which is not sound", b, out)
			}
		}
	})
}

// loneNet is a NAT in a network without devices, that keeps what comes out on either side.
type loneNet struct {
	*network
	got [][]byte
}

// keep is a sink that keeps copies.
type keep struct{ *loneNet }

func (k keep) accept(p *ip.Packet) { k.got = append(k.got, bytes.Clone(p.IP())) }

// send brings bytes into a sink as a device does.
func (n *loneNet) send(to sink, b []byte) {
	p := new(ip.Packet)
	frame := append(make([]byte, ip.EtherLen), b...)
	frame[12], frame[13] = 0x08, 0
	if len(b) > 0 && b[0]>>4 == 6 {
		frame[12], frame[13] = 0x86, 0xdd
	}
	copy(p.Buf[:], frame)
	if p.Frame(len(frame)) {
		n.inject(to, p, nil)
	}
}

func loneNAT() (n *loneNet, inside, outside sink) {
	net := &network{began: time.Now()}
	n = &loneNet{network: net}
	cfg := NAT{Unsolicited: Reset, Hairpin: true}
	rng := rand.New(rand.NewPCG(1, 1))
	box := &natBox{
		net: net, cfg: cfg, addr: netip.MustParseAddr("203.0.113.10"), addr6: netip.MustParseAddr("2001:db8:ff00::1"),
		lan4: netip.MustParseAddr("192.168.1.1"), lan6: netip.MustParseAddr("2001:db8:0:1::1"),
		site6: []netip.Prefix{netip.MustParsePrefix("2001:db8:0:1::/64")},
	}
	box.table = newMappings(cfg, box.addr, rng)
	w := &wire{net: net, rng: rng, routers: []router{{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8:ff02::1")}}}
	w.ends = [2]sink{keep{n}, natOutside{box}}
	box.up = wireEnd{w, up}
	lan := &segment{net: net, members: make(map[netip.Addr]*member), gateway: natInside{box}}
	box.lan = lan
	host := &wire{net: net, rng: rng}
	host.ends[down] = keep{n}
	lan.join(host, netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("2001:db8:0:1::2"))
	return n, natInside{box}, wireEnd{w, down}
}
