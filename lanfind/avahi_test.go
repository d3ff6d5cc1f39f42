//go:build linux

package lanfind

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

func startAvahi(t *testing.T, host *natlab.Machine) *natlab.Proc {
	t.Helper()
	for _, name := range []string{"unshare", "dbus-daemon", "avahi-daemon", "avahi-browse", "avahi-publish"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v (install dbus, avahi-daemon and avahi-utils)", err)
		}
	}
	if ids, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.HasSuffix(strings.TrimSpace(string(ids)), "4294967295") {
		t.Skip("the daemons have users of their own, which are not in this user namespace")
	}
	script, err := filepath.Abs("testdata/avahi")
	if err != nil {
		t.Fatal(err)
	}
	return host.Start("unshare", "-m", "--propagation", "private", script, t.TempDir(), "-s", "Bob's Mac v1.2", "_tcppunch._tcp", "9999", "room=77")
}

// Avahi shows what we announce, on another host and on its own, where both have port 5353; and we find what it announces.
func TestAvahi(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, lan(natlab.NoFirewall, "a", "debian"))
	avahi := startAvahi(t, lab.Host("debian"))
	s := service("anna", "4821")
	s.ID, s.Key = "00112233445566aa", "SHA256:abc"
	x := start(t, lab.Host("a"), role{Options: Options{Announce: s}})
	y := start(t, lab.Host("debian"), role{Options: Options{Announce: service("dora", "")}})
	for _, who := range []*actor{x, y} {
		want := netip.AddrPortFrom(lab.Host("debian").Addr(), 9999)
		who.wait(15*time.Second, "service of Avahi's", func(e Event) bool {
			return e.Kind != Gone && e.Peer.Name == "Bob's Mac v1.2" && e.Peer.Room == "77" && slices.Contains(e.Peer.Addrs, want)
		})
	}
	for _, want := range []string{
		`=;eth0;IPv4;anna\032\04000112233\041;_tcppunch._tcp;local;tcppunch-00112233445566aa.local;10.0.1.1;7070;`,
		`=;eth0;IPv6;anna\032\04000112233\041;_tcppunch._tcp;local;tcppunch-00112233445566aa.local;`,
		`"room=4821"`, `"key=SHA256:abc"`, `;dora\032`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		text, err := avahi.Stdout.WaitFor(ctx, func(s string) bool { return strings.Contains(s, want) })
		cancel()
		if err != nil {
			t.Errorf("avahi-browse does not show %s:\n%s%s", want, text, avahi.Stderr)
		}
	}
	x.end()
	time.Sleep(2 * time.Second)
	before := len(avahi.Stdout.String())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	after := func(s string) string { _, s, _ = strings.Cut(s[before:], "+;eth0;"); return s } // from a new list on
	text, err := avahi.Stdout.WaitFor(ctx, func(s string) bool { return strings.Count(after(s), "=;eth0;IPv4;Bob") > 1 })
	if err != nil || strings.Contains(after(text), "anna") {
		t.Errorf("avahi-browse still shows it after the goodbye: %v\n%s", err, after(text))
	}
	if log := avahi.Stderr.String(); strings.Contains(log, "conflict") {
		t.Errorf("in the way of the system's responder:\n%s", log)
	}
	y.end()
	avahi.Kill()
}
