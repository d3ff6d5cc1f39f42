package sock_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// An opener's SYN dies on the way; its socket lives, and answers the connector,
// through a NAT that would have reset an earlier SYN.
func TestOpener(t *testing.T) {
	far := natlab.Link{Delay: 20 * time.Millisecond}
	lab := natlab.New(t, natlab.Topology{
		IPv6: true,
		NATs: []natlab.NAT{
			{Name: "home", Linux: true, Unsolicited: natlab.Reset, Link: far},
			{Name: "office", Linux: true, Unsolicited: natlab.Reset, Link: far},
		},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}},
	})
	const port = 7070
	tests := []struct {
		name       string
		toA, toB   netip.Addr
		raiseAfter time.Duration
	}{
		{"IPv4", lab.NAT("home").Addr(), lab.NAT("office").Addr(), 0},
		{"IPv6", lab.Host("a").Addr6(), lab.Host("b").Addr6(), 60 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := openOn(t, lab.Host("a"), port), openOn(t, lab.Host("b"), port)
			opener := connectOn(t, lab.Host("a"), a, netip.AddrPortFrom(tt.toB, port), 4)
			time.Sleep(tt.raiseAfter)
			opener.Raise()
			time.Sleep(150 * time.Millisecond) // the ICMP error has long come back
			if got, _ := opener.State(); got != sock.StateSynSent {
				t.Fatalf("the opener's state is %v, want SYN_SENT", got)
			}
			connector := connectOn(t, lab.Host("b"), b, netip.AddrPortFrom(tt.toA, port), 0)
			got := make(chan string, 2)
			for _, p := range []*sock.Pending{opener, connector} {
				go func() { got <- hello(t.Context(), p) }()
			}
			for range 2 {
				if s := <-got; s != "hello" {
					t.Errorf("got %q", s)
				}
			}
		})
	}
}

// hello sends a word and returns what the other side sent.
func hello(ctx context.Context, p *sock.Pending) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := p.Wait(ctx)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.Write([]byte("hello"))           //nolint:errcheck // the other side misses it
	conn.SetDeadline(time.Now().Add(5e9)) //nolint:errcheck // a test
	b := make([]byte, 5)
	n, err := conn.Read(b)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}

func openOn(t *testing.T, host *natlab.Machine, num uint16) (p *sock.Port) {
	t.Helper()
	if err := host.Do(func() (err error) {
		p, err = sock.Open(t.Context(), num)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func connectOn(t *testing.T, host *natlab.Machine, port *sock.Port, to netip.AddrPort, low int) (p *sock.Pending) {
	t.Helper()
	if err := host.Do(func() (err error) {
		p, err = port.Connect(to, low)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// A SYN that crosses another one goes to the socket in SYN_SENT; a listener on
// the same port sees nothing of it.
func TestCrossingPassesListeners(t *testing.T) {
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{
		{Name: "a", Link: natlab.Link{Delay: 20 * time.Millisecond}}, {Name: "b"},
	}})
	a, b := openOn(t, lab.Host("a"), 7070), openOn(t, lab.Host("b"), 7070)
	pa := connectOn(t, lab.Host("a"), a, netip.AddrPortFrom(lab.Host("b").Addr(), 7070), 0)
	pb := connectOn(t, lab.Host("b"), b, netip.AddrPortFrom(lab.Host("a").Addr(), 7070), 0)
	got := make(chan string, 2)
	for _, p := range []*sock.Pending{pa, pb} {
		go func() { got <- hello(t.Context(), p) }()
	}
	for range 2 {
		if s := <-got; s != "hello" {
			t.Errorf("got %q", s)
		}
	}
	for _, port := range []*sock.Port{a, b} {
		ln := port.Listeners()[0]
		ln.SetDeadline(time.Now().Add(50 * time.Millisecond)) //nolint:errcheck // a test
		if conn, err := ln.Accept(); err == nil {
			conn.Close()
			t.Errorf("the listener on %v got a connection", ln.Addr())
		} else if e, ok := err.(net.Error); !ok || !e.Timeout() {
			t.Error(err)
		}
	}
}
