package press

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
)

func TestPress(t *testing.T) {
	text := bytes.Repeat([]byte("the same over and over again "), 1000)
	noise := make([]byte, 30000)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		noise[i] = byte(x)
	}
	tests := []struct {
		name   string
		choice Choice
		slow   bool
		data   []byte
		want   bool
	}{
		{"on", On, false, text, true},
		{"off", Off, true, text, false},
		{"automatic, fast link", Auto, false, text, false},
		{"automatic, slow link", Auto, true, text, true},
		{"noise", On, true, noise, false},
		{"too short", On, true, text[:100], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Compressor{Choice: tt.choice, slow: tt.slow}
			got := c.Press(1, tt.data)
			if (got != nil) != tt.want {
				t.Fatalf("%d bytes of %d", len(got), len(tt.data))
			}
			if got == nil {
				return
			}
			var d Decompressor
			defer d.Close()
			if back, err := d.Open(got, len(tt.data)); err != nil || !bytes.Equal(back, tt.data) {
				t.Errorf("%d bytes come back, %v", len(back), err)
			}
			for _, size := range []int{1, len(tt.data) - 1, len(tt.data) + 1} {
				if _, err := d.Open(got, size); !errors.Is(err, fault.ErrProtocol) {
					t.Errorf("of %d bytes: %v", size, err)
				}
			}
		})
	}
}

// A file that does not shrink is left alone for a while, another one is not.
func TestSkip(t *testing.T) {
	text := bytes.Repeat([]byte("words"), 1000)
	c := Compressor{Choice: On}
	noisy := make([]byte, 4096)
	for i, x := 0, uint64(88172645463325252); i < len(noisy); i++ {
		x ^= x << 7
		x ^= x >> 9
		noisy[i] = byte(x >> 32)
	}
	if c.Press(1, noisy) != nil {
		t.Fatal("noise shrinks")
	}
	for i := range tryAgain {
		if c.Press(1, text) != nil {
			t.Fatalf("tried again after %d", i)
		}
	}
	if c.Press(1, text) == nil || c.Press(2, text) == nil {
		t.Error("never tried again")
	}
}
