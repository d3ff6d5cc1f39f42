package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	// helloTime bounds the wait for the other side's HELLO.
	helloTime = 20 * time.Second
	// doneTime is how much longer than this side's step the other one's may take.
	doneTime = 20 * time.Second
)

// Run measures all transports that both sides have. The other side calls it too. It
// returns what was measured, also together with an error, which says that the rest
// could not be; a transport that failed is a Result and no error. When Run has
// returned, control is good for nothing but to be closed, which is up to the caller.
func Run(ctx context.Context, control net.Conn, opt *Options) (*Report, error) {
	o, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	l := newLink(ctx, control, o.Silence)
	r := &runner{opt: o, link: l, report: &Report{}, unreachable: map[string]bool{}}
	err = r.run()
	if err = l.finish(err); err != nil {
		err = fmt.Errorf("measuring: %w", err)
	}
	return r.report, err
}

// A runner is one Run.
type runner struct {
	opt   *Options
	link  *link
	plan  plan
	seen  netip.Addr
	steps int // begun so far
	// unreachable are the transports that could not be connected, by name.
	unreachable map[string]bool
	data        *source
	report      *Report
}

func (r *runner) run() error {
	if err := r.greet(); err != nil {
		return err
	}
	r.report.Controller, r.report.Time = r.plan.controller, r.plan.time
	var err error
	for _, t := range r.plan.transports {
		var res Result
		if r.unreachable[t.Like] {
			res = Result{Transport: t.Name, Streams: t.Streams, Sent: unknown(), Received: unknown(), Err: fmt.Errorf("cannot connect, as %s", t.Like)}
		} else if res, err = r.transport(t); err != nil {
			return err
		}
		r.report.Results = append(r.report.Results, res)
		if f := r.opt.Trace.Result; f != nil {
			f(res)
		}
	}
	return nil
}

// greet exchanges hellos and makes the plan.
func (r *runner) greet() error {
	mine := hello{Magic: magic, Version: version, Preface: make([]byte, prefaceSize), TimeMS: r.opt.Time.Milliseconds()}
	rand.Read(mine.Preface) //nolint:errcheck // never fails
	for _, t := range r.opt.Transports {
		mine.Transports = append(mine.Transports, offer{t.Name, t.Streams, t.Like})
	}
	if a, err := netip.ParseAddrPort(r.link.conn.RemoteAddr().String()); err == nil {
		mine.Seen = a.Addr().Unmap().WithZone("")
	}
	if err := r.link.writeJSON(kindHello, mine); err != nil {
		return err
	}
	t := time.NewTimer(helloTime)
	defer t.Stop()
	var theirs hello
	select {
	case theirs = <-r.link.hello:
	case <-t.C:
		return fmt.Errorf("%w: it does not answer", ErrPeerGone)
	case <-r.link.ctx.Done():
		return context.Cause(r.link.ctx)
	}
	var err error
	if r.plan, err = agree(mine, theirs); err != nil {
		return err
	}
	r.seen = theirs.Seen
	if f := r.opt.Trace.Agreed; f != nil {
		f(r.plan.time, time.Duration(theirs.TimeMS)*time.Millisecond, len(r.plan.transports))
	}
	return nil
}

// transport measures one transport. An error is the end of all, not of this one.
func (r *runner) transport(o offer) (Result, error) {
	t := r.named(o.Name)
	res := Result{Transport: o.Name, Streams: o.Streams, Sent: unknown(), Received: unknown()}
	var conns []net.Conn
	defer func() { closeAll(conns) }()
	for i := range o.Streams {
		conn, setup, err := r.dial(t, o)
		if err != nil {
			r.unreachable[o.Name] = true
			return r.failed(res, err)
		}
		conns = append(conns, conn)
		if i == 0 {
			res.Setup = setup
		}
	}
	var err error
	if res.RTT, err = r.roundTrips(o, conns[0]); err != nil {
		return r.failed(res, err)
	}
	for _, sends := range []bool{r.plan.controller, !r.plan.controller} {
		d, err := r.load(t, o, conns, res.RTT.Median, sends)
		if sends {
			res.Sent = d
		} else {
			res.Received = d
		}
		if err != nil {
			return r.failed(res, err)
		}
	}
	return res, nil
}

// failed tells the end of a transport from the end of all.
func (r *runner) failed(res Result, err error) (Result, error) {
	res.Err = err
	if errors.As(err, new(*stepError)) && r.link.ctx.Err() == nil {
		return res, nil
	}
	return res, err
}

func (r *runner) named(name string) Transport {
	for _, t := range r.opt.Transports {
		if t.Name == name {
			return t
		}
	}
	return Transport{} // the plan has only names of ours
}

func unknown() Direction {
	return Direction{Retransmits: -1, Packets: -1, CPU: -1, PeerCPU: -1}
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}
