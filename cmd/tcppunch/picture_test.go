package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// The picture is a square of 20 × 20 pairs, drawn for light and dark pages.
const (
	cellSize  = 30
	leftSpace = 184
	topSpace  = 150
	width     = leftSpace + 20*cellSize + 24
	height    = topSpace + 20*cellSize + 96
)

const pictureStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.small { font-size: 10px }
.title { font-size: 16px; font-weight: 600 }
.page { fill: #ffffff }
.never { fill: #e6e8eb }
.failed { fill: #c62828 }
.line { stroke: #ffffff; stroke-width: 3 }
.c0 { fill: #d3efdc } .c1 { fill: #a5dcb8 } .c2 { fill: #6fc295 } .c3 { fill: #3c9f74 } .c4 { fill: #1b7355 } .c5 { fill: #0b4a39 }
.on { fill: #10271e } .off { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #d8dee4 }
.page { fill: #0d1117 }
.never { fill: #262c34 }
.failed { fill: #e5534b }
.line { stroke: #0d1117 }
}
.on { fill: #10271e } .off { fill: #ffffff }
</style>
`

// limits are the times, in ms, at which a darker color begins.
var limits = []float64{400, 700, 1000, 2000, 4000}

func shade(ms float64) int {
	for i, l := range limits {
		if ms < l {
			return i
		}
	}
	return len(limits)
}

// drawPairs draws the median time of the punch of every pair of emulated NATs:
// rows are the sender's NAT, columns the receiver's.
func drawPairs(w io.Writer, all []*scenario) {
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n", width, height, width, height)
	fmt.Fprintf(w, "<title>Pairs of NATs, and how long TCP takes to connect them</title>\n%s<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", pictureStyle, width, height)
	fmt.Fprintf(w, "<text class=\"title\" x=\"16\" y=\"28\">How long the punch takes, in tenths of a second</text>\n")
	fmt.Fprintf(w, "<text class=\"small\" x=\"16\" y=\"46\">Median; round trip 100 ms. Rows: the sender's NAT. Columns: the receiver's.</text>\n")
	drawAxes(w)
	for _, s := range all {
		if s.family == "pairs" {
			drawCell(w, s)
		}
	}
	for i := 1; i < len(mappingKinds); i++ {
		at := i * len(answerKinds) * cellSize
		fmt.Fprintf(w, "<path class=\"line\" d=\"M%d %dh%dM%d %dv%d\"/>\n", leftSpace, topSpace+at, 20*cellSize, leftSpace+at, topSpace, 20*cellSize)
	}
	drawLegend(w)
	fmt.Fprint(w, "</svg>\n")
}

func drawAxes(w io.Writer) {
	for i, k := range allKinds() {
		answer := html.EscapeString(answerKinds[i%len(answerKinds)].name)
		at := i*cellSize + cellSize/2 + 4
		fmt.Fprintf(w, "<text class=\"small\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", leftSpace-6, topSpace+at, answer)
		fmt.Fprintf(w, "<text class=\"small\" transform=\"translate(%d %d) rotate(-90)\">%s</text>\n", leftSpace+at, topSpace-6, answer)
		if i%len(answerKinds) == 0 {
			mapping, _, _ := strings.Cut(k.name, ",")
			middle := i*cellSize + len(answerKinds)*cellSize/2 + 4
			fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\">%s</text>\n", 8, topSpace+middle, mapping)
			fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", leftSpace+middle, topSpace-76, mapping)
		}
	}
}

// cellLook tells how a pair is drawn: its class, what stands in it, how that is
// colored, and in words.
func cellLook(s *scenario) (class, text, ink, words string) {
	var a tally
	a.add(s)
	middle, most := median(a.punch)
	switch {
	case slices.Contains(s.impossible, bothRefuse):
		return "never", "", "", "impossible: both refuse inbound SYNs"
	case len(s.impossible) > 0:
		return "never", "~", "", "impossible: each dial of both sides gets another port, at random"
	case a.runs == 0:
		return "page", "", "", "not run"
	case a.connected < a.runs:
		return "failed", fmt.Sprintf("%d/%d", a.connected, a.runs), "off", fmt.Sprintf("connected %d of %d times", a.connected, a.runs)
	}
	n := shade(middle)
	ink = "on"
	if n > 2 {
		ink = "off"
	}
	return fmt.Sprintf("c%d", n), fmt.Sprint(int(math.Round(middle / 100))), ink,
		fmt.Sprintf("connected %d of %d times, median %.0f ms, at most %.0f ms", a.connected, a.runs, middle, most)
}

func drawCell(w io.Writer, s *scenario) {
	class, text, ink, words := cellLook(s)
	x, y := leftSpace+s.column*cellSize, topSpace+s.row*cellSize
	fmt.Fprintf(w, "<g><title>%s: %s</title><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", html.EscapeString(s.name), words,
		class, x+1, y+1, cellSize-2, cellSize-2)
	if text != "" {
		fmt.Fprintf(w, "<text class=\"small %s\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>", ink, x+cellSize/2, y+cellSize/2+4, text)
	}
	fmt.Fprint(w, "</g>\n")
}

func drawLegend(w io.Writer) {
	x, y := leftSpace, topSpace+20*cellSize+20
	entry := func(class, label string, width int) {
		fmt.Fprintf(w, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"18\" height=\"18\"/><text class=\"small\" x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, x+24, y+13, label)
		x += width
	}
	for i := range len(limits) + 1 {
		label := fmt.Sprintf("≥ %.1f s", limits[max(0, i-1)]/1000)
		if i == 0 {
			label = fmt.Sprintf("&lt; %.1f s", limits[0]/1000)
		}
		entry(fmt.Sprintf("c%d", i), label, 82)
	}
	x, y = leftSpace, y+30
	entry("never", "impossible: both refuse every inbound SYN; ~: a new port for each dial, at random", 470)
	entry("failed", "not every time", 0)
}

// TestPicture: the picture is whole XML, with a cell for every pair.
func TestPicture(t *testing.T) {
	var b bytes.Buffer
	drawPairs(&b, pretend())
	d, cells, titles := xml.NewDecoder(bytes.NewReader(b.Bytes())), make(map[string]int), 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local == "title" {
			titles++
		}
		for _, a := range e.Attr {
			if e.Name.Local == "rect" && a.Name.Local == "class" {
				cells[a.Value]++
			}
		}
	}
	if titles != 1+400 {
		t.Errorf("%d titles, want one for the picture and one for each of 400 pairs", titles)
	}
	// 16 pairs of two that refuse; 24 of two random ones and 48 of a random and a sequential one; each color once in the legend.
	for class, want := range map[string]int{"never": 16 + 24 + 48 + 1, "failed": 1 + 1, "c0": 1 + 1, "c5": 1} {
		if cells[class] != want {
			t.Errorf("%d squares are %q, want %d", cells[class], class, want)
		}
	}
	for _, want := range []string{"EIM, drop - EIM, drop: connected 3 of 3 times, median 300 ms, at most 2500 ms", ">1/2<", "prefers-color-scheme: dark"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
}
