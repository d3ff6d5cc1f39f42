package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

const (
	magic       = "tcppunch-bench"
	version     = 1
	prefaceSize = 16

	maxSamples = 640 // of a series, and of round trips
	// maxStep bounds the times that a peer may tell of a step.
	maxStep = 10 * time.Minute
	maxCPU  = 1000 * time.Hour // of all cores
	// maxCount bounds the bytes and packets that a peer may tell of: more than any
	// network carries in MaxTime, and less than what overflows.
	maxCount = 1 << 50
)

// hello is the first thing that each side says.
type hello struct {
	Magic      string  `json:"magic"`
	Version    int     `json:"version"`
	Preface    []byte  `json:"preface"`
	TimeMS     int64   `json:"time_ms"`
	Transports []offer `json:"transports"`
	// Seen is the address that the other side's connection comes from.
	Seen netip.Addr `json:"seen,omitzero"`
}

// offer is a transport that a side wants measured.
type offer struct {
	Name    string `json:"name"`
	Streams int    `json:"streams"`
	Like    string `json:"like,omitempty"`
}

func parseHello(b []byte) (hello, error) {
	var h hello
	if err := json.Unmarshal(b, &h); err != nil || h.Magic != magic {
		return h, violation("the other side does not run a benchmark")
	}
	if h.Version != version {
		return h, fmt.Errorf("%w: this side's is %d, the other's %d", ErrVersion, version, h.Version)
	}
	t := time.Duration(h.TimeMS) * time.Millisecond
	switch {
	case len(h.Preface) != prefaceSize:
		return h, violation("preface of %d bytes", len(h.Preface))
	case h.TimeMS < MinTime.Milliseconds() || h.TimeMS > MaxTime.Milliseconds():
		return h, violation("the other side asks for %v, which is not %v to %v", t, MinTime, MaxTime)
	case len(h.Transports) == 0 || len(h.Transports) > MaxTransports:
		return h, violation("%d transports", len(h.Transports))
	}
	for _, o := range h.Transports {
		if o.Name == "" || len(o.Name) > maxName || clean(o.Name) != o.Name || o.Streams < 1 || o.Streams > MaxStreams ||
			len(o.Like) > maxName || clean(o.Like) != o.Like {
			return h, violation("a transport with %d streams and a name of %d bytes", o.Streams, len(o.Name))
		}
	}
	h.Seen = h.Seen.Unmap().WithZone("")
	return h, nil
}

// done is what a side tells at the end of a step. Which fields are there depends on
// the step and on what the side did in it. Times are in microseconds.
type done struct {
	Step   int    `json:"step"`
	Failed string `json:"failed,omitempty"`

	Setup int64   `json:"setup,omitempty"`
	RTTs  []int64 `json:"rtts,omitempty"` // of the controller's idle pings

	Bytes   int64      `json:"bytes,omitempty"` // the receiver's
	Elapsed int64      `json:"elapsed,omitempty"`
	Carried int64      `json:"carried,omitempty"`
	Series  [][2]int64 `json:"series,omitempty"` // time and bytes
	Pings   [][2]int64 `json:"pings,omitempty"`  // the controller's, under load: time and round trip

	CPU         int64  `json:"cpu"`                  // -1: not known
	Retransmits int64  `json:"retransmits"`          // the sender's; -1: not known
	Packets     int64  `json:"packets"`              // the sender's; -1: not known
	Congestion  string `json:"congestion,omitempty"` // the sender's
}

// nothing is the done of a step in which nothing was measured yet.
func nothing() done { return done{CPU: -1, Retransmits: -1, Packets: -1} }

// parseDone checks all that a peer says of a step.
func parseDone(b []byte) (done, error) {
	d := nothing()
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&d); err != nil {
		return d, violation("DONE that cannot be read")
	}
	d.Failed, d.Congestion = clean(d.Failed), clean(d.Congestion)
	if len(d.Congestion) > maxName {
		return d, violation("congestion control with a name of %d bytes", len(d.Congestion))
	}
	if len(d.RTTs) > maxSamples || len(d.Series) > maxSamples || len(d.Pings) > maxSamples {
		return d, violation("more than %d samples", maxSamples)
	}
	for _, t := range append([]int64{d.Setup, d.Elapsed}, d.RTTs...) {
		if t < 0 || t > maxStep.Microseconds() {
			return d, violation("a time of %d µs", t)
		}
	}
	if d.CPU < -1 || d.CPU > maxCPU.Microseconds() {
		return d, violation("a CPU time of %d µs", d.CPU)
	}
	for _, n := range []int64{d.Bytes, d.Carried, d.Retransmits + 1, d.Packets + 1} {
		if n < 0 || n > maxCount {
			return d, violation("a count of %d", n)
		}
	}
	if d.Bytes > d.Carried || d.Bytes > 0 && d.Elapsed == 0 {
		return d, violation("%d bytes of %d in %d µs", d.Bytes, d.Carried, d.Elapsed)
	}
	if err := checkSeries(d.Series); err != nil {
		return d, err
	}
	for _, p := range d.Pings {
		if p[0] < 0 || p[0] > maxStep.Microseconds() || p[1] < 0 || p[1] > maxStep.Microseconds() {
			return d, violation("a round trip of %d µs", p[1])
		}
	}
	return d, nil
}

// checkSeries: neither time nor bytes ever run backwards.
func checkSeries(s [][2]int64) error {
	var last [2]int64
	for _, p := range s {
		if p[0] < last[0] || p[1] < last[1] || p[0] > maxStep.Microseconds() || p[1] > maxCount {
			return violation("a series that runs backwards, or too far")
		}
		last = p
	}
	return nil
}

// fail is the body of FAIL.
type fail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func parseFail(b []byte) error {
	var f fail
	if json.Unmarshal(b, &f) != nil || f.Code == "" {
		return violation("FAIL that cannot be read")
	}
	return &RemoteError{Code: clean(f.Code), Message: clean(f.Message)}
}

func micros(d time.Duration) int64 { return d.Microseconds() }

func fromMicros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
