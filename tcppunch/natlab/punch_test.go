//go:build linux

package natlab_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestSimultaneousOpen is the fact that the whole project rests on: two connects that cross become one connection.
func TestSimultaneousOpen(t *testing.T) {
	for _, kind := range []string{"emulated", "linux"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			link := natlab.Link{Delay: 25 * time.Millisecond}
			lab := natlab.New(t, natlab.Topology{
				NATs:  []natlab.NAT{{Name: "home", Linux: kind == "linux", Link: link}, {Name: "office", Linux: kind == "linux", Link: link}},
				Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}},
			})
			a, b := lab.NAT("home").Addr(), lab.NAT("office").Addr()
			errs := make(chan error, 2)
			dial := func(name string, to netip.Addr) {
				_, err := client{t, lab.Host(name)}.tcp(7070, netip.AddrPortFrom(to, 7070))
				errs <- err
			}
			begin := time.Now()
			go dial("a", b)
			go dial("b", a)
			for range 2 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			t.Logf("connected after %v", time.Since(begin))
		})
	}
}
