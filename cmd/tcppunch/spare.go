package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
)

// spareUse says when this user's runs last used the spare ports of a port.
type spareUse map[string][tcppunch.SparePorts]time.Time

// nextSpare returns the spare port that was not used for longest, and notes its
// use. A process that was killed may have left its ports unusable in its own
// NAT for two minutes; the next one must not take the same. Where nothing can
// be noted it returns 0, which leaves it to chance.
func nextSpare(port uint16, now time.Time) int {
	dir, err := os.UserCacheDir()
	if err != nil {
		return 0
	}
	dir = filepath.Join(dir, "tcppunch")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0
	}
	name := filepath.Join(dir, "spare-ports.json")
	use := spareUse{}
	if b, err := os.ReadFile(name); err == nil && (json.Unmarshal(b, &use) != nil || use == nil) {
		use = spareUse{}
	}
	i := use.next(port, now)
	b, err := json.Marshal(use)
	if err != nil {
		return 0
	}
	tmp := name + "." + strconv.Itoa(os.Getpid())
	if os.WriteFile(tmp, b, 0o600) != nil || os.Rename(tmp, name) != nil {
		os.Remove(tmp)
		return 0
	}
	return i
}

// next picks and notes, and forgets ports that nobody used for a day.
func (u spareUse) next(port uint16, now time.Time) int {
	key := strconv.Itoa(int(port))
	used := u[key]
	oldest := 0
	for i, t := range used {
		if t.Before(used[oldest]) {
			oldest = i
		}
	}
	used[oldest] = now
	u[key] = used
	for k, times := range u {
		fresh := false
		for _, t := range times {
			fresh = fresh || now.Sub(t) < 24*time.Hour
		}
		if !fresh {
			delete(u, k)
		}
	}
	return oldest + 1
}
