package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// command is the built program. Every lab test runs it, never the packages.
var command string

// overQuota in the environment has this program become the one that its arguments name,
// whose files take no more data.
const overQuota = "TCPPUNCH_TEST_OVER_QUOTA"

func TestMain(m *testing.M) {
	if os.Getenv(overQuota) != "" {
		execOverQuota()
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tcppunch-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		command = filepath.Join(dir, "tcppunch")
		args := []string{"build", "-o", command}
		if raceEnabled { // the races that matter happen between two hosts
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the command: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A peer is the command running on a host of a lab.
type peer struct {
	*natlab.Proc
	t       *testing.T
	host    *natlab.Machine
	name    string
	dir     string // its HOME and TMPDIR; recv receives into dir/out
	started time.Time
	shown   <-chan struct{} // at a terminal: closed when all is in Stderr
}

// A side is a host with a home of its own, which the command keeps things in.
type side struct {
	t    *testing.T
	host *natlab.Machine
	dir  string
	env  []string
}

func newSide(t *testing.T, host *natlab.Machine, env ...string) *side {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o777); err != nil {
		t.Fatal(err)
	}
	return &side{t: t, host: host, dir: dir, env: env}
}

// file makes a file of random bytes in the side's folder.
func (s *side) file(name string, size int) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	f, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, int64(size)); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// start runs the command, with --json unless there is another word on that.
func (s *side) start(args ...string) *peer {
	cmd := s.command(args...)
	cmd.SysProcAttr = noTerminal()
	return s.run(cmd)
}

func (s *side) command(args ...string) *natlab.Cmd {
	if !slices.Contains(args, "--json=false") {
		args = append(args, "--json")
	}
	cmd := s.host.Command(context.WithoutCancel(s.t.Context()), command, args...)
	cmd.Dir = s.dir
	cmd.Env = append(append(os.Environ(), "HOME="+s.dir, "XDG_CACHE_HOME="+s.dir+"/cache", "XDG_CONFIG_HOME="+s.dir+"/config",
		"XDG_STATE_HOME="+s.dir+"/state", "GORACE=halt_on_error=1 atexit_sleep_ms=0"), s.env...)
	return cmd
}

func (s *side) run(cmd *natlab.Cmd) *peer {
	p := &peer{t: s.t, host: s.host, name: s.host.Name(), dir: s.dir, started: time.Now(), Proc: cmd.StartProc()}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s: tcppunch %s\n%s%s", p.name, strings.Join(cmd.Args[1:], " "), p.Stderr, p.Stdout)
		}
	})
	return p
}

// event is one line of --json; the fields of all events together.
type event struct {
	Event     string  `json:"event"`
	Code      string  `json:"code"`
	Message   string  `json:"message"`
	Network   string  `json:"network"`
	Kind      string  `json:"kind"`
	Local     any     `json:"local"`
	Remote    string  `json:"remote"`
	Technique string  `json:"technique"`
	Round     int     `json:"round"`
	PunchMS   float64 `json:"punch_ms"`
	SetupMS   float64 `json:"setup_ms"`
	RTTMS     float64 `json:"rtt_ms"`
	TCP       string  `json:"tcp"`
	Where     string  `json:"where"`
	Words     string  `json:"words"`
	Files     int     `json:"files"`
	Bytes     int64   `json:"bytes"`
	Total     int64   `json:"total"`
	Seconds   float64 `json:"seconds"`
	Phases    phases  `json:"phases"`
}

func parseEvents(stdout string) ([]event, error) {
	var es []event
	for line := range strings.Lines(stdout) {
		var e event
		if !strings.HasSuffix(line, "\n") {
			return es, nil // still being written
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("stdout holds %q: %w", line, err)
		}
		es = append(es, e)
	}
	return es, nil
}

// find returns the first event of a name.
func (p *peer) find(name string) (event, bool) {
	es, err := parseEvents(p.Stdout.String())
	if err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	for _, e := range es {
		if e.Event == name {
			return e, true
		}
	}
	return event{}, false
}

// waitEvent waits for an event.
func (p *peer) waitEvent(name string, most time.Duration) (event, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), most)
	defer cancel()
	_, err := p.Stdout.WaitFor(ctx, func(s string) bool { return strings.Contains(s, `"event":"`+name+`"`) })
	if e, ok := p.find(name); ok {
		return e, nil
	}
	return event{}, fmt.Errorf("%s: no event %q: %w", p.name, name, err)
}

// status waits for the program to end.
func (p *peer) status() int {
	code := p.Wait().Code
	if p.shown != nil {
		<-p.shown
	}
	return code
}

// wantFailure checks how a program ended that was not to succeed.
func (p *peer) wantFailure(status int, code string, says ...string) {
	p.t.Helper()
	got := p.status()
	e, ok := p.find("error")
	if got != status || !ok || e.Code != code {
		p.t.Errorf("%s: exit status %d and error code %q, want %d and %q", p.name, got, e.Code, status, code)
	}
	text := p.Stderr.String()
	for _, s := range says {
		if !strings.Contains(text, s) {
			p.t.Errorf("%s: the error does not say %q:\n%s", p.name, s, text)
		}
	}
	if lines := strings.Count(text[max(0, strings.LastIndex(text, "Error: ")):], "\n"); lines < 1 || lines > 2 {
		p.t.Errorf("%s: the error takes %d lines:\n%s", p.name, lines, text)
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		p.t.Errorf("%s: a stack trace:\n%s", p.name, text)
	}
}

// wantDone checks that a program has done its work, and left nothing behind.
func (p *peer) wantDone() {
	p.t.Helper()
	if _, err := p.waitEvent("done", time.Minute); err != nil {
		p.t.Error(err)
	}
	done := time.Now()
	if status := p.status(); status != 0 {
		p.t.Errorf("%s: exit status %d, want 0", p.name, status)
	}
	if after := time.Since(done); after > 3*time.Second {
		p.t.Errorf("%s: ended %v after it was done", p.name, after)
	}
	p.wantNoSockets()
}

// wantNoSockets checks that the host of a program that has ended has no socket
// but such as wait for the time after a close to pass.
func (p *peer) wantNoSockets() {
	p.t.Helper()
	var left []string
	for range 30 {
		left = nil
		for line := range strings.Lines(p.host.Run("ss", "-Htan").Stdout + p.host.Run("ss", "-Huan").Stdout) {
			if !strings.HasPrefix(line, "TIME-WAIT") {
				left = append(left, line)
			}
		}
		if left == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Errorf("%s: sockets are left:\n%s", p.name, strings.Join(left, ""))
}

// wantSame checks that a file arrived, and nothing else is there.
func wantSame(t *testing.T, sent, dir string) {
	t.Helper()
	out := filepath.Join(dir, "out")
	wantContent(t, sent, filepath.Join(out, filepath.Base(sent)))
	wantEntries(t, out, filepath.Base(sent))
}

// wantContent checks that two files are the same.
func wantContent(t *testing.T, sent, received string) {
	t.Helper()
	got, err := os.ReadFile(received)
	if err != nil {
		t.Error(err)
		return
	}
	want, err := os.ReadFile(sent)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s arrived changed", filepath.Base(sent))
	}
}

// wantOnly checks what is in a side's folder of received files, besides what is kept to
// go on with a transfer later.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			got = append(got, e.Name())
		}
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("received %q, want %q", got, names)
	}
}
