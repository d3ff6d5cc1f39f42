package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// recvCmd is `tcppunch recv`.
type recvCmd struct {
	findFlags
	Given     string `arg:"" optional:"" name:"code" help:"The code that the sender's screen shows. Other users of this machine can see arguments: without one it is read from TCPPUNCH_CODE or standard input, or asked for."`
	Out       string `default:"." placeholder:"DIR" type:"path" help:"Folder to receive into."`
	Overwrite bool   `help:"Replace files that exist."`
}

// Run receives what the peer offers.
func (c *recvCmd) Run(ctx context.Context, common *cli, out *output) error {
	if info, err := os.Stat(c.Out); err != nil {
		return fmt.Errorf("folder to receive into: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("folder to receive into: %s is not a folder", c.Out)
	}
	conn, err := c.connect(ctx, common, tcppunch.SideB, c.Given, out)
	if err != nil {
		return err
	}
	bar := newProgress(out, false)
	opt := &transfer.ReceiveOptions{Overwrite: c.Overwrite, Trace: bar.trace()}
	if !c.Yes {
		opt.Accept = acceptAtTerminal
	}
	sum, err := transfer.Receive(ctx, conn, c.Out, opt)
	bar.end(err == nil)
	hangUp(conn, err)
	if err != nil {
		return err
	}
	out.done("Received", sum)
	return nil
}

var errNotWanted = errors.New("the person at the other end does not want this")

// acceptAtTerminal shows the offer and asks. Without a terminal there is nobody
// to ask, and who started the program with the peer's words has agreed.
func acceptAtTerminal(ctx context.Context, o transfer.Offer) error {
	t, err := openTerminal()
	if err != nil {
		return nil
	}
	defer t.Close()
	ok, err := t.yes(ctx, "Receive "+describe(o)+"?", true)
	if err != nil {
		return err
	}
	if !ok {
		return errNotWanted
	}
	return nil
}

// describe names the first files of an offer.
func describe(o transfer.Offer) string {
	const most = 3
	var names []string
	for f := range o.All() {
		if len(names) == most {
			names = append(names, "…")
			break
		}
		names = append(names, transfer.Clean(f.Name))
	}
	return fmt.Sprintf("%s (%s, %s)", strings.Join(names, ", "), plural(o.Files, "file"), size(o.Bytes))
}
