package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A tally sums up runs.
type tally struct {
	runs, connected, atOnce int
	impossible              int       // runs that had to fail, and did
	punch, setup            []float64 // ms, of recv
	packets, syns           []float64 // at a NAT, the most
	mappings, sessions      []float64
	methods                 map[string]int
}

func (a *tally) add(s *scenario) {
	if a.methods == nil {
		a.methods = make(map[string]int)
	}
	for _, r := range s.runs {
		switch {
		case len(s.impossible) > 0:
			a.impossible++
			continue
		case !r.connected:
			a.runs++
			continue
		}
		a.runs++
		a.connected++
		if r.sender.Round == 0 {
			a.atOnce++
		}
		a.methods[s.method(r)]++
		a.punch, a.setup = append(a.punch, r.recv.PunchMS), append(a.setup, r.recv.SetupMS)
		a.packets = append(a.packets, float64(r.cost.Out+r.cost.In))
		a.syns = append(a.syns, float64(r.cost.SYNs))
		a.mappings = append(a.mappings, float64(r.cost.Mappings))
		a.sessions = append(a.sessions, float64(r.cost.Sessions))
	}
}

// method names how a run connected, in the words of the connected event. The
// two sides of a connection have techniques of their own.
func (s *scenario) method(r codesRun) string {
	kind := r.sender.Kind
	if kind != "predicted" && r.recv.Kind == "predicted" {
		kind = "predicted"
	}
	for _, n := range s.top.NATs {
		if kind == "predicted" && n.Ports == natlab.Random {
			kind = "predicted, random ports"
		}
	}
	both := []string{r.sender.Technique, r.recv.Technique}
	slices.Sort(both)
	return kind + ": " + strings.Join(both, " and ")
}

// median returns the median and the largest of some numbers.
func median(all []float64) (middle, most float64) {
	if len(all) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}

func share(n, of int) string {
	if of == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(of))
}

const codesHead = "| connected by %s | in round 0 | punch, ms, median (most) | recv to connected, ms, median (most) | impossible, said so |\n| --- | --- | --- | --- | --- | --- |\n"

// row is one line of a table.
func (a *tally) row(name string) string {
	impossible := ""
	if a.impossible > 0 {
		impossible = fmt.Sprint(a.impossible)
	}
	if a.runs == 0 {
		return fmt.Sprintf("| %s | | | | | %s |\n", name, impossible)
	}
	punch, punchMost := median(a.punch)
	setup, setupMost := median(a.setup)
	return fmt.Sprintf("| %s | %d of %d | %s | %.0f (%.0f) | %.0f (%.0f) | %s |\n", name, a.connected, a.runs,
		share(a.atOnce, a.connected), punch, punchMost, setup, setupMost, impossible)
}

// writeCodes writes all tables, or two where it was not TCP that connected.
func writeCodes(w io.Writer, all []*scenario, via string) {
	by := map[string]string{"tcp": "TCP", "kcp": "UDP", "auto": "TCP or UDP"}[via]
	table := func(title, first string, family string, group func(*scenario) string) {
		fmt.Fprintf(w, "**%s**\n\n| %s "+codesHead, title, first, by)
		groups := make(map[string]*tally)
		var order []string
		for _, s := range all {
			if s.family != family {
				continue
			}
			name := group(s)
			if groups[name] == nil {
				groups[name] = new(tally)
				order = append(order, name)
			}
			groups[name].add(s)
		}
		for _, name := range order {
			fmt.Fprint(w, groups[name].row(name))
		}
		fmt.Fprintln(w)
	}
	byName := func(s *scenario) string { return s.name }
	byMapping := func(s *scenario) string {
		return mappingKinds[s.row/len(answerKinds)].name + " - " + mappingKinds[s.column/len(answerKinds)].name
	}
	byAnswer := func(s *scenario) string {
		low, high := s.row%len(answerKinds), s.column%len(answerKinds)
		return answerKinds[min(low, high)].name + " - " + answerKinds[max(low, high)].name
	}
	if via != "tcp" {
		table("By "+by+": pairs of emulated NATs, by mapping, with all answers", "sender's NAT - receiver's NAT", "pairs", byMapping)
		table("By "+by+": real Linux NATs", "sender's NAT - receiver's NAT", "linux", byName)
		return
	}
	table("Codes: pairs of emulated NATs, by mapping, with all answers", "sender's NAT - receiver's NAT", "pairs", byMapping)
	table("Codes: the same, by what the two answer to a SYN that they did not ask for", "the two NATs", "pairs", byAnswer)
	table("Codes: real Linux NATs", "sender's NAT - receiver's NAT", "linux", byName)
	table("Codes: sequential NATs, while other users take up to 3 ports between two of ours and 5 a second", "sender's NAT - receiver's NAT", "steps", byName)
	table("Codes: other networks", "network", "topologies", byName)
	writeCosts(w, all)
}

// writeCosts tells what a connection costs at a NAT, by how it came about.
func writeCosts(w io.Writer, all []*scenario) {
	byMethod := make(map[string]*tally)
	for _, s := range all {
		for _, r := range s.runs {
			if len(s.impossible) == 0 && r.connected {
				name := s.method(r)
				if byMethod[name] == nil {
					byMethod[name] = new(tally)
				}
				byMethod[name].add(&scenario{top: s.top, runs: []codesRun{r}})
			}
		}
	}
	fmt.Fprint(w, "**Codes: what a connection costs a NAT, all in all: STUN, room, punch. The larger count of the two NATs; median (most)**\n\n"+
		"| connection | runs | packets out and in | SYNs out | mappings | sessions |\n| --- | --- | --- | --- | --- | --- |\n")
	names := make([]string, 0, len(byMethod))
	for name := range byMethod {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int {
		return cmp.Or(byMethod[y].connected-byMethod[x].connected, strings.Compare(x, y))
	})
	for _, name := range names {
		a := byMethod[name]
		fmt.Fprintf(w, "| %s | %d |", name, a.connected)
		for _, column := range [][]float64{a.packets, a.syns, a.mappings, a.sessions} {
			middle, most := median(column)
			fmt.Fprintf(w, " %.0f (%.0f) |", middle, most)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// pretend makes scenarios with runs: one pair that always connects, one that
// does not every time, and one that cannot.
func pretend() []*scenario {
	all := emulatedPairs()
	ran := func(s *scenario, rs ...codesRun) { s.runs = rs }
	done := codesRun{
		connected: true, sender: event{Kind: "public", Technique: "opener"}, recv: event{Kind: "public", Technique: "connector", PunchMS: 300, SetupMS: 700},
		cost: natlab.Stats{Out: 50, In: 40, SYNs: 10, Mappings: 5, Sessions: 17},
	}
	slow := done
	slow.sender.Round, slow.recv.PunchMS = 1, 2500
	ran(all[0], done, slow, done)
	ran(all[1], done, codesRun{})
	for _, s := range all {
		if len(s.impossible) > 0 {
			ran(s, codesRun{})
		}
	}
	return all
}

func TestCodesTables(t *testing.T) {
	var b bytes.Buffer
	writeCodes(&b, pretend(), "tcp")
	for _, want := range []string{
		"| EIM - EIM | 4 of 5 | 75 % | 300 (2500) | 700 (700) | 1 |\n",
		"| APDM random - APDM random | | | | | 25 |\n",
		"| drop - drop | 3 of 3 | 67 % | 300 (2500) | 700 (700) | 3 |\n",
		"| public: connector and opener | 4 | 90 (90) | 10 (10) | 5 (5) | 17 (17) |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if n := strings.Count(line, "|"); n != 0 && n != 7 {
			t.Errorf("%d columns: %s", n-1, line)
		}
	}
}
