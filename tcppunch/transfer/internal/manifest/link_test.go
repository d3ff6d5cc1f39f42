package manifest

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
)

func TestCheckTarget(t *testing.T) {
	tests := []struct {
		link, target string
		ok           bool
	}{
		{"a/l", "b", true},
		{"a/l", "b/c/d", true},
		{"a/l", "l", true}, // a loop harms nobody
		{"a/l", ".", true},
		{"a/l", "...b", true},
		{"a/l", "..b", true},
		{"a/b/l", "..", true},
		{"a/b/l", "../c", true},
		{"a/b/c/l", "../..", true},
		{"a/b/c/l", "../../x/y", true},
		{"a/l", "10:30", true},

		{"l", "a", false}, // no folder that it could stay in
		{"l", ".", false},
		{"l", "..", false},
		{"a/l", "", false},
		{"a/l", "..", false},
		{"a/l", "../a", false}, // comes back, but by way of outside
		{"a/l", "../../a/b", false},
		{"a/b/l", "../..", false},
		{"a/b/l", "../../a/c", false},
		{"a/b/l", "../../../../../../etc/passwd", false},
		{"a/l", "/", false},
		{"a/l", "/etc/passwd", false},
		{"a/l", "//host/share", false},
		{"a/b/l", "c/..", false}, // c may be a link
		{"a/b/l", "c/../d", false},
		{"a/b/l", "../c/../..", false},
		{"a/b/l", "./c", false},
		{"a/b/l", "c/.", false},
		{"a/b/l", "c/./d", false},
		{"a/b/l", "c//d", false},
		{"a/b/l", "c/", false},
		{"a/b/l", "../", false},
		{"a/b/l", "..//c", false},
		{"a/b/l", "../.", false},
		{"a/b/l", "./..", false},
		{"a/l", "b\\c", false},
		{"a/l", "..\\..\\c", false},
		{"a/l", "\\\\host\\share", false},
		{"a/l", "C:", false},
		{"a/l", "C:b", false},
		{"a/l", "c:/b", false},
		{"a/b/l", "../C:/b", false},
		{"a/l", "b/D:c", false},
		{"a/l", "con", false},
		{"a/l", "b/NUL.txt", false},
		{"a/l", "b\x00c", false},
		{"a/l", "b\nc", false},
		{"a/l", "b\x1b[2J", false},
		{"a/l", "gpj.\u202eexe", false},
		{"a/l", "b\xff", false},
		{"a/l", "b. ", false},
		{"a/l", ".. /b", false},
		{"a/l", ".../b", false},
		{"a/l", "b.tcppunch-part", false},
		{"a/l", strings.Repeat("x/", MaxTarget/2) + "x", true},
		{"a/l", strings.Repeat("x/", MaxTarget/2) + "xx", false},
	}
	for _, tt := range tests {
		err := CheckTarget(tt.link, tt.target)
		if tt.ok != (err == nil) || err != nil && !errors.Is(err, fault.ErrLink) {
			t.Errorf("CheckTarget(%q, %.40q) = %v, want ok %v", tt.link, tt.target, err, tt.ok)
		}
	}
}

// Whatever targets a chain of links has, if they pass, the system never finds its way out.
func TestChainsStayInside(t *testing.T) {
	root := t.TempDir()
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "top", "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	elems := []string{"..", "b", "l", "m"}
	var targets []string
	for _, x := range elems {
		for _, y := range append(elems, "") {
			for _, z := range append(elems, "") {
				targets = append(targets, strings.Trim(x+"/"+y+"/"+z, "/"))
			}
		}
	}
	place := func(link, target string) bool {
		if CheckTarget(link, target) != nil {
			return false
		}
		full := filepath.Join(root, link)
		_ = os.Remove(full)
		if err := os.Symlink(target, full); err != nil {
			t.Fatal(err)
		}
		return true
	}
	kept, found := 0, 0
	for _, one := range targets {
		if strings.Count(one, "/") > 1 || !place("top/a/l", one) {
			continue
		}
		for _, two := range targets {
			if !place("top/a/b/m", two) {
				continue
			}
			kept++
			for _, link := range []string{"top/a/l", "top/a/b/m"} {
				real, err := filepath.EvalSymlinks(filepath.Join(root, link))
				if err != nil {
					continue // dangling, or a loop
				}
				found++
				if top := filepath.Join(root, "top"); real != top && !strings.HasPrefix(real, top+"/") {
					t.Fatalf("l -> %s, m -> %s: %s leads to %s", one, two, link, real)
				}
			}
		}
	}
	if kept < 100 || found < 100 {
		t.Errorf("only %d pairs of links, %d of them lead anywhere", kept, found)
	}
}

// What passes is clean, and by the letter stays inside.
func FuzzCheckTarget(f *testing.F) {
	for _, s := range []string{"b", "../b", "..", ".", "../../x", "/etc", "a/../b", `..\x`, "C:x"} {
		f.Add("top/a/b/l", s)
	}
	f.Fuzz(func(t *testing.T, link, target string) {
		if len(link) > MaxPath || path.Clean(link) != link || path.IsAbs(link) || link == "." || strings.HasPrefix(link, "..") {
			return
		}
		if err := CheckTarget(link, target); err != nil {
			if !errors.Is(err, fault.ErrLink) {
				t.Errorf("CheckTarget(%q, %q): %v", link, target, err)
			}
			return
		}
		top, _, _ := strings.Cut(link, "/")
		at := path.Join(path.Dir(link), target)
		if target == "" || path.Clean(target) != target || path.IsAbs(target) || strings.ContainsAny(target, "\\\x00\n\x1b") ||
			fault.Clean(target) != target && len(target) <= 1024 || at != top && !strings.HasPrefix(at, top+"/") {
			t.Errorf("CheckTarget(%q, %q) lets it pass: %q", link, target, at)
		}
	})
}
