package source

import (
	"path"
	"strings"
	"testing"
)

func TestExcluded(t *testing.T) {
	tests := []struct {
		pattern, name string
		folder, want  bool
	}{
		{"*.o", "a.o", false, true},
		{"*.o", "x/y/a.o", false, true},
		{"*.o", "x.o/a", false, false}, // that folder is not entered
		{"*.o", "a.O", false, false},
		{"a", "x/a", true, true},
		{"a", "x/ab", false, false},
		{"a/", "x/a", true, true},
		{"a/", "x/a", false, false},
		{"a//", "x/a", true, true},
		{"x/a", "x/a", false, true},
		{"x/a", "y/x/a", false, false},
		{"x/a", "x/a/b", false, false},
		{"/a", "a", false, true},
		{"/a", "x/a", false, false},
		{"x/a/", "x/a", true, true},
		{"x/a/", "x/a", false, false},
		{"*/a", "x/a", false, true},
		{"*/a", "x/y/a", false, false},
		{"x/*", "x/.a", false, true},
		{"**/a", "x/y/a", false, false}, // no more than one level
		{"?[b-d]", "ac", false, true},
		{`\*`, "*", false, true},
		{`\*`, "a", false, false},
		{".*", ".git", true, true},
		{"*", "x", false, true},
		{"日*", "x/日本", false, true},
	}
	for _, tt := range tests {
		ps, err := compile([]string{"no such thing", tt.pattern})
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		if got := excluded(ps, tt.name, tt.folder); got != tt.want {
			t.Errorf("%q excludes %q (folder %v): %v, want %v", tt.pattern, tt.name, tt.folder, got, tt.want)
		}
	}
}

// A pattern that was let in is never found bad later, and without a special
// character it matches exactly itself.
func FuzzExclude(f *testing.F) {
	for _, s := range []string{"*.o", "a/", "/a/b", "[a-", "[]a]", `\`, "a[", "**", "[^x]?"} {
		f.Add(s, "x/y.o")
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		ps, err := compile([]string{pattern})
		if err != nil {
			return
		}
		for _, subject := range []string{name, name[strings.LastIndexByte(name, '/')+1:], "", "a", pattern} {
			if _, err := path.Match(ps[0].glob, subject); err != nil {
				t.Errorf("%q with %q: %v", pattern, subject, err)
			}
		}
		if excluded(ps, name, false) && !excluded(ps, name, true) {
			t.Errorf("%q excludes the file %q and not the folder", pattern, name)
		}
		if trimmed := strings.Trim(pattern, "/"); trimmed == pattern && !strings.ContainsAny(pattern, `*?[\`) && !excluded(ps, pattern, false) {
			t.Errorf("%q does not match itself", pattern)
		}
	})
}
