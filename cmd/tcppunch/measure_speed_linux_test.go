package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"golang.org/x/sys/unix"
)

const speedSize = 1 << 30

// TestMeasureSpeed: one file between two hosts on a link without limits, beside what the
// link and TLS alone give in the same minute.
func TestMeasureSpeed(t *testing.T) {
	measures(t, "speed")
	w := newBareLink(t)
	copier := buildCopier(t)
	ram, disk := folder(t, *measureRAM), folder(t, *measureDisk)
	file := w.a.file("file.bin", speedSize)
	kinds := []struct {
		name string
		run  func() float64 // seconds
	}{
		{"iperf3, one stream", func() float64 { return speedSize / iperf3(t, w.a.host, w.b.host, wireB, "-t", "3") }},
		{"bare crypto/tls, one block again and again", func() float64 { return copyTLS(t, copier, w.a.host, w.b.host, wireB, speedSize) }},
		{"bare crypto/tls copy of the file, into memory", func() float64 { return w.copyFile(t, copier, file, ram) }},
		{"that with hashes on both sides, side by side", func() float64 { return w.copyFile(t, copier, file, ram, "hashed") }},
		{"send and recv, into memory", func() float64 { return w.sendInto(t, ram, file) }},
		{"send and recv, onto the disk", func() float64 { return w.sendInto(t, disk, file) }},
		{"dd conv=fsync onto that disk", func() float64 { return dd(t, file, disk) }},
	}
	const bare = 2 // the one that others are compared with
	speeds, shares := make([][]float64, len(kinds)), make([][]float64, len(kinds))
	for range *measureRuns {
		var round []float64
		for _, k := range kinds {
			unix.Sync() // what was written or removed before is not this one's business
			round = append(round, speedSize/1e9/k.run())
		}
		for i, s := range round {
			speeds[i], shares[i] = append(speeds[i], s), append(shares[i], s/round[bare])
		}
		t.Logf("GB/s: %.2f", round)
	}
	tab := newTable("1 GiB between two namespaces, both ends on the same cores", "GB/s", "of the bare copy")
	for i, k := range kinds {
		tab.row(k.name, fmt.Sprintf("%.2f", middle(speeds[i])), fmt.Sprintf("%.2f", middle(shares[i])))
	}
	fmt.Printf("\n%s\n", tab)
	w.profile(t, ram, file)
}

// folder makes a temporary folder, of which nothing is left.
func folder(t *testing.T, in string) string {
	t.Helper()
	dir, err := os.MkdirTemp(in, "tcppunch-measure-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// empty removes what is in a folder.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *bareLink) sendInto(t *testing.T, dir, file string) float64 {
	t.Helper()
	defer empty(t, dir)
	c := w.transfer(dir, file)
	t.Logf("%.2f s; CPU: send %.2f s, recv %.2f s", c.seconds, c.sendCPU, c.recvCPU)
	return c.seconds
}

// copyFile copies a file by nothing but crypto/tls.
func (w *bareLink) copyFile(t *testing.T, copier, file, dir string, how ...string) float64 {
	t.Helper()
	defer empty(t, dir)
	told := [][2]string{{file, filepath.Join(dir, "copy")}}
	for _, h := range how {
		told = append(told, [2]string{h, h})
	}
	return copyTLS(t, copier, w.a.host, w.b.host, wireB, speedSize, told...)
}

// iperf3 returns the speed of a stream from one host to another, in bytes a second.
func iperf3(t *testing.T, from, to *natlab.Machine, addr string, args ...string) float64 {
	t.Helper()
	server := to.Start("iperf3", "-s", "-1", "-B", addr)
	defer server.Kill()
	time.Sleep(300 * time.Millisecond)
	r := from.Run(append([]string{"iperf3", "-c", addr, "-J"}, args...)...)
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || report.End.Received.Rate == 0 {
		t.Fatalf("iperf3: %v\n%s%s", err, r.Stdout, r.Stderr)
	}
	return report.End.Received.Rate / 8
}

// buildCopier builds the bare crypto/tls copy.
func buildCopier(t *testing.T) string {
	t.Helper()
	copier := filepath.Join(t.TempDir(), "tlscopy")
	if out, err := exec.Command("go", "build", "-o", copier, "./testdata/tlscopy").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return copier
}

// copyTLS returns how many seconds it takes for so many bytes. What the copier is told
// besides may differ.
func copyTLS(t *testing.T, copier string, from, to *natlab.Machine, addr string, size int, told ...[2]string) float64 {
	t.Helper()
	dial, listen := []string{copier, "dial", addr + ":7001", strconv.Itoa(size)}, []string{copier, "listen", addr + ":7001", strconv.Itoa(size)}
	for _, arg := range told {
		dial, listen = append(dial, arg[0]), append(listen, arg[1])
	}
	server := to.Start(listen...)
	defer server.Kill()
	r := from.Run(dial...)
	s, err := strconv.ParseFloat(strings.TrimSpace(r.Stdout), 64)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, r.Stderr, server.Stderr)
	}
	return s
}

// dd shows what the disk itself can do.
func dd(t *testing.T, file, dir string) float64 {
	t.Helper()
	defer empty(t, dir)
	began := time.Now()
	if out, err := exec.Command("dd", "if="+file, "of="+filepath.Join(dir, "dd"), "bs=1M", "conv=fsync").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return time.Since(began).Seconds()
}

// profile shows where the time goes on either side, where perf is there.
func (w *bareLink) profile(t *testing.T, dir, file string) {
	t.Helper()
	if _, err := exec.LookPath("perf"); err != nil {
		t.Log("no perf here: no profile")
		return
	}
	var below [2][]string
	var data [2]string
	for i, side := range []string{"send", "recv"} {
		data[i] = filepath.Join(t.TempDir(), side)
		below[i] = []string{"perf", "record", "-q", "-F", "499", "-e", "cpu-clock", "-o", data[i], "--"}
	}
	send, recv := w.start(nil, below, dir, file)
	send.ends()
	recv.ends()
	empty(t, dir)
	cpu := [2]float64{send.cpu(), recv.cpu()}
	for i, side := range []string{"send", "recv"} {
		out, err := exec.Command("perf", "report", "-i", data[i], "--stdio", "--no-children", "-g", "none", "--percent-limit", "1", "-F", "overhead,sym").CombinedOutput()
		if err != nil {
			t.Logf("perf report: %v\n%s", err, out)
			continue
		}
		fmt.Printf("%s took %.2f s of CPU time, in:\n", side, cpu[i])
		for line := range strings.Lines(string(out)) {
			if s := strings.TrimSpace(line); s != "" && s[0] != '#' {
				fmt.Println("  " + s)
			}
		}
	}
}
