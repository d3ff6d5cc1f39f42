package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestStreams: further connections come up beside the first one, whatever the NATs
// are, with a server and without.
func TestStreams(t *testing.T) {
	t.Parallel()
	linux := func(u natlab.Unsolicited) natlab.NAT { return natlab.NAT{Linux: true, Unsolicited: u} }
	random := natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}
	cases := []struct {
		name string
		a, b natlab.NAT
		peer bool // without a server
		size int  // of the file, in MiB: they must be made while it is under way
	}{
		{"two routers", natlab.NAT{}, natlab.NAT{}, false, 24},
		{"Linux, both drop", linux(natlab.Drop), linux(natlab.Drop), false, 24},
		{"Linux, reject and open", linux(natlab.Reset), linux(natlab.Accept), false, 24},
		{"random ports on one side", random, natlab.NAT{}, false, 60},
		{"one refuses SYNs", natlab.NAT{RefuseInboundSYN: true}, natlab.NAT{}, false, 24},
		{"two routers, without a server", natlab.NAT{}, natlab.NAT{}, true, 24},
		{"Linux, without a server", linux(natlab.Drop), linux(natlab.Reset), true, 24},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.a.Link.Rate = 30e6
			var send, recv *peer
			var name string
			if c.peer {
				h := newHomes(t, c.a, c.b)
				name = h.a.file("file.bin", c.size<<20)
				send, recv = h.send("--streams=4", "--verbose", name), h.recv("--verbose")
			} else {
				p := newMeetingPlace(t, c.a, c.b)
				name = p.a.file("file.bin", c.size<<20)
				send = p.a.start("send", "--via=tcp", "--streams=4", "--verbose", "--timeout=60s", name)
				recv = p.b.start("recv", "--via=tcp", send.code(), "--verbose", "--timeout=60s", "--out=out")
			}
			send.wantDone()
			recv.wantDone()
			wantSame(t, name, recv.dir)
			for _, p := range []*peer{send, recv} {
				text := p.Stderr.String()
				if !strings.Contains(text, "4 connections") {
					t.Errorf("%s: there were no 4 connections", p.name)
				}
				for line := range strings.Lines(text) {
					if strings.Contains(line, "one connection more") {
						t.Logf("%s: %s", p.name, strings.TrimSpace(line))
					}
				}
			}
		})
	}
}

// TestHeldDown: more connections are for a path that has room, where the congestion
// window does not use it.
func TestHeldDown(t *testing.T) {
	const ms = time.Millisecond
	cubic := tcppunch.TCPInfo{CongestionControl: "cubic", RTT: 105 * ms, MinRTT: 100 * ms, Busy: 980 * ms, Unsent: 1 << 20}
	with := func(f func(*tcppunch.TCPInfo)) tcppunch.TCPInfo {
		i := cubic
		f(&i)
		return i
	}
	tests := []struct {
		name string
		now  tcppunch.TCPInfo
		want bool
	}{
		{"a path with losses", cubic, true},
		{"Reno", with(func(i *tcppunch.TCPInfo) { i.CongestionControl = "reno" }), true},
		{"BBR", with(func(i *tcppunch.TCPInfo) { i.CongestionControl = "bbr" }), false},
		{"a full queue", with(func(i *tcppunch.TCPInfo) { i.RTT = 190 * ms }), false},
		{"a local network", with(func(i *tcppunch.TCPInfo) { i.RTT, i.MinRTT = 300*time.Microsecond, 250*time.Microsecond }), false},
		{"no round trip is known", with(func(i *tcppunch.TCPInfo) { i.MinRTT = 0 }), false},
		{"a slow disk", with(func(i *tcppunch.TCPInfo) { i.Unsent = 0 }), false},
		{"a source with pauses", with(func(i *tcppunch.TCPInfo) { i.Busy = 500 * ms }), false},
		{"a receiver that does not keep up", with(func(i *tcppunch.TCPInfo) { i.ReceiverLimited = 300 * ms }), false},
	}
	for _, tt := range tests {
		if got := heldDown(tcppunch.TCPInfo{}, tt.now, time.Second); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	var looks []bool
	infos := []tcppunch.TCPInfo{cubic, cubic}
	infos[1].Busy += time.Hour
	h := &holding{info: func() (tcppunch.TCPInfo, bool) {
		if len(infos) == 0 {
			return tcppunch.TCPInfo{}, false // closed
		}
		i := infos[0]
		infos = infos[1:]
		return i, true
	}}
	for range 3 {
		looks = append(looks, h.held())
	}
	if want := []bool{false, true, false}; !slices.Equal(looks, want) {
		t.Errorf("one look after the other: got %v, want %v", looks, want)
	}
}
