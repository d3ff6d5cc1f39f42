package natlab

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timer is a clock on a timerfd. The timers of the Go runtime are rounded up to a millisecond when the process is idle;
// a timerfd in the same epoll set is not.
type timer struct {
	fd   int
	file *os.File
}

func newTimer() (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a timer: %w", err)
	}
	return &timer{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

func (t *timer) set(after time.Duration) {
	// It cannot fail while the descriptor is open, and after close nobody sets it: network.clock is nil then.
	_ = unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after))}, nil)
}

// wait blocks until the timer rings. It fails once the timer is closed.
func (t *timer) wait() error {
	var count [8]byte
	_, err := t.file.Read(count[:])
	return err
}

func (t *timer) close() error { return t.file.Close() }
