package dnssd

import (
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
		if got := CleanName(in); got != want {
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

func TestCheck(t *testing.T) {
	good := Claims{ID: "00112233445566aa", Port: 1, Room: "4821", Key: "SHA256:abc"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Claims){
		"no port":       func(c *Claims) { c.Port = 0 },
		"no ID":         func(c *Claims) { c.ID = "" },
		"short ID":      func(c *Claims) { c.ID = "12" },
		"upper-case ID": func(c *Claims) { c.ID = "00112233445566AA" },
		"room":          func(c *Claims) { c.Room = "4821\n" },
		"long room":     func(c *Claims) { c.Room = strings.Repeat("1", 64) },
		"key":           func(c *Claims) { c.Key = "a b" },
		"long key":      func(c *Claims) { c.Key = strings.Repeat("k", 129) },
	} {
		c := good
		if spoil(&c); c.Check() == nil {
			t.Errorf("%s: %+v is good", name, c)
		}
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
		if c := CleanName(s); !utf8.ValidString(c) || len(c) > maxNick || strings.ContainsFunc(c, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("cleanName(%q) = %q", s, c)
		}
	})
}
