package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// runCmd is natlab run.
type runCmd struct {
	layout
	Screen   string   `help:"Host whose command writes to standard output and error itself, with no name before its lines. On a terminal it can draw." placeholder:"HOST"`
	Commands []string `arg:"" help:"HOST=COMMAND: a line for the shell. All run at once, each with its host's name before every line that it prints."`
}

// Run runs all commands to their ends. Its error is the exit status of the first, in the order given, that failed.
func (c *runCmd) Run(ctx context.Context, out output) (err error) {
	lab, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if c.Screen != "" {
		if _, err := host(lab, c.Screen); err != nil {
			return fmt.Errorf("--screen: %w", err)
		}
	}
	var all sync.WaitGroup
	var turn sync.Mutex
	errs := make([]error, len(c.Commands))
	for i, text := range c.Commands {
		m, line, err := find(lab, text)
		if err != nil {
			return err
		}
		cmd := m.Command(ctx, "sh", "-c", line)
		cmd.Cancel = func() error { return cmd.Signal(os.Interrupt) } // its own end, and a violent one a little later
		if m.Name() == c.Screen {
			cmd.Stdout, cmd.Stderr = out, os.Stderr
			all.Go(func() { errs[i] = cmd.Run() })
			continue
		}
		stdout, stderr := newLines(out, m.Name(), &turn), newLines(os.Stderr, m.Name(), &turn)
		cmd.Stdout, cmd.Stderr = stdout, stderr
		all.Go(func() {
			errs[i] = cmd.Run()
			stdout.Close()
			stderr.Close()
		})
	}
	all.Wait()
	for _, err := range errs {
		var failed *exec.ExitError
		if errors.As(err, &failed) && failed.ExitCode() > 0 {
			return exitError(failed.ExitCode())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find splits HOST=COMMAND and looks the host up.
func find(lab *natlab.Lab, text string) (*natlab.Machine, string, error) {
	name, line, ok := strings.Cut(text, "=")
	if !ok {
		return nil, "", fmt.Errorf("%q: want HOST=COMMAND", text)
	}
	m, err := host(lab, name)
	return m, line, err
}

func host(lab *natlab.Lab, name string) (*natlab.Machine, error) {
	for _, m := range lab.Hosts() {
		if m.Name() == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no host is named %q", name)
}

// lines writes whole lines with a name before each.
type lines struct {
	*io.PipeWriter
	done chan struct{}
}

func newLines(out io.Writer, name string, turn *sync.Mutex) *lines {
	r, w := io.Pipe()
	l := &lines{w, make(chan struct{})}
	go func() {
		defer close(l.done)
		for s := bufio.NewReader(r); ; {
			text, err := s.ReadString('\n')
			if text != "" {
				turn.Lock()
				fmt.Fprintf(out, "%s: %s\n", name, strings.TrimSuffix(text, "\n"))
				turn.Unlock()
			}
			if err != nil {
				return
			}
		}
	}()
	return l
}

// Close waits until everything is written.
func (l *lines) Close() {
	l.PipeWriter.Close()
	<-l.done
}
