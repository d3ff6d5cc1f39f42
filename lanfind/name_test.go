package lanfind

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"anna":                           "anna",
		"  Anna's Mac\n":                 "Anna's Mac",
		"a\x1b[31mb\x00c\u202ed\u2028":   "a[31mbcd",
		"b\xffad":                        "bad",
		"\u0431\u043e\u0440\u0438\u0441": "\u0431\u043e\u0440\u0438\u0441",
		strings.Repeat("x", 100):         strings.Repeat("x", maxNick),
		strings.Repeat("\u20ac", 20):     strings.Repeat("\u20ac", 13),
		"\t\r\n":                         "",
	} {
		if got := cleanName(in); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNickname(t *testing.T) {
	const id = "00112233445566aa"
	for _, name := range []string{"", "anna", "v1.2", `back\slash`, "Anna (home)", "\u00e9"} {
		if got := nickname(instanceLabel(name, id), id); got != name {
			t.Errorf("%q came back as %q", name, got)
		}
	}
	for label, want := range map[string]string{"Bob's Mac": "Bob's Mac", "x (00112234)": "x (00112234)", "tcppunch": "tcppunch", "a\nb": "ab"} {
		if got := nickname(label, id); got != want {
			t.Errorf("nickname(%q) = %q, want %q", label, got, want)
		}
	}
	if n := len(instanceLabel(strings.Repeat("x", maxNick), id)); n > maxLabel {
		t.Errorf("a label of %d bytes", n)
	}
}

func TestInstanceOf(t *testing.T) {
	for name, want := range map[string]string{
		"anna._tcppunch._tcp.local.":            "anna",
		"anna._TCPPunch._tcp.Local.":            "anna",
		`v1\.2 \(x\)._tcppunch._tcp.local.`:     "v1.2 (x)",
		`\195\169\\._tcppunch._tcp.local.`:      "\u00e9\\",
		"_tcppunch._tcp.local.":                 "",
		"a.b._tcppunch._tcp.local.":             "",
		"anna._http._tcp.local.":                "",
		"anna._tcppunch._tcp.local.example.com": "",
		".":                                     "",
		"":                                      "",
		`\`:                                     "",
	} {
		got, ok := instanceOf(name)
		if got != want || ok != (want != "") {
			t.Errorf("instanceOf(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

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
	if err != nil || a.ID == b.ID || !validID(a.ID) {
		t.Errorf("IDs %q and %q, %v", a.ID, b.ID, err)
	}
	if err := Announce(t.Context(), nil, nil); !errors.Is(err, ErrService) {
		t.Errorf("announced nothing: %v", err)
	}
}

func FuzzSplitName(f *testing.F) {
	f.Add("anna._tcppunch._tcp.local.")
	f.Add(`v1\.2 \(x\)._tcppunch._tcp.local.`)
	f.Add(`\195\169\`)
	f.Fuzz(func(t *testing.T, s string) {
		label, rest := splitName(s)
		if len(label)+len(rest) > len(s) {
			t.Errorf("%q became %q and %q", s, label, rest)
		}
		if again, _ := splitName(escapeLabel(label) + ".x"); again != label {
			t.Errorf("label %q came back as %q", label, again)
		}
		if c := cleanName(s); !utf8.ValidString(c) || len(c) > maxNick || strings.ContainsFunc(c, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("cleanName(%q) = %q", s, c)
		}
	})
}
