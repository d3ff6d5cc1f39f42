package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// again is how soon two programs must connect of which one was killed before.
const again = 10 * time.Second

// dropping is a real router that drops what it did not ask for. One that has seen
// the peer's SYN while nobody held the port keeps that pair of ports from
// connecting for two minutes.
var dropping = natlab.NAT{Linux: true, Unsolicited: natlab.Drop}

// wantAgain checks that two programs met soon after the later one's start.
func wantAgain(t *testing.T, send, recv *peer) {
	t.Helper()
	for _, p := range []*peer{send, recv} {
		if _, err := p.waitEvent("connected", time.Minute); err != nil {
			t.Error(err)
		}
	}
	e, ok := later(send, recv).find("connected")
	took := time.Duration(e.SetupMS * float64(time.Millisecond))
	if !ok || took > again {
		t.Errorf("connected after %v, want at most %v", took, again)
	}
	t.Logf("connected after %v, from %s", took, e.Local)
}

// TestKilledAndRestarted: one side dies without a word, and is started again on
// the same port.
func TestKilledAndRestarted(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		sender bool          // who is killed
		after  time.Duration // from the peer's start to the restart
	}{
		{"sender, 1 s", true, time.Second},
		{"sender, 3 s", true, 3 * time.Second},
		{"receiver, 1 s", false, time.Second},
		{"receiver, 3 s", false, 3 * time.Second},
	}
	for _, c := range cases {
		t.Run("waiting "+c.name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, dropping, dropping)
			killedAndRestarted(t, h, c.sender, c.after)
		})
	}
	t.Run("in a transfer", func(t *testing.T) {
		t.Parallel()
		nat := dropping
		nat.Link = slow.Link
		h := newHomes(t, nat, dropping)
		h.flags = []string{"--retry=0"}
		send, recv := h.midTransfer(t)
		send.Kill()
		recv.wantFailure(statusFailed, "peer-gone")
		time.Sleep(time.Second)
		name := filepath.Join(h.a.dir, "big.bin")
		send = h.send(name)
		time.Sleep(time.Second)
		recv = h.recv()
		wantAgain(t, send, recv)
		send.wantDone()
		recv.wantDone()
		wantSame(t, name, h.b.dir)
	})
	t.Run("after a transfer", func(t *testing.T) {
		t.Parallel()
		h := newHomes(t, dropping, dropping)
		for _, name := range []string{"one.bin", "two.bin", "three.bin"} {
			send, recv := h.send(h.a.file(name, fileSize)), h.recv()
			wantAgain(t, send, recv)
			send.wantDone()
			recv.wantDone()
		}
		wantOnly(t, h.b.dir, "one.bin", "three.bin", "two.bin")
	})
}

func killedAndRestarted(t *testing.T, h *homes, sender bool, after time.Duration) {
	t.Helper()
	name := h.a.file("file.bin", fileSize)
	first := func() *peer { return h.recv() }
	second := func() *peer { return h.send(name) }
	if sender {
		first, second = second, first
	}
	killed := first()
	if _, err := killed.waitEvent("waiting", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	killed.Kill()
	killed.Wait()
	other := second()
	if _, err := other.waitEvent("waiting", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	restarted := first()
	send, recv := other, restarted
	if sender {
		send, recv = restarted, other
	}
	wantAgain(t, send, recv)
	send.wantDone()
	recv.wantDone()
	wantSame(t, name, h.b.dir)
}

// TestRestartedWithoutCache: where it cannot be noted which spare port was used
// last, it is chance that the next one is another. That is not promised to be
// quick, only to come about.
func TestRestartedWithoutCache(t *testing.T) {
	if testing.Short() {
		t.Skip("may take a minute")
	}
	t.Parallel()
	h := newHomes(t, dropping, dropping)
	for _, s := range []*side{h.a, h.b} {
		if err := os.WriteFile(filepath.Join(s.dir, "cache"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	name := h.a.file("file.bin", fileSize)
	killed := h.send(name)
	if _, err := killed.waitEvent("waiting", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	killed.Kill()
	recv := h.recv()
	time.Sleep(2 * time.Second)
	send := h.send(name)
	if e, err := send.waitEvent("connected", 40*time.Second); err == nil {
		t.Logf("connected after %.0f ms, from %s", e.SetupMS, e.Local)
	} else {
		t.Errorf("after a minute: %v", err)
	}
	send.wantDone()
	recv.wantDone()
}
