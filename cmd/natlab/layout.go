package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// output is where results go.
type output io.Writer

// layout is the flags that say what lab to bring up.
type layout struct {
	File  string        `short:"f" help:"Topology in JSON." placeholder:"FILE"`
	Pair  []string      `help:"Two NATs and what they answer to unsolicited packets: drop, reset, icmp, prohibited, or accept with --linux. Hosts a and b are behind them, s is public." placeholder:"ANSWER,ANSWER"`
	Linux bool          `help:"With --pair: both NATs are Linux kernels."`
	Delay time.Duration `help:"With --pair: time from a to b, one way."`
	IPv6  bool          `name:"ipv6" help:"With --pair: IPv6 too."`
	Trace bool          `help:"Print every packet at every host and NAT to standard error."`
}

// topology returns the topology that the flags ask for.
func (l *layout) topology() (natlab.Topology, error) {
	switch {
	case l.File != "" && l.Pair != nil:
		return natlab.Topology{}, errors.New("give a file or --pair, not both")
	case l.File != "":
		f, err := os.Open(l.File)
		if err != nil {
			return natlab.Topology{}, err
		}
		defer f.Close()
		t, err := natlab.ReadTopology(f)
		if err != nil {
			return t, fmt.Errorf("%s: %w", l.File, err)
		}
		return t, nil
	case l.Pair == nil:
		l.Pair = []string{"drop", "drop"}
	case len(l.Pair) != 2:
		return natlab.Topology{}, fmt.Errorf("--pair %s: want two answers with a comma between", strings.Join(l.Pair, ","))
	}
	t := natlab.Topology{
		Hosts: []natlab.Host{{Name: "a", Behind: "left"}, {Name: "b", Behind: "right"}, {Name: "s"}},
		IPv6:  l.IPv6,
	}
	for i, name := range []string{"left", "right"} {
		n := natlab.NAT{Name: name, Linux: l.Linux, Link: natlab.Link{Delay: l.Delay / 2}}
		if err := n.Unsolicited.UnmarshalText([]byte(l.Pair[i])); err != nil {
			return t, fmt.Errorf("--pair: %w", err)
		}
		t.NATs = append(t.NATs, n)
	}
	return t, nil
}

// start brings the lab up.
func (l *layout) start(ctx context.Context) (*natlab.Lab, error) {
	t, err := l.topology()
	if err != nil {
		return nil, err
	}
	o := &natlab.Options{}
	if l.Trace {
		o.Tap = func(c natlab.Capture) { fmt.Fprintln(os.Stderr, c) }
	}
	return natlab.Start(ctx, t, o)
}
