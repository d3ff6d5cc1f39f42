package sock

import "time"

// Info is what the kernel says of a connection.
type Info struct {
	CongestionControl string        // its name, such as "bbr" or "cubic"
	Retransmits       uint64        // segments sent again since the connection began
	BytesSent         uint64        // sent since it began, those sent again included
	RTT               time.Duration // smoothed round trip
	MinRTT            time.Duration // the least round trip of the last minutes; 0 where none is known yet
	Window            int           // congestion window, in bytes
	DeliveryRate      uint64        // bytes per second that lately arrived
	Busy              time.Duration // how long there was something to send
	ReceiverLimited   time.Duration // how long of that the peer's receive window held it back
	Unsent            int           // bytes that wait in the send buffer and were not sent yet
}

const (
	// forLongPaths is the congestion control that keeps a long path full where
	// losses say nothing of its capacity. CUBIC and Reno take each loss for a
	// full queue, and many round trips to recover.
	forLongPaths = "bbr"
	// longPath is the least round trip for which it is asked for. On shorter
	// ones CUBIC recovers soon, and beside BBR it gets next to nothing.
	longPath = 20 * time.Millisecond

	// emptyShare more than the least round trip is next to no queue. Who loses
	// packets with that loses them by chance, or to a queue that is too short for
	// what it sends; a full queue is what CUBIC is made for.
	emptyShare = 1 / 4.
	// recoveryTrips are how many round trips the recovery from a full queue takes
	// at most, while few packets are in flight, and the queue is short.
	recoveryTrips = 3
	// crowdedTimes the least round trip is what BBR does not cause: alone it
	// ends below two, after a start below three. So others fill a long queue,
	// and BBR, which does not, gets too little beside them.
	crowdedTimes = 3
	// crowdedTime and crowdedTrips are how long that must last, both: longer
	// than BBR's start.
	crowdedTime  = time.Second
	crowdedTrips = 8
)

// replaceable tells the congestion controls that BBR may replace. Who runs
// another one has chosen it.
func replaceable(name string) bool { return name == "cubic" || name == "reno" }

// figures are what one look at a connection shows.
type figures struct {
	rtt, least time.Duration // smoothed and least round trip; 0 where none is known
	busy       time.Duration // how long there was something to send
	lost       bool          // packets had to be sent again
	recovering bool          // that is under way
}

// A step is what to do about the congestion control.
type step int

const (
	stay  step = iota
	leave      // ask for BBR
	back       // return to the default
	done       // no later look will say anything else
)

// A choice is the congestion control of one connection. The zero choice is the
// default, which stays where it does well: BBR pays for its start with losses,
// stays far behind if it begins beside a flow that has filled a long queue, and
// is no faster on a clean path. It is asked for when the default loses packets
// although the queue is short: then it is several times as fast.
type choice struct {
	rtt     time.Duration // as the program has measured it, the peer's work included
	bbr     bool
	suspect bool          // what speaks against the present one has been seen
	since   time.Duration // since then, in busy time
}

func (c *choice) next(f figures) step {
	least := c.rtt // the kernel's is too long where SYNs have crossed
	if f.least > 0 {
		least = min(least, f.least)
	}
	if c.bbr {
		if c.lasts(f.rtt >= crowdedTimes*least, f.busy, max(crowdedTime, crowdedTrips*least)) {
			return back
		}
		return stay
	}
	if least < longPath {
		return done
	}
	unfilled := f.lost && float64(f.rtt) < (1+emptyShare)*float64(least)
	if c.lasts(unfilled, f.busy, recoveryTrips*least) || unfilled && !f.recovering {
		c.bbr, c.suspect = true, false
		return leave
	}
	return stay
}

// lasts reports whether something has been so at every look for some time.
func (c *choice) lasts(is bool, busy, long time.Duration) bool {
	if is && !c.suspect {
		c.since = busy
	}
	c.suspect = is
	return is && busy-c.since >= long
}

// sending is what decides about a send buffer. Sizes are bytes as the kernel
// counts them, its own structures included.
type sending struct {
	buffer   int           // what the socket may hold now
	auto     int           // up to what the kernel raises it by itself
	settable int           // up to what a program may raise it
	rate     uint64        // bytes per second that lately arrived
	least    time.Duration // round trip of the empty path
	flight   int           // bytes of data sent and not acknowledged
	unsent   int           // bytes of data that wait in the buffer
	window   int           // bytes of data that may be in flight
}

// held reports whether the buffer is full, of data in flight, while more might
// be. The kernel's own count (tcpi_sndbuf_limited) misses what writes that wait
// for room cause. A third in flight is full: the kernel's structures take as
// much, and a writer is woken when a third is free.
func (s sending) held() bool {
	return 3*s.flight >= s.buffer && s.unsent < s.buffer/8 && s.flight < s.window
}

// grown returns how large the buffer shall be, or 0 to leave it as it is, and
// whether a later look may come to another result. A buffer that a program
// sets is no longer the kernel's to raise, so this begins only where the
// kernel has ended, and never makes it smaller.
func (s sending) grown() (size int, more bool) {
	if s.settable <= max(s.auto, s.buffer) {
		return 0, false
	}
	if s.buffer < s.auto || !s.held() {
		return 0, true
	}
	// A buffer of three times what the path holds keeps it full, and a queue
	// as long: about a third is the kernel's structures. More only makes the
	// queue longer.
	if path := float64(s.rate) * s.least.Seconds(); 3*path < float64(s.buffer) {
		return 0, true
	}
	return min(2*s.buffer, s.settable), true
}
