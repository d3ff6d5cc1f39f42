//go:build linux

package natlab_test

import (
	"net/netip"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A host with two addresses is reached by both, and answers from the one that was asked.
func TestSecondAddress(t *testing.T) {
	t.Parallel()
	also := netip.MustParseAddr("198.51.100.99")
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a"}, {Name: "s", Also: also}}})
	reflector(t, lab.Host("s"), ":3478")
	a := client{t, lab.Host("a")}
	for _, to := range []netip.Addr{lab.Host("s").Addr(), also} {
		if got := a.seen(7070, netip.AddrPortFrom(to, 3478)); got.Addr() != lab.Host("a").Addr() {
			t.Errorf("asking %v: seen as %v", to, got)
		}
	}
}
