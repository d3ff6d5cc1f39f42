package main

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestMeasureLAN: what looking for neighbours, and being found, costs: packets that leave a
// host in each of its first minutes, and CPU time.
func TestMeasureLAN(t *testing.T) {
	measures(t, "lan")
	cases := []struct {
		name, lan string
		args      []string
	}{
		{"recv CODE, and nobody comes", "lonely", []string{"recv", "4821-otter-lamp"}},
		{"the same with --sweep off", "silent", []string{"recv", "--sweep=off", "4821-otter-lamp"}},
		{"recv --wait, beside another one", "office", []string{"recv", "--wait", "--yes", "--out=out"}},
		{"that other one", "office", []string{"recv", "--wait", "--yes", "--out=out"}},
		{"peers --watch, beside both", "office", []string{"peers", "--watch"}},
	}
	top := natlab.Topology{IPv6: true, LANs: []natlab.LAN{{Name: "lonely"}, {Name: "silent"}, {Name: "office"}}}
	for i, c := range cases {
		top.Hosts = append(top.Hosts, natlab.Host{Name: fmt.Sprint("h", i), Behind: c.lan, Firewall: natlab.DropUnsolicited})
	}
	count := &lanCount{sent: map[string]*[measuredMinutes][2]int{}}
	lab := natlab.NewWith(t, top, &natlab.Options{Tap: count.add})
	var all []*peer
	for i, c := range cases {
		s := newSide(t, lab.Host(fmt.Sprint("h", i)))
		s.allowMulticast()
		count.begins(s.host.Name())
		all = append(all, s.start(c.args...))
	}
	time.Sleep(measuredMinutes * time.Minute)
	count.end()
	tab := newTable("packets sent in a minute, IPv4 and IPv6 together: multicast + datagrams", "first", "second", "third", "CPU, ms a minute")
	for i, c := range cases {
		all[i].Signal(syscall.SIGINT)
		state := all[i].Wait().State
		cells := []string{c.name}
		for _, n := range count.sent[all[i].name] {
			cells = append(cells, fmt.Sprintf("%d + %d", n[0], n[1]))
		}
		tab.row(append(cells, fmt.Sprintf("%.0f", (state.UserTime()+state.SystemTime()).Seconds()*1000/measuredMinutes))...)
	}
	fmt.Printf("\n%s\n", tab)
}

// measuredMinutes is how long TestMeasureLAN takes.
const measuredMinutes = 3

// A lanCount counts what leaves hosts to find neighbours: by multicast, and by datagram.
type lanCount struct {
	mu    sync.Mutex
	over  bool
	began map[string]time.Time
	sent  map[string]*[measuredMinutes][2]int // by host and minute
}

// begins starts a host's first minute.
func (l *lanCount) begins(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.began == nil {
		l.began = map[string]time.Time{}
	}
	l.began[host], l.sent[host] = time.Now(), new([measuredMinutes][2]int)
}

func (l *lanCount) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

func (l *lanCount) add(c natlab.Capture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began, ok := l.began[c.Where]
	if !ok || l.over || c.Side != natlab.AtHost || c.Inbound || c.Protocol() != natlab.UDP {
		return
	}
	minute := min(int(time.Since(began)/time.Minute), measuredMinutes-1)
	switch _, dst := c.Addrs(); {
	case dst.Addr().IsMulticast() && dst.Port() == 5353:
		l.sent[c.Where][minute][0]++
	case dst.Port() == lanfind.DefaultPort:
		l.sent[c.Where][minute][1]++
	}
}
