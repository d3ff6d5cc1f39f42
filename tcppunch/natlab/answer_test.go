//go:build linux

package natlab_test

import (
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// Who was let in is answered from where it was let in, whatever the mapping towards it would be.
func TestAnswerByTheSameMapping(t *testing.T) {
	for _, mapping := range []natlab.Behavior{natlab.AddressDependent, natlab.AddressAndPortDependent} {
		t.Run(mapping.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, oneNAT(natlab.NAT{Mapping: mapping, Filtering: natlab.EndpointIndependent}))
			to := reflector(t, lab.Host("s"), ":3478")
			a, s2 := client{t, lab.Host("a")}, client{t, lab.Host("s2")}
			a.listen(7070)
			tcp := a.seen(7070, to)
			if _, err := s2.tcp(3479, tcp); err != nil {
				t.Errorf("tcp from another host: %v", err)
			}
			if got := lab.NAT("home").Stats().Mappings; got != 1 {
				t.Errorf("%d mappings were made, want 1", got)
			}
		})
	}
}
