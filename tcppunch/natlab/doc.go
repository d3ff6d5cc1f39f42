// Package natlab makes networks for tests: hosts, NATs and the wires between them, with real kernels.
//
// Every host is a Linux network namespace, so sockets behave as they do, and real programs run inside. One Go process,
// the test itself, is every router, NAT and wire between the hosts. A NAT can also be a Linux kernel that masquerades.
// The lab needs no set-up and leaves nothing behind, and any number of labs run beside each other.
//
//	lab := natlab.New(t, natlab.Topology{
//		NATs: []natlab.NAT{
//			{Name: "home", Unsolicited: natlab.Reset, Link: natlab.Link{Delay: 25 * time.Millisecond}},
//			{Name: "office", Linux: true, Link: natlab.Link{Delay: 25 * time.Millisecond}},
//		},
//		Hosts: []natlab.Host{
//			{Name: "a", Behind: "home"},
//			{Name: "b", Behind: "office", Firewall: natlab.DropUnsolicited},
//			{Name: "stun"},
//		},
//	})
//	ln, err := lab.Host("stun").Listen("tcp", ":3478") // a socket of the test, inside the host
//	result := lab.Host("a").Run("curl", "http://198.51.100.10:3478/") // a program inside the host
//
// That is this network:
//
//	a 192.168.1.2 ── home 203.0.113.10 ──o─o─o──┐
//	                                            ├── core ──o─o─o── stun 198.51.100.10
//	b 192.168.2.2 ── office 203.0.113.20 ─o─o─o─┘
//
// Each o is a plain router that counts down the TTL. Names and addresses follow from the order in the Topology, and can
// be set. A Link has a delay, a jitter, losses, a rate and a queue, which Lab.SetLink changes while the lab runs.
// What crosses the lab can be watched packet by packet with Options.Tap, and Gateway.Stats counts what it cost a NAT.
//
// # What it needs
//
// Linux, the commands ip (iproute2) and, for host firewalls and Linux NATs, nft (nftables). It runs as root, or
// without any privilege inside `unshare -Urnm`. Elsewhere New skips the test and says why.
//
// # Limits
//
// Emulated NATs drop IP fragments and everything but TCP, UDP, ICMP errors and echoes, and do not check TCP sequence
// numbers; a NAT with Linux set does what its kernel does. All wires have an MTU of 1500 bytes. Hosts have no resolver: use addresses.
package natlab
