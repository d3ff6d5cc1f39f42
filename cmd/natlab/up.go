package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// upCmd is natlab up.
type upCmd struct {
	layout
	Topology string `arg:"" optional:"" help:"Topology in JSON, as --file." name:"file.json"`
	Name     string `help:"Name of the lab, for natlab exec." default:"lab"`
}

// Run keeps a lab up until the context ends.
func (c *upCmd) Run(ctx context.Context, out output) (err error) {
	if c.Topology != "" {
		c.File = c.Topology
	}
	if other, err := readRecord(c.Name); err == nil && other.alive() {
		return fmt.Errorf("a lab named %q runs already, as process %d: give this one another --name", c.Name, other.PID)
	}
	lab, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	rec := newRecord(lab)
	if err := rec.write(c.Name); err != nil {
		return err
	}
	defer os.Remove(recordPath(c.Name))
	printLab(out, lab)
	name := ""
	if c.Name != "lab" {
		name = " --name " + c.Name
	}
	fmt.Fprintf(out, "\nA shell in a host: natlab exec%s %s\nCtrl-C takes the lab down.\n", name, lab.Hosts()[0].Name())
	<-ctx.Done()
	return nil
}

// printLab prints a table of NATs and one of hosts.
func printLab(out io.Writer, lab *natlab.Lab) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	defer w.Flush()
	if len(lab.NATs()) > 0 {
		fmt.Fprintln(w, "NAT\tADDRESS\tLAN\tBEHIND")
		for _, n := range lab.NATs() {
			fmt.Fprintf(w, "%s\t%v\t%v\t%s\n", n.Name(), n.Addr(), n.LAN(), orCore(n.Behind()))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "HOST\tADDRESS\tIPV6\tBEHIND\tNAMESPACE")
	for _, m := range lab.Hosts() {
		six := "-"
		if m.Addr6().IsValid() {
			six = m.Addr6().String()
		}
		fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%s\n", m.Name(), m.Addr(), six, orCore(m.Behind()), m.Namespace())
	}
}

func orCore(behind string) string {
	if behind == "" {
		return "(public)"
	}
	return behind
}
