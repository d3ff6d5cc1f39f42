package natlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name. It lives as long as its thread, its file or a process inside it.
type namespace struct {
	file  *os.File
	calls chan func()

	mu     sync.RWMutex
	closed bool
	done   chan struct{}
}

// newNamespace makes a namespace and a thread that lives in it until close. Programs are forked by that thread, so
// that they can be told to die with it.
func newNamespace() (*namespace, error) {
	ns := &namespace{calls: make(chan func()), done: make(chan struct{})}
	ready := make(chan error, 1)
	onOwnThread(func() {
		defer close(ns.done)
		err := ns.enterNew()
		ready <- err
		if err != nil {
			return
		}
		for f := range ns.calls {
			f()
		}
	})
	if err := <-ready; err != nil {
		return nil, err
	}
	return ns, nil
}

func (ns *namespace) enterNew() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("opening the network namespace: %w", err)
	}
	ns.file = f
	return nil
}

// onOwnThread runs f on a thread that does nothing else and ends with f, since it may be spoilt then. It is never the
// first thread of the process, which cannot end.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // still locked: the runtime ends the thread
		}
		away := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(away)
			f()
		}()
		<-away // the first thread is held until f has another one
		runtime.UnlockOSThread()
	}()
}

// call runs f on the namespace's thread. f must be short.
func (ns *namespace) call(f func() error) error {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if ns.closed {
		return net.ErrClosed
	}
	result := make(chan error, 1)
	ns.calls <- func() { result <- f() }
	return <-result
}

// do runs f on a thread of its own inside the namespace. f may block.
func (ns *namespace) do(f func() error) error {
	result := make(chan error, 1)
	onOwnThread(func() {
		err := errors.New("the function ended its goroutine")
		defer func() { result <- err }()
		if err = ns.join(); err == nil {
			err = f()
		}
	})
	return <-result
}

func (ns *namespace) join() error {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if ns.closed {
		return net.ErrClosed
	}
	if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	return nil
}

// path names the namespace to other processes.
func (ns *namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

func (ns *namespace) close() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.closed {
		return
	}
	ns.closed = true
	close(ns.calls)
	<-ns.done
	ns.file.Close()
}
