package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
)

func TestSpareUse(t *testing.T) {
	now := time.Unix(1e9, 0)
	ago := func(d ...time.Duration) (a [tcppunch.SparePorts]time.Time) {
		for i, d := range d {
			a[i] = now.Add(-d)
		}
		return a
	}
	cases := []struct {
		name string
		use  spareUse
		port uint16
		want int
	}{
		{"first run", spareUse{}, 7070, 1},
		{"second run", spareUse{"7070": ago(time.Minute, 1e18, 1e18)}, 7070, 2},
		{"the oldest", spareUse{"7070": ago(3*time.Second, 2*time.Second, 5*time.Second)}, 7070, 3},
		{"another port", spareUse{"7070": ago(time.Minute)}, 9000, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.use.next(c.port, now); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// TestSpareUseTakesTurns: whatever happened before, no spare port comes again
// before all the others have.
func TestSpareUseTakesTurns(t *testing.T) {
	use := spareUse{}
	now := time.Unix(1e9, 0)
	last := map[int]int{}
	for i := range 20 {
		now = now.Add(time.Second)
		got := use.next(7070, now)
		if got < 1 || got > tcppunch.SparePorts {
			t.Fatalf("spare port %d", got)
		}
		if before, ok := last[got]; ok && i-before < tcppunch.SparePorts {
			t.Errorf("run %d: port %d again after %d runs", i, got, i-before)
		}
		last[got] = i
	}
	use.next(9000, now.Add(23*time.Hour))
	if len(use) != 2 {
		t.Errorf("%d ports noted, want 2", len(use))
	}
	use.next(9000, now.Add(25*time.Hour))
	if _, ok := use["7070"]; ok {
		t.Error("a port that nobody used for a day is still noted")
	}
}

func TestNextSpareFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the cache folder is set in other ways here")
	}
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	now := time.Unix(1e9, 0)
	name := filepath.Join(dir, "tcppunch", "spare-ports.json")
	for want := 1; want <= 3; want++ {
		if got := nextSpare(7070, now.Add(time.Duration(want)*time.Second)); got != want {
			t.Errorf("run %d uses spare port %d", want, got)
		}
	}
	for _, garbage := range []string{`{"7070": "garbage"`, "null", ""} {
		if err := os.WriteFile(name, []byte(garbage), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := nextSpare(7070, now); got != 1 {
			t.Errorf("after %q, got %d", garbage, got)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 {
		t.Errorf("left in the cache: %v, %v", entries, err)
	}
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", blocked)
	if got := nextSpare(7070, now); got != 0 {
		t.Errorf("with no folder to note it in, got %d, want 0", got)
	}
}
