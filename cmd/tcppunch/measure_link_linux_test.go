package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestMeasureLink: how much of a long link a transfer fills, from connected to done, and
// beside it what the link gives to others, who reach a public host in the same time.
func TestMeasureLink(t *testing.T) {
	measures(t, "link")
	const rate, size = 500, 4 << 30 // that takes 70 seconds
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	near, far := gridLink{rate: rate, rtt: 50}, gridLink{rate: rate, rtt: 100} // of which the server sees half
	file, ram, copier := p.a.file("file.bin", size), folder(t, *measureRAM), buildCopier(t)
	share := func(seconds float64) float64 { return 100 * size * 8 / 1e6 / seconds / rate }
	tab := newTable("4 GiB at 500 Mbit/s, 50 ms, percent of the link", "as the system has it", "CUBIC")
	rows := []string{"send and recv, from connected to done", "the middle of that", "bare crypto/tls copy, after its handshake", "iperf3, one stream"}
	shares := make([][2][]float64, len(rows))
	for control := range 2 {
		if control == 1 {
			p.a.control(t, "cubic")
		}
		for range *measureRuns {
			p.becomes(t, near)
			c := p.measure(t, ram, file, "--streams=0")
			p.becomes(t, far)
			bare := copyTLS(t, copier, p.a.host, p.server.host, serverAddr, size)
			iperf := size / iperf3(t, p.a.host, p.server.host, serverAddr, "-n", strconv.Itoa(size))
			for i, seconds := range []float64{c.seconds, size / c.steady, bare, iperf} {
				shares[i][control] = append(shares[i][control], share(seconds))
			}
			t.Logf("%.2f s, the middle at the speed of %.2f s, bare TLS %.2f s, iperf3 %.2f s; CPU: send %.1f s, recv %.1f s",
				c.seconds, size/c.steady, bare, iperf, c.sendCPU, c.recvCPU)
		}
	}
	for i, row := range rows {
		tab.row(row, fmt.Sprintf("%.1f", middle(shares[i][0])), fmt.Sprintf("%.1f", middle(shares[i][1])))
	}
	fmt.Printf("\n%s\n", tab)
}

// measure sends a file from a to b by a code.
func (p *meetingPlace) measure(t *testing.T, dir, file string, args ...string) cost {
	t.Helper()
	defer empty(t, dir)
	send := p.a.measured(nil, nil, append([]string{"send", "--via=tcp", "--retry=0", file}, args...)...)
	recv := p.b.measured(nil, nil, "recv", send.code(), "--via=tcp", "--retry=0", "--yes", "--out", dir)
	return costOf(send, recv)
}

// TestMeasureStreams: several connections where losses hold one of them down, as BBR is
// not to be had.
func TestMeasureStreams(t *testing.T) {
	measures(t, "streams")
	const size = 32 << 20
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	p.becomes(t, gridLink{rate: 100, rtt: 100, loss: 1})
	p.a.control(t, "lock cubic")
	file, ram := p.a.file("file.bin", size), folder(t, *measureRAM)
	kinds := []string{"1", "0", "4", "8", "16", "32"}
	speeds := map[string][]float64{}
	for range *measureRuns {
		for _, n := range kinds {
			stop := p.a.watchControl(t)
			c := p.measure(t, ram, file, "--streams", n)
			speeds[n] = append(speeds[n], size*8/1e6/c.seconds)
			t.Logf("--streams %s: %.1f Mbit/s; %s", n, size*8/1e6/c.seconds, stop())
		}
	}
	tab := newTable("32 MiB at 100 Mbit/s, 100 ms, 1 % lost, CUBIC", "Mbit/s", "of one connection")
	for _, n := range kinds {
		name := "--streams " + n
		if n == "0" {
			name = "automatic"
		}
		tab.row(name, fmt.Sprintf("%.1f", middle(speeds[n])), fmt.Sprintf("%.1f", middle(speeds[n])/middle(speeds["1"])))
	}
	fmt.Printf("\n%s\n", tab)
}

// control has the host's kernel use a congestion control, unless a program asks for
// another one; with "lock cubic", whatever it asks for.
func (s *side) control(t *testing.T, name string) {
	t.Helper()
	r := s.host.Run("sh", "-ec", `ip route show | while read -r route; do ip route change $route congctl `+name+`; done; ip route show`)
	if r.Err != nil || !strings.Contains(r.Stdout, "congctl "+name) {
		t.Fatalf("no %s: %v\n%s%s", name, r.Err, r.Stdout, r.Stderr)
	}
}

// watchControl looks now and then which congestion control the host's connections have.
func (s *side) watchControl(t *testing.T) (stop func() string) {
	end, done := make(chan struct{}), make(chan string)
	go func() {
		seen, most := map[string]bool{}, 0
		for {
			select {
			case <-time.After(500 * time.Millisecond):
			case <-end:
				var names []string
				for name := range seen {
					names = append(names, name)
				}
				done <- fmt.Sprintf("%d connections at most, %s", most, strings.Join(names, " and "))
				return
			}
			n := 0
			for line := range strings.Lines(s.host.Run("ss", "-Htinp", "state", "established").Stdout) {
				if fields := strings.Fields(line); len(fields) > 0 && strings.Contains(line, "cwnd:") && strings.Contains(line, "bytes_sent:") {
					seen[fields[0]] = true
					n++
				}
			}
			most = max(most, n)
		}
	}()
	return func() string { close(end); return <-done }
}
