package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// enter replaces this process by a program inside the network namespace at path, which belongs to the lab pid.
func enter(pid int, path, program string, args, env []string) error {
	runtime.LockOSThread() // exec takes over the namespace of the calling thread
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("entering the host: %w", err)
	}
	err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	f.Close()
	if err == nil {
		return fmt.Errorf("running %s: %w", program, unix.Exec(program, args, env))
	}
	// The lab runs in a user namespace of its own. A process with threads cannot enter that; nsenter can.
	nsenter, lookErr := exec.LookPath("nsenter")
	if lookErr != nil {
		return fmt.Errorf("entering the host: %w", err)
	}
	args = append([]string{"nsenter", "--user", "--preserve-credentials", "--target", strconv.Itoa(pid), "--net=" + path, "--", program}, args[1:]...)
	return fmt.Errorf("running %s: %w", nsenter, unix.Exec(nsenter, args, env))
}
