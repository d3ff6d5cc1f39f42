//go:build unix

package sock

import (
	"net/netip"
	"testing"
	"time"
)

// A connection that is reset before it is taken over is an error, of the kind
// that is tried again.
func TestAdoptReset(t *testing.T) {
	var ports [2]*Port
	for i := range ports {
		p, err := Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ports[i] = p
	}
	c, err := ports[0].Connect(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ports[1].Number()), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := ports[1].Listeners()[0].AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	Discard(other)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s, _ := c.State(); s == StateFinished {
			break
		}
	}
	time.Sleep(20 * time.Millisecond)
	if conn, err := c.adopt(); !Refused(err) {
		t.Errorf("got %v, %v", conn, err)
	}
}
