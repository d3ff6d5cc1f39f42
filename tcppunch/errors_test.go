package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDialErrorReason(t *testing.T) {
	at := Attempt{Remote: netip.MustParseAddrPort("203.0.113.20:7070"), Kind: KindPublic, Technique: Connector}
	accepted := Attempt{Remote: at.Remote, Technique: Accepted, Connected: time.Now()}
	rejected := fmt.Errorf("%w: other words", ErrRejected)
	tests := []struct {
		name     string
		attempts map[error]Attempt
		cause    error
		says     string
		is       error
		answered bool
	}{
		{"silence", map[error]Attempt{syscall.ETIMEDOUT: at}, context.DeadlineExceeded, "nothing came back from 203.0.113.20:7070", ErrNoPath, false},
		{"refused", map[error]Attempt{syscall.ECONNREFUSED: at}, context.DeadlineExceeded, "refuses every connection", ErrNoPath, true},
		{"unreachable by ICMP", map[error]Attempt{syscall.EHOSTUNREACH: at}, context.DeadlineExceeded, "refuses every connection", ErrNoPath, true},
		{"no route", map[error]Attempt{syscall.ENETUNREACH: at}, context.DeadlineExceeded, "no route", ErrNoNetwork, false},
		{"no network", nil, ErrNoNetwork, "no network", ErrNoNetwork, false},
		{"something else answers", map[error]Attempt{errors.New("TLS: bad record"): accepted}, context.Canceled, "not to the peer", ErrNoPath, true},
		{"wrong peer", map[error]Attempt{rejected: accepted}, rejected, "failed authentication", ErrRejected, false},
		{"only wrong peers", map[error]Attempt{rejected: accepted}, context.DeadlineExceeded, "only hosts that failed", ErrRejected, false},
	}
	for _, tt := range tests {
		var log attemptLog
		for err, a := range tt.attempts {
			log.add(a, err)
			log.add(a, err)
		}
		e := dialError(log, tt.cause)
		if !strings.Contains(e.Error(), tt.says) || !errors.Is(e, tt.is) || !errors.Is(e, tt.cause) || e.Answered != tt.answered {
			t.Errorf("%s: %q, answered %v, attempts %v", tt.name, e, e.Answered, e.Attempts)
		}
		if len(tt.attempts) > 0 && e.Attempts[0].Count != 2 {
			t.Errorf("%s: counted %d, want 2", tt.name, e.Attempts[0].Count)
		}
	}
}

// A Dial may last for hours: what it remembers is bounded.
func TestAttemptLogBounded(t *testing.T) {
	var log attemptLog
	for i := range 10 * maxLog {
		log.add(Attempt{}, fmt.Errorf("cause %d", i))
	}
	if len(log) != maxLog {
		t.Errorf("%d entries", len(log))
	}
}
