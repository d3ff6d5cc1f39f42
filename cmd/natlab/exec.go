package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// execCmd is natlab exec.
type execCmd struct {
	Name    string   `help:"Name of the lab." default:"lab"`
	Host    string   `arg:"" help:"Name of the host."`
	Command []string `arg:"" optional:"" passthrough:"" help:"Command and its arguments. The default is a shell."`
}

// Run replaces this process by the command inside the host, so terminal, signals and exit status are the command's.
func (c *execCmd) Run() error {
	r, err := readRecord(c.Name)
	if err != nil {
		return err
	}
	if !r.alive() {
		return fmt.Errorf("lab %q is gone: start it again with natlab up", c.Name)
	}
	path, ok := r.Hosts[c.Host]
	if !ok {
		var names []string
		for name := range r.Hosts {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("no host is named %q: there are %s", c.Host, strings.Join(names, ", "))
	}
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		command = []string{shell()}
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return enter(r.PID, path, program, command, append(os.Environ(), "NATLAB_HOST="+c.Host))
}

func shell() string {
	if s := os.Getenv("SHELL"); s != "" {
		return s
	}
	return "sh"
}
