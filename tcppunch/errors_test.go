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
	private := Attempt{Remote: netip.MustParseAddrPort("192.168.1.9:7070"), Kind: KindPrivate, Technique: Plain}
	stranger := Attempt{Remote: netip.MustParseAddrPort("192.168.1.9:40000"), Technique: Accepted, Connected: time.Now()}
	six := Attempt{Remote: netip.MustParseAddrPort("[2001:db8::1]:7070"), Kind: KindIPv6, Technique: Connector}
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
		{"no such host", map[error]Attempt{syscall.EHOSTUNREACH: private}, context.DeadlineExceeded, "no host at 192.168.1.9:7070", ErrNoPath, false},
		{"IPv4 silent, no IPv6 here", map[error]Attempt{errSilent: at, syscall.ENETUNREACH: six}, context.DeadlineExceeded, "nothing came back from 203.0.113.20:7070:", ErrNoPath, false},
		{"refused, and a stranger", map[error]Attempt{syscall.ECONNREFUSED: at, rejected: stranger}, context.DeadlineExceeded,
			"203.0.113.20:7070 refuses every connection", ErrNoPath, true},
		{"silence, and a stranger", map[error]Attempt{errSilent: at, rejected: stranger}, context.DeadlineExceeded,
			"whoever answered at 192.168.1.9 failed", ErrNoPath, true},
		{"nobody in the room", nil, context.DeadlineExceeded, "never came", ErrNoPath, false},
		{"no route", map[error]Attempt{syscall.ENETUNREACH: at}, context.DeadlineExceeded, "no route", ErrNoNetwork, false},
		{"no network", nil, ErrNoNetwork, "no network", ErrNoNetwork, false},
		{"something else answers", map[error]Attempt{errors.New("TLS: bad record"): accepted}, context.Canceled, "not the peer", ErrNoPath, true},
		{"wrong peer", map[error]Attempt{rejected: accepted}, rejected, "failed authentication", ErrRejected, true},
		{"only wrong peers", map[error]Attempt{rejected: accepted}, context.DeadlineExceeded, "failed authentication", ErrNoPath, true},
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
		if errors.Is(e, ErrNoNetwork) != (tt.is == ErrNoNetwork) {
			t.Errorf("%s: is ErrNoNetwork: %v", tt.name, e)
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
