// Package stun asks a STUN server (RFC 8489) for this side's public address, and answers such questions. It speaks
// on a connection or socket that the caller made and never dials, because what matters is the mapping of one
// particular local port: the one that is about to punch.
//
//	res, err := stun.Query(ctx, conn)                      // TCP; keep conn open, it holds the mapping
//	res, err := stun.QueryPacket(ctx, packetConn, server)  // UDP; with retransmissions
//	fmt.Println(res.Mapped)                                // 203.0.113.10:7070
//
// Only the Binding method is spoken, without credentials. A reply is not authenticated: whoever is on the path can
// forge one, so an address learned here is a hint about where to be reached, never about who is there.
//
// [Server] answers Binding requests over streams and packets, and [Respond] is its pure part.
package stun
