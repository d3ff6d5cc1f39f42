//go:build linux

package transfer

import (
	"bytes"
	"crypto/rand"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// A scheme is a receiver that is up to something.
type scheme struct {
	name string
	size int64 // of the file, which has holes from 3 MiB on; 0 means that, without
	do   func(t *testing.T, v *victim, conn net.Conn)
	code string // of the sender's error; "" if all is to end well
	says string
}

// hostileReceivers say what they like to tcppunch send.
func (c *builtCommand) hostileReceivers(t *testing.T) {
	t.Parallel()
	schemes := slices.Concat(slowSchemes(), lyingSchemes(), keySchemes())
	for _, a := range answerAttacks() {
		code := "failed"
		if a.want != nil {
			code = Code(a.want)
		}
		schemes = append(schemes, scheme{name: a.name, code: code, says: a.text, do: func(_ *testing.T, v *victim, conn net.Conn) {
			v.exchange(conn)
			play(conn, a.turns...)
		}})
	}
	for _, s := range schemes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			v := c.newVictim(t)
			path := filepath.Join(v.dir, "f")
			write(t, v.dir, map[string][]byte{"f": content(3 * mib)})
			if s.size == large {
				write(t, v.dir, map[string][]byte{"f": bytes.Repeat(content(mib), large/mib)})
			} else if s.size > 0 {
				if err := os.Truncate(path, s.size); err != nil {
					t.Fatal(err)
				}
			}
			v.start("send", "--retry=0", "f")
			s.do(t, v, v.meet())
			v.want(s.code, s.says)
			v.wantOut()
		})
	}
}

// keySchemes go wrong in what comes before a transfer.
func keySchemes() []scheme {
	answer := func(b string) func(*testing.T, *victim, net.Conn) {
		return func(t *testing.T, _ *victim, conn net.Conn) {
			if _, err := io.ReadFull(conn, make([]byte, 6+32)); err != nil {
				t.Error(err)
			}
			_, _ = conn.Write([]byte(b))
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	return []scheme{
		{"garbage for a key", 0, answer("\x1b[2J\x1b[2J\x1b[2J"), "version", "another protocol"},
		{"key of another sender", 0, answer("tpkS\x01\x00" + strings.Repeat("k", 32)), "protocol", "both sides send"},
		{"key of the future", 0, answer("tpkR\x09\x00"), "version", ""},
		{"leaves instead of a key", 0, func(_ *testing.T, _ *victim, conn net.Conn) { conn.Close() }, "peer-gone", ""},
	}
}

// lyingSchemes claim things about what is where.
func lyingSchemes() []scheme {
	const huge = 8 << 30
	plays := func(turns ...turn) func(*testing.T, *victim, net.Conn) {
		return func(_ *testing.T, v *victim, conn net.Conn) {
			v.exchange(conn)
			play(conn, turns...)
		}
	}
	evil := wire.Loss{Failure: wire.Failure{Code: "x\x1b[2J", Message: strings.Repeat("\x1b]0;\u202e", 100)}}
	return []scheme{
		{"garbage", 0, func(_ *testing.T, v *victim, conn net.Conn) {
			v.exchange(conn)
			go io.Copy(io.Discard, conn) //nolint:errcheck // until it leaves
			_, _ = io.CopyN(conn, rand.Reader, 1<<20)
		}, "protocol", ""},
		{"all is there, in a file of holes", huge, plays(accepting(
			turn{wire.PageKind, frPlan(wire.Plan{Action: wire.Check, Have: huge / mib})}, turn{wire.CheckKind, frVerdict(huge/mib, true)})...), "protocol", "not asked for"},
		{"settled at once", huge, plays(accepting(turn{wire.PageKind, slices.Concat(frPlan(wire.Plan{Action: wire.Send}), frAck(1, 1, mib, math.MaxInt64))})...), "protocol", ""},
		{"done, and not the size", 0, plays(accepting(turn{wire.PageKind, frPlan(wire.Plan{})}, turn{wire.EndKind, frResult(1, 0, 1)})...), "protocol", "counts other files"},
		{"fails in evil words", 0, plays(accepting(turn{wire.PageKind, slices.Concat(of(wire.FailedKind, evil.Append), frPlan(wire.Plan{Action: wire.Failed}))},
			turn{wire.EndKind, frResult(0, 1, 0)})...), "failed", "the other side says"},
		{"pings without end", 0, plays(accepting(turn{wire.PageKind, slices.Concat(bytes.Repeat(fr(wire.PingKind, make([]byte, 100)), 100_000), frVerdict(0, true))})...), "protocol", ""},
	}
}

const large = 64 * mib // of data, which no buffers hold

// slowSchemes read little, or nothing.
func slowSchemes() []scheme {
	opens := func(t *testing.T, v *victim, conn net.Conn) {
		v.exchange(conn)
		_, err := conn.Write(slices.Concat(frHello(wire.RoleReceive), fr(wire.AcceptKind)))
		if err != nil {
			t.Error(err)
		}
	}
	return []scheme{
		{"answers before it was asked", 0, opens, "protocol", "unexpected accept"},
		{"reads slowly, and breaks off", large, func(t *testing.T, v *victim, conn net.Conn) {
			slowly(t, v, conn, 3*time.Second)
			conn.Close()
		}, "peer-gone", ""},
		{"reads nothing any more, and sends pings", large, func(t *testing.T, v *victim, conn net.Conn) {
			slowly(t, v, conn, time.Second)
			for range 6 {
				_, _ = conn.Write(fr(wire.PingKind))
				time.Sleep(500 * time.Millisecond)
			}
			if err := v.cmd.Process.Signal(os.Interrupt); err != nil { // it waits, which is right; but it can be ended
				t.Error(err)
			}
			began := time.Now()
			v.wait()
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v to end", took)
			}
		}, "interrupted", ""},
		{"falls silent", large, func(t *testing.T, v *victim, conn net.Conn) {
			slowly(t, v, conn, time.Second)
			v.wait()
		}, "peer-gone", "silent"},
	}
}

// slowly accepts, asks for data that does not shrink, and reads little of it for a while.
func slowly(t *testing.T, v *victim, conn net.Conn, while time.Duration) {
	t.Helper()
	v.exchange(conn)
	say := func(b []byte) {
		if _, err := conn.Write(b); err != nil {
			t.Error(err)
		}
	}
	hear := func(want wire.Kind) {
		for {
			k, n, err := wire.ReadHeader(conn)
			if err == nil {
				_, err = io.CopyN(io.Discard, conn, int64(n))
			}
			if err != nil {
				t.Fatal(err)
			}
			if k == want {
				return
			}
		}
	}
	say(frHello(wire.RoleReceive))
	hear(wire.OfferKind)
	say(fr(wire.AcceptKind))
	hear(wire.PageKind)
	say(frPlan(wire.Plan{Action: wire.Send}))
	for end := time.Now().Add(while); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := io.CopyN(io.Discard, conn, 10_000); err != nil {
			t.Fatal(err)
		}
		say(fr(wire.PingKind))
	}
}
