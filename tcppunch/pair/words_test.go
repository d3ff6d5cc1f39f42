package pair

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestWordList(t *testing.T) {
	all := list()
	if len(all) != listSize {
		t.Fatalf("%d words, want %d", len(all), listSize)
	}
	if !slices.IsSorted(all) {
		t.Error("not sorted")
	}
	prefixes := map[string]string{}
	for _, w := range all {
		if len(w) < minPrefix || w != "yo-yo" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("odd word %q", w)
		}
		if other, ok := prefixes[w[:minPrefix]]; ok {
			t.Errorf("%q and %q begin alike", w, other)
		}
		prefixes[w[:minPrefix]] = w
	}
	for i, v := range all {
		for _, w := range all[:i] {
			if d := distance(v, w); d < 3 {
				t.Errorf("%q and %q are %d edits apart, want 3", v, w, d)
			}
		}
	}
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func TestOneEdit(t *testing.T) {
	words := []string{"", "a", "b", "ab", "ba", "abc", "abd", "acb", "xabc", "abcx", "axbc", "aabc", "abcc", "abcde"}
	for _, v := range words {
		for _, w := range words {
			if got, want := oneEdit(v, w), distance(v, w) == 1; got != want {
				t.Errorf("oneEdit(%q, %q) = %v, want %v", v, w, got, want)
			}
		}
	}
}

// Every typing error of one letter in a longer word leads back to it, unless what is left begins another word.
func TestLookupCorrects(t *testing.T) {
	all := list()
	for _, w := range all {
		if len(w) < 5 {
			continue
		}
		for i := range w {
			for _, typed := range []string{w[:i] + w[i+1:], w[:i] + "q" + w[i+1:], w[:i] + "q" + w[i:]} {
				got, ok := lookup(all, typed)
				if !ok || got != w && !strings.HasPrefix(got, typed) {
					t.Errorf("lookup(%q) = %q, %v, want %q", typed, got, ok, w)
				}
			}
		}
	}
}

func TestNormalize(t *testing.T) {
	tests := []struct {
		name, in, want string
		bad            bool
	}{
		{name: "empty", in: " - ", want: ""},
		{name: "plain", in: "abdomen-yogurt", want: "abdomen-yogurt"},
		{name: "case and spaces", in: "  ABDOMEN \t Yogurt\n", want: "abdomen-yogurt"},
		{name: "prefixes", in: "abd-yog", want: "abdomen-yogurt"},
		{name: "two letters are no prefix", in: "ab-yog", want: "ab-yogurt"},
		{name: "typing errors", in: "abdomem-yogurrt-aardvak", want: "abdomen-yogurt-aardvark"},
		{name: "two errors are another word", in: "abdonem", want: "abdonem"},
		{name: "dashes of phones", in: "abdomen\u2013yogurt\u2014acid--acorn", want: "abdomen-yogurt-acid-acorn"},
		{name: "yo-yo", in: "yo-yo Yoyo yo yo yo", want: "yo-yo-yo-yo-yo-yo-yo"},
		{name: "words of one's own", in: "Grüße an 4821 isn't", want: "grüße-an-4821-isn't"},
		{name: "slash of one's own", in: "a/b", want: "a/b"},
		{name: "control character", in: "abd\x00omen", bad: true},
		{name: "zero width space", in: "abdomen\u200b-yogurt", bad: true},
		{name: "not UTF-8", in: "\xff\xfe", bad: true},
		{name: "too long", in: strings.Repeat("q", maxText+1), bad: true},
		{name: "too long when written out", in: strings.Repeat("abd ", maxText/4), bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Normalize(tt.in)
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("got %q, %v, want %q, error %v", got, err, tt.want, tt.bad)
			}
		})
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"OTTER lamp-sof", "yo yo yo", "abd\u2014yel", "\xff", "İstanbul", "ẞ ſ K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := Normalize(s)
		if err != nil {
			return
		}
		if twice, err := Normalize(once); err != nil || twice != once {
			t.Errorf("%q -> %q -> %q, %v", s, once, twice, err)
		}
	})
}

func TestWords(t *testing.T) {
	for n := range 6 {
		w := strings.FieldsFunc(strings.ReplaceAll(Words(n), "yo-yo", "yodel"), separates)
		if len(w) != n {
			t.Errorf("Words(%d) has %d words", n, len(w))
		}
		for _, w := range w {
			if got, ok := Lookup(w); !ok || got != w {
				t.Errorf("%q is not on the list", w)
			}
		}
	}
}

// With every value of two bytes in turn, each word comes equally often.
func TestDrawIsFair(t *testing.T) {
	var all []byte
	for v := range 1 << 16 {
		all = append(all, byte(v>>8), byte(v))
	}
	fair := (1 << 16) / listSize * listSize
	words, err := draw(bytes.NewReader(all), fair)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, w := range words {
		count[w]++
	}
	for _, w := range list() {
		if got, want := count[w], fair/listSize; got != want {
			t.Errorf("%q came %d times, want %d", w, got, want)
		}
	}
	if _, err := draw(bytes.NewReader(all[2*fair:]), 1); err == nil {
		t.Error("a value beyond the fair ones was used")
	}
}

func TestSecret(t *testing.T) {
	tests := []struct {
		name   string
		a, b   [2]string // own and the peer's
		same   bool
		noneOf bool
	}{
		{name: "none", same: true, noneOf: true},
		{name: "each its own", a: [2]string{"acid", "yogurt"}, b: [2]string{"yogurt", "acid"}, same: true},
		{name: "the same given to both", a: [2]string{"acid"}, b: [2]string{"acid"}, same: true},
		{name: "one side's, told to the other", a: [2]string{"acid", ""}, b: [2]string{"", "acid"}, same: true},
		{name: "twice the same", a: [2]string{"acid", "ACID"}, b: [2]string{"acid", ""}, same: true},
		{name: "typed badly", a: [2]string{"abdomen-yogurt"}, b: [2]string{"abd yogrt"}, same: true},
		{name: "one differs", a: [2]string{"acid", "yogurt"}, b: [2]string{"yogurt", "acorn"}},
		{name: "one missing", a: [2]string{"acid", "yogurt"}, b: [2]string{"yogurt", ""}},
		{name: "joined is not two", a: [2]string{"acid", "yogurt"}, b: [2]string{"acid-yogurt", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := secret(t, tt.a[0], tt.a[1]), secret(t, tt.b[0], tt.b[1])
			if got := a == b; got != tt.same {
				t.Errorf("same is %v, want %v", got, tt.same)
			}
			if a.Empty() != tt.noneOf {
				t.Errorf("Empty is %v, want %v", a.Empty(), tt.noneOf)
			}
		})
	}
	if _, err := NewSecret("acid", "\x00"); err == nil {
		t.Error("bad words were accepted")
	}
}

func TestSecretDoesNotShow(t *testing.T) {
	a := Auth{Secret: secret(t, "acid", "yogurt"), Key: Key{123, 45, 67}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("test", "auth", a, "secret", a.Secret)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("test", "auth", a, "secret", a.Secret)
	j, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	text := log.String() + string(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text += fmt.Sprintf(verb, a) + fmt.Sprintf(verb, &a) + fmt.Sprintf(verb, a.Secret)
	}
	for _, w := range []string{"acid", "yogurt", fmt.Sprintf("%x", "acid"), "123 45", "123,45", "7b2d43"} {
		if strings.Contains(text, w) {
			t.Errorf("%q shows in %s", w, text)
		}
	}
}
