package store

import (
	"os"
	"path/filepath"
	"testing"
)

func write(name, content string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { put(t, dir, map[string][]byte{name: []byte(content)}) }
}

func symlink(name, target string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skip(err) // Windows without the right to it
		}
	}
}

func hardlink(name, target string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.Link(target, filepath.Join(dir, name))) }
}

func both(a, b func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
