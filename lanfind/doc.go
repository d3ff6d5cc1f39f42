// Package lanfind finds programs like one's own on the local network, with no server, no default route, and no port
// opened in any firewall. [Announce] tells neighbours of a program, [Browse] shows theirs; who shall be reached through
// firewalls does both at once.
//
//	me := &lanfind.Service{Name: "anna", Port: 7070, Room: "4821"}
//	for event, err := range lanfind.Browse(ctx, &lanfind.Options{Announce: me, Room: "4821"}) {
//		if err != nil { … } // no way to look at all
//		if event.Kind != lanfind.Gone {
//			try(event.Peer.Addrs) // authenticate whoever answers: anybody can say anything here
//		}
//	}
//
// The loop goes on until ctx ends or it is left. A peer is Found with the addresses that are known then; more may come
// with Changed, a quarter of a second later, as the packets of IPv4 and IPv6 do. For a list that keeps itself up to date,
// take all three kinds of events by Peer.ID. To see who is there at this moment, give ctx three seconds.
//
// # Two ways
//
// The first is DNS-SD (RFC 6763) over multicast DNS (RFC 6762), on every fit interface, by IPv4 and IPv6: what printers
// do, and tools such as avahi-browse and dns-sd show. Questions go out after 20 to 40 ms, after 1, 2, 4 … seconds more, and every 30 s
// in the end; answers and announcements carry all there is to know.
//
//	_tcppunch._tcp.local                   PTR  anna (3f9a1c2b)._tcppunch._tcp.local
//	anna (3f9a1c2b)._tcppunch._tcp.local   SRV  0 0 7070 tcppunch-3f9a1c2b44d0e6f1.local
//	                                       TXT  txtvers=1 id=3f9a1c2b44d0e6f1 since=1700000000 room=4821 key=…
//	tcppunch-3f9a1c2b44d0e6f1.local        A, AAAA
//
// The digits come from the ID, which is random. So names are unique from the start: they are not probed for, nobody is renamed, and a
// neighbour who claims one gains nothing by it. The host name is not that of the machine, which belongs to the system's responder.
//
// The second is for firewalls that drop multicast too. Both sides send a small datagram from one fixed port to that port
// of every address in their subnet. The first that arrives finds the other's firewall closed, but has opened one's own:
//
//	anna                    firewall    firewall                    ben
//	10.0.1.1:7479 ----hello---->|           | x                      |   to 254 addresses in a second
//	              | <- open ----|           |                        |
//	              |             |           |<----hello---- 10.0.1.9:7479
//	              |<------------------------------hello--------------|   a reply, in the firewall's eyes
//	              |----hello, I am anna ------------------------------>|   so is this one
//	              |<---------------------answer: I am ben--------------|
//
// A hello is a DNS query for _tcppunch._tcp.local, in whose additional section the sender may introduce itself. It is answered
// only at the port from which all send. A sweep goes over the host's own IPv4 networks, of networks larger than a /22 over that
// part which is around the host, after one hello to the broadcast address. It asks 250 addresses a second, but no more than
// 500 in 3 s, since those that nobody has wait in the kernel for ARP so long: a /24 takes 1 s, a /22 6 s. Hosts in the system's
// table of neighbours go first (read on Linux alone), and whoever sweeps comes into that of the other by asking for its
// hardware address: so two on Linux find each other as soon as one has come to the other, in a /22 in 3 s at most.
//
// SweepAuto sweeps when multicast has shown nobody in a second, thrice again every 3 s, and every 20 s then, since Linux
// forgets after 30 s whom a host has sent to; after ten minutes, every 2 minutes. Where Options.Room or Options.Sought says
// who is looked for, nobody else ends that: an access point, say, may pass on the multicast of some alone. Whoever is heard to ask by multicast
// without knowing us gets a hello: it may be unable to hear the answer.
//
// Programs on one host share both ports, with each other and with the system's responder. On Linux the one to which the kernel
// gives a datagram relays it to the others over the loopback device. Elsewhere only one of them takes part in the second way, and on
// Windows the first to come has the port.
//
// # What it costs
//
// By multicast, a program sends 10 packets in its first minute by each of IPv4 and IPv6, and a peer on the network makes
// that up to 15; then 2 questions a minute, and an answer a minute if there are others. Sweeps of a /24 are 1500 datagrams of
// 38 bytes in the first minute, 760 a minute then, and after ten minutes 130. They end as soon as multicast shows a peer, or the one
// that is looked for.
//
// # What neighbours can do
//
// Everything announced is public on the network, and nothing heard is proven. A neighbour can announce whatever it likes, in
// anybody's name, and can see who looks. It cannot
//
//   - replace or take back what another host said: each source address speaks for itself, and what contradicts is another Peer
//   - keep another host from being asked: answers are suppressed only for what one host claims to be
//   - lead to other networks: addresses outside the subnets of the interface are left out. It can lead to other hosts of the subnet
//   - put anything on a screen but printable characters, at most 40 to 128 bytes
//   - use much memory or time: 20 packets a second of each source are looked at, 500 of all, and one of each even when others
//     have used that up; 16 programs of one address are
//     remembered, 512 of all, from which a newcomer drives out one of the source that has the most
//   - have much sent: one answer by multicast a second on each interface, two datagrams a second to each source, sixteen at once
//
// A host that fakes source addresses at will can drown the others, as it can by plain noise.
package lanfind
