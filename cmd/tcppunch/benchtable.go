package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// tableWidth is how many columns the table needs.
const tableWidth = 80

// results tells what was measured, to programs and to people.
func (o *output) results(r *bench.Report) {
	if r == nil || len(r.Results) == 0 {
		return
	}
	for _, res := range r.Results {
		o.resultEvents(res)
	}
	width := tableWidth
	if o.tty {
		if columns, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
			width = min(width, columns)
		}
	}
	lines := benchTable(r)
	if width < tableWidth {
		lines = benchList(r, width-1)
	}
	lines = append([]string{""}, lines...)
	if said := compare(r); len(said) > 0 {
		lines = append(lines, "")
		for _, l := range said {
			lines = append(lines, wrap(l, width-1, 0)...)
		}
	}
	for _, l := range lines {
		o.say("%s", l)
	}
}

// resultEvents has one object for each direction, or one for a transport that failed.
func (o *output) resultEvents(r bench.Result) {
	if r.Err != nil {
		o.event("result", struct {
			Transport string `json:"transport"`
			Error     string `json:"error"`
		}{r.Transport, shown(r.Err)})
		return
	}
	for _, d := range directions(r) {
		o.event("result", struct {
			Transport   string  `json:"transport"`
			Direction   string  `json:"direction"`
			Mbit        float64 `json:"mbit_s"`
			SetupMS     float64 `json:"setup_ms"`
			RTTMS       float64 `json:"rtt_ms"`
			LoadedRTTMS float64 `json:"loaded_rtt_ms"`
			Retransmits int64   `json:"retransmits"`
			CPU         float64 `json:"cpu_s"`
			PeerCPU     float64 `json:"peer_cpu_s"`
			Packets     int64   `json:"packets"`
			Congestion  string  `json:"congestion_control,omitempty"`
			Bytes       int64   `json:"bytes"`
			Seconds     float64 `json:"seconds"`
			Streams     int     `json:"streams"`
		}{r.Transport, d.name, math.Round(d.Rate()/1e4) / 100, ms(r.Setup), ms(r.RTT.Median), ms(d.Loaded.Median), d.Retransmits,
			cpuSeconds(d.CPU), cpuSeconds(d.PeerCPU), d.Packets, d.Congestion, d.Bytes, d.Elapsed.Seconds(), r.Streams})
	}
}

func cpuSeconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return d.Seconds()
}

// A direction has a name, from this side's point of view.
type direction struct {
	name string
	bench.Direction
}

func directions(r bench.Result) []direction {
	return []direction{{"send", r.Sent}, {"receive", r.Received}}
}

// benchTable is for a screen of 80 columns, and for pipes.
func benchTable(r *bench.Report) []string {
	const row = "%-9s  %-7s %6s  %6s  %5s  %6s  %6s  %4s %5s  %s"
	lines := []string{
		fmt.Sprintf("%33s  %13s  %6s  %10s  %s", "set-up", "round trip", "sent", "CPU s/GB", "congestion"),
		fmt.Sprintf(row, "", "", "Mbit/s", "ms", "idle", "loaded", "twice", "here", "there", "control"),
	}
	for _, res := range r.Results {
		if res.Err != nil {
			lines = append(lines, wrap(fmt.Sprintf("%-9s  not measured: %s", res.Transport, shown(res.Err)), tableWidth-1, 11)...)
			continue
		}
		name, setup, idle := res.Transport, fmt.Sprintf("%.0f", ms(res.Setup)), short(res.RTT.Median)
		for _, d := range directions(res) {
			here, there := d.PerGB()
			l := fmt.Sprintf(row, name, d.name, digits(d.Rate()/1e6), setup, idle, short(d.Loaded.Median), percent(d.Resent()),
				perGB(here), perGB(there), d.Congestion)
			lines = append(lines, strings.TrimRight(l, " "))
			name, setup, idle = "", "", ""
		}
	}
	return lines
}

// benchList is the same for narrow screens.
func benchList(r *bench.Report, width int) []string {
	var lines []string
	for _, res := range r.Results {
		if res.Err != nil {
			lines = append(lines, wrap(fmt.Sprintf("%s: not measured: %s", res.Transport, shown(res.Err)), width, 2)...)
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: set-up %.0f ms, RTT %s ms", res.Transport, ms(res.Setup), short(res.RTT.Median)))
		for _, d := range directions(res) {
			here, there := d.PerGB()
			lines = append(lines,
				fmt.Sprintf(" %-8s %s, RTT %s ms", d.name, bits(d.Rate()), short(d.Loaded.Median)),
				strings.TrimRight(fmt.Sprintf("   twice %s, CPU %s+%s s/GB %s", strings.TrimSpace(percent(d.Resent())), perGB(here), perGB(there), d.Congestion), " "))
		}
	}
	return lines
}

// digits writes a number with three of them, or all before the point.
func digits(f float64) string {
	switch {
	case f < 9.995:
		return fmt.Sprintf("%.2f", f)
	case f < 99.95:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// short writes milliseconds.
func short(d time.Duration) string { return digits(float64(d.Microseconds()) / 1000) }

func percent(share float64) string {
	switch {
	case share < 0:
		return "–"
	case share > 0 && share < 0.0005:
		return "<0.1%"
	}
	return fmt.Sprintf("%.1f%%", 100*share)
}

func perGB(seconds float64) string {
	if seconds < 0 {
		return "–"
	}
	return digits(seconds)
}

// wrap breaks a line between words. What follows the first is indented.
func wrap(s string, width, indent int) []string {
	var lines []string
	line := ""
	for i, w := range strings.Split(s, " ") {
		if i > 0 && len([]rune(line))+1+len([]rune(w)) > width {
			lines = append(lines, line)
			line = strings.Repeat(" ", indent) + w
			continue
		}
		if i > 0 {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// compare says in words what the figures say.
func compare(r *bench.Report) []string {
	of := func(name string) *bench.Result {
		for i := range r.Results {
			if r.Results[i].Transport == name && r.Results[i].Err == nil {
				return &r.Results[i]
			}
		}
		return nil
	}
	tcp, plain, kcp := of("tcp"), of("tcp plain"), of("kcp")
	var s []string
	if tcp != nil && kcp != nil {
		s = append(s, "KCP (UDP) was "+times(kcp.Sent.Rate(), tcp.Sent.Rate())+" TCP to send, and "+times(kcp.Received.Rate(), tcp.Received.Rate())+" TCP to receive.")
	}
	if tcp != nil && plain != nil {
		s = append(s, encryption(tcp, plain))
	}
	if len(r.Results) > 0 && r.Results[0].Streams > 1 && r.Results[0].Err == nil {
		s = append(s, fmt.Sprintf("TCP used %d connections side by side.", r.Results[0].Streams))
	}
	return s
}

// times compares with "as fast as", without saying what with.
func times(a, b float64) string {
	switch q := a / b; {
	case b == 0:
		return "infinitely faster than"
	case q > 0.95 && q < 1.05:
		return "just as fast as"
	case q >= 9.95:
		return fmt.Sprintf("%.0f times as fast as", q)
	default:
		return fmt.Sprintf("%.2g times as fast as", q)
	}
}

// enough is how many bytes tell the cost of encryption from chance.
const enough = 20e6

// encryption tells what it costs.
func encryption(tcp, plain *bench.Result) string {
	faster := func(a, b float64) string {
		switch p := 100 * (a/b - 1); {
		case b == 0 || math.Abs(p) < 3:
			return "as fast"
		case p > 0:
			return fmt.Sprintf("%.0f %% faster", p)
		default:
			return fmt.Sprintf("%.0f %% slower", -p)
		}
	}
	s := "Encryption did not slow TCP down: it took less than half of a CPU core on both sides."
	if load := busiest(tcp); load < 0 || load > 0.5 {
		send, receive := faster(plain.Sent.Rate(), tcp.Sent.Rate()), faster(plain.Received.Rate(), tcp.Received.Rate())
		s = fmt.Sprintf("Without encryption TCP was %s to send, and %s to receive.", send, receive)
		if send == receive {
			s = fmt.Sprintf("Without encryption TCP was %s.", send)
		}
	}
	with, _ := tcp.Sent.PerGB()
	without, _ := plain.Sent.PerGB()
	if with >= 0 && without >= 0 && min(tcp.Sent.Carried, plain.Sent.Carried) >= enough {
		s += fmt.Sprintf(" Encrypting a GB took %s s of CPU time on this side.", digits(max(0, with-without)))
	}
	return s
}

// busiest is the share of one CPU core that the busier side used; -1 if it is not
// known. Below a half, what two measurements differ by is the network's chance.
func busiest(r *bench.Result) float64 {
	most := 0.0
	for _, d := range directions(*r) {
		if d.CPU < 0 || d.PeerCPU < 0 || d.Elapsed <= 0 {
			return -1
		}
		most = max(most, max(d.CPU, d.PeerCPU).Seconds()/d.Elapsed.Seconds())
	}
	return most
}
