package natlab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// sendQueue is how many packets may wait at a host's interface until the lab reads them. A real
// interface holds back whoever sends faster than it does. One of /dev/net/tun drops what is more:
// with the usual 1000, a TCP that fills a long link lost packets that no link had lost. (Those of
// veth have no such queue; the packet socket's buffer stands for it.)
const sendQueue = 8 << 10

// setup configures namespaces: interfaces by ip(8), packet filters by nft(8), the rest by sysctl.
type setup struct {
	veth  bool
	wires *namespace // where the wire ends of veth pairs are
}

// open makes and configures one interface in ns.
func (s *setup) open(ns *namespace, f iface) (device, error) {
	var dev *tap
	var err error
	if s.veth {
		dev, err = s.openVeth(ns, f)
	} else {
		err = ns.call(func() (err error) {
			dev, err = openTap(f.name, f.mac)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	if err := s.configure(ns, f); err != nil {
		dev.Close()
		return nil, err
	}
	return dev, nil
}

func (s *setup) openVeth(ns *namespace, f iface) (dev *tap, err error) {
	script := fmt.Sprintf("link add name %s type veth peer name %s netns %s\n", f.name, f.wireName, s.wires.path())
	if err := ns.call(func() error { return feed(script, "ip", "-batch", "-") }); err != nil {
		return nil, err
	}
	if err := ns.call(func() error { return checksumsOff(f.name) }); err != nil {
		return nil, err
	}
	err = s.wires.call(func() error {
		if err := feed(fmt.Sprintf("link set dev %s arp off multicast off up\n", f.wireName), "ip", "-batch", "-"); err != nil {
			return err
		}
		dev, err = openWire(f.wireName, f.mac)
		return err
	})
	return dev, err
}

func (s *setup) configure(ns *namespace, f iface) error {
	var b strings.Builder
	fmt.Fprintf(&b, "link set dev lo up\n")
	m := f.mac
	fmt.Fprintf(&b, "link set dev %s address %02x:%02x:%02x:%02x:%02x:%02x mtu %d txqueuelen %d arp off multicast on up\n", f.name,
		m[0], m[1], m[2], m[3], m[4], m[5], ip.MTU, sendQueue)
	fmt.Fprintf(&b, "addr add fe80::%02x%02x/64 dev %s nodad\n", m[4], m[5], f.name)
	for _, a := range f.addrs {
		switch {
		case a.Addr().Is6():
			fmt.Fprintf(&b, "addr add %v dev %s nodad\n", a, f.name)
		case a.IsSingleIP():
			fmt.Fprintf(&b, "addr add %v dev %s\n", a, f.name)
		default:
			fmt.Fprintf(&b, "addr add %v brd + dev %s\n", a, f.name)
		}
	}
	for _, r := range f.routes {
		fmt.Fprintf(&b, "route add %s dev %s\n", r, f.name)
	}
	return ns.call(func() error {
		conf := "net/ipv6/conf/" + f.name
		// No link-local address but our own, which needs no duplicate address detection, and no router solicitations.
		if err := sysctl(conf+"/addr_gen_mode", "1", conf+"/accept_ra", "0"); err != nil {
			return err
		}
		return feed(b.String(), "ip", "-batch", "-")
	})
}

// sysctl writes settings of the calling thread's namespace: pairs of a name and a value.
func sysctl(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := os.WriteFile("/proc/sys/"+pairs[i], []byte(pairs[i+1]), 0); err != nil {
			return err
		}
	}
	return nil
}

// allowPing lets every group send ICMP echoes, or, where other groups do not exist, that of this process.
func allowPing() error {
	const name = "net/ipv4/ping_group_range"
	if sysctl(name, "0 2147483647") == nil {
		return nil
	}
	return sysctl(name, fmt.Sprintf("%d %[1]d", os.Getgid()))
}

// feed runs a command on the calling thread's namespace with the given standard input.
func feed(input, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s\n%s", name, err, bytes.TrimSpace(out), input)
	}
	return nil
}
