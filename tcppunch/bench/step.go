package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// A stepError ends a transport and not the Run.
type stepError struct{ error }

func (e *stepError) Unwrap() error { return e.error }

// errTheirs stops this side's part of a step that the other side has failed in.
var errTheirs = errors.New("the other side has failed")

type outcome struct {
	done
	err error
}

// step does f, which is this side's part, and waits for the other side's, so that both
// have ended when it returns. If either fails, the other one is stopped. f must end
// when its context does.
func (r *runner) step(s Step, limit time.Duration, f func(context.Context) (done, error)) (mine, theirs done, err error) {
	if t := r.opt.Trace.Step; t != nil {
		t(s)
	}
	n := r.steps
	r.steps++
	ctx, cancel := context.WithCancelCause(r.link.ctx)
	defer cancel(nil)
	late := time.AfterFunc(limit, func() { cancel(fmt.Errorf("not done after %v", limit)) })
	defer late.Stop()
	ended := make(chan outcome, 1)
	go func() {
		d, err := f(ctx)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		ended <- outcome{d, err}
	}()
	own, theirs, over := r.both(n, limit, ended, cancel)
	if over != nil {
		cancel(over)
		if own == nil {
			<-ended
		}
		return done{}, done{}, over
	}
	switch {
	case own.err != nil && !errors.Is(own.err, errTheirs):
		return own.done, theirs, &stepError{own.err}
	case theirs.Failed != "":
		return own.done, theirs, &stepError{fmt.Errorf("the other side: %s", theirs.Failed)}
	}
	return own.done, theirs, nil
}

// both waits for the ends of the two parts, and tells the other side of ours. An error
// ends all; own is nil when this side's part has not ended.
func (r *runner) both(n int, limit time.Duration, ended <-chan outcome, cancel context.CancelCauseFunc) (own *outcome, theirs done, over error) {
	patience := time.NewTimer(limit + doneTime)
	defer patience.Stop()
	for heard := false; own == nil || !heard; {
		select {
		case o := <-ended:
			own = &o
			o.Step = n
			if o.err != nil {
				o.Failed = clean(o.err.Error())
			}
			if err := r.link.writeJSON(kindDone, o.done); err != nil {
				return own, theirs, err
			}
		case theirs = <-r.link.dones:
			heard = true
			if theirs.Step != n {
				return own, theirs, violation("DONE to step %d in step %d", theirs.Step, n)
			}
			if theirs.Failed != "" {
				cancel(errTheirs)
			}
		case <-patience.C:
			return own, theirs, violation("the other side does not end a step that may take %v", limit)
		case <-r.link.ctx.Done():
			return own, theirs, context.Cause(r.link.ctx)
		}
	}
	return own, theirs, nil
}

// dial makes a connection, and tells how long it took the slower one of the two.
func (r *runner) dial(t Transport, o offer) (net.Conn, time.Duration, error) {
	var conn net.Conn
	s := &Signals{link: r.link, id: uint32(r.steps), first: r.plan.controller, seen: r.seen}
	mine, theirs, err := r.step(Step{Transport: o.Name, Streams: o.Streams, Phase: PhaseDial}, r.opt.DialTime,
		func(ctx context.Context) (done, error) {
			defer s.forget()
			d := nothing()
			began := time.Now()
			c, err := t.Dial(ctx, s)
			d.Setup = micros(time.Since(began))
			if err != nil {
				return d, err
			}
			conn = c
			return d, nil
		})
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, 0, err
	}
	return conn, fromMicros(max(mine.Setup, theirs.Setup)), nil
}

// closing closes the connections when ctx ends, unless it is stopped: so nobody
// waits on them for longer.
func closing(ctx context.Context, conns ...net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { closeAll(conns) })
}
