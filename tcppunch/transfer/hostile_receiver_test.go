package transfer

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

func frPlan(plans ...wire.Plan) []byte { return fr(wire.PlanKind, wire.AppendPlan(nil, plans)) }

func frAck(settled int, frames, size, prefix int64) []byte {
	a := wire.Ack{Settled: settled, Frames: frames, Bytes: size, Prefix: prefix}
	return of(wire.AckKind, a.Append)
}

func frVerdict(first int64, bits ...bool) []byte {
	v := wire.Verdict{First: first, Count: len(bits), Bits: make([]byte, (len(bits)+7)/8)}
	for i, b := range bits {
		if b {
			v.Bits[i/8] |= 1 << (i % 8)
		}
	}
	return of(wire.VerdictKind, v.Append)
}

func frResult(files, failed int, size int64) []byte {
	r := wire.Result{Files: files, Failed: failed, Bytes: size}
	return of(wire.ResultKind, r.Append)
}

// accepting is what an honest receiver says until it has the list, and then what.
func accepting(then ...turn) []turn {
	return append([]turn{{0, frHello(wire.RoleReceive)}, {wire.OfferKind, fr(wire.AcceptKind)}}, then...)
}

// answerAttacks are told to a sender of one file of 3 MiB.
func answerAttacks() []attack {
	hi, cat := frHello(wire.RoleReceive), slices.Concat[[]byte]
	const size = 3 * mib
	send, three := frPlan(wire.Plan{Action: wire.Send}), wire.Plan{Action: wire.Check, Have: 3}
	future := wire.Hello{Version: 9, Min: 9, Role: wire.RoleReceive}
	page := func(say ...[]byte) []turn { return accepting(turn{wire.PageKind, slices.Concat(say...)}) }
	atEnd := func(say ...[]byte) []turn {
		return accepting(turn{wire.PageKind, send}, turn{wire.EndKind, slices.Concat(say...)})
	}
	return []attack{
		{"HTTP", say([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), ErrProtocol, "unknown frame"},
		{"no hello", say(fr(wire.AcceptKind)), ErrProtocol, "unexpected accept"},
		{"second sender", say(frHello(wire.RoleSend)), ErrProtocol, "both sides want to send"},
		{"future", say(of(wire.HelloKind, future.Append)), ErrVersion, "the other 9"},
		{"hello twice", say(hi, hi), ErrProtocol, "unexpected hello"},
		{"block", say(hi, frBlock(0, 0, []byte{1})), ErrProtocol, "unexpected block"},
		{"bye", say(hi, fr(wire.ByeKind)), ErrProtocol, "unexpected bye"},
		{"result at once", say(hi, frResult(1, 0, size)), ErrProtocol, "unexpected result"},
		{"accept before the offer", say(cat(hi, bytes.Repeat(fr(wire.AcceptKind), 3))), ErrProtocol, "unexpected accept"},
		{"huge frame", say(hi, wire.AppendHeader(nil, wire.AcceptKind, 1<<20)), ErrProtocol, "too long"},
		{"unknown frame", say(hi, fr(0x44)), ErrProtocol, "unknown frame 0x44"},
		{"refuses with a lie", say(hi, of(wire.FailKind, (&wire.Failure{Code: "exists", Message: "\x1b[31mno\u202e"}).Append)), ErrExists, "�[31mno�"},
		{"refuses without words", say(hi, of(wire.FailKind, (&wire.Failure{Code: "so-what"}).Append)), nil, "reported: so-what"},
		{"plan before the page", []turn{{0, hi}, {wire.OfferKind, cat(fr(wire.AcceptKind), send, send)}}, ErrProtocol, "unexpected plan"},
		{"plan twice", page(send, send), ErrProtocol, "unexpected plan"},
		{"empty plan", page(frPlan()), ErrProtocol, "plan is malformed"},
		{"long plan", page(frPlan(wire.Plan{}, wire.Plan{})), ErrProtocol, "too long"},
		{"unknown plan", page(frPlan(wire.Plan{Action: 9})), ErrProtocol, "plan is malformed"},
		{"short check", page(fr(wire.PlanKind, []byte{byte(wire.Check), 1})), ErrProtocol, "plan is malformed"},
		{"check of nothing", page(frPlan(wire.Plan{Action: wire.Check})), ErrProtocol, "check 0 blocks"},
		{"check past the end", page(frPlan(wire.Plan{Action: wire.Check, Have: 4})), ErrProtocol, "check 4 blocks"},
		{"check of the impossible", page(frPlan(wire.Plan{Action: wire.Check, Have: math.MaxInt64})), ErrProtocol, "malformed"},
		{"failed without a word", page(frPlan(wire.Plan{Action: wire.Failed})), ErrProtocol, "contradicts"},
		{"failed and wanted", page(frLoss(wire.FailedKind, 0), send), ErrProtocol, "contradicts"},
		{"failure of no file", page(frLoss(wire.FailedKind, 1)), ErrProtocol, "cannot fail now"},
		{"failure twice", page(frLoss(wire.FailedKind, 0), frLoss(wire.FailedKind, 0)), ErrProtocol, "cannot fail now"},
		{"malformed failure", page(fr(wire.FailedKind, []byte{1})), ErrProtocol, "malformed"},
		{"ack of what was never sent", page(frAck(0, 1, 1, 0)), ErrProtocol, "not sent"},
		{"settled and not sent", page(send, frAck(1, 0, 0, 0)), ErrProtocol, "not sent"},
		{"settled and not planned", page(frAck(1, 0, 0, 0)), ErrProtocol, "not sent"},
		{"all settled", page(send, frAck(math.MaxInt32, 0, 0, 0)), ErrProtocol, "not sent"},
		{"malformed ack", page(fr(wire.AckKind, []byte{1})), ErrProtocol, "malformed"},
		{"negative ack", page(frAck(0, -1, 0, 0)), ErrProtocol, "malformed"},
		{"prefix of no stream", atEnd(frAck(1, 3, size, 1)), ErrProtocol, "not sent"},
		{"ack that goes back", atEnd(frAck(1, 3, size, 0), frAck(1, 2, size, 0)), ErrProtocol, "goes back"},
		{"ack of more bytes", atEnd(frAck(1, 3, size+1, 0)), ErrProtocol, "not sent"},
		{"verdict that nobody asked for", page(send, frVerdict(0, true)), ErrProtocol, "not asked for"},
		{"verdict on other blocks", accepting(turn{wire.PageKind, frPlan(three)}, turn{wire.CheckKind, frVerdict(1, true, true)}), ErrProtocol, "not asked for"},
		{"verdict on fewer blocks", accepting(turn{wire.PageKind, frPlan(three)}, turn{wire.CheckKind, frVerdict(0, true)}), ErrProtocol, "not asked for"},
		{"verdict twice", accepting(turn{wire.PageKind, frPlan(three)}, turn{wire.CheckKind, bytes.Repeat(frVerdict(0, true, false, true), 2)}), ErrProtocol, "not asked for"},
		{"malformed verdict", page(fr(wire.VerdictKind, make([]byte, 14))), ErrProtocol, "malformed"},
		{"early result", page(send, frResult(1, 0, size)), ErrProtocol, "unexpected result"},
		{"result of more files", atEnd(frResult(2, 0, size)), ErrProtocol, "counts other files"},
		{"result of fewer bytes", atEnd(frResult(1, 0, size-1)), ErrProtocol, "counts other files"},
		{"result with secret failures", atEnd(frResult(0, 1, 0)), ErrProtocol, "counts other files"},
		{"short result", atEnd(fr(wire.ResultKind, []byte{1})), ErrProtocol, "malformed"},
		{"accept again", atEnd(fr(wire.AcceptKind)), ErrProtocol, "unexpected accept"},
		{"signal for nobody", page(frSignal(1)), ErrProtocol, "unexpected signal"},
		{"stream", page(frStream(1)), ErrProtocol, "unexpected stream"},
		{"no stream", page(of(wire.NoStreamKind, (&wire.Signal{Number: 1}).Append)), ErrProtocol, "unexpected no-stream"},
	}
}

func TestHostileReceiver(t *testing.T) {
	files := map[string][]byte{"f": content(3 * mib)}
	for _, tt := range answerAttacks() {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPair(t)
			var err error
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err = Send(t.Context(), a, offering(t, files), nil)
				a.Close()
			})
			told := play(b, tt.turns...)
			wg.Wait()
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Send: %v, want %v, %q", err, tt.want, tt.text)
			}
			if tt.want == ErrProtocol && (told == nil || told.Code != "protocol") {
				t.Errorf("the receiver was told %v", told)
			}
		})
	}
}

// A receiver that breaks off is one that broke off.
func TestReceiverLeaves(t *testing.T) {
	a, b := tcpPair(t)
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err = Send(t.Context(), a, offering(t, map[string][]byte{"f": content(3 * mib)}), nil)
		a.Close()
	})
	_, _ = b.Write(frHello(wire.RoleReceive))
	_ = b.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, b)
	wg.Wait()
	if !errors.Is(err, ErrPeerGone) || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("Send: %v", err)
	}
}

// What later versions may add is skipped.
func TestForwardCompatible(t *testing.T) {
	longer := func(b []byte) []byte {
		b = append(slices.Clone(b), "more"...)
		b[3] += 4
		return b
	}
	data := []byte("hello")
	h := wire.Hello{Version: 9, Min: 2, Role: wire.RoleSend, Features: []string{"telepathy", "", strings.Repeat("x", 255)}}
	e := fileEntry("f", int64(len(data)))
	dst, err := Into(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	a, b := tcpPair(t)
	var sum Summary
	var wg sync.WaitGroup
	wg.Go(func() { sum, err = Receive(t.Context(), b, dst, nil); b.Close() })
	told := play(a, []turn{
		{0, slices.Concat(longer(of(wire.HelloKind, h.Append)), fr(0x80), fr(wire.PingKind, []byte("pong?")), longer(frOffer(t, e)))},
		{wire.AcceptKind, slices.Concat(frPages(t, e), fr(0xfe, make([]byte, mib)))},
		{wire.PlanKind, slices.Concat(frBlock(0, 0, data), fr(0x81, []byte("in between")), longer(frEnd(0)))},
		{wire.ResultKind, longer(fr(wire.ByeKind))},
	}...)
	wg.Wait()
	if err != nil || told != nil || sum.Files != 1 || sum.Bytes != 5 {
		t.Errorf("Receive = %+v, %v; told %v", sum, err, told)
	}
}
