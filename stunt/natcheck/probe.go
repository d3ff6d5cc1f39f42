package natcheck

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// probeType is the type of the attribute PROBE, from the range of which servers that do not know it take no notice.
const probeType = 0xEA7C

// A probe is the value of PROBE, in a request or in the answer to it. See the package comment.
type probe struct {
	op   op
	arg  byte
	port uint16 // in a request for a dial-back: the round trip, in ms
}

// dialling asks for a dial-back over a round trip that was measured.
func dialling(o op, rtt time.Duration) probe {
	return probe{op: o, port: uint16(min(max(rtt.Milliseconds(), 0), math.MaxUint16))}
}

// rtt is the round trip that the client has measured, as far as it is believed.
func (p probe) rtt() time.Duration { return min(time.Duration(p.port)*time.Millisecond, maxRTT) }

// An op says what a request asks for.
type op byte

const (
	opHello     op = iota // what can you do?
	opKnockPort           // dial me from another port
	opKnockAddr           // dial me from your other address
	opOpen                // reserve a port at which a SYN meets what arg says
	opDial                // dial from the reserved port
)

// What the server can do: arg of the answer to opHello.
const (
	canDial    byte = 1 << iota // it dials back, from another port and from a reserved one
	canAlt                      // it has another address in this family
	canSilence                  // it can reserve a port that does not answer
	canRespond                  // over UDP: CHANGE-REQUEST for the port, and RESPONSE-PORT
)

// What a SYN meets at the reserved port: arg of opOpen.
const (
	portSTUN    byte = iota // Binding requests are answered there
	portSilent              // nothing
	portRefuses             // a RST
)

// done is arg of the answer to opOpen, unless a limit was reached.
const done = 1

// outcomes are what dialling met, by arg of the answer. The first says that it was not done.
func outcomes() []Outcome { return []Outcome{"", Accepted, Silent, RST, ICMP} }

func (o Outcome) code() byte {
	for i, known := range outcomes() {
		if o == known {
			return byte(i)
		}
	}
	return 0
}

func outcomeOf(code byte) Outcome {
	if all := outcomes(); int(code) < len(all) {
		return all[code]
	}
	return ""
}

// attribute encodes p.
func (p probe) attribute() stun.Attribute {
	return stun.Attribute{Type: probeType, Value: binary.BigEndian.AppendUint16([]byte{byte(p.op), p.arg}, p.port)}
}

// request makes a Binding request that carries p.
func (p probe) request() *stun.Request { return &stun.Request{Extra: []stun.Attribute{p.attribute()}} }

// findProbe reads PROBE out of a message. Values longer than this version's are understood as far as it knows them.
func findProbe(extra []stun.Attribute) (p probe, ok bool) {
	for _, a := range extra {
		if a.Type == probeType && len(a.Value) >= 4 {
			return probe{op(a.Value[0]), a.Value[1], binary.BigEndian.Uint16(a.Value[2:])}, true
		}
	}
	return probe{}, false
}
