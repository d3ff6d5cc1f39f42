package main

import (
	"syscall"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestComebackAsleep: a machine sleeps longer than the other one listens to silence.
func TestComebackAsleep(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			p := newMeetingPlace(t, slow, natlab.NAT{})
			file, send, recv := p.begun(t)
			asleep, awake := recv, send
			if who == "sender" {
				asleep, awake = send, recv
			}
			asleep.Signal(syscall.SIGSTOP)
			awake.says("Looking for the other side again")
			asleep.Signal(syscall.SIGCONT)
			wantResumed(t, file, send, recv)
		})
	}
}
