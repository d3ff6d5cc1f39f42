package sender

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/source"
)

func TestGrowth(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name string
		g    growth
		open int
		ever bool
	}{
		{"held down", growth{streams: 1, held: true, rate: 1e6, steady: 3 * s, left: 1e9}, 3, true},
		{"not held", growth{streams: 1, rate: 1e6, steady: 3 * s, left: 1e9}, 0, true},
		{"too early", growth{streams: 1, held: true, rate: 1e6, steady: s, left: 1e9}, 0, true},
		{"nothing flows", growth{streams: 1, held: true, steady: 3 * s, left: 1e9}, 0, true},
		{"nearly done", growth{streams: 1, held: true, rate: 1e6, steady: 3 * s, left: 7e6}, 0, true},
		{"nobody knows how much", growth{streams: 1, held: true, rate: 1e6, steady: 3 * s, left: -1}, 3, true},
		{"the last one helped", growth{streams: 2, held: true, rate: 2e6, before: 1e6, steady: 3 * s, left: 1e9}, 6, true},
		{"perhaps the last one did not", growth{streams: 2, held: true, rate: 1.2e6, before: 1e6, steady: 7 * s, left: 1e9}, 0, true},
		{"the last one did not", growth{streams: 2, held: true, rate: 1.2e6, before: 1e6, steady: 8 * s, left: 1e9}, 0, false},
		{"the last one is new", growth{streams: 2, held: true, rate: 1e6, before: 1e6, steady: s, left: 1e9}, 0, true},
		{"the last ones helped", growth{streams: 4, held: true, rate: 4e6, before: 2e6, steady: 3 * s, left: 1e9}, 4, true},
		{"no more than that", growth{streams: 6, held: true, rate: 4e6, before: 2e6, steady: 3 * s, left: 1e9}, maxAuto - 6, true},
		{"enough", growth{streams: maxAuto, held: true, rate: 9e6, before: 1e6, steady: 3 * s, left: 1e9}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if open, ever := tt.g.more(); open != tt.open || ever != tt.ever {
				t.Errorf("more = %v, %v", open, ever)
			}
		})
	}
}

// What is listed long before it is offered is listed again; what was offered stays.
func TestRefresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	rewrite := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("old")
	s, err := Files(t.Context(), []string{path}, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rewrite("newer")
	for _, tt := range []struct {
		name    string
		age     time.Duration
		offered bool
		want    int64
	}{{"at once", 0, false, 3}, {"after the offer", 2 * fresh, true, 3}, {"late", 2 * fresh, false, 5}} {
		t.Run(tt.name, func(t *testing.T) {
			s.scanned, s.offered = time.Now().Add(-tt.age), tt.offered
			if err := s.refresh(t.Context()); err != nil || s.Offer().Totals.Bytes != tt.want {
				t.Errorf("%+v, %v", s.Offer().Totals, err)
			}
		})
	}
}
