package main

import (
	"strings"
	"testing"
)

// TestBenchTerminal: bars while it runs, and a table that fits, on a wide screen and a
// narrow one.
func TestBenchTerminal(t *testing.T) {
	t.Parallel()
	p := slowHomes(t)
	const code = "--code=home-otter-lamp-sofa"
	a := p.a.sit("bench", code, "--time=600ms", "--timeout=60s", "--json=false")
	a.waitScreen("Waiting for the other side")
	b := p.b.sitAt(40, 24, "bench", code, "--time=600ms", "--timeout=60s", "--json=false")
	a.waitScreen(`tcp +(send|receive) +█+░* +[0-9.]+ [Mk]bit/s`)
	for _, s := range []*seat{a, b} {
		if status := s.status(); status != 0 {
			t.Errorf("%s: exit status %d:\n%s", s.name, status, s.Stderr)
		}
	}
	a.waitScreen(`tcp plain  send +[0-9.]+ Mbit/s`) // the bar that stays
	a.waitScreen(`tcp plain  send +[0-9.]+ +[0-9]+ `)
	b.waitScreen(`tcp: set-up [0-9]+ ms, RTT`)
	for s, most := range map[*seat]int{a: tableWidth, b: 40} {
		text := s.Stderr.String()
		at := strings.LastIndex(text, "set-up")
		for line := range strings.Lines(text[max(0, at):]) {
			if n := len([]rune(strings.TrimRight(line, "\r\n"))); n > most {
				t.Errorf("%s: %d columns: %q", s.name, n, line)
			}
		}
	}
}
