//go:build !unix

package sock

import (
	"context"
	"net"
	"net/netip"
)

// listenGroup opens a socket for one group on one interface.
func listenGroup(i *net.Interface, group netip.Addr) (*net.UDPConn, error) {
	return net.ListenMulticastUDP(network(group), i, &net.UDPAddr{IP: group.AsSlice(), Port: MulticastPort})
}

// listenShared opens a socket on a port. It is not shared: Windows would give packets to any of its sockets.
func listenShared(port uint16) (*net.UDPConn, error) {
	c, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

func network(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}
