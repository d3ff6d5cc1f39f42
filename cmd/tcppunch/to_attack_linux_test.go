package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// A crook is a neighbour who wants to be taken for others, or to keep them out.
type crook struct {
	host *natlab.Machine
	conf *tls.Config

	persistent bool

	silent, turnedAway, letIn, visited atomic.Int64
}

func newCrook(t *testing.T, s *side) *crook {
	return &crook{host: s.host, conf: &tls.Config{
		Certificates: []tls.Certificate{newCertificate(t)}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"tcppunch/1"}, MinVersion: tls.VersionTLS13,
	}}
}

// ports are those at which a host accepts TCP now.
func (c *crook) ports(of *natlab.Machine) (all []netip.AddrPort) {
	for line := range strings.Lines(of.Run("ss", "-Htln4").Stdout) {
		if f := strings.Fields(line); len(f) > 3 {
			if a, err := netip.ParseAddrPort(f[3]); err == nil {
				all = append(all, netip.AddrPortFrom(of.Addr(), a.Port()))
			}
		}
	}
	return all
}

// besiege comes to a host again and again: says nothing, or shows one key after the other,
// under a known name. Where it is let in it is nominated, makes check words if it is persistent,
// and says no more.
func (c *crook) besiege(ctx context.Context, victim *natlab.Machine, name string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		for _, at := range c.ports(victim) {
			wg.Go(func() {
				limited, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				if conn, err := c.host.Dial(limited, "tcp", at.String()); err == nil {
					c.silent.Add(1)
					<-limited.Done()
					conn.Close()
				}
			})
			wg.Go(func() { c.visit(ctx, at, name) })
		}
		sleep(ctx, 200*time.Millisecond) //nolint:errcheck // seen above
	}
}

// visit introduces itself.
func (c *crook) visit(ctx context.Context, at netip.AddrPort, name string) {
	raw, err := c.host.Dial(ctx, "tcp", at.String())
	if err != nil {
		return
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := tls.Client(raw, c.conf)
	exporter, err := export(ctx, conn)
	if err != nil {
		return
	}
	if _, _, err := pair.NewIdentity().Introduce(ctx, conn, true, exporter, name); err != nil {
		return
	}
	switch theirs, err := greet(ctx, conn, true, func(word) word { return wordKnown }); {
	case err != nil:
	case theirs.refusal() != nil:
		c.turnedAway.Add(1)
	default:
		c.letIn.Add(1)
		conn.Write([]byte{'N'})
		if c.persistent {
			if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
				pair.CheckWords(ctx, conn, true, exporter) //nolint:errcheck // seen on the other screen
			}
		}
		io.Copy(io.Discard, conn)
	}
}

func export(ctx context.Context, conn *tls.Conn) ([]byte, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	return state.ExportKeyingMaterial("EXPORTER-tcppunch/1", nil, 32)
}

// pose announces somebody else's name and key, by multicast, at a port of its own, where it
// has another key to show, and acts as a receiver.
func (c *crook) pose(ctx context.Context, t *testing.T, name string, key pair.PublicKey) {
	ln, err := c.host.Listen("tcp", ":0")
	if err != nil {
		t.Error(err)
		return
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				conn := tls.Server(raw, c.conf)
				if exporter, err := export(ctx, conn); err == nil {
					c.visited.Add(1)
					pair.NewIdentity().Introduce(ctx, conn, false, exporter, name)
					greet(ctx, conn, false, func(word) word { return wordKnown })
					io.Copy(conn, conn)
				}
			}()
		}
	}()
	out, err := c.host.ListenPacket("udp4", ":5353")
	if err != nil {
		t.Error(err)
		return
	}
	defer out.Close()
	packet, err := c.announcement(name, key, ln.Addr().(*net.TCPAddr).Port).Pack()
	if err != nil {
		t.Error(err)
		return
	}
	for ctx.Err() == nil {
		out.WriteTo(packet, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
		sleep(ctx, 100*time.Millisecond) //nolint:errcheck // seen above
	}
}

func (c *crook) announcement(name string, key pair.PublicKey, port int) *dns.Msg {
	const service, host = "_tcppunch._tcp.local.", "eve.local."
	instance := name + ` (00000000).` + service
	head := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 120}
	}
	m := new(dns.Msg)
	m.Response, m.Authoritative = true, true
	m.Answer = []dns.RR{
		&dns.PTR{Hdr: head(service, dns.TypePTR), Ptr: instance},
		&dns.SRV{Hdr: head(instance, dns.TypeSRV), Port: uint16(port), Target: host},
		&dns.TXT{Hdr: head(instance, dns.TypeTXT), Txt: []string{"txtvers=1", "id=0000000000000000", "key=" + key.String()}},
		&dns.A{Hdr: head(host, dns.TypeA), A: c.host.Addr().AsSlice()},
	}
	return m
}

// TestToImpostor: somebody announces a known neighbour's name and key, and has another one.
// That is no sign that the neighbour has, and no reason to forget the key.
func TestToImpostor(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben", "eve")
	acquainted(n["anna"], n["ben"])
	anna, _ := n["ben"].known().byName("anna")
	eve := newCrook(t, n["eve"])
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { eve.pose(ctx, t, "anna", anna.key) })

	file := n["ben"].file("file.bin", fileSize)
	send := n["ben"].start("send", "--timeout=4s", "--to=anna", "--yes", file)
	send.wantFailure(statusNoPath, "timeout", "has not the key of anna", "nobody who has the key of anna has answered within 4s")
	if text := send.Stderr.String(); strings.Contains(text, "--forget") {
		t.Errorf("told to forget the key:\n%s", text)
	}
	if eve.visited.Load() == 0 {
		t.Error("eve was not asked: the test shows nothing")
	}
	n["anna"].waits("--trust")
	n["ben"].sendsTo("anna", file).wantDone()
	wantSame(t, file, n["anna"].dir)
}

// TestToBesieged: somebody comes again and again, with silence and with ever new keys.
func TestToBesieged(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name                 string
		terminal, persistent bool
		most                 time.Duration
	}{
		{"no terminal", false, false, 10 * time.Second},
		{"terminal", true, false, 10 * time.Second},
		{"check words", true, true, strangeTime + 10*time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben", "eve")
			acquainted(n["anna"], n["ben"])
			recv := n["anna"].waits
			if c.terminal {
				recv = func(args ...string) *peer { return n["anna"].begin(n["anna"].sit(n["anna"].waitArgs(args...)...).peer) }
			}
			anna := recv("--trust")
			eve := newCrook(t, n["eve"])
			eve.persistent = c.persistent
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			wg.Go(func() { eve.besiege(ctx, anna.host, "carl") })
			busy := func() bool {
				if c.persistent {
					return strings.Contains(anna.Stderr.String(), "same words?")
				}
				return eve.turnedAway.Load() > 0
			}
			for end := time.Now().Add(20 * time.Second); !busy() && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			for i := range 2 {
				began := time.Now()
				file := n["ben"].file(fmt.Sprint(i, ".bin"), fileSize)
				n["ben"].sendsTo("anna", file).wantDone()
				wantContent(t, file, n["anna"].dir+"/out/"+fmt.Sprint(i, ".bin"))
				if took := time.Since(began); took > c.most {
					t.Errorf("took %v", took)
				}
			}
			t.Logf("%d silent connections, %d turned away, %d let in", eve.silent.Load(), eve.turnedAway.Load(), eve.letIn.Load())
			if eve.silent.Load() == 0 || eve.turnedAway.Load() == 0 || c.terminal != (eve.letIn.Load() > 0) {
				t.Error("eve did not do what she is for")
			}
			if got := strings.Count(anna.Stdout.String(), `"offer"`); got != 2 {
				t.Errorf("%d offers", got)
			}
			if asked := strings.Count(anna.Stderr.String(), "same words?"); asked > 1 || (asked > 0) != c.persistent {
				t.Errorf("asked %d times for somebody who says nothing", asked)
			}
		})
	}
}
