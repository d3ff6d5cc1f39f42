// Package tcppunch connects two programs directly by TCP, through the NATs and
// firewalls between them, with no port opened on either side; or, where TCP cannot
// get through, by a stream over UDP. Both call Dial; both get the same encrypted
// connection, a net.Conn.
//
//	conn, err := tcppunch.Dial(ctx, &tcppunch.Config{
//		Side: tcppunch.SideA, // the other program says SideB
//		Peer: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.20:7070")},
//		Auth: authenticate, // who is there? nil trusts whoever answers
//	})
//	if err != nil { … }
//	defer conn.Close()
//	fmt.Println(conn.Path()) // tcp, public, 203.0.113.20:7070, opener, …
//
// There are three ways to know the peer. With a Signaler, a room in which both
// sit, Dial exchanges addresses through it and needs one round trip. Without
// one, serverless, each side is told the other's address, and the clock says
// when to do what. On a local network both are told of neighbours that may be the
// peer, see Near; this may go on beside a Signaler, whichever is there first.
//
// # How it connects
//
// A NAT lets a packet in when it answers one that went out, so each side must
// send its SYN before the other's arrives. A SYN that arrives too early is
// dropped by some NATs, which does no harm, and answered with a RST by others,
// which does. So one side, the opener, sends a SYN with a TTL so low that it
// opens its own NAT and dies before it reaches the other's; the socket stays in
// SYN_SENT. The connector then dials, through the open hole, and the opener's
// socket answers: a simultaneous open (RFC 9293, section 3.5; RFC 5382, REQ-2).
//
//	opener        NAT          …          NAT        connector
//	  |---SYN ttl 4-+---->x                |             |
//	  |<--time exceeded---+ (ignored)      |             |
//	  |             |     signal, or the clock           |
//	  |             |<---------SYN---------+-------------|
//	  |<---SYN------|                      |             |
//	  |---SYN-ACK---+----------------------+------------>|
//	  |<--ACK-------+----------------------+-------------|
//
// Roles are reversed on a second pair of ports, so that it is enough that one
// of the two NATs accepts an inbound SYN to a session that it knows.
//
// # When the port is not known
//
// In a room each side tells the other what STUN servers have shown: whether its
// NAT keeps one external port for all destinations (endpoint-independent mapping,
// RFC 4787), and else how it chooses the next one. A sequence is carried on, with
// a margin for what other users take. Ports chosen by chance are found by chance:
// of 65,536 ports the one side opens 256, and the other dials up to 1024.
//
//	random NAT                      endpoint-independent NAT
//	  |--SYN, ttl 4-> x1 |                   |
//	  |--SYN, ttl 4-> x2 |                   |
//	  |      …           |<--SYN to 40123----|
//	  |--SYN, ttl 4-> xn |<--SYN to 11975----|   (1-(1-256/64512)^1024 = 98 %)
//
// What cannot work is not tried, and ErrImpossible says why.
//
// # UDP beside TCP
//
// Some routers refuse every SYN that comes in, and some networks every TCP
// connection that goes out. So each local port is tried by UDP too, from the first
// moment, with the same plan: openers, roles reversed, ports foreseen or searched
// for. What is sent are ICE's connectivity checks (RFC 8445, section 7). On a path
// where one was answered the controller begins a KCP stream, which stands in for
// the TCP connection in all that follows. TCP has a head start, Config.HeadStart:
//
//	0          round trips …          2 s
//	|--TCP: openers, connectors ------|------ …      the first one wins
//	|--UDP: checks, KCP, TLS, waits --|-> nominated, if no TCP is in its handshake
//
// # Who is there
//
// Every connection is TLS 1.3 with an ephemeral certificate on both sides. With
// a Signaler the certificates are pinned by the offers; then, or instead,
// Config.Auth decides. About neighbours Near.Auth does. Of the connections that pass, one side, the controller,
// nominates one, and the other side acknowledges it; all others are closed.
//
//	controller (TLS client)            the other (TLS server)
//	  |------- ClientHello ----------------->|
//	  |<------ certificate, Finished --------|
//	  |------- certificate, Finished ------->|
//	  |<------ Config.Auth, both ways ------>|
//	  |------- 'N', nominate --------------->|
//	  |<------ 'A', acknowledge -------------|
//	  |<------ the application's bytes ----->|
package tcppunch
