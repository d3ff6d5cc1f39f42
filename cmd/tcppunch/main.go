// Command tcppunch sends files directly between two machines, over TCP, through
// their NATs and firewalls. `tcppunch --help` tells how.
//
// Its words, exit statuses and JSON events are a contract. The exit statuses:
//
//	0 done · 1 failed · 2 usage · 3 no path to the peer · 4 wrong code or failed
//	authentication · 5 refused by the peer · 130 interrupted
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"golang.org/x/term"
)

// cli is the command line. Flags that all commands share stand here.
type cli struct {
	JSON    bool          `help:"Print NDJSON events on standard output." name:"json"`
	Verbose bool          `short:"v" help:"Tell every attempt."`
	Timeout time.Duration `default:"10m" help:"How long to look for the peer."`
	STUN    []string      `name:"stun" env:"TCPPUNCH_STUN" placeholder:"HOST[:PORT],…" help:"STUN servers that tell this side's public address."`

	Send       sendCmd                   `cmd:"" help:"Send files."`
	Recv       recvCmd                   `cmd:"" help:"Receive files."`
	Bench      benchCmd                  `cmd:"" help:"Measure what the network gives between two machines."`
	Peers      peersCmd                  `cmd:"" help:"Tell who is on this local network."`
	Check      checkCmd                  `cmd:"" help:"Tell what the routers of this network do, and what that means."`
	Serve      serveCmd                  `cmd:"" help:"Run a server for codes and STUN, on a machine with a public address."`
	Version    versionCmd                `cmd:"" help:"Print the version."`
	Completion kongcompletion.Completion `cmd:"" help:"Print shell code that turns tab completion on."`
}

func main() { os.Exit(run(os.Args[1:], time.Now())) }

// run is the whole program; it returns the exit status.
func run(args []string, started time.Time) int {
	var c cli
	out := newOutput(os.Stdout, os.Stderr, started)
	out.json = wantsJSON(args)
	parser, err := kong.New(&c, kong.Name("tcppunch"),
		kong.Description("Send files directly between two machines: through both routers, with no port opened, by TCP or, where only that gets through, UDP."),
		kong.Writers(os.Stdout, os.Stderr), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Configuration(defaults, configFiles()...))
	if err != nil {
		return out.fail(usage(err))
	}
	kongcompletion.Register(parser)
	kctx, err := parser.Parse(args)
	if err != nil {
		return out.fail(usage(err))
	}
	out.json, out.verbose = c.JSON, c.Verbose
	if c.JSON && term.IsTerminal(int(os.Stdout.Fd())) {
		out.tty = false // events and a bar would be drawn over each other
	}

	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP) // the terminal's window was closed
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	kctx.BindTo(ctx, (*context.Context)(nil))
	err = kctx.Run(&c, out)
	if err != nil && ctx.Err() != nil && !errors.As(err, new(*failure)) {
		err = interrupted(err)
	}
	return out.fail(err)
}

// wantsJSON finds the flag where parsing may fail.
func wantsJSON(args []string) bool {
	for _, a := range args {
		if a == "--json" || a == "--json=true" {
			return true
		}
		if a == "--" {
			return false
		}
	}
	return false
}
