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
// arg 0 in an answer to 1 to 4 says that nothing was done, because of a limit or for lack of ability. What a SYN met is 1,
// connected; 2, nothing in 1.3 s; 3, a RST; 4, an ICMP error. Over UDP only hello is answered.
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
// # What it costs others
//
// An answer over UDP goes to the asker's address alone, and is at most 80 bytes longer than the request. A client may
// cause forty dials at once, and then one a second; a dial takes 1.3 s at most. A connection holds one reserved port at
// most, for 15 s. All clients together may hold as many sockets as the server's configuration says.
package natcheck
