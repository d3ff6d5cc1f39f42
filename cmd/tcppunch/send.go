package main

import (
	"context"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// sendCmd is `tcppunch send`.
type sendCmd struct {
	findFlags
	Paths []string `arg:"" name:"path" help:"Files to send." type:"path"`
}

// Help shows examples below the flags.
func (sendCmd) Help() string {
	return `With a server that both sides can reach (tcppunch serve), the screen shows a
short code, which the other side types. The files go directly from one side to
the other:

  tcppunch send --server rendezvous.example.org holiday.mov
  tcppunch recv --server rendezvous.example.org 4821-otter-lamp

Without one, both sides tell each other's address; neither needs an open port:

  tcppunch send --peer 203.0.113.20:7070/otter-lamp-sofa holiday.mov
  tcppunch recv --peer 203.0.113.10:7070/otter-lamp-sofa

or let the program find this side's address and ask for the other one:

  tcppunch send --peer ask holiday.mov`
}

// Run sends the files and returns when the peer has them.
func (c *sendCmd) Run(ctx context.Context, common *cli, out *output) error {
	src, err := transfer.Files(c.Paths)
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx, common, tcppunch.SideA, "", out)
	if err != nil {
		return err
	}
	bar := newProgress(out, true)
	sum, err := transfer.Send(ctx, conn, src, &transfer.SendOptions{Trace: bar.trace()})
	bar.end(err == nil)
	hangUp(conn, err)
	if err != nil {
		return err
	}
	out.done("Sent", sum)
	return nil
}
