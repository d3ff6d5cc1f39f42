package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// sendCmd is `tcppunch send`.
type sendCmd struct {
	findFlags
	lanFlags
	retryFlags
	Paths    []string `arg:"" name:"path" help:"Files and folders to send, or - for standard input." type:"path"`
	Exclude  []string `placeholder:"PATTERN" sep:"none" help:"Leave out what has such a name, as *.tmp, cache/ (folders only) or photos/raw/*. Once for each pattern."`
	Follow   bool     `help:"Send what symbolic links point to. Else those within a folder stay links, and others are left out."`
	To       string   `placeholder:"NAME" help:"Send to the neighbour of that name, who runs tcppunch recv --wait on the local network. NAME@ and the beginning of a key tells apart two of one name."`
	As       string   `placeholder:"NAME" help:"Name for what comes from standard input. 'stdin' unless said."`
	Streams  int      `default:"0" placeholder:"N" help:"How many connections to send over, up to 32. As many as help unless said."`
	Compress string   `default:"auto" enum:"auto,on,off" help:"What to compress: auto (what shrinks, where the network is slow), on (all that shrinks), or off."`
}

// Help shows examples below the flags.
func (sendCmd) Help() string {
	return `With a server that both sides can reach (tcppunch serve), the screen shows a
short code, which the other side types. The files go directly from one side to
the other:

  tcppunch send --server rendezvous.example.org holiday.mov photos
  tcppunch recv --server rendezvous.example.org 4821-otter-lamp

Without one, a code leads to the other side on the same local network. Elsewhere
both sides tell each other's address; neither needs an open port:

  tcppunch send --peer 203.0.113.20:7070/otter-lamp-sofa holiday.mov
  tcppunch recv --peer 203.0.113.10:7070/otter-lamp-sofa

or let the program find this side's address and ask for the other one:

  tcppunch send --peer ask holiday.mov

To a neighbour, who runs tcppunch recv --wait on the same local network:

  tcppunch send --to anna holiday.mov

From a program into another one:

  tar c . | tcppunch send -
  tcppunch recv 4821-otter-lamp --out - | tar x

If the connection breaks, both sides look for each other again and go on, for a
day. If a program was ended, run it again, with the same code:

  tcppunch send --code 4821-otter-lamp holiday.mov photos`
}

// Run sends what was asked for and returns when the peer has it.
func (c *sendCmd) Run(ctx context.Context, common *cli, out *output) error {
	src, err := c.source(ctx)
	if err != nil {
		return err
	}
	show := newProgress(out, true)
	show.refused(src.Refused())
	s := &session{way: c.way(common, &c.lanFlags, tcppunch.SideA, "", out), side: tcppunch.SideA, retry: c.Retry, out: out}
	if c.To != "" {
		if s.way, err = c.toWay(common, out); err != nil {
			return err
		}
		s.lasting = !c.stdin()
	} else if !c.stdin() { // what was read from a pipe is gone with the program
		s.folder = senderFolder()
	}
	s.transfer = func(ctx context.Context, conn *tcppunch.Conn) error {
		opt := &transfer.SendOptions{Trace: show.trace(s), Streams: c.Streams, Compress: c.compress(conn)}
		opt.Extra, opt.Held = s.streams(conn)
		sum, err := transfer.Send(ctx, conn, src, opt)
		return show.end(sum, err)
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	show.done("Sent")
	return nil
}

// toWay is the way to a neighbour.
func (c *sendCmd) toWay(common *cli, out *output) (way, error) {
	if c.Code != "" || c.Peer != "" {
		return nil, usage(errors.New("--to and a code or an address (--peer, TCPPUNCH_PEER) were given: give one of them"))
	}
	if c.transport() == tcppunch.ViaKCP {
		return nil, usage(errNearBy)
	}
	return &toWay{lan: &c.lanFlags, common: common, typed: c.To, yes: c.Yes, out: out}, nil
}

// stdin tells whether standard input is what is sent.
func (c *sendCmd) stdin() bool { return slices.Contains(c.Paths, "-") }

// source looks at what is to be sent.
func (c *sendCmd) source(ctx context.Context) (*transfer.Source, error) {
	if c.Streams < 0 || c.Streams > transfer.MaxStreams {
		return nil, usage(fmt.Errorf("--streams must be 1 to %d, or 0 for as many as help", transfer.MaxStreams))
	}
	if !c.stdin() {
		if c.As != "" {
			return nil, usage(errors.New("--as is for what comes from standard input: give - as what to send"))
		}
		return transfer.Files(ctx, c.Paths, &transfer.SourceOptions{Exclude: c.Exclude, Follow: c.Follow})
	}
	if len(c.Paths) > 1 || len(c.Exclude) > 0 || c.Follow {
		return nil, usage(errors.New("standard input (-) is sent alone"))
	}
	name := cmp.Or(c.As, "stdin")
	if err := transfer.CheckName(name); err != nil {
		return nil, usage(err)
	}
	return transfer.Stream(os.Stdin, name), nil
}

// compress is the flag in the words of the transfer. A local network is faster than that.
func (c *sendCmd) compress(conn *tcppunch.Conn) transfer.Compress {
	switch {
	case c.Compress == "on":
		return transfer.CompressOn
	case c.Compress == "off" || slices.Contains([]tcppunch.Kind{tcppunch.KindLAN, tcppunch.KindPrivate}, conn.Path().Kind):
		return transfer.CompressOff
	}
	return transfer.CompressAuto
}
