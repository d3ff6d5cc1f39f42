package natlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Cmd is an exec.Cmd that runs inside a host. Set its fields before Start, as with exec.Cmd. It is killed, with all
// its process group, when its context ends and when the lab closes, and by the kernel when the process of the lab dies.
type Cmd struct {
	*exec.Cmd
	machine *Machine

	once sync.Once
	err  error // of Wait
	done chan struct{}
}

// pipeWait is how long a finished program's output is waited for, when something that it left behind holds it open.
const pipeWait = 2 * time.Second

// Command returns a program to run inside the host; it is not started yet. Only the methods of Cmd itself start it in
// the host.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, name, args...), machine: m, done: make(chan struct{})}
	c.WaitDelay = pipeWait
	c.Cancel = func() error { return signalGroup(c.Process, os.Kill) }
	return c
}

// Start starts the program in the host.
func (c *Cmd) Start() error {
	l := c.machine.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("starting %s: %w", c.Path, net.ErrClosed)
	}
	prepare(c.Cmd)
	if err := c.machine.box.ns.call(c.Cmd.Start); err != nil {
		return err
	}
	l.programs[c] = true
	return nil
}

// Wait waits for the program to end, as exec.Cmd.Wait does. It may be called more than once, and by many.
func (c *Cmd) Wait() error {
	c.once.Do(func() {
		c.err = c.Cmd.Wait()
		l := c.machine.lab
		l.mu.Lock()
		delete(l.programs, c)
		l.mu.Unlock()
		close(c.done)
	})
	return c.err
}

// Run starts the program and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns its standard output and standard error together.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Signal sends a signal to the program's process group.
func (c *Cmd) Signal(s os.Signal) error {
	select {
	case <-c.done:
		return os.ErrProcessDone // its number may belong to another by now
	default:
		return signalGroup(c.Process, s)
	}
}

// Kill kills the program's process group.
func (c *Cmd) Kill() { _ = c.Signal(os.Kill) }

// Result is how a program ended.
type Result struct {
	// Stdout and Stderr are what it wrote.
	Stdout, Stderr string
	// Code is its exit status, or -1 when a signal ended it or it did not start.
	Code int
	// Err is nil when it ended with status 0.
	Err error
	// State has more of it, such as the time that it took, or is nil when it did not start.
	State *os.ProcessState
}

// Run runs a program inside the host to its end. In a test, a program that cannot be started is an error of the test.
func (m *Machine) Run(args ...string) *Result { return m.Start(args...).Wait() }

// Proc is a program started by Machine.Start, with its input and output at hand.
type Proc struct {
	// Stdout and Stderr collect what the program writes; they can be read while it runs.
	Stdout, Stderr *Output

	cmd    *Cmd
	result Result
	done   chan struct{} // closed when result is set
}

// Start starts a program inside the host. Its standard input is empty. In a test, a program that cannot be started is
// an error of the test. To set input, environment or folder use Command.
func (m *Machine) Start(args ...string) *Proc {
	if len(args) == 0 {
		args = []string{""}
	}
	return m.Command(m.lab.ctx, args[0], args[1:]...).StartProc()
}

// StartProc starts the command as Machine.Start does: with output collected, unless Stdout or Stderr are set already,
// and without an error to check.
func (c *Cmd) StartProc() *Proc {
	p := &Proc{Stdout: newOutput(), Stderr: newOutput(), cmd: c, done: make(chan struct{})}
	if c.Stdout == nil {
		c.Stdout = p.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = p.Stderr
	}
	if err := c.Start(); err != nil {
		p.finish(err)
		if tb := c.machine.lab.tb; tb != nil {
			tb.Helper()
			tb.Errorf("natlab: host %s: %v", c.machine.Name(), err)
		}
		return p
	}
	go func() { p.finish(c.Wait()) }()
	return p
}

func (p *Proc) finish(err error) {
	close(p.Stdout.ended)
	close(p.Stderr.ended)
	p.result = Result{Stdout: p.Stdout.String(), Stderr: p.Stderr.String(), Code: -1, Err: err}
	if p.cmd.ProcessState != nil {
		p.result.Code, p.result.State = p.cmd.ProcessState.ExitCode(), p.cmd.ProcessState
	}
	close(p.done)
}

// Wait waits for the program to end and returns how it did.
func (p *Proc) Wait() *Result {
	<-p.done
	return &p.result
}

// PID is the number of its process, or 0 when it did not start.
func (p *Proc) PID() int {
	if p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal to the program's process group.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Signal(s) }

// Kill kills the program's process group.
func (p *Proc) Kill() { p.cmd.Kill() }

// Done is closed when the program has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Output collects what a program writes.
type Output struct {
	ended chan struct{}

	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{} // closed, and replaced, at every write
}

func newOutput() *Output {
	return &Output{ended: make(chan struct{}), grown: make(chan struct{})}
}

// Write adds to the output.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.buf.Write(b)
}

// String returns what has been written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// errNoText is why WaitFor fails when the program ended first.
var errNoText = errors.New("the program ended without writing it")

// WaitFor waits until find accepts the output so far, and returns that output. It fails when the context or the
// program ends first.
func (o *Output) WaitFor(ctx context.Context, find func(soFar string) bool) (string, error) {
	for {
		o.mu.Lock()
		text, grown := o.buf.String(), o.grown
		o.mu.Unlock()
		if find(text) {
			return text, nil
		}
		select {
		case <-ctx.Done():
			return text, ctx.Err()
		case <-grown:
		case <-o.ended:
			if text = o.String(); find(text) {
				return text, nil
			}
			return text, errNoText
		}
	}
}
