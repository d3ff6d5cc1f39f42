package sock_test

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

var (
	tuneGrid = flag.String("tune.grid", "", "measure tuning against the default for minutes, and append the tables to this file, as Markdown")
	tuneTime = flag.Duration("tune.time", 5*time.Second, "how long each measurement of the grid sends")
)

func appendTable(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(*tuneGrid, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestTuneGrid measures CUBIC with and without tuning over many paths. It
// fails where tuning is worse than the default by more than chance explains.
// Each rate takes a minute or so, with a machine that does nothing else.
func TestTuneGrid(t *testing.T) {
	if *tuneGrid == "" {
		t.Skip("takes minutes; see -tune.grid")
	}
	needBBR(t)
	for _, rate := range []int{20, 100, 500} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			table := fmt.Sprintf("\n**%d Mbit/s, %v each, a queue of rate × RTT where nothing else is said**\n\n"+
				"| RTT | loss | queue / path | default, Mbit/s | tuned | tuned / default | sent again, default | tuned | RTT under load, default | tuned | ends with |\n"+
				"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n", rate, *tuneTime)
			for _, p := range gridPaths() {
				row, ratio := compare(t, rate, p)
				if ratio < p.least() {
					t.Errorf("tuned is worse: %s", row)
				}
				table += row
			}
			appendTable(t, table)
		})
	}
}

// gridPath is a path of the grid.
type gridPath struct {
	rtt   time.Duration
	loss  float64
	queue float64 // in rate × RTT
}

func gridPaths() []gridPath {
	var paths []gridPath
	for _, rtt := range []time.Duration{10, 100, 200} {
		for _, loss := range []float64{0, 0.01} {
			paths = append(paths, gridPath{rtt * time.Millisecond, loss, 1})
		}
	}
	return append(paths, gridPath{40 * time.Millisecond, 0, 0.25}, gridPath{40 * time.Millisecond, 0, 4})
}

// least is the ratio that is no worse but for chance: CUBIC by itself differs
// by a tenth and more from run to run where packets are lost at random.
func (p gridPath) least() float64 {
	if p.loss > 0 {
		return 0.75
	}
	return 0.93
}

func compare(t *testing.T, rate int, p gridPath) (row string, ratio float64) {
	t.Helper()
	var got [2]float64
	var info [2]sock.Info
	path := float64(rate) * 1e6 / 8 * p.rtt.Seconds()
	for i := range got {
		t.Run(fmt.Sprintf("%v,%v,%v,%v", p.rtt, p.loss, p.queue, i == 1), func(t *testing.T) {
			f := newFlow(t, apart(t, natlab.Link{Rate: int64(rate) * 1e6, Delay: p.rtt / 2, Loss: p.loss, Queue: int(path * p.queue)}), i == 1)
			got[i] = f.run(*tuneTime, nil)
			info[i], _ = sock.InfoOf(f.from)
		})
	}
	again := func(i sock.Info) float64 { return 100 * float64(i.Retransmits) * 1448 / float64(i.BytesSent) }
	ratio = got[1] / got[0]
	return fmt.Sprintf("| %v | %v %% | %v | %.1f | %.1f | %.2f | %.1f %% | %.1f %% | %v | %v | %s |\n", p.rtt, 100*p.loss, p.queue, got[0], got[1], ratio,
		again(info[0]), again(info[1]), info[0].RTT.Round(time.Millisecond), info[1].RTT.Round(time.Millisecond), info[1].CongestionControl), ratio
}

// TestTuneShare measures what a flow gets beside one with CUBIC, which begins
// at the same time or earlier, and what it leaves.
func TestTuneShare(t *testing.T) {
	if *tuneGrid == "" {
		t.Skip("takes minutes; see -tune.grid")
	}
	needBBR(t)
	const rate = 100e6
	for _, early := range []time.Duration{0, 4 * time.Second} {
		t.Run(early.String(), func(t *testing.T) {
			table := fmt.Sprintf("\n**100 Mbit/s, shared with a CUBIC flow that begins %v before, %v**\n\n"+
				"| RTT | queue / path | default: ours, Mbit/s | the other | tuned: ours | the other | ends with |\n| --- | --- | --- | --- | --- | --- | --- |\n", early, 2**tuneTime)
			for _, rtt := range []time.Duration{10 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond} {
				for _, queue := range []int{1, 4} {
					link := natlab.Link{Rate: rate, Delay: rtt / 2, Queue: queue * int(rate/8*rtt.Seconds())}
					row := fmt.Sprintf("| %v | %d |", rtt, queue)
					for _, tuned := range []bool{false, true} {
						t.Run(fmt.Sprint(row, tuned), func(t *testing.T) { row += share(t, link, early, tuned) })
					}
					table += row + "\n"
				}
			}
			appendTable(t, table)
		})
	}
}

func share(t *testing.T, link natlab.Link, early time.Duration, tuned bool) string {
	lab := apart(t, link)
	ours, other := newFlow(t, lab, tuned), newFlow(t, lab, false)
	var wg sync.WaitGroup
	if early > 0 {
		other.run(early, nil)
	}
	var got float64
	wg.Go(func() { got = other.run(2**tuneTime, nil) })
	mine := ours.run(2**tuneTime, nil)
	wg.Wait()
	s := fmt.Sprintf(" %.1f | %.1f |", mine, got)
	if tuned {
		s += " " + ours.control() + " |"
	}
	return s
}
