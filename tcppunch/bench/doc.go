// Package bench measures what the network gives between two programs that have a
// connection to each other: for each transport how long it takes to connect, the
// round trip, the throughput each way, what the load does to the round trip of
// others, what was sent twice, and the CPU time that it costs.
//
// Both sides call Run with the connection that they have, and with the same
// transports:
//
//	report, err := bench.Run(ctx, control, &bench.Options{
//		Time: 5 * time.Second,
//		Transports: []bench.Transport{
//			{Name: "tcp", Streams: 4, Dial: dialTCP},
//			{Name: "kcp", Dial: dialKCP, Counters: kcpCounters},
//		},
//	})
//
// Nothing is measured on the control connection but the round trip under load,
// which is what any other program on that path would see. The package dials
// nothing itself: Transport.Dial is called on both sides at the same moment, with
// [Signals], a way to tell each other something beforehand, through the control
// connection. A transport that cannot connect is a result that says so.
//
// # Threat model
//
// The peer is not trusted: all that it says is bounded and checked, no time that it
// asks for is longer than MaxTime, and everything that it has to do has a limit. Its
// figures are its own, though: a peer that lies about what it has received is
// believed. Nothing but random bytes is sent.
//
// # Protocol, version 1
//
// The control connection carries frames: one byte of kind, three bytes of length,
// the body. Integers are big-endian; HELLO and DONE are JSON.
//
//	HELLO  <--->   version, preface, time, transports, the other's address as seen
//	SIGNAL <--->   one message of Signals, in a dial
//	DONE   <--->   a step is over on this side: figures, or why it failed
//	COUNT  <--->   bytes received so far, while data flows: for the eyes only
//	PING   <--->   any time; answered by PONG with the same body
//	FAIL   <--->   this side gives up: code, message
//	BYE    <--->   all steps are over
//
// The side with the larger preface, 16 random bytes, is the controller: its order of
// transports counts, it asks for the round trips, and sends first. The rest follows
// from the two HELLOs. For each transport that both sides have the steps are a dial for each
// stream, idle round trips, data from the controller, data to it. A step begins when
// both sides have said DONE to the one before, so that nothing is ever in flight
// on a connection when its use changes. When a step fails the transport's other steps
// are left out, and so are transports that the controller says connect like one that
// could not be connected.
//
// Connections that are measured carry frames of the same form: PING and PONG in the
// second step, and DATA, up to 64 KiB, then END in the others, which the receiver
// answers with END.
package bench
