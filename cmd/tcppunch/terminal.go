package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"
)

// errNoTerminal says that nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to compare check words on")

// A terminal asks the person, on /dev/tty and not on standard input, which may
// be a file.
type terminal struct {
	in, out *os.File
	lines   *bufio.Reader
	keys    *keyboard // reads the lines where in has no deadlines, else nil
}

func openTerminal() (*terminal, error) {
	r, err := openKeys()
	if err != nil {
		return nil, err
	}
	out := "/dev/tty"
	if runtime.GOOS == "windows" {
		out = "CONOUT$"
	}
	w, err := os.OpenFile(out, os.O_RDWR, 0)
	if err != nil {
		r.Close()
		return nil, err
	}
	t := &terminal{in: r, out: w, lines: bufio.NewReader(r)}
	if r.SetReadDeadline(time.Time{}) != nil {
		t.keys = ownKeyboard()
	}
	return t, nil
}

func openKeys() (*os.File, error) {
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONIN$"
	}
	return os.OpenFile(name, os.O_RDWR, 0)
}

// hasTerminal tells whether there is somebody to ask.
func hasTerminal() bool {
	t, err := openTerminal()
	if err == nil {
		t.Close()
	}
	return err == nil
}

// attend is hasTerminal for a program that asks now and then: what is typed while it does not
// ask is dropped, and asking from the background does not stop it.
func attend() bool {
	t, err := openTerminal()
	if err != nil {
		return false
	}
	defer t.Close()
	ignoreBackground()
	t.drain()
	return true
}

// attended tells whether somebody is there to ask now: there is a terminal, and this program is
// in the foreground of it.
func attended() bool {
	t, err := openTerminal()
	if err != nil {
		return false
	}
	defer t.Close()
	return foreground(t.in)
}

func (t *terminal) Close() {
	if t.keys != nil {
		go t.in.Close() // which waits for a read that is under way, as askCompleting may have left
	} else {
		t.in.Close()
	}
	t.out.Close()
}

// drain drops the lines that were typed already.
func (t *terminal) drain() {
	if t.keys != nil {
		t.keys.listen() //nolint:errcheck // the question sees it
		return
	}
	t.in.SetReadDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // it has deadlines
	io.Copy(io.Discard, t.in)                              //nolint:errcheck // it ends with the deadline
	t.in.SetReadDeadline(time.Time{})                      //nolint:errcheck // as above
}

// ask prints a question and returns the answer, or ctx's error.
func (t *terminal) ask(ctx context.Context, question string) (string, error) {
	got := make(chan answer, 1)
	forget := func() { t.in.SetReadDeadline(time.Unix(1, 0)) } //nolint:errcheck // it has deadlines
	if t.keys != nil {
		forget = t.keys.ask(got)
	} else {
		go func() {
			line, err := t.lines.ReadString('\n')
			got <- answer{line, err}
		}()
	}
	fmt.Fprint(t.out, question) // from here on whatever is typed is the answer
	select {
	case a := <-got:
		line := strings.TrimSpace(a.line)
		if a.err != nil && line == "" {
			return "", fmt.Errorf("reading the terminal: %w", a.err)
		}
		return line, nil
	case <-ctx.Done():
		forget()
		fmt.Fprintln(t.out)
		return "", ctx.Err()
	}
}

// askCompleting is ask with an editable line, in which Tab completes what stands
// before the cursor at its end.
func (t *terminal) askCompleting(ctx context.Context, question string, complete func(line string) string) (string, error) {
	raw, err := t.in.SyscallConn()
	if err != nil {
		return "", fmt.Errorf("reading the terminal: %w", err)
	}
	var before *term.State
	// Not Fd(), which would make the file blocking and its deadlines useless.
	ctlErr := raw.Control(func(fd uintptr) { before, err = term.MakeRaw(int(fd)) })
	if err := errors.Join(ctlErr, err); err != nil {
		return t.ask(ctx, question) // then without completion
	}
	defer raw.Control(func(fd uintptr) { term.Restore(int(fd), before) }) //nolint:errcheck // nothing to do about it
	line := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t.in, t.out}, question)
	line.AutoCompleteCallback = func(text string, pos int, key rune) (string, int, bool) {
		if key != '\t' || pos != len(text) {
			return "", 0, false
		}
		text = complete(text)
		return text, len(text), true
	}
	got := make(chan answer, 1)
	go func() {
		text, err := line.ReadLine()
		got <- answer{strings.TrimSpace(text), err}
	}()
	select {
	case a := <-got:
		if a.err == io.EOF { // Ctrl-C, which is no signal here, or Ctrl-D
			fmt.Fprint(t.out, "\r\n")
			return "", interrupted(errors.New("no answer"))
		}
		if a.err != nil && a.line == "" {
			return "", fmt.Errorf("reading the terminal: %w", a.err)
		}
		return a.line, nil
	case <-ctx.Done():
		t.in.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // without deadlines, it reads on until the process has ended, which asks nothing else then
		fmt.Fprint(t.out, "\r\n")
		return "", ctx.Err()
	}
}

// yes asks until the answer is yes or no. An empty answer is the one given.
func (t *terminal) yes(ctx context.Context, question string, empty bool) (bool, error) {
	choice := " [y/N] "
	if empty {
		choice = " [Y/n] "
	}
	for {
		a, err := t.ask(ctx, question+choice)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(a) {
		case "":
			return empty, nil
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
	}
}
