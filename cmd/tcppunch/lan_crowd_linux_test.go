package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// TestLANCrowd: twenty hosts on one network, three pairs at once and two that have drawn
// the same number, while a hostile host answers every announcement first, tries words and
// floods.
func TestLANCrowd(t *testing.T) { // alone: so many programs are enough for two cores
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("h%d", i))
	}
	sides := office(t, natlab.DropUnsolicited, names...)
	for _, s := range sides {
		s.allowMulticast()
	}
	sides[19].host.Run("nft", "flush", "ruleset")
	m := newMallory(t, sides[19].host)
	var waiting []*peer // with codes that nobody uses
	for _, s := range sides[10:19] {
		waiting = append(waiting, s.start("recv", "--timeout=1m", "--out=out", fmt.Sprintf("%d-otter-lamp", 2000+len(waiting))))
	}
	type pairing struct {
		send, recv *peer
		file       string
	}
	var pairs []pairing
	for i := range 5 {
		p := pairing{file: sides[2*i].file("file.bin", 1<<20)}
		args := []string{"send", "--timeout=40s", p.file}
		if i >= 3 {
			args = append(args, "--code", []string{"4821-otter-lamp", "4821-abdomen-yogurt"}[i-3])
		}
		p.send = sides[2*i].start(args...)
		pairs = append(pairs, p)
	}
	for i := range pairs {
		p := &pairs[i]
		code := []string{"4821-otter-lamp", "4821-abdomen-yogurt"}[max(i-3, 0)]
		if i < 3 {
			code = p.send.code()
		}
		p.send.waits()
		p.recv = sides[2*i+1].start("recv", "--timeout=40s", "--out=out", code)
	}
	for i, p := range pairs {
		t.Logf("pair %d: connected after %v", i, wantKind(t, "lan", p.send, p.recv, p.file))
	}
	for _, p := range waiting { // under siege all the time
		mib := peakMemory(t, p.PID())
		p.Signal(syscall.SIGINT)
		p.wantFailure(statusInterrupted, "interrupted")
		state, lived := p.Wait().State, time.Since(p.started)
		cpu := state.UserTime() + state.SystemTime()
		t.Logf("%s: %v of CPU in %v, %.0f MiB", p.name, cpu, lived, mib)
		if cpu > lived/4 || mib > 256 { // with the race detector
			t.Errorf("%s took %v of CPU in %v, and %.0f MiB", p.name, cpu, lived, mib)
		}
	}
	m.end(t)
}

// peakMemory is the most that a process has had, in MiB.
func peakMemory(t *testing.T, pid int) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// mallory answers for everybody, in every room that is announced.
type mallory struct {
	addr   netip.Addr
	group  *net.UDPConn
	ports  []uint16
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	rooms   map[string]bool    // that were heard of
	guesses map[netip.Addr]int // that came to an end, by victim
	in      int                // that were right
	other   map[string]int     // how the other connections ended
}

func newMallory(t *testing.T, host *natlab.Machine) *mallory {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &mallory{addr: host.Addr(), cancel: cancel, rooms: map[string]bool{}, guesses: map[netip.Addr]int{}, other: map[string]int{}}
	to := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	var plain net.PacketConn
	err := host.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		m.group, err = net.ListenMulticastUDP("udp4", i, to)
		return err
	})
	if err == nil {
		plain, err = host.ListenPacket("udp4", ":7479")
	}
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{newCertificate(t)}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"tcppunch/1"}, MinVersion: tls.VersionTLS13}
	for range 4 {
		ln, err := host.Listen("tcp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		m.ports = append(m.ports, ln.Addr().(*net.TCPAddr).AddrPort().Port())
		m.wg.Go(func() { m.accept(ctx, ln, conf) })
		context.AfterFunc(ctx, func() { ln.Close() })
	}
	m.wg.Go(func() { m.answer(to) })
	m.wg.Go(func() { m.flood(ctx, plain, to) })
	context.AfterFunc(ctx, func() {
		m.group.Close()
		plain.Close()
	})
	t.Cleanup(func() {
		cancel()
		m.wg.Wait()
	})
	return m
}

// answer announces sixteen programs in each room that it hears of.
func (m *mallory) answer(to *net.UDPAddr) {
	b := make([]byte, 9000)
	for {
		n, from, err := m.group.ReadFromUDP(b)
		if err != nil {
			return
		}
		var msg dns.Msg
		if msg.Unpack(b[:n]) != nil || from.IP.Equal(m.addr.AsSlice()) {
			continue
		}
		for _, rr := range append(msg.Answer, msg.Extra...) {
			txt, ok := rr.(*dns.TXT)
			if !ok {
				continue
			}
			for _, s := range txt.Txt {
				if room, ok := strings.CutPrefix(s, "room="); ok {
					m.mu.Lock()
					m.rooms[room] = true
					m.mu.Unlock()
					for i := range 16 {
						packet := m.announcement(room, i)
						m.group.WriteToUDP(packet, from) //nolint:errcheck // as many as get through
						m.group.WriteToUDP(packet, to)   //nolint:errcheck // as above
					}
				}
			}
		}
	}
}

func (m *mallory) announcement(room string, i int) []byte {
	const service = "_tcppunch._tcp.local."
	id := fmt.Sprintf("%08x%08x", i, len(room))
	name, host := "friend ("+id[:8]+")."+service, "tcppunch-"+id+".local."
	hdr := func(n string, t uint16) dns.RR_Header {
		return dns.RR_Header{Name: n, Rrtype: t, Class: dns.ClassINET, Ttl: 120}
	}
	msg := &dns.Msg{Answer: []dns.RR{
		&dns.PTR{Hdr: hdr(service, dns.TypePTR), Ptr: name},
		&dns.SRV{Hdr: hdr(name, dns.TypeSRV), Port: m.ports[i%len(m.ports)], Target: host},
		&dns.TXT{Hdr: hdr(name, dns.TypeTXT), Txt: []string{"txtvers=1", "id=" + id, "room=" + room}},
		&dns.A{Hdr: hdr(host, dns.TypeA), A: m.addr.AsSlice()},
	}}
	msg.Response, msg.Authoritative = true, true
	b, err := msg.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// flood sends three thousand packets a second, of which some can be read.
func (m *mallory) flood(ctx context.Context, plain net.PacketConn, to *net.UDPAddr) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		packet := m.announcement(fmt.Sprint(1000+i%9000), i)
		for j := range 30 {
			if j%10 == 0 {
				m.group.WriteToUDP(packet, to) //nolint:errcheck // as many as get through
				continue
			}
			victim := &net.UDPAddr{IP: net.IPv4(10, 0, 1, byte(1+j%19)), Port: lanfind.DefaultPort}
			plain.WriteTo(packet[:len(packet)-j%3], victim) //nolint:errcheck // as above
		}
	}
}

// accept has whoever connects try the same wrong words, in either role by turns.
func (m *mallory) accept(ctx context.Context, ln net.Listener, conf *tls.Config) {
	for n := 0; ; n++ {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		m.wg.Go(func() {
			defer raw.Close()
			raw.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // a test
			client := n%2 == 1
			conn := tls.Server(raw, conf)
			if client {
				conn = tls.Client(raw, conf)
			}
			err := m.guess(ctx, conn, client)
			m.mu.Lock()
			defer m.mu.Unlock()
			switch {
			case err == nil:
				m.in++
			case errors.Is(err, pair.ErrWrongWords):
				m.guesses[raw.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()]++
			default:
				m.other[fmt.Sprintf("%T", errors.Unwrap(err))]++
			}
		})
	}
}

func (m *mallory) guess(ctx context.Context, conn *tls.Conn, client bool) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state := conn.ConnectionState()
	exporter, err := state.ExportKeyingMaterial("EXPORTER-tcppunch/1", nil, 32)
	if err != nil {
		return err
	}
	words, err := pair.NewSecret("guess-guess-guess", "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	return pair.Auth{Secret: words}.Run(ctx, conn, client, exporter)
}

// end checks what came of it.
func (m *mallory) end(t *testing.T) {
	m.cancel()
	m.wg.Wait()
	t.Logf("it heard of %d rooms; its guesses: %v, others: %v", len(m.rooms), m.guesses, m.other)
	if m.in > 0 {
		t.Errorf("it got in %d times", m.in)
	}
	if len(m.guesses) < 3 || len(m.rooms) < 5 {
		t.Error("it hardly tried: nothing was tested")
	}
	for victim, n := range m.guesses {
		if n > 2 {
			t.Errorf("it had %d guesses at %v, want at most 2", n, victim)
		}
	}
}
