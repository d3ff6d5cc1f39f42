package bench

import (
	"slices"
	"time"
)

// A Report is what Run has measured. Both sides have the same figures; Sent on the one
// is Received on the other.
type Report struct {
	Controller bool          // this side led; exactly one does
	Time       time.Duration // for which data flowed in each direction
	Results    []Result      // one for each transport, in the order in which they were measured
}

// A Result is what was measured of one transport.
type Result struct {
	Transport string
	Streams   int           // connections that carried data side by side
	Err       error         // why the transport was not measured to its end; nil when it was
	Setup     time.Duration // from both sides wanting the first connection to both sides having it
	RTT       Latency       // round trips on the first connection with nothing else to do
	Sent      Direction     // from this side to the other
	Received  Direction     // from the other side to this one
}

// A Direction is what was measured while data flowed one way.
type Direction struct {
	// Bytes arrived within Elapsed, which begins with the first of them, or a round
	// trip after the step if they take longer. What was still on its way at the end of
	// the time is not among them.
	Bytes   int64
	Elapsed time.Duration
	// Carried is all bytes that arrived, also after the time.
	Carried int64
	// Series is the bytes that had arrived by a time, counted by the receiver, in
	// steps of 100 ms, or more where that would be too many.
	Series []Sample
	// Loaded is the round trip of small messages on the control connection meanwhile,
	// and Pings are these round trips one by one.
	Loaded Latency
	Pings  []Ping
	// Retransmits and Packets are what the sender's system counted in the step: packets
	// with data that were sent again, and all. -1 when it does not tell.
	Retransmits, Packets int64
	// Congestion is the congestion control at the sender; "" when it is not known.
	Congestion string
	// CPU is the processor time that this side's process spent in the step, in its
	// own code and in the kernel on its behalf, PeerCPU the other side's. -1 when
	// the system does not tell. What the kernel does in interrupts is not in it.
	CPU, PeerCPU time.Duration
}

// A Sample is a point of a Series.
type Sample struct {
	At    time.Duration // since the step began
	Bytes int64
}

// A Ping is one round trip.
type Ping struct {
	At  time.Duration // when it was sent, since the step began
	RTT time.Duration
}

// Latency sums up round trips. All are 0 when there was none.
type Latency struct {
	Min, Median time.Duration
	P95         time.Duration // 95 of 100 were shorter
	Max         time.Duration
	Count       int
}

func latency(rtts []time.Duration) Latency {
	if len(rtts) == 0 {
		return Latency{}
	}
	s := slices.Sorted(slices.Values(rtts))
	n := len(s)
	return Latency{Min: s[0], Median: s[n/2], P95: s[min(n-1, n*95/100)], Max: s[n-1], Count: n}
}

// Rate is the throughput in bits per second.
func (d Direction) Rate() float64 {
	if d.Elapsed <= 0 {
		return 0
	}
	return float64(d.Bytes) * 8 / d.Elapsed.Seconds()
}

// Resent is the share of packets that were sent again, from 0 to 1; -1 when it is
// not known.
func (d Direction) Resent() float64 {
	if d.Retransmits < 0 || d.Packets <= 0 {
		return -1
	}
	return min(1, float64(d.Retransmits)/float64(d.Packets))
}

// PerGB is the CPU seconds for each 10⁹ bytes on this side and on the other; -1
// where they are not known.
func (d Direction) PerGB() (here, there float64) { return d.perGB(d.CPU), d.perGB(d.PeerCPU) }

func (d Direction) perGB(cpu time.Duration) float64 {
	if cpu < 0 || d.Carried <= 0 {
		return -1
	}
	return cpu.Seconds() / (float64(d.Carried) / 1e9)
}
