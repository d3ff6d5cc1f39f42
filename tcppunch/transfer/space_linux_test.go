package transfer

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("cannot mount a tmpfs: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestNoSpace(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := smallDisk(t)
		src := source(t, map[string][]byte{"f": content(5 << 20)})
		sent, received := both(t.Context(), a, b, src, dir, nil, nil)
		wantFailure(t, received.err, sent.err, ErrNoSpace, "no-space")
		if !strings.Contains(received.err.Error(), "offered") {
			t.Errorf("not refused at the offer: %v", received.err)
		}
	})
}

// The disk fills up while the file comes: what was complete stays.
func TestNoSpaceLater(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := smallDisk(t)
		files := map[string][]byte{"a": content(1000), "f": content(3 << 20)}
		fill := &Trace{FileDone: func(File, [32]byte) {
			write(t, dir, map[string][]byte{"other": content(2 << 20)})
		}}
		sent, received := both(t.Context(), a, b, source(t, files), dir, nil, &ReceiveOptions{Trace: fill})
		wantFailure(t, received.err, sent.err, ErrNoSpace, "no-space")
		wantTree(t, dir, map[string][]byte{"a": files["a"], "other": content(2 << 20)})
	})
}
