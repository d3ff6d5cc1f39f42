package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	events io.Writer // guarded by mu
	human  io.Writer // guarded by mu
	bar    io.Writer // takes lines while a bar is drawn; guarded by mu
}

func newOutput(stdout io.Writer, stderr *os.File, started time.Time) *output {
	return &output{
		started: started, events: stdout, human: stderr,
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

// event prints an object for programs, with the fields of a struct. They stand in
// the contract.
func (o *output) event(name string, fields any) {
	if !o.json {
		return
	}
	line := &bytes.Buffer{}
	enc := json.NewEncoder(line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		panic(err) // a struct of ours that cannot be encoded
	}
	start := fmt.Sprintf(`{"event":%q`, name)
	rest := strings.TrimPrefix(line.String(), "{")
	if rest != "}\n" {
		start += ","
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	io.WriteString(o.events, start+rest) //nolint:errcheck // nobody listens
}

// waiting tells that the peer is waited for.
func (o *output) waiting(where, text string) {
	o.event("waiting", struct {
		Where string `json:"where"`
	}{where})
	o.say("%s", text)
}

// fail tells the error with which the program ends, on one or two lines, and returns the exit
// status.
func (o *output) fail(err error) int {
	if err == nil {
		return 0
	}
	return o.trouble("Error", err, nil)
}

// goOn tells an error after which the program goes on. what says for whom it is one.
func (o *output) goOn(what string, err error) { o.trouble(what, err, new(bool)) }

func (o *output) trouble(what string, err error, final *bool) (status int) {
	f := classify(err)
	message := transfer.Clean(strings.ReplaceAll(shorten(f.err), "\n", "; "))
	if f.code == "interrupted" && f.status == statusInterrupted {
		message = "interrupted"
	}
	o.event("error", struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Final   *bool  `json:"final,omitempty"` // false where the program goes on
	}{f.code, message, final})
	o.say("%s: %s", what, message)
	if f.advice != "" {
		o.say("%s.", strings.ToUpper(f.advice[:1])+f.advice[1:])
	}
	return f.status
}

// shown writes an error on one line, without what a server or a peer may have put
// into it for the terminal.
func shown(err error) string { return transfer.Clean(oneLine(err)) }

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
	return figure(float64(n), 1024, []string{"%.0f B", "%.1f KiB", "%.1f MiB", "%.1f GiB", "%.1f TiB"})
}

// rate writes bytes per second, in the powers of ten that networks use.
func rate(perSecond float64) string {
	return figure(perSecond, 1000, []string{"%.0f B/s", "%.1f kB/s", "%.1f MB/s", "%.2f GB/s"})
}

// figure takes the first unit in which the rounded number is less than a step.
func figure(f, step float64, units []string) string {
	for ; len(units) > 1 && math.Round(f*10) >= step*10; units = units[1:] {
		f /= step
	}
	return fmt.Sprintf(units[0], f)
}

// duration writes a time that is left or was spent.
func duration(d time.Duration) string {
	switch s := d.Round(time.Second); {
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < 2*time.Minute:
		return fmt.Sprintf("%.0f s", s.Seconds())
	case s < 2*time.Hour:
		return fmt.Sprintf("%d min %d s", int(s.Minutes()), int(s.Seconds())%60)
	default:
		return fmt.Sprintf("%d h %d min", int(s.Hours()), int(s.Minutes())%60)
	}
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
