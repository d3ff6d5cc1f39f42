package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// recvCmd is `tcppunch recv`.
type recvCmd struct {
	findFlags
	lanFlags
	retryFlags
	Wait      bool   `help:"Wait for files from neighbours on the local network (send --to), one transfer after the other, until stopped. Each is asked for."`
	Trust     bool   `help:"With --wait: ask nothing about files from whom this side knows."`
	Given     string `arg:"" optional:"" name:"code" help:"The code that the sender's screen shows. Other users of this machine can see arguments: without one it is read from TCPPUNCH_CODE or standard input, or asked for."`
	Out       string `default:"." placeholder:"DIR" type:"path" help:"Folder to receive into, or - to write the one file or stream to standard output."`
	Overwrite bool   `xor:"exists" help:"Replace files that exist and differ."`
	Rename    bool   `xor:"exists" help:"Receive files that exist and differ under another name, as in 'name (2).txt'."`
}

// Run receives what the peer offers.
func (c *recvCmd) Run(ctx context.Context, common *cli, out *output) error {
	if c.Wait {
		return c.wait(ctx, common, out)
	}
	if c.Trust {
		return usage(errors.New("--trust goes with --wait"))
	}
	dst, err := c.dest(common)
	if err != nil {
		return err
	}
	defer dst.Close() //nolint:errcheck // partial files are kept in any case
	show := newProgress(out, false)
	s := &session{way: c.way(common, &c.lanFlags, tcppunch.SideB, c.Given, out), side: tcppunch.SideB, retry: c.Retry, out: out}
	if c.Out != "-" { // what was written to a pipe is gone with the program
		s.folder = c.Out
	}
	ask := show.asker()
	if c.Yes || c.exists() != transfer.Keep {
		ask = nil
	}
	s.transfer = c.receive(s, dst, show, c.accept(s), ask)
	if err := s.run(ctx); err != nil {
		return err
	}
	show.done("Received")
	return nil
}

// receive returns what receives on one connection of a session.
func (c *recvCmd) receive(s *session, dst *transfer.Dest, show *progress, accept func(context.Context, transfer.Offer) error,
	ask func(context.Context, transfer.Conflict) (transfer.Policy, error)) func(context.Context, *tcppunch.Conn) error {
	return func(ctx context.Context, conn *tcppunch.Conn) error {
		opt := &transfer.ReceiveOptions{Trace: show.trace(s), Accept: accept, Exists: c.exists(), Ask: ask}
		opt.Extra, _ = s.streams(conn)
		sum, err := transfer.Receive(ctx, conn, dst, opt)
		switch {
		case err == nil, errors.As(err, new(*transfer.Incomplete)):
			s.unheard = !sum.Heard
		case !broken(err): // a break while the sender is looked for changes nothing
			s.unheard = false
		}
		return show.end(sum, err)
	}
}

// dest opens what is received into.
func (c *recvCmd) dest(common *cli) (*transfer.Dest, error) {
	if c.Out == "-" {
		if common.JSON {
			return nil, usage(errors.New("--out - and --json both need standard output: give one of them"))
		}
		signal.Ignore(syscall.SIGPIPE) // who no longer reads is an error, which the other side must hear of
		return transfer.IntoWriter(os.Stdout), nil
	}
	if info, err := os.Stat(c.Out); err != nil {
		return nil, fmt.Errorf("folder to receive into: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("folder to receive into: %s is not a folder", c.Out)
	}
	return transfer.Into(c.Out)
}

func (c *recvCmd) exists() transfer.Policy {
	switch {
	case c.Overwrite:
		return transfer.Overwrite
	case c.Rename:
		return transfer.Rename
	}
	return transfer.Keep
}

// accept decides on an offer. What the person has said yes to is not asked for again.
func (c *recvCmd) accept(s *session) func(context.Context, transfer.Offer) error {
	return func(ctx context.Context, o transfer.Offer) error {
		if s.accepted(o.Digest) {
			return nil
		}
		if !c.Yes {
			if err := acceptAtTerminal(ctx, o); err != nil {
				return err
			}
		}
		s.accept(o.Digest)
		return nil
	}
}
