package kcpconn

import "time"

// phase is what the controller is doing.
type phase byte

const (
	startup  phase = iota // doubling the rate each round trip
	drain                 // letting go the queue that startup made
	cruise                // at the measured rate, with a probe for more now and then
	probeRTT              // with little in flight, to see the path without a queue
)

func (p phase) String() string {
	return [...]string{"startup", "drain", "cruise", "probe-rtt"}[p]
}

const (
	startupGain = 2.885 // 2/ln 2: the smallest that doubles the rate each round trip
	windowGain  = 2.0
	bwRounds    = 10 // round trips for which a delivery rate counts
	minRTTLife  = 10 * time.Second
	probeTime   = 200 * time.Millisecond
	firstWindow = 32 * 1200
	leastWindow = 4 * 1500
	congested   = 0.02 // share of losses in a round trip, beside a queue, that means the queue is full
	backOff     = 0.7
	holdTime    = 2 * time.Second
	growth      = 1500 // bytes a round, while the queue stands
)

// cycle is the gains of cruise, each for a shortest round trip.
var cycle = [...]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

// rate is the controller: what may be in flight, and how fast it is sent. It has
// no clock and does no I/O. Zero is ready to use.
type rate struct {
	phase  phase
	window int // bytes
	filled bool

	bw        [bwRounds]float64 // largest delivery rate of each of the last rounds, bytes/s
	slot      int               // of the latest of them
	turn      bool              // a new round has no slot yet
	round     int
	roundEnds int64 // what is delivered when it ends
	plateau   float64
	flat      int // rounds without growth

	srtt, rttvar time.Duration
	minRTT       time.Duration
	minRTTAt     time.Duration
	restEnds     time.Duration // of probeRTT; 0: not small enough yet
	restWindow   int           // before probeRTT
	restRTT      time.Duration // shortest while at rest

	step   int // in cycle
	stepAt time.Duration

	high          int           // bytes that may be in flight since the queue was full; 0: it was not
	usual         float64       // share of losses without a queue
	cutRound      int           // when high was cut
	holdEnds      time.Duration // when high may grow faster than a TCP's window
	roundLost     int
	roundBytes    int
	roundInflight int           // largest
	roundRTT      time.Duration // shortest
	roundLongest  time.Duration // RTT
	roundProbed   bool          // the round saw what a probe for more does

	silent bool // nothing has come back for a retransmission timeout
}

// bandwidth is the delivery rate of the path in bytes per second, 0 when not known yet.
func (k *rate) bandwidth() float64 {
	most := 0.0
	for _, bw := range k.bw {
		most = max(most, bw)
	}
	return most
}

// product is the bandwidth-delay product in bytes.
func (k *rate) product() float64 { return k.bandwidth() * k.minRTT.Seconds() }

// pace returns how fast to send, bytes per second.
func (k *rate) pace() float64 {
	pace := max(k.gain()*k.bandwidth()*0.99, 2*1500)
	if k.phase == startup { // a few small writes say nothing of what the path can do
		rtt := 20 * time.Millisecond
		if k.srtt > 0 {
			rtt = max(k.srtt, time.Millisecond)
		}
		pace = max(pace, startupGain*firstWindow/rtt.Seconds())
	}
	return pace
}

func (k *rate) gain() float64 {
	switch k.phase {
	case startup:
		return startupGain
	case drain:
		return 1 / startupGain
	case cruise:
		return cycle[k.step]
	}
	return 1
}

// limit returns how many bytes may be in flight.
func (k *rate) limit() int {
	switch {
	case k.silent:
		return leastWindow
	case k.window == 0:
		return firstWindow
	case k.high > 0:
		return max(min(k.window, k.high), leastWindow)
	}
	return max(k.window, leastWindow)
}

// rto returns how long to wait for an acknowledgement.
func (k *rate) rto() time.Duration {
	if k.srtt == 0 {
		return 500 * time.Millisecond
	}
	return min(max(k.srtt+4*k.rttvar, k.srtt*3/2)+20*time.Millisecond, 2*time.Second)
}

// silence tells that a retransmission timeout has passed twice.
func (k *rate) silence() { k.silent = true }

// measured takes a round trip time.
func (k *rate) measured(now, rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if k.srtt == 0 {
		k.srtt, k.rttvar = rtt, rtt/2
	} else {
		k.rttvar += ((k.srtt - rtt).Abs() - k.rttvar) / 4
		k.srtt += (rtt - k.srtt) / 8
	}
	if k.minRTT == 0 || rtt <= k.minRTT {
		k.minRTT, k.minRTTAt = rtt, now
	}
}

// pinged takes a round trip time that a ping has measured.
func (k *rate) pinged(now, rtt time.Duration) { k.measured(now, rtt) }

// update takes what a datagram's acknowledgements told.
func (k *rate) update(s *sample, inflight int) {
	if s.rtt > 0 {
		k.measured(s.now, s.rtt)
		if k.roundRTT == 0 || s.rtt < k.roundRTT {
			k.roundRTT = s.rtt
		}
		k.roundLongest = max(k.roundLongest, s.rtt)
	}
	if s.bytes > 0 {
		k.silent = false
	}
	k.roundLost += s.lost
	k.roundBytes += s.bytes
	k.roundInflight = max(k.roundInflight, s.inflight)
	newRound := false
	if s.prior >= 0 {
		if s.prior >= k.roundEnds {
			newRound = true
			k.roundEnds = s.total
			k.round++
			k.turn = true
		}
		k.rated(s)
	}
	if newRound {
		k.judge(s.now)
		k.fullPipe(s)
		k.roundLost, k.roundBytes, k.roundRTT, k.roundLongest, k.roundInflight = 0, 0, 0, 0, 0
		k.roundProbed = k.phase == cruise && k.step <= 1
	}
	k.advance(s, inflight)
	k.resize(s)
}

// rated takes the delivery rate of a sample.
func (k *rate) rated(s *sample) {
	if s.interval <= 0 || s.interval < k.minRTT/2 {
		return
	}
	bw := float64(s.total-s.prior) / s.interval.Seconds()
	if s.limited && bw <= k.bandwidth() {
		return // it says nothing, and must not make us forget what is known
	}
	if k.turn {
		k.turn = false
		k.slot = (k.slot + 1) % bwRounds
		k.bw[k.slot] = 0
	}
	k.bw[k.slot] = max(k.bw[k.slot], bw)
}

// queued says whether even the shortest round trip of the round shows a queue.
func (k *rate) queued() bool {
	return k.roundRTT > k.minRTT+max(k.minRTT/16, time.Millisecond)
}

// raised says whether a probe for more has made a queue, and losses that are not
// the path's own: more than twice those of other rounds.
func (k *rate) raised(share float64) bool {
	return k.roundProbed && share > 2*k.usual+0.005 && k.roundLongest > k.minRTT+max(k.minRTT/8, 2*time.Millisecond)
}

// judge looks at the losses of a round. Losses without a queue are the path's
// own, and no reason to slow down. Beside a queue they mean that it is full: then
// the window is cut, and grows as TCP's would while the queue stands, so that
// both get their share.
func (k *rate) judge(now time.Duration) {
	all := k.roundLost + k.roundBytes
	if all == 0 {
		return
	}
	share := float64(k.roundLost) / float64(all)
	full := share > 0 && (k.queued() || k.raised(share))
	if !k.roundProbed && !k.queued() {
		k.usual += (share - k.usual) / 8
	}
	if k.phase == startup {
		if full && share > congested {
			k.filled = true
		}
		return
	}
	switch {
	case full && k.round > k.cutRound+1: // losses of the last round may be found in this one
		k.cutRound = k.round
		k.high = max(int(backOff*float64(k.roundInflight)), 2*leastWindow)
		k.holdEnds = now + holdTime
	case k.high == 0 || full:
	case !k.queued() && now > k.holdEnds:
		if k.high += k.high / 4; float64(k.high) > (windowGain+1)*k.product() {
			k.high = 0
		}
	case k.roundInflight > k.high*9/10:
		k.high += growth
	}
}

// fullPipe ends startup when three rounds have brought less than a quarter more.
func (k *rate) fullPipe(s *sample) {
	if k.filled || s.limited {
		return
	}
	if bw := k.bandwidth(); bw > k.plateau*1.25 {
		k.plateau, k.flat = bw, 0
		return
	}
	k.flat++
	k.filled = k.flat >= 3
}

// advance moves between the phases.
func (k *rate) advance(s *sample, inflight int) {
	if k.phase == startup && k.filled {
		k.phase = drain
	}
	if k.phase == drain && float64(inflight) <= k.product() {
		k.enterCruise(s.now)
	}
	if k.phase == cruise {
		spent := s.now - k.stepAt
		switch gain := cycle[k.step]; {
		case gain > 1:
			if spent > k.minRTT && (s.lost > 0 || float64(s.inflight) >= gain*k.product() || spent > 2*k.minRTT) {
				k.nextStep(s.now)
			}
		case gain < 1:
			if spent > k.minRTT || float64(inflight) <= k.product() {
				k.nextStep(s.now)
			}
		case spent > k.minRTT:
			k.nextStep(s.now)
		}
	}
	k.rest(s, inflight)
}

func (k *rate) enterCruise(now time.Duration) {
	k.phase, k.step, k.stepAt = cruise, 2, now
}

func (k *rate) nextStep(now time.Duration) {
	k.step = (k.step + 1) % len(cycle)
	k.stepAt = now
}

// rest looks for the shortest round trip again when the last one is old.
func (k *rate) rest(s *sample, inflight int) {
	if k.phase != probeRTT {
		if k.filled && s.now-k.minRTTAt > minRTTLife {
			k.phase, k.restEnds, k.restWindow = probeRTT, 0, k.window
		}
		return
	}
	if k.restEnds == 0 {
		if inflight <= k.restLimit()+3000 {
			k.restEnds, k.restRTT = s.now+max(probeTime, k.minRTT), 0
		}
		return
	}
	if s.rtt > 0 && (k.restRTT == 0 || s.rtt < k.restRTT) {
		k.restRTT = s.rtt
	}
	if s.now > k.restEnds {
		if k.restRTT > 0 {
			k.minRTT = k.restRTT
		}
		k.minRTTAt = s.now
		k.window = max(k.window, k.restWindow)
		k.enterCruise(s.now)
	}
}

func (k *rate) restLimit() int { return max(int(k.product()/2), leastWindow) }

// resize sets the window.
func (k *rate) resize(s *sample) {
	if k.window == 0 {
		k.window = firstWindow
	}
	gain := windowGain
	if !k.filled {
		gain = startupGain
	}
	// Acknowledgements come in lumps: a few datagrams and a few milliseconds of slack.
	target := int(gain*k.product()) + 8*1500 + int(k.bandwidth()*0.003)
	switch {
	case k.phase == probeRTT:
		k.window = min(k.window, k.restLimit())
	case k.filled:
		k.window = min(k.window+s.bytes, target)
	case k.window < target || s.total < firstWindow:
		k.window += s.bytes
	}
	k.window = max(k.window, leastWindow)
}
