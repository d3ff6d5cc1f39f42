package pair

import (
	"slices"
	"strings"
	"testing"
)

func TestParseCode(t *testing.T) {
	tests := []struct {
		name, in string
		want     string // as written by String
		err      string // a part of the error
	}{
		{name: "as shown", in: "4821-otter-lamp", want: "4821-otter-lamp"},
		{name: "as pasted", in: "  4821-otter-lamp\r\n", want: "4821-otter-lamp"},
		{name: "capitals and spaces", in: "4821 OTTER  Lamp", want: "4821-otter-lamp"},
		{name: "three letters", in: "4821-abd-yog", want: "4821-abdomen-yogurt"},
		{name: "typing error", in: "4821-abdomne-yogurt", want: "4821-abdomne-yogurt"}, // two letters: kept
		{name: "one typing error", in: "4821-abdomem-yogur", want: "4821-abdomen-yogurt"},
		{name: "dashes of a phone", in: "4821–abdomen—yogurt", want: "4821-abdomen-yogurt"},
		{name: "stray dashes", in: "-4821--abdomen-yogurt-", want: "4821-abdomen-yogurt"},
		{name: "five digits", in: "48210-abdomen-yogurt", want: "48210-abdomen-yogurt"},
		{name: "own room", in: "Family.2026_b-abdomen-yogurt", want: "family.2026_b-abdomen-yogurt"},
		{name: "room not mended", in: "abdomem-abdomem-yogurt", want: "abdomem-abdomen-yogurt"},
		{name: "own words", in: "home-größte-geheimnis", want: "home-größte-geheimnis"},
		{name: "one long word", in: "home-rosebud", want: "home-rosebud"},
		{name: "three words", in: "1-abdomen-yogurt-acid", want: "1-abdomen-yogurt-acid"},
		{name: "dash inside a word", in: "4821-yo-yo-acid", want: "4821-yo-yo-acid"},
		{name: "longest room", in: strings.Repeat("a", maxRoom) + "-abdomen-yogurt", want: strings.Repeat("a", maxRoom) + "-abdomen-yogurt"},

		{name: "empty", in: " - ", err: "without anything"},
		{name: "only a number", in: "4821", err: "cut off"},
		{name: "number and dash", in: "4821-", err: "cut off"},
		{name: "no letter", in: "4821-!!-??", err: "cut off"},
		{name: "one word of the list", in: "4821-abdomen", err: "too easy"},
		{name: "one word of the list, cut", in: "4821-abdom", err: "too easy"},
		{name: "a word with a dash", in: "4821-yo-yo", err: "too easy"},
		{name: "too short", in: "4821-a-b", err: "too easy"},
		{name: "room too long", in: strings.Repeat("a", maxRoom+1) + "-abdomen-yogurt", err: "33 characters"},
		{name: "accent in the room", in: "größe-abdomen-yogurt", err: "'ö'"},
		{name: "slash in the room", in: "a/b-abdomen-yogurt", err: "'/'"},
		{name: "control character", in: "48\x1b[2J-abdomen-yogurt", err: `'\x1b'`},
		{name: "invisible", in: "4821-abdomen-yog\u200burt", err: "U+200B"},
		{name: "not UTF-8", in: "4821-\xff\xfeabdomen", err: "UTF-8"},
		{name: "too long", in: strings.Repeat(" ", maxText+1), err: "1025 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCode(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), codeExample) || c != (Code{}) {
					t.Errorf("got %q and error %v, want %q and an example", c, err, tt.err)
				}
				return
			}
			if err != nil || c.String() != tt.want {
				t.Errorf("got %q, %v, want %q", c, err, tt.want)
			}
		})
	}
}

// The words must not be in the message, which may end up in a log.
func TestParseCodeKeepsTheSecret(t *testing.T) {
	for _, in := range []string{"größe-abdomen-yogurt", "4821-abdomen", "4821-xyzzy", "a/b-abdomen-yogurt"} {
		_, err := ParseCode(in)
		if err == nil || strings.Contains(err.Error(), "abdomen") || strings.Contains(err.Error(), "xyzzy") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestNewCode(t *testing.T) {
	c, err := NewCode("4821")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Split(strings.ReplaceAll(c.words, "yo-yo", "yoyo"), "-")
	if c.Room() != "4821" || len(words) != 2 || !strings.HasPrefix(c.String(), "4821-") {
		t.Errorf("got %q in room %q", c, c.Room())
	}
	if again, err := ParseCode(c.String()); err != nil || again != c {
		t.Errorf("%q is read as %q, %v", c, again, err)
	}
	for _, room := range []string{"", "48 21", "48-21", "\x1b[2J", strings.Repeat("1", maxRoom+1)} {
		if c, err := NewCode(room); err == nil {
			t.Errorf("a server's room %q makes code %q", room, c)
		}
	}
	if s := (Code{}).String(); s != "" {
		t.Errorf("no code is written %q", s)
	}
}

func TestComplete(t *testing.T) {
	tests := []struct {
		prefix string
		want   []string
	}{
		{"abd", []string{"abdomen"}},
		{"ABDO", []string{"abdomen"}},
		{"abdomen", []string{"abdomen"}},
		{"abdomenx", nil},
		{"zo", []string{"zodiac", "zombie", "zookeeper"}},
		{"zz", nil},
		{"~", nil},
	}
	for _, tt := range tests {
		if got := Complete(tt.prefix); !slices.Equal(got, tt.want) {
			t.Errorf("Complete(%q) = %q, want %q", tt.prefix, got, tt.want)
		}
	}
	if n := len(Complete("")); n != listSize {
		t.Errorf("nothing typed: %d words, want all %d", n, listSize)
	}
}

func FuzzParseCode(f *testing.F) {
	for _, s := range []string{"4821-otter-lamp", "4821 OTT lam", "home-rosebud", "4821-", "4821-yo-yo-yo", "K-ſſſſſſ-x", "4821–otter—lamp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			if c != (Code{}) {
				t.Errorf("code %q with error %v", c, err)
			}
			return
		}
		if checkRoom(c.Room()) != nil || checkSecret(c.words) != nil {
			t.Errorf("%q gives %q", s, c)
		}
		if again, err := ParseCode(c.String()); err != nil || again != c {
			t.Errorf("%q is written %q, which is read as %q, %v", s, c, again, err)
		}
	})
}
