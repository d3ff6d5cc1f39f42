package natlab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// heir is a shell that outlives the lab's process when that is killed, and then kills what is left in the lab's
// namespaces: programs that were started by programs. It reads from a pipe that nobody writes to, and whose end means
// the end of the lab.
type heir struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

// heirScript gets the namespaces as arguments, as readlink shows them.
const heirScript = `read -r _
for link in /proc/[0-9]*/ns/net; do
	ns=$(readlink "$link") || continue
	for mine; do
		[ "$ns" = "$mine" ] && pid=${link#/proc/} && kill -9 "${pid%%/*}"
	done
done`

func startHeir(ids []string) (*heir, error) {
	cmd := exec.Command("sh", append([]string{"-c", heirScript, "natlab"}, ids...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the keyboard of the lab's terminal is not for it
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("starting the shell that cleans up: %w", err)
	}
	return &heir{cmd, w}, nil
}

// dismiss ends the heir without its doing anything.
func (h *heir) dismiss() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	h.pipe.Close()
}

// id is what /proc shows as the namespace of a process inside.
func (ns *namespace) id() string {
	s, _ := os.Readlink(ns.path())
	return s
}

// killInside kills every process in the given namespaces, whoever started it.
func killInside(ids []string) {
	for range 100 { // a process may start another while it is looked for
		if !killOnce(ids) {
			return
		}
	}
}

func killOnce(ids []string) bool {
	found := false
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !slices.Contains(ids, target) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err == nil && unix.Kill(pid, unix.SIGKILL) == nil {
			found = true
		}
	}
	return found
}
