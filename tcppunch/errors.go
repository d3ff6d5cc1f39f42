package tcppunch

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

// maxLog bounds the kinds of failure that are kept; a Dial may last for hours.
const maxLog = 256

// An AttemptError is a failure of attempts of one sort.
type AttemptError struct {
	Attempt       // the first such attempt
	Count   int   // how many failed in this way
	Err     error // why the first one failed
}

func (e *AttemptError) Error() string {
	if e.Count > 1 {
		return fmt.Sprintf("%v: %v (%d times)", e.Attempt, e.Err, e.Count)
	}
	return fmt.Sprintf("%v: %v", e.Attempt, e.Err)
}

func (e *AttemptError) Unwrap() error { return e.Err }

// A DialError says that no connection came about. It wraps ErrNoPath,
// ErrRejected or ErrNoNetwork, the context's error if that ended the Dial, and
// every attempt's error.
type DialError struct {
	// Reason is a sentence for people, without a full stop.
	Reason string
	// Attempts are the failures, the most frequent first.
	Attempts []*AttemptError
	// Answered tells whether anything at all came back from the peer's
	// addresses, be it a refusal.
	Answered bool

	errs []error
}

func (e *DialError) Error() string { return e.Reason }

// Unwrap returns everything that errors.Is and errors.As shall find.
func (e *DialError) Unwrap() []error {
	errs := slices.Clone(e.errs)
	for _, a := range e.Attempts {
		errs = append(errs, a)
	}
	return errs
}

// attemptLog counts failures by what they were.
type attemptLog map[string]*AttemptError

func (l *attemptLog) add(a Attempt, err error) {
	if *l == nil {
		*l = attemptLog{}
	}
	key := fmt.Sprint(a.Remote, a.Technique, err)
	if e := (*l)[key]; e != nil {
		e.Count++
		return
	}
	if len(*l) < maxLog {
		(*l)[key] = &AttemptError{Attempt: a, Count: 1, Err: err}
	}
}

func (l attemptLog) list() []*AttemptError {
	var es []*AttemptError
	for _, e := range l {
		es = append(es, e)
	}
	slices.SortFunc(es, func(a, b *AttemptError) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Error(), b.Error()))
	})
	return es
}

// dialError explains why the race has led to nothing.
func dialError(log attemptLog, cause error) *DialError {
	e := &DialError{Attempts: log.list()}
	sum := summarise(e.Attempts)
	e.Answered = sum.refused > 0 || sum.broken > 0
	switch {
	case errors.Is(cause, ErrRejected):
		e.errs = []error{cause}
	case errors.Is(cause, ErrNoNetwork), sum.dialled > 0 && sum.unroutable == sum.dialled:
		e.errs = []error{ErrNoPath, ErrNoNetwork, cause}
	default:
		e.errs = []error{ErrNoPath, cause}
	}
	e.Reason = sum.reason(cause)
	return e
}

// summary counts what happened to the attempts.
type summary struct {
	dialled, unroutable, refused, broken, rejected int
	peers                                          []string
}

func summarise(es []*AttemptError) summary {
	var s summary
	seen := map[netip.AddrPort]bool{}
	for _, e := range es {
		switch {
		case errors.Is(e.Err, ErrRejected):
			s.rejected += e.Count
			continue
		case e.Technique == Accepted || !e.Connected.IsZero():
			s.broken += e.Count
			continue
		}
		s.dialled += e.Count
		if sock.Unroutable(e.Err) {
			s.unroutable += e.Count
		}
		if sock.Refused(e.Err) {
			s.refused += e.Count
		}
		if e.Lane == 0 && !seen[e.Remote] {
			seen[e.Remote] = true
			s.peers = append(s.peers, e.Remote.String())
		}
	}
	slices.Sort(s.peers)
	return s
}

func (s summary) reason(cause error) string {
	to := strings.Join(s.peers, ", ")
	if to == "" {
		to = "the peer"
	}
	switch {
	case errors.Is(cause, ErrRejected):
		return cause.Error()
	case errors.Is(cause, ErrNoNetwork):
		return ErrNoNetwork.Error()
	case s.dialled > 0 && s.unroutable == s.dialled:
		return "this machine has no route to " + to
	case s.rejected > 0:
		return "only hosts that failed authentication answered at " + to
	case s.broken > 0:
		return "a TCP connection to " + to + " came about, but not to the peer: something else answers there, or it broke each time"
	case s.refused > 0:
		return to + " refuses every connection: the peer is not running with these addresses, or its router and yours both turn away incoming TCP"
	}
	return "nothing came back from " + to + ": the peer is not running with these addresses, or both routers refuse incoming TCP even in answer to an outgoing one"
}
