//go:build linux

package transfer

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	pairing "github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// maxMemory is what the command may take of it, whatever its peer does.
const maxMemory = 64 << 20

// TestCommandHostile: whatever a peer says, or does not, the built command ends with a clear
// error, has touched nothing that it should not, and has taken little memory.
func TestCommandHostile(t *testing.T) {
	c := buildCommand(t)
	t.Run("sender", c.hostileSenders)
	t.Run("receiver", c.hostileReceivers)
	t.Run("million", c.million)
	t.Run("other list", c.otherList)
}

// builtCommand is the command, and what its runs must not share.
type builtCommand struct {
	path  string
	ports ports
}

// buildCommand builds the command as its users have it: without the race detector, which
// takes ten times the memory.
func buildCommand(t *testing.T) *builtCommand {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tcppunch")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/tcppunch/tcppunch/cmd/tcppunch").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v: %s", err, out)
	}
	return &builtCommand{path: path}
}

// A victim is the built command, which talks over this machine's loopback device to a peer
// made by hand. In its folder are things that it must not touch, and ways to them.
type victim struct {
	t      *testing.T
	path   string // of the command
	dir    string // with what must not be touched, and out
	sends  bool
	plain  bool   // without events
	theirs uint16 // its port
	ours   uint16
	cmd    *exec.Cmd
	stdout *os.File // in home: what it says may be long
	stderr *os.File
	ended  chan struct{}
	most   atomic.Int64 // bytes of memory
	before map[string]string
}

const hostileWords = "otter-lamp-sofa"

// newVictim lays the folder out. out holds what a person may have there.
func (c *builtCommand) newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{t: t, path: c.path, dir: t.TempDir(), theirs: c.ports.four(t), ours: c.ports.four(t), ended: make(chan struct{})}
	for _, dir := range []string{"out", "elsewhere", "home"} {
		if err := os.Mkdir(filepath.Join(v.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, v.dir, map[string][]byte{"sentinel": []byte("mine"), "elsewhere/sentinel": []byte("mine"), "out/mine": []byte("mine")})
	for _, link := range []string{"planted", name.Partial("trap")} {
		if err := os.Symlink("../elsewhere", filepath.Join(v.dir, "out", link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../sentinel", filepath.Join(v.dir, "out", "leads-out")); err != nil {
		t.Fatal(err)
	}
	return v
}

// ports gives each victim and each peer four in a row that nobody uses.
type ports struct {
	mu   sync.Mutex
	next int
}

func (p *ports) four(t *testing.T) uint16 {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1000 {
		if p.next += 4; p.next < 10000 || p.next > 30000 {
			p.next = 10000 + mathrand.IntN(16000)
		}
		free := true
		for i := range 4 {
			ln, err := net.Listen("tcp", fmt.Sprintf(":%d", p.next+i))
			if free = err == nil; !free {
				break
			}
			ln.Close()
		}
		if free {
			return uint16(p.next)
		}
	}
	t.Fatal("no free ports")
	return 0
}

func (v *victim) file(name string) *os.File {
	v.t.Helper()
	f, err := os.Create(filepath.Join(v.dir, name))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { f.Close() })
	return f
}

// said is what the program has written, as far as anybody wants to read it.
func said(f *os.File) string {
	b, _ := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	return string(b)
}

func (v *victim) start(args ...string) {
	v.t.Helper()
	v.sends = args[0] == "send"
	v.before = v.outside()
	if !v.plain {
		args = append(args, "--json")
	}
	args = append(args, "--yes", "--via=tcp", "--timeout=30s", "--port", strconv.Itoa(int(v.theirs)),
		"--peer", fmt.Sprintf("127.0.0.1:%d/%s", v.ours, hostileWords))
	v.cmd = exec.Command(v.path, args...)
	home := filepath.Join(v.dir, "home")
	v.stdout, v.stderr = v.file("home/stdout"), v.file("home/stderr")
	v.cmd.Dir, v.cmd.Stdout, v.cmd.Stderr = v.dir, v.stdout, v.stderr
	v.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_STATE_HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	go v.watchMemory()
	go func() {
		defer close(v.ended)
		v.cmd.Wait() //nolint:errcheck // its status is looked at
	}()
	v.t.Cleanup(func() {
		v.cmd.Process.Kill() //nolint:errcheck // it should have ended
		<-v.ended
	})
}

// watchMemory looks at the peak now and then: what the kernel tells at the end includes
// the process that the program was started from.
func (v *victim) watchMemory() {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
		if err != nil {
			return
		}
		_, rest, _ := strings.Cut(string(b), "VmHWM:")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err == nil {
			v.most.Store(max(v.most.Load(), kib<<10))
		}
		select {
		case <-v.ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// meet connects to it, as one who knows the words.
func (v *victim) meet() net.Conn {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), time.Minute)
	defer cancel()
	side := tcppunch.SideA
	if v.sends {
		side = tcppunch.SideB
	}
	secret, err := pairing.NewSecret("", hostileWords)
	if err != nil {
		v.t.Fatal(err)
	}
	conn, err := tcppunch.Dial(ctx, &tcppunch.Config{
		Side: side, Port: v.ours, Via: tcppunch.ViaTCP, Peer: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), v.theirs)},
		Auth: func(ctx context.Context, conn net.Conn, exporter []byte) error {
			return pairing.Auth{Secret: secret}.Run(ctx, conn, side == tcppunch.SideA, exporter)
		},
	})
	if err != nil {
		v.t.Fatalf("%v\n%s%s", err, said(v.stdout), said(v.stderr))
	}
	v.t.Cleanup(func() { conn.Close() })
	return conn
}

// exchange does what comes before a transfer: the sender gives the receiver a key.
func (v *victim) exchange(conn net.Conn) {
	v.t.Helper()
	var err error
	if v.sends {
		if _, err = io.ReadFull(conn, make([]byte, 6+32)); err == nil {
			_, err = conn.Write([]byte("tpkR\x01\x00"))
		}
	} else {
		if _, err = conn.Write(append([]byte("tpkS\x01\x00"), bytes.Repeat([]byte{7}, 32)...)); err == nil {
			_, err = io.ReadFull(conn, make([]byte, 6))
		}
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

// outside is what is beside out, and in what way.
func (v *victim) outside() map[string]string {
	v.t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(v.dir, path)
		if err != nil || rel == "out" || rel == "home" {
			return cmp.Or(err, fs.SkipDir)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			all[rel] += fmt.Sprint(" ", info.Size(), " ", info.ModTime())
		}
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return all
}

// wantOut checks that nothing outside was touched, that what was in out is as it was, and
// that there is nothing else but partial files, and what is named.
func (v *victim) wantOut(names ...string) {
	v.t.Helper()
	if after := v.outside(); fmt.Sprint(after) != fmt.Sprint(v.before) {
		v.t.Errorf("outside of the folder:\n%v, was\n%v", after, v.before)
	}
	names = append(names, "mine", "planted", "leads-out", name.Partial("trap"))
	entries, err := os.ReadDir(filepath.Join(v.dir, "out"))
	if err != nil {
		v.t.Fatal(err)
	}
	for _, e := range entries {
		base := e.Name()
		hidden := strings.HasSuffix(base, ".tcppunch-part") || strings.HasPrefix(base, ".tcppunch-") && strings.HasSuffix(base, ".journal")
		if !slices.Contains(names, base) && !(hidden && e.Type().IsRegular()) {
			v.t.Errorf("%q was received", base)
		}
	}
	if b, err := os.ReadFile(filepath.Join(v.dir, "out", "mine")); err != nil || string(b) != "mine" {
		v.t.Errorf("mine was changed to %q, %v", b, err)
	}
	for link, to := range map[string]string{"planted": "../elsewhere", name.Partial("trap"): "../elsewhere"} {
		if got, err := os.Readlink(filepath.Join(v.dir, "out", link)); err != nil || got != to {
			v.t.Errorf("%s: leads to %q, %v", link, got, err)
		}
	}
}

// wantError waits for the end, and wants it as a person should see it.
func (v *victim) wantError(code, says string) {
	v.t.Helper()
	v.wait()
	all := v.events("error")
	status := map[string]int{"interrupted": 130}
	if v.sends {
		status["refused"], status["exists"] = 5, 5
	}
	if got := v.cmd.ProcessState.ExitCode(); got != cmp.Or(status[code], 1) || !v.plain && (len(all) != 1 || all[0].Code != code) {
		v.t.Errorf("exit status %d and errors %+v, want %q", got, all, code)
	}
	text := said(v.stderr)
	last := text[max(0, strings.LastIndex(text, "Error: ")):]
	if n := strings.Count(last, "\n"); n < 1 || n > 2 || len(last) > 2000 {
		v.t.Errorf("the error takes %d lines", n)
	}
	if !strings.Contains(text, says) {
		v.t.Errorf("does not say %q", says)
	}
	v.wantSane(text)
}

// wantDone waits for the end, and wants a good one.
func (v *victim) wantDone() {
	v.t.Helper()
	v.wait()
	if got := v.cmd.ProcessState.ExitCode(); got != 0 || len(v.events("done")) != 1 {
		v.t.Errorf("exit status %d", got)
	}
	v.wantSane(said(v.stderr))
}

// wantSane checks what must hold in any case.
func (v *victim) wantSane(text string) {
	v.t.Helper()
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") || strings.ContainsAny(text, "\x1b\a\x00\u202e") {
		v.t.Error("there is a stack trace, or what can fool a terminal")
	}
	if v.most.Load() > maxMemory {
		v.t.Errorf("it took %d KiB of memory", v.most.Load()>>10)
	}
	if v.t.Failed() {
		v.t.Logf("%d KiB of memory\n%s%s", v.most.Load()>>10, head(said(v.stderr)), head(said(v.stdout)))
	}
}

func head(s string) string { return s[:min(len(s), 4000)] }

func (v *victim) wait() {
	v.t.Helper()
	select {
	case <-v.ended:
	case <-time.After(time.Minute):
		v.cmd.Process.Kill() //nolint:errcheck // it should have ended
		<-v.ended
		v.t.Fatalf("it does not end:\n%s%s", said(v.stdout), said(v.stderr))
	}
}

type hostileEvent struct{ Event, Code, Message string }

func (v *victim) events(called string) (all []hostileEvent) {
	lines := bufio.NewScanner(io.NewSectionReader(v.stdout, 0, 1<<40))
	for lines.Scan() {
		var e hostileEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			v.t.Errorf("stdout holds %q: %v", lines.Text(), err)
		}
		if e.Event == called {
			all = append(all, e)
		}
	}
	return all
}
