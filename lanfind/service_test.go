package lanfind

import (
	"errors"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
)

func TestService(t *testing.T) {
	for name, s := range map[string]Service{
		"no port":       {Name: "anna"},
		"short ID":      {Port: 1, ID: "12"},
		"upper-case ID": {Port: 1, ID: "00112233445566AA"},
		"room":          {Port: 1, Room: "4821\n"},
		"long room":     {Port: 1, Room: strings.Repeat("1", 64)},
		"key":           {Port: 1, Key: "a b"},
	} {
		if _, err := s.checked(); !errors.Is(err, ErrService) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Announce(t.Context(), &s, nil); !errors.Is(err, ErrService) {
			t.Errorf("%s: announced: %v", name, err)
		}
	}
	a, _ := (&Service{Port: 1}).checked()
	b, err := (&Service{Port: 1}).checked()
	if err != nil || a.ID == b.ID || len(a.ID) != 2*dnssd.IDBytes {
		t.Errorf("IDs %q and %q, %v", a.ID, b.ID, err)
	}
	if err := Announce(t.Context(), nil, nil); !errors.Is(err, ErrService) {
		t.Errorf("announced nothing: %v", err)
	}
}
