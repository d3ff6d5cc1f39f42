package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// output is the only code that prints. People read stderr; programs read
// stdout, where nothing but the events of --json is written, one object a line.
type output struct {
	started time.Time
	json    bool
	verbose bool
	tty     bool // stderr is a terminal

	mu     sync.Mutex
	events *json.Encoder // guarded by mu
	human  io.Writer     // guarded by mu
	bar    io.Writer     // takes lines while a bar is drawn; guarded by mu
}

func newOutput(stdout io.Writer, stderr *os.File, started time.Time) *output {
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	return &output{
		started: started, events: enc, human: stderr,
		tty: term.IsTerminal(int(stderr.Fd())),
	}
}

// say prints a line for people.
func (o *output) say(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.human
	if o.bar != nil {
		w = o.bar
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// detail is say for --verbose.
func (o *output) detail(format string, args ...any) {
	if o.verbose {
		o.say("  %8.3f s  "+format, append([]any{time.Since(o.started).Seconds()}, args...)...)
	}
}

// event prints an object for programs. Its fields stand in the contract.
func (o *output) event(name string, fields any) {
	if !o.json {
		return
	}
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err) // a struct of ours that cannot be encoded
	}
	line := append([]byte(fmt.Sprintf(`{"event":%q`, name)), '}')
	if s := string(b); s != "{}" && s != "null" {
		line = append(line[:len(line)-1], ","+s[1:]...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events.Encode(json.RawMessage(line)) //nolint:errcheck // nobody listens
}

// fail tells an error, on one or two lines, and returns the exit status.
func (o *output) fail(err error) int {
	if err == nil {
		return 0
	}
	f := classify(err)
	message := transfer.Clean(strings.ReplaceAll(shorten(f.err), "\n", "; "))
	if f.code == "interrupted" && f.status == statusInterrupted {
		message = "interrupted"
	}
	o.event("error", struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{f.code, message})
	o.say("Error: %s", message)
	if f.advice != "" {
		o.say("%s.", strings.ToUpper(f.advice[:1])+f.advice[1:])
	}
	return f.status
}

// shorten drops what Go says of contexts and what a person cannot use.
func shorten(err error) string {
	s := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		s = strings.TrimSuffix(s, ": "+context.DeadlineExceeded.Error())
	}
	return s
}

// size writes bytes as people read them.
func size(n int64) string {
	const k = 1024
	switch f := float64(n); {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%.1f KiB", f/k)
	case n < k*k*k:
		return fmt.Sprintf("%.1f MiB", f/k/k)
	case n < k*k*k*k:
		return fmt.Sprintf("%.1f GiB", f/k/k/k)
	default:
		return fmt.Sprintf("%.1f TiB", f/k/k/k/k)
	}
}

// rate writes bytes per second, in the powers of ten that networks use.
func rate(perSecond float64) string {
	switch {
	case perSecond < 1e3:
		return fmt.Sprintf("%.0f B/s", perSecond)
	case perSecond < 1e6:
		return fmt.Sprintf("%.1f kB/s", perSecond/1e3)
	case perSecond < 1e9:
		return fmt.Sprintf("%.1f MB/s", perSecond/1e6)
	default:
		return fmt.Sprintf("%.2f GB/s", perSecond/1e9)
	}
}

// duration writes a time that is left or was spent.
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
