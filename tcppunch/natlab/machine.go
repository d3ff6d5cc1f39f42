package natlab

import (
	"context"
	"net"
	"net/netip"
)

// Machine is a running host.
type Machine struct {
	lab  *Lab
	plan hostPlan
	box  *box
}

// Name returns its name in the topology.
func (m *Machine) Name() string { return m.plan.Name }

// Behind returns the name of the NAT or LAN that it is on, or "" on the core.
func (m *Machine) Behind() string { return m.plan.Behind }

// Addr returns its IPv4 address.
func (m *Machine) Addr() netip.Addr { return m.plan.addr }

// Addr6 returns its IPv6 address, which is invalid when the topology has no IPv6.
func (m *Machine) Addr6() netip.Addr { return m.plan.addr6 }

// Namespace returns a path under /proc that leads to its network namespace while the lab runs, as for nsenter --net.
func (m *Machine) Namespace() string { return m.box.ns.path() }

// Do runs f on an operating system thread inside the host, so that sockets which f opens belong to the host wherever
// they are used later. Goroutines that f starts run outside. Calls may overlap.
func (m *Machine) Do(f func() error) error { return m.box.ns.do(f) }

// Listen is net.Listen inside the host. The address must be numeric: the host has no resolver.
func (m *Machine) Listen(network, address string) (ln net.Listener, err error) {
	err = m.Do(func() (err error) {
		ln, err = net.Listen(network, address)
		return err
	})
	return ln, err
}

// ListenPacket is net.ListenPacket inside the host. The address must be numeric.
func (m *Machine) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = m.Do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// Dial is net.Dialer.DialContext inside the host. The address must be numeric.
func (m *Machine) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = m.Do(func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}
