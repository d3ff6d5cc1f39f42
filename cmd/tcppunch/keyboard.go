package main

import (
	"bufio"
	"io"
	"sync"
)

// A keyboard reads the lines of a terminal that has no deadlines, as those of Windows and macOS:
// there a read goes on until there is a line, whether the question still stands or not. So one
// goroutine reads for as long as the process lives, and drops what comes while no question
// stands.
type keyboard struct {
	open func() (io.ReadCloser, error)

	mu      sync.Mutex
	reading bool          // guarded by mu
	asked   chan<- answer // of the question that stands, or nil; guarded by mu
}

// An answer is a line, which may end with an error.
type answer struct {
	line string
	err  error
}

// ownKeyboard is that of the process.
var ownKeyboard = sync.OnceValue(func() *keyboard { return &keyboard{open: func() (io.ReadCloser, error) { return openKeys() }} })

// listen begins to read, unless it has.
func (k *keyboard) listen() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reading {
		return nil
	}
	in, err := k.open()
	if err == nil {
		k.reading = true
		go k.read(in)
	}
	return err
}

// ask sends the next line that is typed to got, which has room for it, unless it is forgotten
// before.
func (k *keyboard) ask(got chan<- answer) (forget func()) {
	k.mu.Lock()
	k.asked = got
	k.mu.Unlock()
	if err := k.listen(); err != nil { // then nobody reads
		k.pass(answer{err: err})
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.asked = nil
	}
}

// pass gives what was read to the question that stands.
func (k *keyboard) pass(a answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.err != nil {
		k.reading = false
	}
	if k.asked != nil {
		k.asked <- a
		k.asked = nil
	}
}

// read ends with the terminal. The next question opens it again.
func (k *keyboard) read(in io.ReadCloser) {
	defer in.Close()
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		k.pass(answer{line, err})
		if err != nil {
			return
		}
	}
}
