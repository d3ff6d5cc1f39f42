package lanfind

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

// Err values that callers test for.
var (
	// ErrService says that a Service cannot be announced as it is.
	ErrService = errors.New("nothing to announce")
	// ErrSockets says that no socket could be opened, of all that would do.
	ErrSockets = errors.New("no way to the local network")
	// ErrPort, as a problem that Trace tells of, says that the port for datagrams cannot be opened: another program has it.
	ErrPort = errors.New("no port for datagrams")
)

var errNoMulticast = errors.New("no interface carries multicast")

// DefaultPort is the UDP port from which, and to which, datagrams go where multicast does not get through.
const DefaultPort = 7479

// A Service is what a program announces of itself. Everybody on the network can read it: words of a code and names of
// files have no place in it.
type Service struct {
	// Name is the nickname that neighbours see. Characters that do not belong on a screen are left out, and what is over
	// 40 bytes. Empty means that no name is announced.
	Name string
	// ID tells this program from all others, those with the same name too. It has 16 hexadecimal digits. The default is
	// a new random one for every call.
	ID string
	// Port is the TCP port at which peers may reach the program. It must be set.
	Port uint16
	// Room is the number of the room in which it waits, without the words. It may have 63 bytes, all printable. Empty
	// means that it waits in none.
	Room string
	// Key is the fingerprint of a key that the program keeps, in up to 128 visible ASCII characters. It proves nothing:
	// whoever connects checks it. Empty means none.
	Key string
}

// Options say how to look. The zero value, and nil, look in all ways that cost little.
type Options struct {
	// Announce is what to announce at the same time, by the same sockets. The default is nothing: just to look.
	// Whoever connects by simultaneous open needs both.
	Announce *Service
	// Room leaves out whoever does not wait in that room. The default is to see everybody.
	Room string
	// Sought tells who is looked for among those who are seen, by what they say of themselves: Addrs, Since and Via
	// are not set. SweepAuto goes on until multicast has shown one of them, as it may show others and not this one. It
	// must return soon. The default is that everybody is.
	Sought func(Peer) bool `json:"-"`
	// Sweep says whether datagrams go to every address of the subnet. The default is SweepAuto.
	Sweep Sweep
	// SweepAfter is how long SweepAuto gives multicast. The default is 1 s.
	SweepAfter time.Duration
	// Addrs are hosts that a person named. They get a datagram every now and then, whatever Sweep says, and may be on
	// another network. Only IPv4 addresses are asked.
	Addrs []netip.Addr
	// Port is the UDP port of datagrams, which must be the same on all hosts. The default is DefaultPort.
	Port uint16
	// Interfaces are the names of the network interfaces to use, VPNs and loopback among them. The default is every
	// interface that Interfaces finds fit.
	Interfaces []string
	// Survey has questions ask for all service types too, which every responder of multicast DNS answers, a printer's
	// say: Trace.Heard then tells what hosts multicast comes from. The default is not to make them speak.
	Survey bool
	// Trace has hooks that are called as things happen.
	Trace *Trace `json:"-"`
}

// Sweep is when to send datagrams to every address of the host's own subnets.
type Sweep int

const (
	// SweepAuto sweeps as long as multicast has shown nobody who is looked for.
	SweepAuto Sweep = iota
	// SweepOn sweeps from the start, and goes on.
	SweepOn
	// SweepOff sends no datagrams but to Options.Addrs, and answers none of others.
	SweepOff
)

// String returns "auto", "on" or "off".
func (s Sweep) String() string {
	switch s {
	case SweepOn:
		return "on"
	case SweepOff:
		return "off"
	}
	return "auto"
}

// MarshalText writes what String returns.
func (s Sweep) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String returns.
func (s *Sweep) UnmarshalText(text []byte) error {
	for _, v := range []Sweep{SweepAuto, SweepOn, SweepOff} {
		if v.String() == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("sweep is %q: want auto, on or off", text)
}

// Trace is a set of hooks, any of which may be nil. They are called one at a time and must return soon.
type Trace struct {
	// Interface is called when an interface comes into use, and when it is no longer.
	Interface func(i Interface, used bool)
	// Sweep is called when datagrams begin to go to n addresses of a network.
	Sweep func(network netip.Prefix, n int)
	// Sent is called for every packet sent: where to, by which interface (0: the system chose), and how many bytes.
	Sent func(to netip.AddrPort, index, bytes int)
	// Heard is called for every packet that is looked at, before it is known whether it is good for anything: where from,
	// by which interface (0: the system does not say), in which way, and how many bytes. This program's own, and such as
	// come from outside the networks of this host, are among them.
	Heard func(from netip.AddrPort, index int, via Via, bytes int)
	// Problem is called when a way of looking does not work, and when a packet cannot be sent.
	Problem func(err error)
}

// Announce tells the network about s until ctx ends, takes leave, and returns nil. It returns an error at once when s
// is not fit to be announced, and when there is no way to do it. Options.Announce is not looked at.
func Announce(ctx context.Context, s *Service, o *Options) error {
	with := Options{}
	if o != nil {
		with = *o
	}
	if s == nil {
		return fmt.Errorf("announcing: %w: no service", ErrService)
	}
	with.Announce = s
	for _, err := range Browse(ctx, &with) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Browse looks for peers until ctx ends or the loop is left. It yields an event when a peer appears, when something about it
// changes and when it leaves; while the loop is busy, only what came of it in the end is kept. An error is yielded once,
// as the last thing, when there is no way to look at all; the end of ctx is no error. The program itself is not among the peers.
func Browse(ctx context.Context, o *Options) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		n, err := open(ctx, o)
		if err != nil {
			yield(Event{}, err)
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.run(ctx)
		}()
		defer func() {
			cancel()
			<-done
		}()
		for {
			select {
			case e := <-n.events:
				if !yield(e, nil) {
					return
				}
			case <-done:
				return
			}
		}
	}
}

// checked returns a copy of s that can be announced.
func (s *Service) checked() (*Service, error) {
	c := *s
	c.Name = dnssd.CleanName(c.Name)
	if c.ID == "" {
		var id [dnssd.IDBytes]byte
		rand.Read(id[:])
		c.ID = hex.EncodeToString(id[:])
	}
	claims := c.claims(time.Time{})
	if err := claims.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrService, err)
	}
	return &c, nil
}

// claims are what s says of itself if it begins to at that time.
func (s *Service) claims(since time.Time) dnssd.Claims {
	return dnssd.Claims{ID: s.ID, Name: s.Name, Room: s.Room, Key: s.Key, Port: s.Port, Since: since.Unix()}
}
