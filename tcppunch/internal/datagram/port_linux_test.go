package datagram

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where the kernel does not cut datagrams, a batch goes out with sendmmsg.
func TestBatchPlain(t *testing.T) {
	got := make(chan []byte, 200)
	b, err := Listen(t.Context(), "udp4", 0, &Handler{
		Data: func(_ *Socket, d []byte, _ netip.AddrPort) { got <- bytes.Clone(d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Attach(sink(nil), netip.MustParseAddrPort("192.0.2.1:1")) // large buffers
	a, err := Listen(t.Context(), "udp4", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.port.cuts.Store(false)
	var batch Batch
	for i := range 100 {
		batch.Add(bytes.Repeat([]byte{0x80 | byte(i)}, 1000+i))
	}
	if err := a.SendBatch(&batch, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.Local().Port())); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		select {
		case d := <-got:
			if !bytes.Equal(d, batch.Datagram(i)) {
				t.Fatalf("datagram %d has %d bytes", i, len(d))
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("datagram %d did not arrive", i)
		}
	}
}

// sink is a stream that passes on what it gets.
type sink chan []byte

func (s sink) Input(b []byte, _ netip.AddrPort) { s <- bytes.Clone(b) }
func (s sink) Flush()                           {}
func (s sink) Gone()                            {}

// option asks for an option of the socket.
func option(t *testing.T, s *Socket, level, name int) (value int) {
	t.Helper()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { value, failed = unix.GetsockoptInt(int(fd), level, name) }); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Skip(failed) // an old kernel
	}
	return value
}

// A stream that is attached while the socket waits, or from Data, loses nothing to
// the small buffers and gets joined datagrams after that.
func TestAttachWidens(t *testing.T) {
	for _, inData := range []bool{false, true} {
		got := make(sink, 1000)
		b, err := Listen(t.Context(), "udp4", 0, &Handler{
			Data: func(s *Socket, _ []byte, from netip.AddrPort) { s.Attach(got, from) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		a, err := Listen(t.Context(), "udp4", 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		local := netip.MustParseAddr("127.0.0.1")
		if option(t, b, unix.SOL_UDP, unix.UDP_GRO) != 0 {
			t.Fatal("the kernel joins datagrams for small buffers")
		}
		small := option(t, b, unix.SOL_SOCKET, unix.SO_RCVBUF)
		if !inData {
			b.Attach(got, netip.AddrPortFrom(local, a.Local().Port()))
		}
		for round := range 4 {
			var batch Batch
			for i := range 40 {
				batch.Add(bytes.Repeat([]byte{0x80 | byte(i)}, 1472))
			}
			if err := a.SendBatch(&batch, netip.AddrPortFrom(local, b.Local().Port())); err != nil {
				t.Fatal(err)
			}
			for i := range batch.Len() {
				select {
				case d := <-got:
					if !bytes.Equal(d, batch.Datagram(i)) {
						t.Fatalf("round %d: datagram %d has %d bytes", round, i, len(d))
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("round %d: datagram %d did not arrive", round, i)
				}
			}
		}
		if option(t, b, unix.SOL_UDP, unix.UDP_GRO) == 0 {
			t.Error("the kernel does not join datagrams for the stream")
		}
		if large := option(t, b, unix.SOL_SOCKET, unix.SO_RCVBUF); large < small {
			t.Errorf("the kernel's buffer went from %d to %d", small, large)
		}
	}
}

// Half a datagram is nobody's.
func TestTooLarge(t *testing.T) {
	got := make(chan []byte, 10)
	b, err := Listen(t.Context(), "udp4", 0, &Handler{
		Data: func(_ *Socket, d []byte, _ netip.AddrPort) { got <- bytes.Clone(d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.Local().Port())
	for _, size := range []int{plainSize + 1, plainSize} {
		if err := b.Send(bytes.Repeat([]byte{0x80}, size), at); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case d := <-got:
		if len(d) != plainSize {
			t.Errorf("got %d bytes", len(d))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing arrived")
	}
}

func TestRun(t *testing.T) {
	var b Batch
	for _, size := range []int{100, 100, 50, 100, 200, 200, 200} {
		b.Add(make([]byte, size))
	}
	for _, tt := range []struct{ from, most, room, want int }{
		{0, 64, 65000, 3}, {1, 64, 65000, 2}, {2, 64, 65000, 1}, {3, 64, 65000, 1}, {4, 64, 65000, 3}, {4, 2, 65000, 2}, {4, 64, 450, 2}, {6, 64, 10, 1},
	} {
		if got := b.run(tt.from, tt.most, tt.room); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
}
