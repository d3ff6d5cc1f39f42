package datagram

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
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
