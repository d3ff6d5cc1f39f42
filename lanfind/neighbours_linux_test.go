package lanfind

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// ndmsg is an entry as the kernel writes it.
func ndmsg(state uint16, attrs ...byte) []byte {
	b := make([]byte, unix.SizeofNdMsg)
	binary.NativeEndian.PutUint32(b[4:], 7)
	binary.NativeEndian.PutUint16(b[8:], state)
	return append(b, attrs...)
}

// attr is an attribute, with what fills it up to four bytes.
func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestReadNeighbour(t *testing.T) {
	dst, mac := attr(unix.NDA_DST, 10, 0, 1, 9), attr(unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1)
	ten := netip.MustParseAddr("10.0.1.9")
	for _, tt := range []struct {
		name string
		b    []byte
		want Neighbour
		ok   bool
	}{
		{"reachable", ndmsg(unix.NUD_REACHABLE, append(mac, dst...)...), Neighbour{ten, 7, true}, true},
		{"stale", ndmsg(unix.NUD_STALE, dst...), Neighbour{ten, 7, true}, true},
		{"asked", ndmsg(unix.NUD_INCOMPLETE, dst...), Neighbour{ten, 7, false}, true},
		{"asked in vain", ndmsg(unix.NUD_FAILED, dst...), Neighbour{ten, 7, false}, true},
		{"no ARP there", ndmsg(unix.NUD_NOARP, dst...), Neighbour{}, false},
		{"no address", ndmsg(unix.NUD_STALE, mac...), Neighbour{}, false},
		{"a bad address", ndmsg(unix.NUD_STALE, attr(unix.NDA_DST, 10, 0)...), Neighbour{}, false},
		{"too short", ndmsg(unix.NUD_STALE)[:8], Neighbour{}, false},
	} {
		if got, ok := readNeighbour(tt.b); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, ok)
		}
	}
}

func FuzzReadNeighbour(f *testing.F) {
	f.Add(ndmsg(unix.NUD_REACHABLE, attr(unix.NDA_DST, 10, 0, 1, 9)...))
	f.Add(ndmsg(unix.NUD_STALE, 3, 0, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := readNeighbour(b); ok && !n.Addr.IsValid() {
			t.Errorf("%+v", n)
		}
	})
}

// On a cable with ARP, both ends come into the tables of each other by one packet of one of them.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	a, b := cabled(t, "10.9.2.1/24", "10.9.2.2/24")
	c, err := a.ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, to := range []byte{2, 3} { // nobody has the second
		if _, err := c.WriteTo([]byte("hello"), &net.UDPAddr{IP: net.IPv4(10, 9, 2, to), Port: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if n := awaits(t, a, "10.9.2.2"); !n.Answers {
		t.Errorf("in the table of who asked: %+v", n)
	}
	if n := awaits(t, b, "10.9.2.1"); !n.Answers {
		t.Errorf("in the table of who was asked: %+v", n)
	}
	if n := awaits(t, a, "10.9.2.3"); n.Answers {
		t.Errorf("nobody: %+v", n)
	}
}

// awaits waits until a host has another in its table, and has heard of it or not.
func awaits(t *testing.T, m *natlab.Machine, addr string) (n Neighbour) {
	t.Helper()
	for range 100 {
		var all []Neighbour
		if err := m.Do(func() (err error) { all, err = Neighbours(); return err }); err != nil {
			t.Fatal(err)
		}
		for _, n = range all {
			if n.Addr.String() == addr && (n.Answers || addr == "10.9.2.3") {
				return n
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s: no %s in its table", m.Name(), addr)
	return n
}
