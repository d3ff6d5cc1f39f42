package wire

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

var (
	someHash = tree.Block([]byte("some"))
	someID   = [16]byte{1, 2, 3}
)

// bodies are one of each kind, and what reads them again.
func bodies() map[Kind]struct {
	value any
	body  []byte
	parse func([]byte) (any, error)
} {
	type entry = struct {
		value any
		body  []byte
		parse func([]byte) (any, error)
	}
	h := Hello{Version: 2, Min: 2, Role: RoleSend, Features: []string{"a", "bc"}, Seen: netip.MustParseAddr("::1")}
	o := Offer{ID: someID, Digest: someHash, Totals: manifest.Totals{Entries: 2, Files: 1, Bytes: 5}, First: []manifest.Entry{
		{Type: manifest.Dir, Path: "d", ModTime: time.Unix(5, 6)}, {Path: "f", Size: 5, ModTime: time.Unix(-5, 0)}}}
	c := CheckBody{Index: 3, First: 1 << 40, Hashes: []tree.Hash{someHash, {}}}
	v := Verdict{Index: 3, First: 9, Count: 9, Bits: []byte{0x81, 1}}
	b := Block{Index: 4, Number: 1 << 41, Flags: FlagZero, Size: 77, Hash: someHash}
	head := make([]byte, BlockHeadSize)
	b.Put(head)
	f := File{Index: 5, Size: 1 << 61, Root: someHash}
	l := Loss{Index: NoIndex, Failure: Failure{Code: "failed", Message: "it has"}}
	a := Ack{Settled: 1, Frames: 2, Bytes: 3, Prefix: 4}
	e := End{Lost: 1, More: 2}
	r := Result{Files: 1, Failed: 2, Bytes: 3}
	s := Stream{Number: 9, Token: someID}
	m := Signal{Number: 9, Msg: []byte("hello")}
	return map[Kind]entry{
		HelloKind:   {h, h.Append(nil), func(b []byte) (any, error) { return ParseHello(b) }},
		OfferKind:   {o, o.Append(nil), func(b []byte) (any, error) { return ParseOffer(b) }},
		CheckKind:   {c, c.Append(nil), func(b []byte) (any, error) { return ParseCheck(b) }},
		VerdictKind: {v, v.Append(nil), func(b []byte) (any, error) { return ParseVerdict(b) }},
		BlockKind: {b, head, func(b []byte) (any, error) {
			return ParseBlock(b[:min(len(b), BlockHeadSize)], len(b)-min(len(b), BlockHeadSize))
		}},
		FileKind:   {f, f.Append(nil), func(b []byte) (any, error) { return ParseFile(b) }},
		LostKind:   {l, l.Append(nil), func(b []byte) (any, error) { return ParseLoss(LostKind, b) }},
		FailKind:   {l.Failure, l.Failure.Append(nil), func(b []byte) (any, error) { return ParseFailure(b) }},
		AckKind:    {a, a.Append(nil), func(b []byte) (any, error) { return ParseAck(b) }},
		EndKind:    {e, e.Append(nil), func(b []byte) (any, error) { return ParseEnd(b) }},
		ResultKind: {r, r.Append(nil), func(b []byte) (any, error) { return ParseResult(b) }},
		StreamKind: {s, s.Append(nil), func(b []byte) (any, error) { return ParseStream(StreamKind, b) }},
		SignalKind: {m, m.Append(nil), func(b []byte) (any, error) { return ParseSignal(SignalKind, b) }},
	}
}

// What is written is read again, and nothing that is shorter.
func TestBodies(t *testing.T) {
	for k, tt := range bodies() {
		t.Run(k.String(), func(t *testing.T) {
			got, err := tt.parse(tt.body)
			if diff := cmp.Diff(tt.value, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if len(tt.body) > k.Limit() {
				t.Errorf("%d bytes, and %d are allowed", len(tt.body), k.Limit())
			}
			for n := range tt.body {
				got, err := tt.parse(tt.body[:n])
				short := k == SignalKind && n >= 4 || k == CheckKind && (n-12)%32 == 0 && n > 12 // these fill up with data
				if err == nil && !short {
					t.Errorf("%d of %d bytes are %+v", n, len(tt.body), got)
				}
				if err != nil && !errors.Is(err, fault.ErrProtocol) && !errors.Is(err, fault.ErrName) {
					t.Errorf("%d bytes: %v", n, err)
				}
			}
		})
	}
}

func TestPlan(t *testing.T) {
	entries := []manifest.Entry{{Path: "a", Size: 5}, {Path: "b", Size: 3 << 20}, {Type: manifest.Dir, Path: "d"}, {Path: "e"}}
	stream := []manifest.Entry{{Type: manifest.Stream, Path: "s", Size: -1}}
	tests := []struct {
		name    string
		entries []manifest.Entry
		plans   []Plan
		ok      bool
	}{
		{"all", entries, []Plan{{Send, 0}, {Check, 3}, {Done, 0}, {Done, 0}}, true},
		{"failed", entries, []Plan{{Failed, 0}, {Failed, 0}, {Failed, 0}, {Failed, 0}}, true},
		{"a folder", entries, []Plan{{Done, 0}, {Done, 0}, {Send, 0}, {Done, 0}}, false},
		{"an empty file", entries, []Plan{{Done, 0}, {Done, 0}, {Done, 0}, {Send, 0}}, false},
		{"too many blocks", entries, []Plan{{Done, 0}, {Check, 4}, {Done, 0}, {Done, 0}}, false},
		{"too few", entries, []Plan{{Done, 0}, {Check, 0}, {Done, 0}, {Done, 0}}, false},
		{"too short", entries, []Plan{{Done, 0}, {Check, 3}, {Done, 0}}, false},
		{"too long", entries, []Plan{{Done, 0}, {Check, 3}, {Done, 0}, {Done, 0}, {Done, 0}}, false},
		{"a stream", stream, []Plan{{Check, 1 << 40}}, true},
		{"unknown", stream, []Plan{{Failed + 1, 0}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePlan(AppendPlan(nil, tt.plans), tt.entries)
			if (err == nil) != tt.ok || tt.ok && !cmp.Equal(got, tt.plans) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// A page of the most entries has a plan that fits into a frame.
func TestPlanLimit(t *testing.T) {
	plans := make([]Plan, manifest.MaxPageEntries)
	for i := range plans {
		plans[i] = Plan{Check, math.MaxInt32}
	}
	if n := len(AppendPlan(nil, plans)); n > PlanKind.Limit() {
		t.Errorf("%d bytes, and %d are allowed", n, PlanKind.Limit())
	}
}

// However the bytes come, a frame that is let pass is one that we know the size
// of, and every body parses or fails without a panic. What parses is what was meant.
func FuzzFrame(f *testing.F) {
	for k, b := range bodies() {
		f.Add(AppendFrame(nil, k, func(p []byte) []byte { return append(p, b.body...) }))
	}
	f.Add(AppendFrame(nil, 0x95, nil))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			k, n, err := ReadHeader(r)
			if err != nil {
				return
			}
			if n > k.Limit() || n > BlockHeadSize+tree.BlockSize {
				t.Fatalf("%s of %d bytes let pass", k, n)
			}
			body, err := ReadBody(r, n)
			if err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			checkBody(t, k, body)
		}
	})
}

// checkBody parses a body as that of every kind.
func checkBody(t *testing.T, k Kind, body []byte) {
	type appender interface{ Append([]byte) []byte }
	for _, kind := range bodies() {
		v, err := kind.parse(body)
		if err != nil {
			continue
		}
		var a appender
		switch v := v.(type) {
		case Hello:
			a = &v
		case Offer:
			a = &v
		case CheckBody:
			a = &v
		case Verdict:
			a = &v
		case File:
			a = &v
		case Ack:
			a = &v
		case Failure:
			if fault.Clean(v.Message) != v.Message || fault.Clean(v.Code) != v.Code {
				t.Errorf("%+v is not clean", v)
			}
			continue
		case Block:
			if v.Size < 1 || v.Size > tree.BlockSize || v.Number < 0 {
				t.Errorf("block %+v let pass", v)
			}
			continue
		default:
			continue
		}
		if again := a.Append(nil); !bytes.HasPrefix(body, again) {
			t.Errorf("%s %+v was %x", k, v, body)
		}
	}
	entries := []manifest.Entry{{Path: "a", Size: 5}, {Path: "b", Size: 3 << 20}, {Type: manifest.Dir, Path: "d"}}
	if plans, err := ParsePlan(body, entries); err == nil && !bytes.Equal(AppendPlan(nil, plans), body) {
		t.Errorf("plan %+v was %x", plans, body)
	}
}
