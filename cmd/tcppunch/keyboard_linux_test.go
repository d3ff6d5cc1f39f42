package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// blockingTerminal opens a terminal as the systems have it where terminals have no deadlines.
func blockingTerminal(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	if f.SetReadDeadline(time.Time{}) == nil {
		t.Fatal("it has deadlines: the test shows nothing")
	}
	return f
}

// A tellingReader tells each time that it is read from.
type tellingReader struct {
	*os.File
	reads chan struct{}
}

func (r tellingReader) Read(b []byte) (int, error) {
	r.reads <- struct{}{}
	return r.File.Read(b)
}

// TestKeyboard: without deadlines, too, a question that nobody answers keeps nobody, nor does it
// take the answer to the next one, and what is typed while no question stands is no answer.
func TestKeyboard(t *testing.T) {
	master, tty := newTerminal(t, 80, 24)
	defer tty.Close()
	reads := make(chan struct{}, 10)
	keys := &keyboard{open: func() (io.ReadCloser, error) { return tellingReader{blockingTerminal(t, tty.Name()), reads}, nil }}
	types := func(line string) {
		t.Helper()
		if _, err := master.WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		t.Helper()
		select {
		case <-reads:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody reads")
		}
	}
	ask := func(ctx context.Context) (string, error) {
		q := &terminal{in: blockingTerminal(t, tty.Name()), out: blockingTerminal(t, tty.Name()), keys: keys}
		defer q.Close()
		q.drain()
		return q.ask(ctx, "?")
	}
	limited, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if a, err := ask(limited); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody has answered, and the answer is %q, %v", a, err)
	}
	read()
	for _, line := range []string{"early", "y"} {
		types(line)
		read() // the next one is read: this one is dropped
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for b, n := make([]byte, 1), 0; n < 2; { // this question, and the first
			if _, err := io.ReadFull(master, b); err != nil {
				return
			}
			if b[0] == '?' {
				n++
			}
		}
	}()
	got := make(chan string)
	go func() {
		limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		a, err := ask(limited)
		if err != nil {
			a = err.Error()
		}
		got <- a
	}()
	<-asked
	types("yes")
	if a := <-got; a != "yes" {
		t.Errorf("the answer is %q", a)
	}
	if len(reads) > 1 {
		t.Errorf("%d others read", len(reads)-1)
	}
}

// TestBackground: a receiver that a shell has put into the background is not stopped by a guest
// about whom it would have to ask, and asks again once it is in the foreground.
func TestBackground(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, natlab.NoFirewall, natlab.Link{}, "anna", "ben", "carl")
	acquainted(n["anna"], n["ben"])
	script := `set -m; "$@" & exec </dev/tty; while read line; do case $line in fg) fg >&2;; kill) kill -9 %1;; esac; done`
	anna := n["anna"].sitIn(script, n["anna"].waitArgs("--trust")...)
	n["anna"].begin(anna.peer)
	t.Cleanup(func() { anna.types("kill\n") }) // the job has a group of its own
	carl := n["carl"].file("carl.bin", fileSize)
	send := n["carl"].sendsTo("anna", carl, "--yes")
	send.wantFailure(statusRefused, "refused", "nobody is there to be asked")
	file := n["ben"].file("ben.bin", fileSize)
	n["ben"].sendsTo("anna", file).wantDone()
	wantSame(t, file, n["anna"].dir)
	if strings.Contains(anna.Stderr.String(), "same words?") {
		t.Error("asked from the background")
	}
	anna.types("fg\n")
	anna.waitScreen(`fg\r\n"`)
	send = n["carl"].sendsTo("anna", carl, "--yes")
	anna.waitScreen(bothSee)
	anna.types("y\n")
	anna.waitScreen(`Receive carl.bin `)
	anna.types("y\n")
	send.wantDone()
	wantOnly(t, n["anna"].dir, "ben.bin", "carl.bin")
}
