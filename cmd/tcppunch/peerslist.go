package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

const (
	peerTable  = 60 // columns that a table needs; on a narrower screen each peer has two lines
	nameColumn = 24 // columns of a name at most
)

// peerLines are the lines of a list, none longer than width.
func peerLines(all []lanfind.Peer, width int, now time.Time) []string {
	if width < peerTable {
		return narrowLines(all, width, now)
	}
	rows := [][]string{{"NAME", "ADDRESS", "SINCE", "WAITING"}}
	for _, p := range all {
		rows = append(rows, []string{peerName(&p), peerAddr(&p), peerSince(p.Since, now), peerWaiting(&p)})
	}
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], runewidth.StringWidth(cell))
		}
	}
	wide[0] = min(wide[0], nameColumn)
	wide[1] = min(wide[1], width/3) // of an IPv6 address maybe not all
	var lines []string
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row[:3] {
			b.WriteString(runewidth.FillRight(runewidth.Truncate(cell, wide[i], "…"), wide[i]+2))
		}
		lines = append(lines, runewidth.Truncate(b.String()+row[3], width, "…"))
	}
	return lines
}

func narrowLines(all []lanfind.Peer, width int, now time.Time) []string {
	var lines []string
	for _, p := range all {
		addr, waiting := peerAddr(&p), peerWaiting(&p)
		if waiting == "no" {
			waiting = "not waiting"
		}
		name := runewidth.Truncate(peerName(&p), max(8, width-len(addr)-2), "…")
		lines = append(lines, runewidth.Truncate(name+"  "+addr, width, "…"),
			runewidth.Truncate("  "+waiting+", since "+peerSince(p.Since, now), width, "…"))
	}
	return lines
}

// peerName is a name, or else the beginning of the ID, which tells it from others.
func peerName(p *lanfind.Peer) string {
	if p.Name != "" {
		return transfer.Clean(p.Name)
	}
	id, number, again := strings.Cut(transfer.Clean(p.ID), "#")
	id = "(" + id[:min(8, len(id))] + ")"
	if again {
		id += "#" + number
	}
	return id
}

// peerAddr is the address that is best to reach, and how many others there are.
func peerAddr(p *lanfind.Peer) string {
	switch n := len(p.Addrs); n {
	case 0:
		return "?"
	case 1:
		return p.Addrs[0].Addr().String()
	default:
		return fmt.Sprintf("%v +%d", p.Addrs[0].Addr(), n-1)
	}
}

// peerSince is a time of today, or a day.
func peerSince(t, now time.Time) string {
	t = t.In(now.Location())
	if y, m, d := now.Date(); t.Before(time.Date(y, m, d, 0, 0, 0, 0, now.Location())) {
		return t.Format("2 Jan 2006")
	}
	return t.Format("15:04")
}

func peerWaiting(p *lanfind.Peer) string {
	switch waitsFor(p) {
	case "room":
		return "in room " + transfer.Clean(p.Room)
	case "files":
		return "for files"
	}
	return "no"
}
