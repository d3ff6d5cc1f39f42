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
	if a.Technique == Accepted || a.Kind == KindPredicted { // the port, in the error too, is another one each time
		key = strings.ReplaceAll(key, a.Remote.String(), a.Remote.Addr().String())
	}
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

var errRounds = fmt.Errorf("%w in any round", ErrNoPath)

// errSilent stands for an attempt that ended without an answer.
var errSilent = errors.New("no answer")

// dialError explains why the race has led to nothing.
func dialError(log attemptLog, cause error) *DialError {
	e := &DialError{Attempts: log.list(), errs: []error{ErrNoPath, cause}}
	sum, tcp, udp := summarise(e.Attempts)
	e.Answered = len(sum[refused])+len(sum[broken])+len(sum[rejected]) > 0
	switch {
	case errors.Is(cause, ErrRejected):
		e.errs = []error{cause}
		e.Reason = cause.Error()
	case errors.Is(cause, ErrNoNetwork):
		e.Reason = ErrNoNetwork.Error()
	case errors.Is(cause, ErrImpossible):
		e.Reason = cause.Error()
	case len(sum) == 1 && len(sum[unroutable]) > 0:
		e.errs = append(e.errs, ErrNoNetwork)
		fallthrough
	default:
		e.Reason = sum.reason(tcp, udp)
	}
	return e
}

// A class is what became of attempts towards an address.
type class int

const (
	silent     class = iota // nothing came back
	unroutable              // this machine has no way there
	absent                  // no such host on a network of ours
	refused                 // a RST, or an ICMP error
	broken                  // TCP was connected, but to nobody of use
	rejected                // TCP was connected, to somebody with another secret
)

func classOf(e *AttemptError) class {
	switch {
	case errors.Is(e.Err, ErrRejected):
		return rejected
	case e.Kind == KindPredicted && !e.Connected.IsZero():
		return silent // some other host of many
	case e.Technique == Accepted || !e.Connected.IsZero():
		return broken
	case sock.Unroutable(e.Err):
		return unroutable
	case sock.HostUnreachable(e.Err) && (e.Kind == KindPrivate || e.Kind == KindLAN):
		return absent // nobody answers ARP; from afar it is a router that refuses
	case sock.Refused(e.Err):
		return refused
	}
	return silent
}

// A summary is the addresses of each class.
type summary map[class][]string

// Of UDP, which is tried beside TCP and comes to the same addresses, it only tells
// whether it was tried in vain, unless there is nothing else.
func summarise(es []*AttemptError) (s summary, tcp, udp bool) {
	s = summary{}
	isTCP := func(e *AttemptError) bool { return e.Network != "kcp" }
	tcp = slices.ContainsFunc(es, isTCP)
	for _, e := range es {
		udp = udp || !isTCP(e)
		if tcp && !isTCP(e) {
			continue
		}
		c, addr := classOf(e), e.Remote.String()
		if e.Technique == Accepted || e.Kind == KindPredicted {
			addr = e.Remote.Addr().String() // its port says nothing
		} else if e.Lane > 0 && c < broken {
			continue // the spare ports fare as the first does
		}
		if !slices.Contains(s[c], addr) {
			s[c] = append(s[c], addr)
		}
	}
	for _, addrs := range s {
		slices.Sort(addrs)
	}
	return s, tcp, udp
}

// reason says what is known, the most telling first.
func (s summary) reason(tcp, udp bool) string {
	refuse := "both routers refuse incoming TCP even in answer to an outgoing one"
	switch {
	case !tcp && udp:
		refuse = "UDP does not get through"
	case udp:
		refuse += ", and UDP does not get through"
	}
	list := func(c class) string { return strings.Join(withoutPorts(s[c]), ", ") }
	var text string
	switch {
	case len(s[broken]) > 0:
		text = "something answers at " + list(broken) + " that is not the peer, or the connection broke each time"
	case len(s[refused]) > 0:
		text = list(refused) + " refuses every connection: the peer is not running with these addresses, or its router and yours both turn away incoming TCP"
	case len(s[silent]) > 0:
		text = "nothing came back from " + list(silent) + ": the peer is not running with these addresses, or " + refuse
	case len(s[absent]) > 0:
		text = "there is no host at " + list(absent)
	case len(s[unroutable]) > 0:
		text = "this machine has no route to " + list(unroutable)
	case len(s[rejected]) == 0:
		return "the other side never came"
	}
	if len(s[rejected]) > 0 {
		if text != "" {
			text += "; "
		}
		text += "whoever answered at " + list(rejected) + " failed authentication"
	}
	return text
}

// withoutPorts shortens a list of addresses when it is long, as after some rounds
// in a room: their ports mean nothing to a person.
func withoutPorts(addrs []string) []string {
	if len(addrs) <= 3 {
		return addrs
	}
	var ips []string
	for _, s := range addrs {
		if a, err := netip.ParseAddrPort(s); err == nil {
			s = a.Addr().String()
		}
		if !slices.Contains(ips, s) {
			ips = append(ips, s)
		}
	}
	return ips
}
