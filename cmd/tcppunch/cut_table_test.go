package main

import (
	"fmt"
	"strings"
	"sync"
)

// cutRows is what the runs of all kinds came to.
type cutRows struct {
	kinds []*cutKind
	size  int64

	mu   sync.Mutex
	rows map[*cutKind][]cutResult
}

func newCutTable(kinds []*cutKind, size int64) *cutRows {
	return &cutRows{kinds: kinds, size: size, rows: make(map[*cutKind][]cutResult)}
}

func (c *cutRows) add(k *cutKind, r cutResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows[k] = append(c.rows[k], r)
}

// String is the table, as Markdown. On the wire there are headers besides the file: as
// many as without a cut, and what was under way and lost.
func (c *cutRows) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	b.WriteString("| cut by | runs | ended right | took a new connection | KiB received twice, median (most) | s from the cut to data again, median (most) | bytes at the receiver's host, % of the file, median (most) |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	runs, right := 0, 0
	for _, k := range c.kinds {
		n := c.row(&b, k)
		if k != noCut {
			runs += len(c.rows[k])
			right += n
		}
	}
	fmt.Fprintf(&b, "\n%d of %d ended right.\n", right, runs)
	return b.String()
}

func (c *cutRows) row(b *strings.Builder, k *cutKind) (right int) {
	var again, wire, pause []float64
	broke := 0
	for _, r := range c.rows[k] {
		if !r.right {
			continue
		}
		right++
		if r.broke {
			broke++
		}
		again = append(again, float64(r.again)/1024)
		wire = append(wire, 100*float64(r.wire)/float64(c.size))
		pause = append(pause, r.pause.Seconds())
	}
	fmt.Fprintf(b, "| %s | %d | %d | %d |", k.name, len(c.rows[k]), right, broke)
	if right == 0 {
		b.WriteString(" | | |\n")
		return 0
	}
	m, most := median(again)
	fmt.Fprintf(b, " %.0f (%.0f) |", m, most)
	m, most = median(pause)
	fmt.Fprintf(b, " %.1f (%.1f) |", m, most)
	m, most = median(wire)
	fmt.Fprintf(b, " %.1f (%.1f) |\n", m, most)
	return right
}
