package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Bounds of what may be asked for.
const (
	// MinTime and MaxTime bound how long data flows in a step.
	MinTime = 100 * time.Millisecond
	MaxTime = 60 * time.Second
	// DefaultTime is how long data flows in each direction.
	DefaultTime = 5 * time.Second
	// MaxStreams bounds the connections that carry data side by side.
	MaxStreams = 32
	// MaxTransports bounds how many transports one Run measures.
	MaxTransports = 8

	maxName = 24 // bytes of a transport's name
)

const (
	defaultDialTime = 20 * time.Second
	defaultSilence  = 15 * time.Second
	defaultStall    = 10 * time.Second
)

// Options say what to measure. Transports must be set; the zero value of everything
// else is a sensible default.
type Options struct {
	// Transports are measured one after the other: those that the other side has
	// too, in the order of the controller.
	Transports []Transport
	// Time is how long data flows in each direction of each transport, from MinTime
	// to MaxTime. The smaller one of the two sides counts. Default: 5 s.
	Time time.Duration
	// DialTime bounds one call of Transport.Dial. Default: 20 s.
	DialTime time.Duration
	// Silence is how long the other side may say nothing on the control connection
	// before it counts as gone. Default: 15 s.
	Silence time.Duration
	// Stall is how long a connection may carry nothing while data should flow, until
	// its transport has failed. Default: 10 s.
	Stall time.Duration
	// Trace reports what happens. Default: nothing.
	Trace *Trace
}

// A Transport is one way to connect.
type Transport struct {
	// Name must be the same on both sides, up to 24 bytes.
	Name string
	// Streams is how many connections carry data side by side, 1 to MaxStreams. The
	// larger one of the two sides counts. Default: 1.
	Streams int
	// Like names a transport before this one that connects in the same way: when that
	// one could not be connected, no time is spent on this one. Default: none.
	Like string
	// Dial connects to the peer, whose Dial runs at the same time, and returns when
	// ctx ends. It must return an authenticated connection. Run closes it. When Dial
	// has returned on both sides nothing may be in flight on the connection: so it may
	// return what is below a TLS connection, to measure without encryption.
	Dial func(ctx context.Context, s *Signals) (net.Conn, error)
	// Counters tells what is known of a connection, false if nothing. Default: what
	// the kernel knows of a TCP connection, on Linux.
	Counters func(net.Conn) (Counters, bool)
}

// Counters is what a connection tells of itself.
type Counters struct {
	Retransmits int64  // packets sent again, since the connection began
	Packets     int64  // packets with data that were sent, those among them
	Congestion  string // the congestion control: cubic, bbr, …
}

// A Phase is a step of the measurement of a transport.
type Phase string

// The phases, from this side's point of view.
const (
	PhaseDial    Phase = "connect"
	PhasePing    Phase = "ping"
	PhaseSend    Phase = "send"
	PhaseReceive Phase = "receive"
)

// A Step is what is being done.
type Step struct {
	Transport string
	Streams   int
	Phase     Phase
	Time      time.Duration // how long it is to take; 0 when nobody knows
}

// Trace has functions that Run calls, when they are not nil, one at a time. They hold
// the measurement up while they run.
type Trace struct {
	// Agreed is called once the other side has said what it wants: the time for each
	// direction, what it has asked for itself, and how many transports will be measured.
	Agreed func(each, theirs time.Duration, transports int)
	// Step is called when a step begins.
	Step func(Step)
	// Progress is called about ten times a second while data flows: how long it has
	// been since the step began, and the bytes that have arrived, at the receiver.
	Progress func(s Step, since time.Duration, bytes int64)
	// Result is called when a transport has been measured, or has failed.
	Result func(Result)
}

// withDefaults checks the options and returns a filled-in copy.
func (o *Options) withDefaults() (*Options, error) {
	if o == nil || len(o.Transports) == 0 {
		return nil, errors.New("bench: no transports to measure")
	}
	d := *o
	if d.Time == 0 {
		d.Time = DefaultTime
	}
	if d.Time < MinTime || d.Time > MaxTime {
		return nil, fmt.Errorf("bench: time %v is not %v to %v", d.Time, MinTime, MaxTime)
	}
	if len(d.Transports) > MaxTransports {
		return nil, fmt.Errorf("bench: %d transports are more than %d", len(d.Transports), MaxTransports)
	}
	d.Transports = append([]Transport(nil), o.Transports...)
	for i := range d.Transports {
		t := &d.Transports[i]
		if t.Streams == 0 {
			t.Streams = 1
		}
		if t.Streams < 0 || t.Streams > MaxStreams {
			return nil, fmt.Errorf("bench: %d streams are not 1 to %d", t.Streams, MaxStreams)
		}
		if t.Dial == nil || t.Name == "" || len(t.Name) > maxName || clean(t.Name) != t.Name || len(t.Like) > maxName {
			return nil, fmt.Errorf("bench: transport %q cannot be measured", t.Name)
		}
		if t.Counters == nil {
			t.Counters = tcpCounters
		}
	}
	for p, usual := range map[*time.Duration]time.Duration{
		&d.DialTime: defaultDialTime, &d.Silence: defaultSilence, &d.Stall: defaultStall,
	} {
		if *p <= 0 {
			*p = usual
		}
	}
	if d.Trace == nil {
		d.Trace = &Trace{}
	}
	return &d, nil
}
