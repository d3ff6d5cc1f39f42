// Natlab brings up a network for experiments by hand: hosts, NATs and wires, with real kernels.
//
//	natlab up --pair drop,reset --delay 50ms     two NATs, a host behind each, and a public host; stays until Ctrl-C
//	natlab exec a                                a shell in host a of the running lab
//	natlab run --pair drop,reset 'a=ip addr' …   brings a lab up, runs commands in its hosts, takes it down
//
// Topologies other than a pair of NATs are read from a JSON file; see package natlab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	Up   upCmd   `cmd:"" help:"Bring a lab up and keep it until Ctrl-C."`
	Exec execCmd `cmd:"" help:"Run a command, or a shell, in a host of a running lab."`
	Run  runCmd  `cmd:"" help:"Bring a lab up, run commands in its hosts, take it down."`
}

// exitError carries the exit status of a command that natlab ran.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() { os.Exit(run()) }

func run() int {
	var c cli
	parser, err := kong.New(&c, kong.Name("natlab"), kong.Description("A network of hosts and NATs for experiments, with real kernels."),
		kong.UsageOnError(), kong.BindTo(os.Stdout, (*output)(nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	args, err := parser.Parse(os.Args[1:])
	if err != nil {
		parser.Errorf("%v", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	args.BindTo(ctx, (*context.Context)(nil))
	err = args.Run()
	var status exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(os.Stderr, "Error:", err)
	return 1
}
