//go:build linux

package datagram_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A datagram with a low TTL opens the NAT and never arrives; the next one does.
func TestSendTTL(t *testing.T) {
	lab := natlab.New(t, natlab.Topology{
		NATs:  []natlab.NAT{{Name: "home"}},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b"}},
	})
	out := make(chan got, 10)
	h := &datagram.Handler{Data: func(_ *datagram.Socket, d []byte, from netip.AddrPort) { out <- got{"", string(d), from} }}
	var s [2]*datagram.Socket
	for i, host := range lab.Hosts() {
		if err := host.Do(func() (err error) {
			s[i], err = datagram.Listen(t.Context(), "udp4", 7070, h)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer s[i].Close()
	}
	toB := netip.AddrPortFrom(lab.Host("b").Addr(), 7070)
	toA := netip.AddrPortFrom(lab.NAT("home").Addr(), 7070)
	if err := s[0].SendTTL([]byte("\x80low"), toB, 3); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := s[1].Send([]byte("\x80in"), toA); err != nil {
		t.Fatal(err)
	}
	if g := next(t, out); g.b != "\x80in" {
		t.Errorf("got %q", g.b)
	}
	if err := s[0].Send([]byte("\x80high"), toB); err != nil {
		t.Fatal(err)
	}
	if g := next(t, out); g.b != "\x80high" {
		t.Errorf("got %q", g.b)
	}
}
