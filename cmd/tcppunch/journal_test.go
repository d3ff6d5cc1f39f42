package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const aboutTest = "recv code home-otter-lamp"

// stateHere keeps the state of programs in a folder of the test.
func stateHere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	return filepath.Join(dir, "tcppunch")
}

func mustOpen(t *testing.T, path, about string, now time.Time) *journal {
	t.Helper()
	j, err := openJournal(path, about, now)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournal(t *testing.T) {
	state := stateHere(t)
	path := filepath.Join(t.TempDir(), ".tcppunch-home.journal")
	now := time.Now()
	j := mustOpen(t, path, aboutTest, now)
	if !j.key.None() {
		t.Fatal("a key out of nowhere")
	}
	j.key, j.accepted = pair.Key{1, 2, 3}, [32]byte{4, 5}
	for range 2 {
		if err := j.save(now); err != nil {
			t.Fatal(err)
		}
	}
	wantModes(t, map[string]os.FileMode{path: 0o600, state: 0o700, filepath.Join(state, "journal-secret"): 0o600})
	if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte("otter")) {
		t.Errorf("the file holds the code, or nothing: %v", err)
	}
	got := mustOpen(t, path, aboutTest, now)
	if got.key != j.key || got.accepted != j.accepted {
		t.Errorf("read %v and %x", got.key, got.accepted)
	}
	wantEntries(t, filepath.Dir(path), ".tcppunch-home.journal")
	wantEntries(t, state, "journal-secret")
	got.remove()
	wantEntries(t, filepath.Dir(path))
}

func wantModes(t *testing.T, want map[string]os.FileMode) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	for path, mode := range want {
		info, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != mode {
			t.Errorf("%s: mode %o, want %o", filepath.Base(path), got, mode)
		}
	}
}

func wantEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// TestJournalHostile: what somebody else has put there counts for nothing, and is not
// removed.
func TestJournalHostile(t *testing.T) {
	state := stateHere(t)
	now := time.Now()
	made := filepath.Join(t.TempDir(), "made")
	j := mustOpen(t, made, aboutTest, now)
	j.key = pair.Key{9}
	if err := j.save(now); err != nil {
		t.Fatal(err)
	}
	genuine, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) []byte { return bytes.Replace(genuine, []byte(old), []byte(new), 1) }
	cases := map[string][]byte{
		"nothing":       {},
		"garbage":       []byte("\x00\xff{{{"),
		"null":          []byte("null"),
		"another type":  []byte("[1, 2]"),
		"too long":      append(genuine, bytes.Repeat([]byte(" "), maxJournal)...),
		"another key":   edit(`"09`, `"0a`),
		"short key":     edit(`"09`, `"`),
		"no seal":       edit(`"seal"`, `"sail"`),
		"another time":  edit(`"created": "2`, `"created": "3`),
		"newer version": edit(`"version": 1`, `"version": 2`),
		"a yes added":   edit(`"seal"`, `"accepted": "00", "seal"`),
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "made")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			j := mustOpen(t, path, aboutTest, now)
			if !j.key.None() || j.accepted != [32]byte{} {
				t.Errorf("key %x", j.key[:])
			}
			j.remove()
			wantEntries(t, filepath.Dir(path), "made")
		})
	}
	t.Run("another purpose", func(t *testing.T) {
		if j := mustOpen(t, made, "recv code home-otter-sofa", now); !j.key.None() {
			t.Error("a key of another code")
		}
	})
	t.Run("link", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(made, path); err != nil {
			t.Skip(err)
		}
		if j := mustOpen(t, path, aboutTest, now); !j.key.None() {
			t.Error("a link was followed")
		}
	})
	t.Run("folder", func(t *testing.T) {
		if j := mustOpen(t, t.TempDir(), aboutTest, now); !j.key.None() {
			t.Error("a folder has a key")
		}
	})
	t.Run("another user", func(t *testing.T) {
		if err := os.Remove(filepath.Join(state, "journal-secret")); err != nil {
			t.Fatal(err)
		}
		if j := mustOpen(t, made, aboutTest, now); !j.key.None() {
			t.Error("somebody else's seal counts")
		}
	})
}

// TestJournalStale: what nobody has gone on with for a month is removed.
func TestJournalStale(t *testing.T) {
	state := stateHere(t)
	now := time.Now()
	path := filepath.Join(t.TempDir(), "made")
	j := mustOpen(t, path, aboutTest, now)
	j.key = pair.Key{9}
	if err := j.save(now.Add(-29 * 24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if j := mustOpen(t, path, aboutTest, now); j.key.None() {
		t.Error("a journal of 29 days does not count")
	}
	if err := j.save(now.Add(-31 * 24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if j := mustOpen(t, path, aboutTest, now); !j.key.None() {
		t.Error("a journal of 31 days counts")
	}
	wantEntries(t, filepath.Dir(path))

	for name, age := range map[string]int{"send-old.journal": 31, "send-new.journal": 29, "other": 31, "send-cut.journal-new": 31} {
		path := filepath.Join(state, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := now.AddDate(0, 0, -age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if got := senderFolder(); got != state {
		t.Errorf("journals of senders are in %s", got)
	}
	wantEntries(t, state, "journal-secret", "other", "send-new.journal")
}

// TestJournalNowhere: where nothing can be kept, nothing is, and that is no disaster.
func TestJournalNowhere(t *testing.T) {
	state := stateHere(t)
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err := openJournal(filepath.Join(t.TempDir(), "x"), aboutTest, time.Now()); err == nil {
		t.Errorf("%v without a place for the secret", j)
	}
}

func FuzzJournal(f *testing.F) {
	f.Setenv("XDG_STATE_HOME", f.TempDir())
	f.Add([]byte(`{"version":1,"created":"2026-01-01T00:00:00Z","id":"home","key":"09","seal":"00"}`))
	path := filepath.Join(f.TempDir(), "journal")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if j := mustOpen(t, path, aboutTest, time.Now()); !j.key.None() {
			t.Errorf("a key came of %q", b)
		}
	})
}
