// Package natcheck finds out what the NATs and firewalls between this host and the Internet do: mapping, filtering,
// choice of ports, what an unsolicited SYN meets, whether a simultaneous open gets through, hairpinning. [Run] asks,
// [Server] answers, and [Routers] counts the routers on this side. No privilege is needed on either side.
//
//	report, err := natcheck.Run(ctx, &natcheck.Options{Servers: []string{"stun.example.org:3478", "stun.example.org:3479"}})
//	fmt.Println(report.TCP.Mapping, report.TCP.InboundSYN) // endpoint-independent accepted
//	fmt.Println(report.Meaning())
//
// What the words mean stands in RFC 4787 for UDP and in RFC 5382 for TCP. Tests over UDP are those of RFC 5780. With
// servers that speak plain STUN (RFC 8489), fewer tests can be made, and the report says which could not.
//
// # Dialling back
//
// What a NAT does to a SYN from outside can only be told from outside. So a [Server] dials whoever asks it to, over the
// STUN connection on which it is asked, and tells there what it met. It dials the address and port that the asker has
// proven to have by a TCP handshake, and nobody else.
//
// A client asks by the attribute PROBE, type 0xEA7C, in a Binding request. Servers that do not know it pass over it.
// The answer, an ordinary Binding response, carries PROBE too:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+-------------------------------+
//	|      op       |      arg      |             port              |
//	+---------------+---------------+-------------------------------+
//
//	op 0, hello     what can you do? answer: flags in arg, the other STUN port in port
//	op 1, knock     dial me from another port. answer: in arg what the SYN met
//	op 2, knock     the same from your other address
//	op 3, open      reserve a port, at which a SYN meets what arg says: STUN, nothing, a RST. answer: arg 1, the port
//	op 4, dial      dial me from that port. answer: in arg what the SYN met
//
// In a request for a dial-back, 1, 2 and 4, port is the round trip that the client has measured, in ms. arg 0 in an
// answer to 1 to 4 says that nothing was done, because of a limit or for lack of ability, or that nothing certain came of
// it. What a SYN met is 1, connected; 2, nothing in 1.3 s and two round trips; 3, a RST; 4, an ICMP error. Over UDP only
// hello is answered.
//
// # Simultaneous open
//
// Whether a NAT lets a SYN in that follows one of ours takes a port of the server that does not answer, or the answer
// would be a SYN-ACK or a RST. On Linux it is a listener with a packet filter of its own that drops all.
//
//	client        NAT                         server
//	  |---open, silent---------------------------->|
//	  |<--port N-----------------------------------|
//	  |---SYN to N---|-----------------------------x   (nothing comes back)
//	  |---dial------------------------------------>|
//	  |             ?|<--------------------SYN from N
//	  |---SYN-ACK----|---------------------------->|   (or the NAT refuses it)
//	  |<--what it met------------------------------|
//
// The server dials the mapping that it sees on the asking connection, which the NAT uses towards N too. If it does
// not, because its mapping is address and port-dependent, the client first visits N, from the port that it will use,
// where STUN is spoken for that time; it does so twice, to see whether the mapping lasts, and closes each time by a
// RST. The server then dials the last visitor from the asker's address. The same procedure with a port that answers
// by a RST tells whether the NAT forgets the session over it.
//
// # What is believed
//
// That a SYN was let in is certain. That it was refused is not: a packet may have been lost, on the way out or in, or the
// server's own firewall may have had a hand in it. What follows from a refusal is grave, for two peers that both refuse
// are not brought together. So it is reported only if it was seen twice, on fresh ports, the second time with a SYN that
// had time to be sent again; if that SYN met nothing; and if a reserved port of the server was visited, or is before
// each try. The server tells of silence only if a SYN from the same address of its own was answered within the last
// hour, and not of refusals that come quicker than an eighth of the round trip. Likewise two attempts have to fail for a
// NAT to be said not to hairpin, each with the time to send again what was lost.
//
// An operator leaves the ports of a server from which it dials, which are those that the system gives out, open or
// dropping: where a firewall rejects SYNs to them, nothing is learned of simultaneous opens.
//
// # What it costs others
//
// An answer over UDP goes to the asker's address alone, and is at most 80 bytes longer than the request. A client, which
// is an IPv4 /24 or an IPv6 /48, gets a hundred a second, and ten if they come from another address or port than it asked,
// or go to another port. It may cause forty tests at once, and then one a second; a dial takes 3.3 s at most. It may have
// twelve sockets of the server's at one time, and all clients together as many as the configuration says. A connection
// holds one reserved port at most, for 15 s.
package natcheck
