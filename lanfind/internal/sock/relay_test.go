package sock

import (
	"net/netip"
	"testing"
)

func FuzzUnrelay(f *testing.F) {
	tag := [8]byte{1}
	lo := netip.MustParseAddrPort("127.0.0.1:7479")
	f.Add([]byte(relayMark + "12345678\x0a\x00\x01\x09\x1d\x37\x00\x00\x00\x02message"))
	f.Add([]byte(relayMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := unrelay(Packet{Data: b, From: lo}, tag)
		if ok && (!p.From.Addr().Is4() || len(p.Data) != len(b)-relayHead) {
			t.Errorf("got %+v", p)
		}
		if q, ok := unrelay(Packet{Data: b, From: netip.MustParseAddrPort("10.0.1.9:7479")}, tag); ok || len(q.Data) != len(b) {
			t.Error("relayed from another host")
		}
	})
}
