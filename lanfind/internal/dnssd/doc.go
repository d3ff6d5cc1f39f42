// Package dnssd has the messages of discovery: what a program announces about itself and asks of others, as DNS-SD (RFC
// 6763) over multicast DNS (RFC 6762) wants it, and what it understands of the messages of strangers. It knows no
// sockets and no clocks.
//
// [Claims] are what a program says of itself. [New] makes a [Local] of them, whose answers are packets to send; [Parse]
// reads a packet, bounded in all that it can hold, and whatever is to be shown of it is fit for a screen.
package dnssd
