package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// configHere keeps the settings of this user in a folder of the test.
func configHere(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "config"), "AppData": home} {
		t.Setenv(name, value)
	}
	dir, err := configDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOwnIdentity(t *testing.T) {
	dir := configHere(t)
	path := filepath.Join(dir, "identity")
	// Several programs that start at once agree.
	keys := make([]pair.PublicKey, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			id, err := ownIdentity()
			if err != nil {
				t.Error(err)
			}
			keys[i] = id.Public()
		})
	}
	wg.Wait()
	if keys[0].None() || len(slices.Compact(keys)) != 1 {
		t.Errorf("got the keys %v", keys)
	}
	wantModes(t, map[string]os.FileMode{dir: 0o700, path: 0o600})
	wantEntries(t, dir, "identity")
}

func TestOwnIdentityRefused(t *testing.T) {
	cases := []struct {
		name, text string
		mode       os.FileMode
		says       string
	}{
		{"the group may read it", string(pair.NewIdentity().Text()), 0o640, "chmod 600"},
		{"all may write it", string(pair.NewIdentity().Text()), 0o602, "chmod 600"},
		{"empty", "", 0o600, "remove it"},
		{"cut off", string(pair.NewIdentity().Text()[:100]), 0o600, "remove it"},
		{"endless", strings.Repeat("#", maxOwnFile+1), 0o600, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && c.mode != 0o600 {
				t.Skip("no such modes")
			}
			path := filepath.Join(configHere(t), "identity")
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			id, err := ownIdentity()
			if err == nil || !id.None() || !strings.Contains(classify(err).advice, c.says) {
				t.Errorf("got %v, %v", id, err)
			}
			if b, _ := os.ReadFile(path); string(b) != c.text {
				t.Error("the file is another one now")
			}
		})
	}
}

// keyOf makes up a key.
func keyOf(n int) (k pair.PublicKey) {
	copy(k[:], fmt.Sprintf("key %028d", n))
	return k
}

func TestVerdict(t *testing.T) {
	anna, ben, other := keyOf(1), keyOf(2), keyOf(3)
	all := knownPeers{{name: "anna", key: anna}, {name: "Ben", key: ben}}
	cases := []struct {
		name   string
		key    pair.PublicKey
		want   standing
		called string
	}{
		{"anna", anna, standsKnown, "anna"},
		{"ANNA", anna, standsKnown, "anna"},
		{"anna at home", anna, standsKnown, "anna"}, // who is known may take another name
		{"", anna, standsKnown, "anna"},
		{"ben", anna, standsKnown, "anna"}, // even somebody else's, and is not taken for them
		{"carl", other, standsUnknown, ""},
		{"ann", other, standsUnknown, ""},
		{"", other, standsUnknown, ""},
		{"@anna", other, standsUnknown, ""},
		{"anna", other, standsChanged, "anna"},
		{"## anna@home", other, standsChanged, "anna"}, // as it would be remembered
		{"aNNa", other, standsChanged, "anna"},
		{"ben", other, standsChanged, "Ben"},
	}
	for _, c := range cases {
		if got, p := all.verdict(c.name, c.key); got != c.want || p.name != c.called {
			t.Errorf("%q with %v: got %v, %q, want %v, %q", c.name, shortKey(c.key), got, p.name, c.want, c.called)
		}
	}
	if got, _ := knownPeers(nil).verdict("anna", anna); got != standsUnknown {
		t.Errorf("of nobody: got %v", got)
	}
}

func TestMeetPeer(t *testing.T) {
	var all knownPeers
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	long := strings.Repeat("ü", 40)
	steps := []struct {
		name   string
		key    int
		called string
	}{
		{"anna", 1, "anna"}, {"Anna", 2, "Anna-2"}, {"anna", 3, "anna-3"}, {"ben", 1, "anna"}, {"ben", 4, "ben"},
		{"", 5, "6b65-7920"}, {"\n", 6, "6b65-7920-2"}, {"tab\tand\x1b[m", 7, "taband[m"},
		{long, 8, long[:64]}, {long, 9, long[:62] + "-2"},
		{"#carl", 10, "carl"}, {"# # dora #2", 11, "dora #2"}, {"#", 12, "6b65-7920-3"},
		{"emil@home", 13, "emil"}, {"emil @a1b2@c3", 14, "emil-2"}, {"@a1b2", 15, "6b65-7920-4"},
	}
	for i, s := range steps {
		if called, err := all.meet(s.name, keyOf(s.key), now.Add(time.Duration(i)*time.Hour)); err != nil || called != s.called {
			t.Errorf("%q: called %q, %v, want %q", s.name, called, err, s.called)
		}
	}
	if p, _ := all.byName("anna"); p.key != keyOf(1) || p.first.Hour() != 3 || p.last.Hour() != 6 {
		t.Errorf("anna is %v", p)
	}
	again, err := parseKnown(all.text())
	if err != nil || !slices.Equal(again, all) {
		t.Errorf("read %v, %v, want %v", again, err, all)
	}
	for len(all) < maxKnown {
		if _, err := all.meet(fmt.Sprint(len(all)), keyOf(len(all)+100), now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := all.meet("one more", keyOf(50), now); !errors.Is(err, errKnownFull) || len(all) != maxKnown {
		t.Errorf("got %v with %d peers, want %v", err, len(all), errKnownFull)
	}
	if called, err := all.meet("", keyOf(1), now); called != "anna" || err != nil {
		t.Errorf("got %q, %v", called, err)
	}
	if info := len(all.text()); info > maxOwnFile {
		t.Errorf("%d bytes cannot be read again", info)
	}
}

func TestParseKnown(t *testing.T) {
	const at = "2026-01-02T03:04:05Z"
	line := func(name string, key int) string { return fmt.Sprintf("%s\t%v\t%s\t%s\n", name, keyOf(key), at, at) }
	cases := []struct{ name, text, says string }{
		{"nothing", "", ""},
		{"comments", knownHead + "\n\r\n  \n", ""},
		{"line ends of others", strings.ReplaceAll(line("anna", 1)+line("Ben the 2nd", 2), "\n", "\r\n"), ""},
		{"spaces", strings.ReplaceAll(line("anna", 1), "\t", " "), "line 1: it has not four parts"},
		{"cut off", line("anna", 1) + line("ben", 2)[:90], "line 2: it has not four parts"},
		{"more than there should be", strings.TrimSpace(line("anna", 1)) + "\ttrusted", "line 1: it has not four parts"},
		{"no name", line("", 1), "line 1: no such name"},
		{"a name with digits of a key", line("anna@a1b2", 1), "line 1: no such name"},
		{"a name that does something to the screen", line("\x1b[2J", 1), "line 1: no such name"},
		{"no key", "anna\tnone\t" + at + "\t" + at, "line 1: not a public key"},
		{"no time", strings.ReplaceAll(line("anna", 1), at, "yesterday"), "line 1: first seen"},
		{"one name twice", line("anna", 1) + "# and\n" + line("Anna", 2), "line 3: there are two peers of that name"},
		{"one key twice", line("anna", 1) + line("ben", 1), "line 2: there are two peers with that key"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			all, err := parseKnown([]byte(c.text))
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || all != nil) {
				t.Errorf("got %v, %v, want %q", all, err, c.says)
			}
		})
	}
}

func FuzzParseKnown(f *testing.F) {
	all := knownPeers{{"anna", keyOf(1), time.Unix(1, 0), time.Unix(2, 0)}, {"Ben the 2nd", keyOf(2), time.Unix(3, 0), time.Unix(4, 0)}}
	f.Add(all.text(), "# anna@home")
	f.Add([]byte(knownHead), "#@")
	f.Add([]byte("# a comment\n\n"), "ben #2")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		all, err := parseKnown(b)
		if err != nil {
			return
		}
		if key := keyOf(3); len(all) < maxKnown { // whatever somebody is called, who is met is not lost
			if called, err := all.meet(name, key, time.Now()); err != nil || strings.ContainsAny(called, "@\t\n") {
				t.Fatalf("%q is met as %q: %v", name, called, err)
			}
		}
		again, err := parseKnown(all.text())
		if err != nil || len(again) != len(all) {
			t.Fatalf("read again: %v, %v, want %v", again, err, all)
		}
		for i, p := range all {
			if q := again[i]; q.name != p.name || q.key != p.key || !q.first.Equal(p.first) || !q.last.Equal(p.last) {
				t.Errorf("read again: %v, want %v", q, p)
			}
		}
	})
}

// What several programs remember and forget at once is not lost.
func TestKnownAtOnce(t *testing.T) {
	dir := configHere(t)
	if _, err := meetPeer("nobody", keyOf(1)); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := meetPeer("somebody", keyOf(100+w*each+i)); err != nil {
					t.Error(err)
				}
				if all, err := readKnown(); err != nil || len(all) == 0 { // never half written
					t.Errorf("read %v, %v", all, err)
				}
			}
		})
	}
	wg.Go(func() {
		if err := forgetPeer("Nobody"); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	all, err := readKnown()
	if _, left := all.byName("nobody"); err != nil || len(all) != writers*each || left {
		t.Errorf("%d are known, want %d: %v", len(all), writers*each, err)
	}
	if err := forgetPeer("nobody"); classify(err).code != "not-found" {
		t.Errorf("forgot nobody twice: %v", err)
	}
	wantModes(t, map[string]os.FileMode{filepath.Join(dir, "known_peers"): 0o600})
	wantEntries(t, dir, "known_peers", "known_peers.lock")
}

// What is not understood is neither overwritten nor taken for nothing.
func TestKnownBroken(t *testing.T) {
	path := filepath.Join(configHere(t), "known_peers")
	const text = "anna who was met somewhere\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	all, err := readKnown()
	if all != nil || classify(err).code != "identity" || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := meetPeer("ben", keyOf(2)); classify(err).code != "identity" {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != text {
		t.Errorf("the file is now %q", b)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o620)); err != nil {
		t.Fatal(err)
	}
	if _, err := readKnown(); classify(err).code != "identity" {
		t.Errorf("others may write it: got %v", err)
	}
}
