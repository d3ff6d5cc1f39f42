package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	load      = flag.Bool("load", false, "put load on a server and print figures, for about a minute")
	loadRooms = flag.Int("load.rooms", 20_000, "rooms that wait")
	loadRate  = flag.Int("load.rate", 500, "honest joins a second")
)

// TestLoad prints what scripts/bench server shows of the built server, which runs as a process of its own with the default
// limits. Clients come from as many networks of loopback as they need.
func TestLoad(t *testing.T) {
	if !*load {
		t.Skip("figures, not a test: run scripts/bench server")
	}
	files := allowFiles(*loadRooms + loadSpare) // the server inherits it
	n := min(*loadRooms, files-60)
	if n < *loadRooms {
		fmt.Printf("Only %d files may be open here: %d rooms, not %d.\n", files, n, *loadRooms)
	}
	l := &loader{t: t}
	l.start()
	before := l.rss()
	began := time.Now()
	rooms := l.wait(n)
	defer func() { rooms.close() }()
	grown := l.rss() - before
	fmt.Printf("%d waiting rooms, opened in %.1f s: %.1f KiB of resident memory each (%d MiB before, %d MiB now)\n",
		n, time.Since(began).Seconds(), float64(grown)/1024/float64(n), before>>20, (before+grown)>>20)
	fmt.Printf("Their numbers: %s.\n\n", rooms.lengths())
	if spare := files - n; spare < loadSpare {
		n -= loadSpare - spare
		rooms[n:].close()
		rooms = rooms[:n]
	}

	fmt.Printf("%d joins a second, with %-7d    p50        p99        worst     failed\n", *loadRate, n)
	var quiet, under figures
	for range 3 {
		quiet.add(l.joins(5 * time.Second))
		stop := l.attack()
		under.add(l.joins(5 * time.Second))
		stop()
	}
	quiet.print("quiet")
	under.print("under attack")
	fmt.Printf("under attack / quiet             %5.2f      %5.2f\n\n", ratio(under, quiet, 50), ratio(under, quiet, 99))
	fmt.Printf("The attack: %s.\nThe server's count:", l.attacks.String())
	for line := range strings.Lines(fetch(t, "http://"+l.addr+"/metrics")) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "stunt_") && value != "0" {
			fmt.Printf(" %s %s", strings.TrimPrefix(name, "stunt_"), value)
		}
	}
	fmt.Printf("\n\n")
	if quiet.failed+under.failed > 0 {
		t.Errorf("%d honest joins failed when it was quiet, %d under attack", quiet.failed, under.failed)
	}
	if left := rooms.alive(); left != n {
		t.Errorf("%d of %d waiting rooms are left", left, n)
	}
	perSecond := l.most(3 * time.Second)
	fmt.Printf("As fast as it goes, 16 at a time: %.0f joins/s\n", perSecond)
}

// loadSpare is how many files the joins and the attacks need.
const loadSpare = 4000

// allowFiles raises the limit on open files as far as it may, and returns it.
func allowFiles(n int) int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	if want := (syscall.Rlimit{Cur: uint64(n), Max: max(uint64(n), limit.Max)}); limit.Cur < want.Cur &&
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
		limit = want
	}
	return int(min(limit.Cur, 1<<30))
}

// A loader puts load on a server.
type loader struct {
	t       *testing.T
	pid     int
	addr    string
	next    atomic.Uint32
	attacks attackCounts
}

func (l *loader) start() {
	l.t.Helper()
	port := int(freePorts(l.t, 3))
	l.addr = fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(command, "serve", "--json", "--host", "127.0.0.1", "--listen", ":"+strconv.Itoa(port),
		"--stun-ports", fmt.Sprintf("%d,%d", port+1, port+2), "--max-idle", "10m", "--drain", "1s")
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, `"listening"`) {
		l.t.Fatalf("%q, %v", line, err)
	}
	l.pid = cmd.Process.Pid
}

// rss is the server's resident memory.
func (l *loader) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.pid))
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				l.t.Fatal(err)
			}
			return kib << 10
		}
	}
	l.t.Fatal("no VmRSS")
	return 0
}

// network returns an address of a network of its own, again and again, over more than 60,000.
func (l *loader) network() netip.Addr {
	n := l.next.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(1 + n/256%240), byte(n), 1})
}

// A link is a member, as thin as it can be.
type link struct {
	net.Conn
	in   *bufio.Reader
	room string
}

func (k *link) Read(b []byte) (int, error) { return k.in.Read(b) }

func (l *loader) dial(ctx context.Context, from netip.Addr) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 20 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(10 * time.Minute))
}

// join speaks the protocol as its documentation says.
func (l *loader) join(ctx context.Context, from netip.Addr, room, side string) (*link, int, error) {
	conn, err := l.dial(ctx, from)
	if err != nil {
		return nil, 0, err
	}
	var b [16]byte
	rand.Read(b[:])
	q := url.Values{"room": {room}, "side": {side}, "token": {hex.EncodeToString(b[:])}}
	_, err = fmt.Fprintf(conn, "GET /v1/join HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nStunt-Join: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(b[:]), q.Encode())
	if err != nil {
		conn.Close()
		return nil, 0, err
	}
	in := bufio.NewReaderSize(conn, 512)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		conn.Close()
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil, resp.StatusCode, fmt.Errorf("joining: %s", resp.Status)
	}
	return &link{conn, in, resp.Header.Get("Stunt-Room")}, resp.StatusCode, nil
}

// links are members that wait.
type links []*link

// wait opens rooms, a hundred of each network.
func (l *loader) wait(n int) links {
	all := make(links, n)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				from := netip.AddrFrom4([4]byte{127, 250, byte(i / 100), 1})
				k, _, err := l.join(l.t.Context(), from, "", "send")
				if err != nil {
					l.t.Errorf("opening room %d: %v", i, err)
					return
				}
				all[i] = k
			}
		})
	}
	wg.Wait()
	if l.t.Failed() {
		l.t.FailNow()
	}
	return all
}

func (ks links) close() {
	for _, k := range ks {
		k.Close()
	}
}

// lengths says how many numbers have how many digits.
func (ks links) lengths() string {
	counts := make(map[int]int)
	for _, k := range ks {
		counts[len(k.room)]++
	}
	var parts []string
	for digits := 1; digits < 20; digits++ {
		if counts[digits] > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d digits", counts[digits], digits))
		}
	}
	return strings.Join(parts, ", ")
}

// alive counts those whose connection the server has not closed.
func (ks links) alive() int {
	n := 0
	for _, k := range ks {
		k.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := k.Read(make([]byte, 1))
		if e, ok := err.(net.Error); err == nil || ok && e.Timeout() { // somebody may have guessed its number
			n++
		}
	}
	return n
}

// figures are the latencies of joins.
type figures struct {
	took   []time.Duration
	failed int
}

func (f *figures) add(g figures) {
	f.took = append(f.took, g.took...)
	f.failed += g.failed
}

func (f figures) percentile(p int) time.Duration {
	if len(f.took) == 0 {
		return 0
	}
	slices.Sort(f.took)
	return f.took[min(len(f.took)-1, len(f.took)*p/100)]
}

func (f figures) print(name string) {
	ms := func(p int) float64 { return float64(f.percentile(p).Microseconds()) / 1000 }
	fmt.Printf("%-30s %7.2f ms %7.2f ms %7.2f ms %6d of %d\n", name, ms(50), ms(99), ms(100), f.failed, len(f.took)+f.failed)
}

func ratio(a, b figures, p int) float64 {
	return float64(a.percentile(p)) / float64(max(1, b.percentile(p)))
}

// joins lets honest members come at their rate, whatever becomes of those before, and times each from when it was due.
func (l *loader) joins(d time.Duration) figures {
	var f figures
	var mu sync.Mutex
	var wg sync.WaitGroup
	gap := time.Second / time.Duration(*loadRate)
	began := time.Now()
	for due := began; due.Sub(began) < d; due = due.Add(gap) {
		time.Sleep(time.Until(due))
		wg.Go(func() {
			k, _, err := l.join(l.t.Context(), l.network(), "", "send")
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.failed++
				return
			}
			f.took = append(f.took, took)
			k.Close()
		})
	}
	wg.Wait()
	return f
}

// most joins as fast as it goes.
func (l *loader) most(d time.Duration) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range 16 {
		wg.Go(func() {
			for time.Since(began) < d {
				if k, _, err := l.join(l.t.Context(), l.network(), "", "send"); err == nil {
					n.Add(1)
					k.Close()
				}
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}
