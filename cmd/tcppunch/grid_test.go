package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/cmd/tcppunch/internal/plot"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// The grid runs bench over links of every rate, round trip and loss, one after the
// other, and writes a table and a picture: scripts/bench does.
var (
	gridRun    = flag.Bool("grid", false, "measure over a grid of links")
	gridRates  = flag.String("grid.rates", "20,100,500", "capacities in Mbit/s")
	gridRTTs   = flag.String("grid.rtts", "10,50,100,200", "round trips in ms")
	gridLosses = flag.String("grid.losses", "0,0.1,1,3", "packets lost in each direction, in percent")
	gridKinds  = flag.String("grid.kinds", "cubic,bbr,kcp", "what is measured: TCP with a congestion control, or kcp")
	gridTime   = flag.Duration("grid.time", 3*time.Second, "how long data flows in each direction")
	gridTable  = flag.String("grid.table", "", "write the table to this file, as Markdown")
	gridSVG    = flag.String("grid.svg", "", "draw the picture into this file")
)

// A gridLink is a place of the grid.
type gridLink struct{ rate, rtt, loss float64 } // Mbit/s, ms, percent

// A gridCell is what was measured there of one kind: the mean of both directions.
type gridCell struct {
	mbit, loaded float64 // Mbit/s and ms
	ran          string  // the congestion control that ran
	failed       string
}

func TestGrid(t *testing.T) {
	if !*gridRun {
		t.Skip("figures, not a test: run scripts/bench grid")
	}
	kinds := strings.Split(*gridKinds, ",")
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	cells := map[gridLink]map[string]gridCell{}
	var links []gridLink
	for _, rate := range numbers(t, *gridRates) {
		for _, rtt := range numbers(t, *gridRTTs) {
			for _, loss := range numbers(t, *gridLosses) {
				links = append(links, gridLink{rate, rtt, loss})
			}
		}
	}
	for _, l := range links {
		p.becomes(t, l)
		cells[l] = map[string]gridCell{}
		for _, kind := range kinds {
			c := p.gridCell(t, kind)
			cells[l][kind] = c
			t.Logf("%v Mbit/s, %v ms, %v %% lost: %s %.1f Mbit/s, loaded %.0f ms %s", l.rate, l.rtt, l.loss, kind, c.mbit, c.loaded, c.failed)
		}
	}
	if *gridTable != "" {
		gridFile(t, *gridTable, func(w io.Writer) error { return writeGrid(w, links, kinds, cells) })
	}
	if *gridSVG != "" {
		gridFile(t, *gridSVG, func(w io.Writer) error { return plot.Grid(w, gridPoints(links, kinds, cells)) })
	}
}

func gridFile(t *testing.T, name string, write func(io.Writer) error) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := write(f); err != nil {
		t.Fatal(err)
	}
}

func numbers(t *testing.T, list string) []float64 {
	t.Helper()
	var all []float64
	for s := range strings.SplitSeq(list, ",") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// becomes changes the link between the two homes. Rate and losses are the first home's,
// with a queue of 100 ms as everywhere in labs.
func (p *meetingPlace) becomes(t *testing.T, l gridLink) {
	t.Helper()
	way := time.Duration(l.rtt / 4 * float64(time.Millisecond))
	home := natlab.Link{Delay: way, Rate: int64(l.rate * 1e6), Loss: l.loss / 100}
	for name, k := range map[string]natlab.Link{"home": home, "office": {Delay: way}} {
		if err := p.lab.SetLink(name, k); err != nil {
			t.Fatal(err)
		}
	}
}

// gridCell measures one kind, in both directions.
func (p *meetingPlace) gridCell(t *testing.T, kind string) gridCell {
	t.Helper()
	how := []string{"--via=kcp", "--time", gridTime.String(), "--timeout=60s"}
	if kind != "kcp" {
		how = []string{"--via=tcp", "--no-plain", "--congestion", kind, "--time", gridTime.String(), "--timeout=60s"}
	}
	a := p.a.start(append([]string{"bench"}, how...)...)
	code, err := a.waitEvent("code", 30*time.Second)
	if err != nil {
		a.Kill()
		return gridCell{failed: "no code"}
	}
	b := p.b.start(append([]string{"bench", code.Code}, how...)...)
	if a.status() != 0 || b.status() != 0 {
		e, _ := a.find("error")
		return gridCell{failed: e.Message}
	}
	var c gridCell
	for _, r := range a.results() {
		if r.Error != "" {
			return gridCell{failed: r.Error}
		}
		c.mbit, c.loaded, c.ran = c.mbit+r.Mbit/2, c.loaded+r.LoadedRTTMS/2, r.Congestion
	}
	return c
}

// writeGrid prints a table for each rate.
func writeGrid(w io.Writer, links []gridLink, kinds []string, cells map[gridLink]map[string]gridCell) error {
	last := 0.0
	for _, l := range links {
		if l.rate != last {
			last = l.rate
			fmt.Fprintf(w, "\n**%v Mbit/s**\n\n| round trip | lost |", l.rate)
			for _, k := range kinds {
				fmt.Fprintf(w, " %s |", kindName(k))
			}
			fmt.Fprintf(w, "\n| --- | --- |%s\n", strings.Repeat(" --- |", len(kinds)))
		}
		fmt.Fprintf(w, "| %v ms | %v %% |", l.rtt, l.loss)
		for _, k := range kinds {
			fmt.Fprintf(w, " %s |", cells[l][k].text(k, l))
		}
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func kindName(kind string) string {
	if kind == "kcp" {
		return "UDP (KCP)"
	}
	return "TCP " + strings.ToUpper(kind)
}

// text is the speed and how much the load adds to the round trip.
func (c gridCell) text(kind string, l gridLink) string {
	if c.failed != "" {
		return "–"
	}
	s := fmt.Sprintf("%s (%+.0f ms)", digits(c.mbit), max(0, c.loaded-l.rtt))
	if kind != "kcp" && c.ran != kind {
		s += ", " + c.ran + " ran"
	}
	return s
}

func gridPoints(links []gridLink, kinds []string, cells map[gridLink]map[string]gridCell) []plot.Point {
	var ps []plot.Point
	for _, l := range links {
		for _, k := range kinds {
			if c := cells[l][k]; c.failed == "" {
				ps = append(ps, plot.Point{Rate: l.rate, RTT: l.rtt, Loss: l.loss, Kind: kindName(k), Mbit: c.mbit})
			}
		}
	}
	return ps
}

// TestGridTable: the table says what was measured, and what was not.
func TestGridTable(t *testing.T) {
	l := gridLink{20, 50, 0.1}
	var s strings.Builder
	cells := map[gridLink]map[string]gridCell{l: {"cubic": {mbit: 12.34, loaded: 80, ran: "cubic"}, "bbr": {mbit: 19, loaded: 55, ran: "cubic"}, "kcp": {failed: "no"}}}
	if err := writeGrid(&s, []gridLink{l}, []string{"cubic", "bbr", "kcp"}, cells); err != nil {
		t.Fatal(err)
	}
	want := "\n**20 Mbit/s**\n\n| round trip | lost | TCP CUBIC | TCP BBR | UDP (KCP) |\n| --- | --- | --- | --- | --- |\n" +
		"| 50 ms | 0.1 % | 12.3 (+30 ms) | 19.0 (+5 ms), cubic ran | – |\n\n"
	if s.String() != want {
		t.Errorf("got\n%s\nwant\n%s", s.String(), want)
	}
}
