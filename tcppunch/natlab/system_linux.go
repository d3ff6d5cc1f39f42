package natlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// system is what a lab holds of the operating system.
type system struct {
	boxes []*box
	wires *namespace // the wire ends of veth pairs, or nil
	timer *timer
	heir  *heir
}

// Support reports why labs cannot run here, as an error that wraps ErrUnsupported, or nil.
func Support() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("%w: %w (install iproute2)", ErrUnsupported, err)
	}
	ns, err := newNamespace()
	if err != nil {
		return fmt.Errorf("%w: %w (run as root, or in unshare -Urnm)", ErrUnsupported, err)
	}
	ns.close()
	return nil
}

// start makes all namespaces at once, then lets packets in.
func (s *system) start(ctx context.Context, l *Lab, boxes []*box, kind Device) (err error) {
	if err := Support(); err != nil {
		return err
	}
	s.boxes = boxes
	if s.timer, err = newTimer(); err != nil {
		return err
	}
	l.net.clock = s.timer
	set := &setup{veth: kind == Veth || kind == Auto && tunUsable() != nil}
	if set.veth {
		if s.wires, err = newNamespace(); err != nil {
			return err
		}
		set.wires = s.wires
		if err := s.wires.call(func() error { return sysctl("net/ipv6/conf/default/disable_ipv6", "1") }); err != nil {
			return err
		}
	}
	errs := make([]error, len(boxes))
	var making sync.WaitGroup
	for i, b := range boxes {
		making.Go(func() {
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = b.make(set)
			}
		})
	}
	making.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("starting the lab: %w", err)
	}
	if s.heir, err = startHeir(s.ids()); err != nil {
		return err
	}
	l.readers.Go(func() { ring(l.net, s.timer) })
	for _, b := range boxes {
		for _, p := range b.ports {
			l.readers.Go(func() { read(l.net, p.station) })
		}
	}
	return nil
}

// ids are the namespaces in which programs can be.
func (s *system) ids() []string {
	var all []string
	for _, b := range s.boxes {
		if b.ns != nil {
			all = append(all, b.ns.id())
		}
	}
	return all
}

// make makes the namespace of b and what is in it.
func (b *box) make(set *setup) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", b.name, err)
		}
	}()
	if b.ns, err = newNamespace(); err != nil {
		return err
	}
	if err := b.ns.call(func() error { return errors.Join(sysctl(b.sysctls...), allowPing()) }); err != nil {
		return err
	}
	for _, p := range b.ports {
		if p.station.dev, err = set.open(b.ns, p.iface); err != nil {
			return err
		}
	}
	if b.rules == "" {
		return nil
	}
	return b.ns.call(func() error { return feed(b.rules, "nft", "-f", "-") })
}

// killAll kills every process in the lab's namespaces.
func (s *system) killAll() { killInside(s.ids()) }

// stop takes everything down. Programs are dead by now.
func (s *system) stop(l *Lab) error {
	l.net.mu.Lock()
	l.net.clock = nil
	l.net.mu.Unlock()
	errs := s.closeDevices()
	if s.timer != nil {
		errs = append(errs, s.timer.close())
	}
	l.readers.Wait()
	if s.heir != nil {
		s.heir.dismiss()
	}
	for _, b := range s.boxes {
		if b.ns != nil {
			b.ns.close()
		}
	}
	if s.wires != nil {
		s.wires.close()
	}
	return errors.Join(errs...)
}

// closeDevices closes all devices at once, since the kernel takes its time over each.
func (s *system) closeDevices() []error {
	var closing sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, b := range s.boxes {
		for _, p := range b.ports {
			if p.station.dev == nil {
				continue
			}
			closing.Go(func() {
				err := p.station.dev.Close()
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
	}
	closing.Wait()
	return errs
}

// read carries packets from a device into the network until the device is closed.
func read(n *network, s *station) {
	var scratch []delivery
	for {
		p := n.free.Take()
		size, err := s.dev.Read(p.Buf[:])
		if err != nil {
			return
		}
		if !p.Frame(size) {
			n.free.Put(p)
			continue
		}
		scratch = n.inject(sender{s}, p, scratch)
		n.write(scratch)
	}
}

// ring moves the network on whenever something is due, until the timer is closed.
func ring(n *network, t *timer) {
	var scratch []delivery
	for t.wait() == nil {
		scratch = n.advance(scratch)
		n.write(scratch)
	}
}

// write writes deliveries to their devices. A packet that a device refuses is lost, as on a wire.
func (n *network) write(all []delivery) {
	for _, d := range all {
		d.p.SetFrame(d.to.dev.address())
		_, _ = d.to.dev.Write(d.p.Buf[:ip.EtherLen+d.p.N])
		n.free.Put(d.p)
	}
}

func (b *box) stats(l *Lab) Stats {
	l.net.mu.Lock()
	s := b.flows.count()
	s.Packets = b.packets
	l.net.mu.Unlock()
	_ = b.ns.call(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err == nil {
			s.Current, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	})
	return s
}

// forget empties the connection tracking of a Linux NAT: a delete message that names no connection (ctnetlink).
func (b *box) forget() error {
	return b.ns.call(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("forgetting connections: %w", err)
		}
		defer unix.Close(fd)
		const ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
		msg := make([]byte, unix.SizeofNlMsghdr+4)
		binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
		binary.NativeEndian.PutUint16(msg[4:], ctDelete)
		binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("forgetting connections: %w", err)
		}
		answer := make([]byte, 4096)
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil || n < unix.SizeofNlMsghdr+4 {
			return fmt.Errorf("forgetting connections: no answer: %w", err)
		}
		if errno := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
			return fmt.Errorf("forgetting connections: %w", unix.Errno(-errno))
		}
		return nil
	})
}
