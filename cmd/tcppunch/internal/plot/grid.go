package plot

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"io"
	"slices"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A Point is what one kind of connection carried over one kind of link.
type Point struct {
	Rate float64 // of the link, Mbit/s
	RTT  float64 // of the link, ms
	Loss float64 // of the link, in percent
	Kind string  // a name that people know
	Mbit float64 // what was carried
}

// Grid draws points as SVG: a panel for each rate and round trip, with the share of
// the link that each kind filled, over the losses.
func Grid(w io.Writer, points []Point) error {
	if len(points) == 0 {
		return ErrNothing
	}
	rates := axis(points, func(p Point) float64 { return p.Rate })
	rtts := axis(points, func(p Point) float64 { return p.RTT })
	losses := axis(points, func(p Point) float64 { return p.Loss })
	panels := make([][]*plot.Plot, len(rates))
	for i, rate := range rates {
		for j, rtt := range rtts {
			p := gridPanel(losses)
			if i == 0 {
				p.Title.Text = fmt.Sprintf("round trip %v ms", rtt)
			}
			if i == len(rates)-1 {
				p.X.Label.Text = "packets lost, %"
			}
			if j == 0 {
				p.Y.Label.Text = fmt.Sprintf("%v Mbit/s: %% filled", rate)
			}
			for k, kind := range kinds(points) {
				if err := addShares(p, points, losses, Point{Rate: rate, RTT: rtt, Kind: kind}, k); err != nil {
					return err
				}
			}
			panels[i] = append(panels[i], p)
		}
	}
	wide, high := vg.Length(len(rtts))*2.3*vg.Inch+40, vg.Length(len(rates))*1.9*vg.Inch+headSpace+20
	canvas := vgsvg.New(max(wide, 6.5*vg.Inch), high)
	dc := draw.New(canvas)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	gridHead(dc, kinds(points))
	below := draw.Crop(dc, margin, -margin, margin, -headSpace)
	for i, row := range plot.Align(panels, draw.Tiles{Rows: len(rates), Cols: len(rtts), PadX: vg.Points(12), PadY: vg.Points(10)}, below) {
		for j, c := range row {
			panels[i][j].Draw(c)
		}
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	return withFonts(w, b.Bytes())
}

// axis lists the values that occur, in order.
func axis(points []Point, of func(Point) float64) []float64 {
	var all []float64
	for _, p := range points {
		all = append(all, of(p))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// kinds lists those that occur, in the order in which they came.
func kinds(points []Point) []string {
	var all []string
	for _, p := range points {
		if !slices.Contains(all, p.Kind) {
			all = append(all, p.Kind)
		}
	}
	return all
}

// gridLook is how the nth kind is drawn.
func gridLook(n int) (draw.LineStyle, draw.GlyphStyle) {
	looks := []struct {
		color  color.RGBA
		shape  draw.GlyphDrawer
		dashes []vg.Length
	}{
		{color.RGBA{0x00, 0x72, 0xb2, 0xff}, draw.CircleGlyph{}, nil},
		{color.RGBA{0x00, 0x9e, 0x73, 0xff}, draw.BoxGlyph{}, []vg.Length{2, 2}},
		{color.RGBA{0xd5, 0x5e, 0x00, 0xff}, draw.TriangleGlyph{}, []vg.Length{7, 2.5}},
		{color.RGBA{0x66, 0x66, 0x66, 0xff}, draw.CrossGlyph{}, []vg.Length{4, 2, 1, 2}},
	}
	l := looks[n%len(looks)]
	return draw.LineStyle{Color: l.color, Width: 1.6, Dashes: l.dashes}, draw.GlyphStyle{Color: l.color, Radius: 2.8, Shape: l.shape}
}

// gridPanel is an empty one. The losses stand at equal distances, whatever they are.
func gridPanel(losses []float64) *plot.Plot {
	p := newPanel(1, 100)
	var marks plot.ConstantTicks
	for i, l := range losses {
		marks = append(marks, plot.Tick{Value: float64(i), Label: fmt.Sprint(l)})
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = marks, ticks(100, " ")
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = -0.3, float64(len(losses))-0.7, 0, 104
	return p
}

func addShares(p *plot.Plot, points []Point, losses []float64, like Point, n int) error {
	var xys plotter.XYs
	for _, q := range points {
		if q.Rate == like.Rate && q.RTT == like.RTT && q.Kind == like.Kind {
			xys = append(xys, plotter.XY{X: float64(slices.Index(losses, q.Loss)), Y: 100 * q.Mbit / q.Rate})
		}
	}
	if len(xys) == 0 {
		return nil
	}
	slices.SortFunc(xys, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	line, marks, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	line.LineStyle, marks.GlyphStyle = gridLook(n)
	xMin, xMax := p.X.Min, p.X.Max
	p.Add(line, marks)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = xMin, xMax, 0, 104
	return nil
}

func gridHead(dc draw.Canvas, kinds []string) {
	top := dc.Max.Y
	dc.FillText(style(15, xfont.WeightBold), vg.Point{X: margin, Y: top - 26}, "How much of a link TCP and UDP fill")
	small := style(10, xfont.WeightNormal)
	x, y := vg.Length(margin), top-48
	for n, k := range kinds {
		line, mark := gridLook(n)
		dc.StrokeLine2(line, x, y+3.5, x+30, y+3.5)
		dc.DrawGlyph(mark, vg.Point{X: x + 15, Y: y + 3.5})
		dc.FillText(small, vg.Point{X: x + 36, Y: y}, k)
		x += 36 + 1.15*small.Width(k) + 18 // other fonts are wider
	}
}
