//go:build linux

package natlab_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// packets collects what a tap sees.
type packets struct {
	mu  sync.Mutex
	all []natlab.Capture
}

func (p *packets) add(c natlab.Capture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Data = append([]byte(nil), c.Data...)
	p.all = append(p.all, c)
}

// at returns the packets seen at a node in one direction.
func (p *packets) at(where string, side natlab.Side, inbound bool) []natlab.Capture {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []natlab.Capture
	for _, c := range p.all {
		if c.Where == where && c.Side == side && c.Inbound == inbound {
			found = append(found, c)
		}
	}
	return found
}

// protocol returns the packets of a protocol that have come to a host.
func (p *packets) protocol(host string, proto natlab.Protocol) []natlab.Capture {
	var found []natlab.Capture
	for _, c := range p.at(host, natlab.AtHost, true) {
		if c.Protocol() == proto {
			found = append(found, c)
		}
	}
	return found
}

// count counts segments with just these flags seen at a node, in both directions.
func (p *packets) count(where string, side natlab.Side, proto natlab.Protocol, flags string) int {
	n := 0
	for _, inbound := range []bool{true, false} {
		for _, c := range p.at(where, side, inbound) {
			if c.Protocol() == proto && c.Flags() == flags {
				n++
			}
		}
	}
	return n
}

// wait waits for such a packet.
func (p *packets) wait(t *testing.T, where string, side natlab.Side, proto natlab.Protocol, flags string) {
	t.Helper()
	for end := time.Now().Add(within); p.count(where, side, proto, flags) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %v %s at %s", proto, flags, where)
		}
	}
}

// knock sends one TCP connection attempt and one datagram to the endpoint and returns what they are answered. nil
// means nothing within 200 ms, and that is an error when there was an answer of the other side.
func knock(t *testing.T, m *natlab.Machine, to netip.AddrPort) (tcp, udp error) {
	t.Helper()
	conn, err := client{t, m}.tcpWithin(200*time.Millisecond, 0, to)
	if err == nil {
		conn.Close()
		t.Error("connected")
	}
	if !isTimeout(err) {
		tcp = err
	}
	pc, err := m.Dial(t.Context(), "udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, _ = pc.Write([]byte("?"))
	_ = pc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := pc.Read(make([]byte, 1)); !isTimeout(err) {
		udp = err
	}
	return tcp, udp
}
