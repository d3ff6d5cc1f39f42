// Package plot draws a benchmark: throughput and round trips over time.
package plot

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"strings"
	"time"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

const (
	width     = 9.6 * vg.Inch
	height    = 6 * vg.Inch
	headSpace = 62 // points above the panels
	margin    = 14
)

// ErrNothing says that there is nothing to draw.
var ErrNothing = errors.New("nothing was measured, so there is nothing to draw")

// Report draws a report as SVG: four panels, throughput above and round trips below,
// to the other side on the left and from it on the right. Panels side by side have one
// scale.
func Report(w io.Writer, r *bench.Report) error {
	f := figure{report: r}
	for _, res := range r.Results {
		if res.Err == nil {
			f.results = append(f.results, res)
		}
	}
	if len(f.results) == 0 {
		return ErrNothing
	}
	canvas := vgsvg.New(width, height)
	dc := draw.New(canvas)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	panels, err := f.panels()
	if err != nil {
		return err
	}
	f.head(dc)
	below := draw.Crop(dc, margin, -margin, margin, -headSpace)
	for i, row := range plot.Align(panels, draw.Tiles{Rows: 2, Cols: 2, PadX: vg.Points(16), PadY: vg.Points(12)}, below) {
		for j, c := range row {
			panels[i][j].Draw(c)
			if i == 0 {
				dc.FillText(centered(9.5), vg.Point{X: (c.Min.X + c.Max.X) / 2, Y: c.Max.Y - 26}, f.averages(ways()[j]))
			}
		}
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	return withFonts(w, b.Bytes())
}

// withFonts writes a picture. Arial has the widths of Liberation Sans, which the layout
// was made with, and is where that is not.
func withFonts(w io.Writer, svg []byte) error {
	_, err := w.Write(bytes.ReplaceAll(svg, []byte("font-family:Liberation Sans"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif")))
	return err
}

// A look is how a transport is drawn. The colors are told apart by color-blind people
// too, and the dashes without any color.
type look struct {
	name   string
	short  string
	color  color.RGBA
	width  vg.Length
	dashes []vg.Length
}

func lookOf(transport string) look {
	switch transport {
	case "tcp":
		return look{"TCP", "TCP", color.RGBA{0x00, 0x72, 0xb2, 0xff}, 1.8, nil}
	case "kcp":
		return look{"UDP (KCP)", "UDP", color.RGBA{0xd5, 0x5e, 0x00, 0xff}, 1.8, []vg.Length{7, 2.5}}
	case "tcp plain":
		return look{"TCP without encryption", "unencrypted TCP", color.RGBA{0x66, 0x66, 0x66, 0xff}, 1.2, []vg.Length{1.5, 2}}
	}
	return look{transport, transport, color.RGBA{0x00, 0x9e, 0x73, 0xff}, 1.8, []vg.Length{4, 2, 1, 2}}
}

type figure struct {
	report  *bench.Report
	results []bench.Result // those that were measured
}

// ways are the directions, from the left to the right.
func ways() []func(bench.Result) bench.Direction {
	return []func(bench.Result) bench.Direction{
		func(r bench.Result) bench.Direction { return r.Sent },
		func(r bench.Result) bench.Direction { return r.Received },
	}
}

// averages says how fast each transport was, all in all.
func (f *figure) averages(way func(bench.Result) bench.Direction) string {
	var s []string
	for _, r := range f.results {
		s = append(s, lookOf(r.Transport).short+" "+short(way(r).Rate()/1e6))
	}
	return strings.Join(s, ", ") + " Mbit/s on average"
}

// panels makes the four of them.
func (f *figure) panels() ([][]*plot.Plot, error) {
	titles := []string{"To the other side", "From the other side"}
	fastest, longest := 0.0, 0.0
	for _, r := range f.results {
		for _, way := range ways() {
			d := way(r)
			for _, p := range f.rates(d) {
				fastest = max(fastest, p.Y)
			}
			longest = max(longest, 1.4*millis(d.Loaded.P95), 1.2*millis(r.RTT.Median))
		}
	}
	panels := [][]*plot.Plot{make([]*plot.Plot, 2), make([]*plot.Plot, 2)}
	for i, way := range ways() {
		up, down := newPanel(f.report.Time, 1.08*fastest), newPanel(f.report.Time, longest)
		up.Title.Text, down.X.Label.Text = titles[i], "seconds"
		up.Title.Padding += 14 // for the averages
		if i == 0 {
			up.Y.Label.Text, down.Y.Label.Text = "throughput, Mbit/s", "round trip under load, ms"
		}
		for _, r := range f.drawOrder() {
			l := lookOf(r.Transport)
			if err := addLine(up, f.rates(way(r)), l); err != nil {
				return nil, err
			}
			if err := addLine(down, trips(way(r)), l); err != nil {
				return nil, err
			}
		}
		if err := f.addIdle(down); err != nil {
			return nil, err
		}
		panels[0][i], panels[1][i] = up, down
	}
	return panels, nil
}

// drawOrder has what is of least interest first, so that it is below.
func (f *figure) drawOrder() []bench.Result {
	var low, high []bench.Result
	for _, r := range f.results {
		if r.Transport == "tcp plain" {
			low = append(low, r)
		} else {
			high = append(high, r)
		}
	}
	return append(low, high...)
}

// smooth is how long the throughput is averaged over: a receiver gets nothing while a
// lost packet is missing, and then much at once.
const smooth = 300 * time.Millisecond

// rates is the throughput in Mbit/s, over the time that counts.
func (f *figure) rates(d bench.Direction) plotter.XYs {
	samples := []bench.Sample{{}}
	for _, s := range d.Series {
		if s.At <= f.report.Time+50*time.Millisecond && s.At-samples[len(samples)-1].At >= 20*time.Millisecond {
			samples = append(samples, s)
		}
	}
	var xys plotter.XYs
	from := 0
	for to := 1; to < len(samples); to++ {
		for from < to-1 && samples[to].At-samples[from+1].At >= smooth-20*time.Millisecond {
			from++
		}
		a, b := samples[from], samples[to]
		xys = append(xys, plotter.XY{X: (a.At + (b.At-a.At)/2).Seconds(), Y: float64(b.Bytes-a.Bytes) * 8 / (b.At - a.At).Seconds() / 1e6})
	}
	return xys
}

func trips(d bench.Direction) plotter.XYs {
	var xys plotter.XYs
	for _, p := range d.Pings {
		xys = append(xys, plotter.XY{X: p.At.Seconds(), Y: millis(p.RTT)})
	}
	return xys
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// idle is the shortest of the idle round trips, which all transports share.
func (f *figure) idle() time.Duration {
	idle := f.results[0].RTT.Median
	for _, r := range f.results {
		idle = min(idle, r.RTT.Median)
	}
	return idle
}

func (f *figure) addIdle(p *plot.Plot) error {
	y := millis(f.idle())
	line, err := plotter.NewLine(plotter.XYs{{X: 0, Y: y}, {X: p.X.Max, Y: y}})
	if err != nil {
		return err
	}
	line.LineStyle = idleLine()
	p.Add(line)
	return nil
}

func addLine(p *plot.Plot, xys plotter.XYs, l look) error {
	if len(xys) == 0 {
		return nil
	}
	xMax, yMax := p.X.Max, p.Y.Max
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = l.color, l.width, l.dashes
	p.Add(line)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, xMax, 0, yMax // Add makes room for outliers
	return nil
}

// newPanel is an empty one with its scales.
func newPanel(time time.Duration, most float64) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.TextStyle.Font = sans(11, xfont.WeightBold)
	p.Title.Padding = vg.Points(5)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = sans(10, xfont.WeightNormal), sans(9, xfont.WeightNormal)
		a.Color, a.Tick.Color = color.RGBA{0x55, 0x55, 0x55, 0xff}, color.RGBA{0x55, 0x55, 0x55, 0xff}
		a.LineStyle.Width, a.Tick.LineStyle.Width, a.Tick.Length = 0.6, 0.6, 4
		a.Padding = 0
	}
	p.X.Min, p.X.Max, p.X.Tick.Marker = 0, time.Seconds(), ticks(time.Seconds(), "")
	p.Y.Min, p.Y.Max = 0, max(most, 1e-3)
	p.Y.Tick.Marker = ticks(p.Y.Max, " ")
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.RGBA{0xe8, 0xe8, 0xe8, 0xff}, color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
	p.Add(grid)
	return p
}

// ticks are at five round numbers or so. A space after those of the vertical axis keeps
// them off the marks.
func ticks(most float64, after string) plot.ConstantTicks {
	step := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, f := range []float64{1, 2, 5, 10} {
		if most/(f*step) <= 6 {
			step *= f
			break
		}
	}
	var ts plot.ConstantTicks
	for i := 0; float64(i)*step <= most*1.0001; i++ {
		ts = append(ts, plot.Tick{Value: float64(i) * step, Label: fmt.Sprintf("%.6g", float64(i)*step) + after})
	}
	return ts
}

// head draws the title and what the lines are.
func (f *figure) head(dc draw.Canvas) {
	title := style(15, xfont.WeightBold)
	dc.FillText(title, vg.Point{X: margin, Y: height - 26}, f.title())
	small := style(10, xfont.WeightNormal)
	x, y := vg.Length(margin), height-vg.Length(48)
	entry := func(line draw.LineStyle, label string) {
		dc.StrokeLine2(line, x, y+3.5, x+30, y+3.5)
		dc.FillText(small, vg.Point{X: x + 36, Y: y}, label)
		x += 36 + 1.15*small.Width(label) + 18 // other fonts are wider
	}
	for _, r := range f.results {
		l := lookOf(r.Transport)
		entry(draw.LineStyle{Color: l.color, Width: l.width, Dashes: l.dashes}, l.name)
	}
	entry(idleLine(), "round trip without load: "+short(millis(f.idle()))+" ms")
}

func idleLine() draw.LineStyle {
	return draw.LineStyle{Color: color.RGBA{0x99, 0x99, 0x99, 0xff}, Width: 0.8}
}

func (f *figure) title() string {
	var tcp, kcp bool
	for _, r := range f.results {
		tcp, kcp = tcp || r.Transport != "kcp", kcp || r.Transport == "kcp"
	}
	what := "TCP against UDP"
	switch {
	case !kcp:
		what = "TCP"
	case !tcp:
		what = "UDP"
	}
	return what + " between two machines, connected directly"
}

func short(f float64) string {
	if f < 100 {
		return fmt.Sprintf("%.3g", f)
	}
	return fmt.Sprintf("%.0f", f)
}

func sans(size float64, weight xfont.Weight) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size), Weight: weight}
}

func style(size float64, weight xfont.Weight) text.Style {
	return text.Style{Color: color.RGBA{0x22, 0x22, 0x22, 0xff}, Font: sans(size, weight), Handler: plot.DefaultTextHandler}
}

func centered(size float64) text.Style {
	s := style(size, xfont.WeightNormal)
	s.XAlign = text.XCenter
	return s
}
