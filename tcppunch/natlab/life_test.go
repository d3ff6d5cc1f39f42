//go:build linux

package natlab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"go.uber.org/goleak"
)

// helperVar makes the test binary do one thing and no tests.
const helperVar = "NATLAB_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperVar) {
	case "":
		goleak.VerifyTestMain(m)
	case "support":
		fmt.Println(natlab.Support())
	case "victim":
		victim()
	}
}

// victim runs a lab with programs until it is killed. It prints the namespaces.
func victim() {
	lab, err := natlab.Start(context.Background(), pair(natlab.NAT{}, natlab.NAT{Linux: true}), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	lab.Host("a").Start("sleep", "1000")
	lab.Host("b").Start("sh", "-c", "setsid sleep 1000 & sleep 1000; true")
	for _, m := range lab.Hosts() {
		id, _ := os.Readlink(m.Namespace())
		fmt.Println(id)
	}
	fmt.Println("ready")
	select {}
}

// users lists the processes that are in a namespace, or hold it open.
func users(id string) []string {
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, _ := filepath.Glob(pattern)
		for _, link := range links {
			if target, _ := os.Readlink(link); target == id {
				found = append(found, link)
			}
		}
	}
	return found
}

// gone waits until nobody uses the namespaces.
func gone(t *testing.T, ids []string) {
	t.Helper()
	for _, id := range ids {
		if !strings.HasPrefix(id, "net:[") {
			t.Fatalf("%q is no namespace", id)
		}
		for end := time.Now().Add(within); len(users(id)) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is used still: %v", id, users(id))
			}
		}
	}
}

// TestKilled kills the process of a lab and looks for what is left of it.
func TestKilled(t *testing.T) {
	t.Parallel()
	if err := natlab.Support(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVar+"=victim")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		ids = append(ids, lines.Text())
	}
	if len(ids) != 2 || len(users(ids[0])) < 2 || len(users(ids[1])) < 3 {
		t.Fatalf("the lab did not start: %v", ids)
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	gone(t, ids)
}

func TestClose(t *testing.T) {
	if err := natlab.Support(); err != nil {
		t.Skip(err)
	}
	before := fds(t)
	lab, err := natlab.Start(t.Context(), pair(natlab.NAT{}, natlab.NAT{Linux: true}), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := lab.Host("a")
	stray := a.Start("sh", "-c", "setsid sleep 1000 & sleep 1000; true")
	var ids []string
	for _, m := range lab.Hosts() {
		id, _ := os.Readlink(m.Namespace())
		ids = append(ids, id)
	}
	begin := time.Now()
	if err := lab.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("closing took %v", took)
	}
	if r := stray.Wait(); r.Code != -1 || r.Err == nil {
		t.Errorf("a program that was killed by Close: %+v", r)
	}
	gone(t, ids)
	if after := fds(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
	if err := lab.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing again: %v", err)
	}
	if err := a.Do(func() error { return nil }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if r := a.Run("true"); !errors.Is(r.Err, net.ErrClosed) {
		t.Errorf("Run after Close: %v", r.Err)
	}
}

func fds(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestParallelLabs runs many labs with the same names and addresses at once.
func TestParallelLabs(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		lab := natlab.New(t, pair(natlab.NAT{}, natlab.NAT{Linux: true}))
		all.Go(func() {
			a, b := client{t, lab.Host("a")}, client{t, lab.Host("b")}
			errs := make(chan error, 2)
			dial := func(c client, to netip.Addr) {
				_, err := c.tcp(7070, netip.AddrPortFrom(to, 7070))
				errs <- err
			}
			go dial(a, lab.NAT("office").Addr())
			go dial(b, lab.NAT("home").Addr())
			if err := errors.Join(<-errs, <-errs); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestExamples brings the example topologies up.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			top, err := natlab.ReadTopology(f)
			if err != nil {
				t.Fatal(err)
			}
			lab := natlab.New(t, top)
			to := reflector(t, lab.Host("stun"), ":3478")
			for _, name := range []string{"a", "b"} {
				if got := (client{t, lab.Host(name)}).seen(7070, to).Addr(); got == lab.Host(name).Addr() {
					t.Errorf("%s is seen as %v", name, got)
				}
			}
		})
	}
}

// TestStartCancelled: a start that fails leaves nothing open.
func TestStartCancelled(t *testing.T) {
	if err := natlab.Support(); err != nil {
		t.Skip(err)
	}
	before := fds(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := natlab.Start(ctx, pair(natlab.NAT{}, natlab.NAT{}), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if after := fds(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func TestStartTime(t *testing.T) {
	begin := time.Now()
	natlab.New(t, pair(natlab.NAT{}, natlab.NAT{Linux: true}))
	took := time.Since(begin)
	t.Logf("a lab of two NATs starts in %v", took)
	if took > within {
		t.Errorf("starting took %v", took)
	}
}

// again runs tests of this binary once more, as nobody when root runs it, by the given command.
func again(t *testing.T, env []string, command ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "natlab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self := filepath.Join(dir, "test")
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(self, data, 0o755), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	command = append(command, self, "-test.run=^(TestSimultaneousOpen|TestLAN|TestTransfer|TestHostFirewall|TestClose)$", "-test.v")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), "CI=true"), env...)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", command, err, out)
	}
	return string(out)
}

// TestUnprivileged runs tests without any privilege, in namespaces of a user's own.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	nobody := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		nobody.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	probe := exec.Command("unshare", "-Urnm", "true")
	probe.SysProcAttr = nobody
	probe.Dir = "/"
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("users may not make namespaces here: %v %s", err, out)
	}
	out := again(t, nil, "unshare", "-Urnm")
	if !strings.Contains(out, "--- PASS: TestSimultaneousOpen") || strings.Contains(out, "--- SKIP") {
		t.Errorf("not all tests ran:\n%s", out)
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give its rights away")
	}
	if b, err := os.ReadFile("/proc/self/uid_map"); err == nil && !strings.Contains(string(b), "4294967295") {
		t.Skip("this user namespace knows no other user")
	}
	out := again(t, []string{helperVar + "=support"})
	for _, want := range []string{natlab.ErrUnsupported.Error(), "unshare -Urnm"} {
		if !strings.Contains(out, want) {
			t.Errorf("Support says %q, want %q in it", out, want)
		}
	}
}

// refusingTB is a test that remembers how it ended.
type refusingTB struct {
	testing.TB
	failed string
}

func (r *refusingTB) Errorf(format string, args ...any) { r.failed += fmt.Sprintf(format, args...) }
func (r *refusingTB) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func TestFailures(t *testing.T) {
	if err := natlab.Support(); err != nil {
		t.Skip(err)
	}
	for name, test := range map[string]struct {
		do   func(tb natlab.TB)
		want string
	}{
		"bad topology": {func(tb natlab.TB) { natlab.New(tb, natlab.Topology{}) }, "no hosts"},
		"unknown host": {func(tb natlab.TB) { natlab.New(tb, twoPublic(natlab.Link{})).Host("x") }, `no host is named "x"`},
		"unknown NAT":  {func(tb natlab.TB) { natlab.New(tb, twoPublic(natlab.Link{})).NAT("x") }, `no NAT is named "x"`},
		"unknown program": {func(tb natlab.TB) {
			natlab.New(tb, twoPublic(natlab.Link{})).Host("a").Run("no-such-program")
		}, "no-such-program"},
	} {
		t.Run(name, func(t *testing.T) {
			tb := &refusingTB{TB: t}
			var done sync.WaitGroup
			done.Go(func() { test.do(tb) })
			done.Wait()
			if !strings.Contains(tb.failed, test.want) {
				t.Errorf("got %q, want %q in it", tb.failed, test.want)
			}
		})
	}
}
