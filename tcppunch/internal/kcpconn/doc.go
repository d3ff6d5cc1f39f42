// Package kcpconn makes a reliable stream, a net.Conn, of the datagrams between
// two peers, with KCP and a rate controller of its own.
//
//	conn := kcpconn.New(socket, peer, &kcpconn.Config{ID: 7, Key: secret, Client: true})
//	defer conn.Close() // delivers what was written
//	stream := tls.Client(conn, …)
//
// Both peers call New, either may write first, and nothing is sent before
// someone writes. KCP cuts the stream into segments, numbers, orders and
// acknowledges them; it is given no say in when to send:
//
//	Write ──► KCP ──► board ──► pump ──────► datagrams ──────► KCP ──► Read
//	        segments  ready,    │  ▲ window, pace               │ order
//	                  flying,   └──┤                            │
//	                  lost   ◄── control ◄── acknowledgements ◄─┘
//	                  (RACK)     (as BBR)
//
// The board knows when each segment was sent and what became of it, and finds
// the lost ones by time (RFC 8985, RACK). From what it learns the controller
// measures the delivery rate and the shortest round trip of the path, and the
// pump sends at that pace, in no larger bursts than a millisecond's worth.
//
// # On the wire
//
// A datagram begins with a tag, little-endian, whose first byte says what it is:
//
//	10xxxxxx  KCP segments: conv 4, cmd 1, frg 1, wnd 2, ts 4, sn 4, una 4, len 4, data
//	11xxxxxx  control: tag 4, version and kind 1, counter 8, body, MAC 16
//
// The rest of the tag follows from the key and the ID. The last byte of a
// segment's data is the version and whether it ends the stream. Control
// datagrams measure, probe the MTU, keep NATs open, follow a peer to a new
// address and end the stream; their counter never repeats:
//
//	ping, pong            each second, and faster when the peer is silent
//	probe, arrived        padded; the size of the largest that arrives is the MTU
//	challenge, response   to and from an address at which the peer was heard for the first time
//	half                  of a segment that was cut before the MTU shrank
//	closed, reset         how it ended
package kcpconn
