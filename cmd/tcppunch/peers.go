package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

const (
	lookFor    = 3 * time.Second // before the list is shown
	lookLonger = 5 * time.Second // when nobody is on it: large networks take so long to be asked by datagrams
)

// peersCmd is `tcppunch peers`.
type peersCmd struct {
	Watch  bool          `short:"w" help:"Show who comes and goes, until Ctrl-C."`
	Doctor bool          `help:"Find out, by testing, why somebody is not seen."`
	Forget string        `placeholder:"NAME" help:"Forget a peer that was met: the next time, its key is looked at as for the first time."`
	Sweep  lanfind.Sweep `default:"auto" enum:"auto,on,off" placeholder:"WHEN" help:"When to send a datagram to every address of the local network, for firewalls that drop multicast: auto (when nobody is found otherwise), on or off."`
}

// Help shows examples below the flags.
func (peersCmd) Help() string {
	return `It lists the programs on this local network that wait for a peer, as they tell of
themselves, after three seconds. Nothing of it is proven, and this side is not listed
anywhere by looking.

  tcppunch peers
  tcppunch peers --watch
  tcppunch peers --doctor

Whoever was met by send --to or recv --wait is known by its key from then on. If that
has changed and you know why:

  tcppunch peers --forget anna`
}

// Run lists who is there. That nobody is, is no failure.
func (c *peersCmd) Run(ctx context.Context, common *cli, out *output) error {
	switch {
	case c.Doctor && c.Watch:
		return usage(errors.New("--watch and --doctor are two commands: one after the other"))
	case c.Forget != "" && (c.Doctor || c.Watch):
		return usage(errors.New("--forget is a command by itself"))
	case c.Forget != "":
		if err := forgetPeer(c.Forget); err != nil {
			return err
		}
		out.event("forgotten", struct {
			Name string `json:"name"`
		}{c.Forget})
		out.say("%s is forgotten.", transfer.Clean(c.Forget))
		return nil
	case c.Doctor:
		return runDoctor(ctx, out)
	}
	o := &lanfind.Options{Sweep: c.Sweep, Trace: out.lanTrace()}
	if c.Watch {
		return watchPeers(ctx, o, out)
	}
	where, err := networks()
	if err != nil {
		return err
	}
	out.say("Looking around on %s …", where)
	all, err := lookAround(ctx, o, min(common.Timeout, lookFor), min(common.Timeout, lookLonger))
	if err != nil {
		return err
	}
	for _, p := range all.sorted() {
		out.peerEvent(lanfind.Found, &p)
	}
	if len(all) == 0 {
		out.say("Nobody is here who says so. `tcppunch peers --doctor` finds out why.")
		return nil
	}
	width, _ := out.screenSize()
	out.say("%s", strings.Join(peerLines(all.sorted(), width, time.Now()), "\n"))
	return nil
}

// networks names where there is somebody to look for.
func networks() (string, error) {
	all, err := lanfind.Interfaces()
	if err != nil {
		return "", err
	}
	var fit, unfit []string
	for _, i := range all {
		switch {
		case i.Unfit == "":
			fit = append(fit, interfaceText(&i))
		case i.Unfit != "loopback":
			unfit = append(unfit, i.Name+": "+i.Unfit)
		}
	}
	if len(fit) == 0 {
		unfit = append([]string{"no network interface that could be used"}, unfit...)
		return "", &failure{statusNoPath, "no-network", fmt.Errorf("%w: %s", tcppunch.ErrNoNetwork, strings.Join(unfit, "; ")), "`tcppunch peers --doctor` tells more"}
	}
	return strings.Join(fit, ", "), nil
}

// interfaceText is its name and its first address.
func interfaceText(i *lanfind.Interface) string {
	name := transfer.Clean(i.Name)
	if at := slices.IndexFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() }); at >= 0 {
		return fmt.Sprintf("%s (%v)", name, i.Addrs[at])
	}
	if len(i.Addrs) > 0 {
		return fmt.Sprintf("%s (%v)", name, i.Addrs[0])
	}
	return name
}

// lookAround returns who is found in a time, or in a longer one if it is nobody.
func lookAround(ctx context.Context, o *lanfind.Options, most, longer time.Duration) (peerList, error) {
	looking, enough := context.WithTimeout(ctx, longer)
	defer enough()
	all := make(peerList)
	began, anybody := time.Now(), false
	for e, err := range lanfind.Browse(looking, o) {
		if err != nil {
			return nil, err
		}
		all.apply(e)
		if !anybody { // then it need not be longer
			anybody = true
			timer := time.AfterFunc(time.Until(began.Add(most)), enough)
			defer timer.Stop()
		}
	}
	if ctx.Err() != nil {
		return nil, interrupted(context.Cause(ctx))
	}
	return all, nil
}

// A peerList is who is there, by ID.
type peerList map[string]lanfind.Peer

func (l peerList) apply(e lanfind.Event) {
	if e.Kind == lanfind.Gone {
		delete(l, e.Peer.ID)
		return
	}
	l[e.Peer.ID] = e.Peer
}

// sorted is the list as people look for names, whoever has none at its end.
func (l peerList) sorted() []lanfind.Peer {
	all := make([]lanfind.Peer, 0, len(l))
	for _, p := range l {
		all = append(all, p)
	}
	slices.SortFunc(all, func(p, q lanfind.Peer) int {
		if (p.Name == "") != (q.Name == "") {
			return strings.Compare(q.Name, p.Name)
		}
		if c := strings.Compare(strings.ToLower(p.Name), strings.ToLower(q.Name)); c != 0 {
			return c
		}
		return strings.Compare(p.ID, q.ID)
	})
	return all
}

// waitsFor is what a peer waits for: "room", "files" or "no".
func waitsFor(p *lanfind.Peer) string {
	switch {
	case strings.HasPrefix(p.Room, toRoom):
		return "no" // it is about to send to one peer
	case p.Room != "":
		return "room"
	case p.Key != "":
		return "files"
	}
	return "no"
}

// peerEvent tells programs of a peer. Its fields stand in the contract.
func (o *output) peerEvent(kind lanfind.Kind, p *lanfind.Peer) {
	e := struct {
		Kind    string    `json:"kind"`
		Name    string    `json:"name"`
		Addr    string    `json:"addr"`
		Addrs   []string  `json:"addrs"`
		ID      string    `json:"id"`
		Since   time.Time `json:"since"`
		Waiting string    `json:"waiting"`
		Room    string    `json:"room"`
		Key     string    `json:"key"`
		Via     string    `json:"via"`
	}{
		Kind: kind.String(), Name: transfer.Clean(p.Name), Addrs: []string{}, ID: transfer.Clean(p.ID), Since: p.Since,
		Waiting: waitsFor(p), Room: transfer.Clean(p.Room), Key: transfer.Clean(p.Key), Via: p.Via.String(),
	}
	for _, a := range p.Addrs {
		e.Addrs = append(e.Addrs, a.String())
	}
	if len(e.Addrs) > 0 {
		e.Addr = e.Addrs[0]
	}
	o.event("peer", e)
}

// lanTrace tells, with --verbose, what discovery does.
func (o *output) lanTrace() *lanfind.Trace {
	return &lanfind.Trace{
		Interface: func(i lanfind.Interface, used bool) {
			if used {
				o.detail("looking on %s", interfaceText(&i))
			} else {
				o.detail("no longer on %s", interfaceText(&i))
			}
		},
		Sweep:   func(n netip.Prefix, addrs int) { o.detail("asking %d addresses of %v by datagram", addrs, n) },
		Problem: func(err error) { o.detail("%s", shown(err)) },
	}
}
