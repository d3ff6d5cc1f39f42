package name

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
)

func TestCheck(t *testing.T) {
	good := []string{
		"a", "holiday.mov", "Résumé 2026.pdf", "日本語.txt", ".profile", "..hidden", "a..b", "-rf", "~", "%2e%2e", "$HOME", "`id`", "a b", " a",
		"Meeting 10:30.txt", "what?.txt", "a*b", `say "hi"`, "a<b>c|d",
		"👨\u200d👩\u200d👧.jpg", "می\u200cخواهم.txt", "e\u0301", "a\u00a0b",
		"console.log", "CONfig", "nul1", "com", "com10", "COM.x.y" + "z", "lpt", "lpt12.txt", "aux-", "my con",
		strings.Repeat("x", 255), "file.tcppunch-part.txt", "tcppunch-part",
	}
	bad := []struct{ name, reason string }{
		{"", "empty"}, {".", "folder"}, {"..", "folder"}, {"...", "dot"},
		{"/", "separator"}, {"/etc/passwd", "separator"}, {"a/b", "separator"}, {"../a", "separator"}, {"a/..", "separator"},
		{`\`, "separator"}, {`..\a`, "separator"}, {`C:\a`, "separator"}, {`\\host\share`, "separator"}, {`\\?\C:\a`, "separator"},
		{"a\x00b", "U+0000"}, {"a\nb", "U+000A"}, {"a\rb", "U+000D"}, {"a\tb", "U+0009"}, {"a\x1b[2Jb", "U+001B"}, {"a\x7f", "U+007F"},
		{"a\u0085b", "U+0085"}, {"a\u009b2J", "U+009B"}, {"a\u2028b", "U+2028"}, {"a\u2029b", "U+2029"},
		{"gpj.\u202eexe", "U+202E"}, {"a\u202ab", "U+202A"}, {"a\u2066b", "U+2066"}, {"a\u200fb", "U+200F"}, {"a\u061cb", "U+061C"},
		{"a\ufeffb", "U+FEFF"}, {"a\u200bb", "U+200B"}, {"a\u00adb", "U+00AD"}, {"a\U000e0041b", "U+E0041"},
		{"a\xffb", "UTF-8"}, {"a\xc0\xafb", "UTF-8"}, {"a\xed\xa0\x80b", "UTF-8"}, {"\xe2\x80", "UTF-8"},
		{"CON", "device"}, {"con", "device"}, {"Nul.txt", "device"}, {"aux.c", "device"}, {"prn.tar.gz", "device"}, {"COM1", "device"},
		{"com9.log", "device"}, {"COM0", "device"}, {"lpt1", "device"}, {"LPT².x", "device"}, {"com¹", "device"}, {"CONIN$", "device"},
		{"conout$.x", "device"}, {"CON .txt", "device"}, {"nul:x", "device"}, {"CLOCK$", "device"},
		{"a.", "dot or a space"}, {"a ", "dot or a space"}, {"a. .", "dot or a space"}, {" ", "dot or a space"},
		{".a.tcppunch-part", "unfinished"}, {"A.TCPPUNCH-PART", "unfinished"}, {".tcppunch-part", "unfinished"}, {"a.tcppunch-part", "unfinished"}, {".tcppunch-abc.journal", "notes"}, {".Tcppunch-x", "notes"},
		{strings.Repeat("x", 256), "longer"}, {strings.Repeat("é", 128), "longer"}, {strings.Repeat("x", 1<<20), "longer"},
	}
	for _, name := range good {
		if err := Check(name); err != nil {
			t.Errorf("Check(%q) = %v", name, err)
		}
	}
	for _, tt := range bad {
		err := Check(tt.name)
		if !errors.Is(err, fault.ErrName) || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("Check(%.40q) = %v, want %q", tt.name, err, tt.reason)
		}
		if err != nil && fault.Clean(err.Error()) != err.Error() {
			t.Errorf("the error for %.40q is not fit for a terminal", tt.name)
		}
	}
}

func TestCheckWindows(t *testing.T) {
	for _, name := range []string{"a:b", "a<", ">a", `a"b`, "a|b", "a?", "*"} {
		if err := CheckWindows(name); !errors.Is(err, fault.ErrName) {
			t.Errorf("CheckWindows(%q) = %v", name, err)
		}
	}
	if err := CheckWindows("Résumé 2026 [1] (final) {x} a&b;c=d+e'f,g~h!i@j#k$l%m^n"); err != nil {
		t.Error(err)
	}
}

func TestFold(t *testing.T) {
	same := [][2]string{{"a", "A"}, {"README", "readme"}, {"É", "é"}, {"Σ", "ς"}, {"k", "\u212a"}, {"s", "ſ"}, {"Ж", "ж"}}
	for _, p := range same {
		if Fold(p[0]) != Fold(p[1]) {
			t.Errorf("%q and %q differ", p[0], p[1])
		}
	}
	for _, p := range [][2]string{{"a", "b"}, {"e", "é"}, {"1", "2"}} {
		if Fold(p[0]) == Fold(p[1]) {
			t.Errorf("%q and %q are the same", p[0], p[1])
		}
	}
}

func TestPartial(t *testing.T) {
	for _, name := range []string{"a", "holiday.mov", strings.Repeat("x", 255), strings.Repeat("日", 85)} {
		got := Partial(name)
		if len(got) > maxName || !utf8.ValidString(got) || !strings.HasPrefix(got, ".") || Check(got) == nil {
			t.Errorf("Partial(%q) = %q", name, got)
		}
	}
}

// Whatever passes is one harmless path element.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"a", "..", "a/b", "con.txt", "a\u202eb", "\xff", "x.tcppunch-part", strings.Repeat("\xa1", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		cleaned := fault.Clean(name)
		if strings.ContainsFunc(cleaned, unicode.IsControl) || !utf8.ValidString(cleaned) || len(cleaned) > 3*1024+3 {
			t.Errorf("fault.Clean(%q) = %q", name, cleaned)
		}
		err := Check(name)
		if err != nil {
			if !errors.Is(err, fault.ErrName) || fault.Clean(err.Error()) != err.Error() {
				t.Errorf("Check(%q): %q", name, err)
			}
			return
		}
		if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsAny(name, "/\\\x00\x1b\n") ||
			fault.Clean(name) != name || Fold(Fold(name)) != Fold(name) {
			t.Errorf("Check lets %q pass", name)
		}
	})
}
