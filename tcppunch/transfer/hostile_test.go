package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const mib = tree.BlockSize

// fr is a frame.
func fr(k wire.Kind, body ...[]byte) []byte {
	b := slices.Concat(body...)
	return append(wire.AppendHeader(nil, k, len(b)), b...)
}

// of is a frame of what the package wire appends.
func of(k wire.Kind, fill func([]byte) []byte) []byte { return wire.AppendFrame(nil, k, fill) }

func frHello(role byte) []byte {
	h := wire.Hello{Version: link.Version, Min: link.MinVersion, Role: role, Features: []string{link.FeatureStreams}}
	return of(wire.HelloKind, h.Append)
}

var testTime = time.Unix(1e9, 5)

func fileEntry(path string, size int64) manifest.Entry {
	return manifest.Entry{Path: path, Size: size, Mode: 0o644, ModTime: testTime}
}

var streamEntry = manifest.Entry{Type: manifest.Stream, Path: "s", Size: -1, Mode: 0o644, ModTime: testTime}

// list is an honest manifest.
func list(t testing.TB, entries ...manifest.Entry) *manifest.Builder {
	t.Helper()
	b := new(manifest.Builder)
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func frOffer(t testing.TB, entries ...manifest.Entry) []byte {
	b := list(t, entries...)
	o := wire.Offer{ID: [16]byte{7}, Digest: b.Digest(), Totals: b.Totals()}
	for _, e := range entries {
		if e.Depth() == 0 && len(o.First) < wire.MaxFirst {
			o.First = append(o.First, e)
		}
	}
	return of(wire.OfferKind, o.Append)
}

func frPages(t testing.TB, entries ...manifest.Entry) (b []byte) {
	for _, p := range list(t, entries...).Pages() {
		b = append(b, fr(wire.PageKind, p)...)
	}
	return b
}

func frBlock(index uint32, n int64, data []byte) []byte {
	return frBlockAs(wire.Block{Index: index, Number: n, Size: len(data), Hash: tree.Block(data)}, data)
}

func frBlockAs(h wire.Block, data []byte) []byte {
	head := make([]byte, wire.BlockHeadSize)
	h.Put(head)
	return fr(wire.BlockKind, head, data)
}

func rootOf(data []byte) tree.Hash {
	var m tree.Merger
	for part := range slices.Chunk(data, mib) {
		m.Add(tree.Block(part))
	}
	return m.Root()
}

func frFile(index uint32, data []byte) []byte {
	f := wire.File{Index: index, Size: int64(len(data)), Root: rootOf(data)}
	return of(wire.FileKind, f.Append)
}

func frEnd(lost int) []byte {
	e := wire.End{Lost: lost}
	return of(wire.EndKind, e.Append)
}

func frLoss(k wire.Kind, index uint32) []byte {
	l := wire.Loss{Index: index, Failure: wire.Failure{Code: "source-changed", Message: "no more"}}
	return of(k, l.Append)
}

func frCheck(index uint32, first int64, data []byte) []byte {
	c := wire.CheckBody{Index: index, First: first}
	for part := range slices.Chunk(data, mib) {
		c.Hashes = append(c.Hashes, tree.Block(part))
	}
	return of(wire.CheckKind, c.Append)
}

func frStream(number uint32) []byte {
	s := wire.Stream{Number: number}
	return of(wire.StreamKind, s.Append)
}

func frSignal(number uint32) []byte {
	s := wire.Signal{Number: number, Msg: []byte("hello")}
	return of(wire.SignalKind, s.Append)
}

// A turn of a conversation: say this once the other side has said that.
type turn struct {
	after wire.Kind // 0: at once
	say   []byte
}

// play is one side of a conversation by hand, which closes when it has been told why it
// was turned down, which it returns.
func play(conn net.Conn, turns ...turn) (told *RemoteError) {
	heard := make(chan wire.Kind, 10000)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(heard)
		defer conn.Close()
		for {
			k, n, err := wire.ReadHeader(conn)
			if err != nil {
				return
			}
			body, err := wire.ReadBody(conn, n)
			if err != nil {
				return
			}
			if k == wire.FailKind {
				f, _ := wire.ParseFailure(body)
				told = &RemoteError{Code: f.Code, Message: f.Message}
				return
			}
			heard <- k
		}
	})
	for _, turn := range turns {
		for ok := true; ok && turn.after != 0; {
			var k wire.Kind
			if k, ok = <-heard; k == turn.after {
				break
			}
		}
		_, _ = conn.Write(turn.say)
	}
	wg.Wait()
	return told
}

// attack is what a hostile peer says, and what this side makes of it.
type attack struct {
	name  string
	turns []turn
	want  error
	text  string
}

// say is an attack in one go.
func say(parts ...[]byte) []turn { return []turn{{0, slices.Concat(parts...)}} }

// agreed is what an honest sender says until its list is answered, and then what.
func agreed(t testing.TB, then []byte, entries ...manifest.Entry) []turn {
	return []turn{
		{0, slices.Concat(frHello(wire.RoleSend), frOffer(t, entries...))},
		{wire.AcceptKind, frPages(t, entries...)},
		{wire.PlanKind, then},
	}
}

// openingAttacks go wrong before the list, or with frames that nobody knows.
func openingAttacks(t testing.TB) []attack {
	hi, f := frHello(wire.RoleSend), fileEntry("f", 1)
	future := wire.Hello{Version: 9, Min: 9, Role: wire.RoleSend}
	old := wire.Hello{Version: 1, Min: 1, Role: wire.RoleSend}
	return []attack{
		{"HTTP", say([]byte("GET / HTTP/1.1\r\n\r\n")), ErrProtocol, "unknown frame 0x47"},
		{"no hello", say(frOffer(t, f)), ErrProtocol, "unexpected offer"},
		{"wrong magic", say(fr(wire.HelloKind, []byte("somebody else's hello"))), ErrProtocol, "does not speak"},
		{"short hello", say(fr(wire.HelloKind, []byte("tcppunch-files\n"), []byte{0, 1})), ErrProtocol, "malformed"},
		{"lying feature list", say(fr(wire.HelloKind, []byte("tcppunch-files\n"), []byte{0, 1, 0, 1, 's', 255, 200, 'x'})), ErrProtocol, "malformed"},
		{"future", say(of(wire.HelloKind, future.Append)), ErrVersion, "the other 9 to 9"},
		{"past", say(of(wire.HelloKind, old.Append)), ErrVersion, "the other 1 to 1"},
		{"no role", say(frHello('x')), ErrProtocol, "without a role"},
		{"second receiver", say(frHello(wire.RoleReceive)), ErrProtocol, "both sides want to receive"},
		{"hello twice", say(hi, hi), ErrProtocol, "unexpected hello"},
		{"oversized frame", say(hi, wire.AppendHeader(nil, wire.PageKind, manifest.MaxPage+1)), ErrProtocol, "too long"},
		{"oversized control", say(hi, wire.AppendHeader(nil, wire.OfferKind, 1<<23)), ErrProtocol, "too long"},
		{"oversized optional", say(hi, wire.AppendHeader(nil, 0x90, 1<<23)), ErrProtocol, "too long"},
		{"unknown frame", say(hi, fr(0x33)), ErrProtocol, "unknown frame 0x33"},
		{"kind zero", say(hi, fr(0)), ErrProtocol, "unknown"},
		{"receiver's frame", say(hi, fr(wire.AcceptKind)), ErrProtocol, "unexpected accept"},
		{"greeting", say(hi, fr(wire.GreetKind, make([]byte, 20))), ErrProtocol, "unexpected greeting"},
		{"bye at once", say(hi, fr(wire.ByeKind)), ErrProtocol, "unexpected bye"},
		{"page before the offer", []turn{{0, slices.Concat(hi, frPages(t, f))}}, ErrProtocol, "unexpected page"},
		{"block before accept", say(hi, frBlock(0, 0, []byte{1})), ErrProtocol, "unexpected block"},
		{"offer twice", say(hi, frOffer(t, f), frOffer(t, f)), ErrProtocol, "unexpected offer"},
		{"malformed fail", say(hi, fr(wire.FailKind, []byte{200})), ErrProtocol, "malformed"},
		{"fail with escape codes", say(hi, of(wire.FailKind, (&wire.Failure{Code: "no\x1b[2Jvel", Message: "bad\x1b]0;t\a\nnews"}).Append)), nil, "bad�]0;t��news"},
	}
}

// offerAttacks lie about counts, sizes and names.
func offerAttacks(t testing.TB) []attack {
	hi := frHello(wire.RoleSend)
	with := func(tot manifest.Totals, first ...manifest.Entry) []byte {
		o := wire.Offer{Totals: tot, First: first}
		return slices.Concat(hi, of(wire.OfferKind, o.Append))
	}
	pages := func(o []byte, page []byte) []turn { return []turn{{0, o}, {wire.AcceptKind, fr(wire.PageKind, page)}} }
	f := fileEntry("f", 1)
	page := list(t, f).Pages()[0]
	one := manifest.Totals{Entries: 1, Files: 1, Bytes: 1}
	honest := slices.Concat(hi, frOffer(t, f))
	evil := func(name string) []attack {
		raw := slices.Concat([]byte{0, byte(len(name))}, []byte(name), []byte{0, 0, 0, 1})
		return []attack{
			{"name in an offer " + name, say(with(one, manifest.Entry{Path: name, Size: 1, ModTime: testTime})), ErrName, ""},
			{"name in a list " + name, pages(with(one), raw), ErrName, ""},
		}
	}
	attacks := []attack{
		{"nothing", say(with(manifest.Totals{})), ErrProtocol, "0 entries"},
		{"too many", say(with(manifest.Totals{Entries: manifest.MaxEntries + 1, Files: 1})), ErrProtocol, "cannot be"},
		{"too many bytes", say(with(manifest.Totals{Entries: 1, Files: 1, Bytes: math.MaxInt64})), ErrProtocol, "cannot be"},
		{"more files than entries", say(with(manifest.Totals{Entries: 1, Files: 2})), ErrProtocol, "cannot be"},
		{"more names than files", say(with(one, f, fileEntry("g", 0))), ErrProtocol, "more names"},
		{"short offer", say(hi, fr(wire.OfferKind, make([]byte, 40))), ErrProtocol, "malformed"},
		{"empty page", pages(honest, nil), ErrProtocol, "page of 0 bytes"},
		{"short page", pages(honest, page[:len(page)-1]), ErrProtocol, "malformed"},
		{"another page", []turn{{0, honest}, {wire.AcceptKind, frPages(t, f)}, {wire.PlanKind, frPages(t, fileEntry("g", 1))}}, ErrProtocol, "more files"},
		{"other list", pages(with(one, f), list(t, fileEntry("f", 1)).Pages()[0]), ErrProtocol, "another list"},
		{"other first name", pages(slices.Concat(hi, frOffer(t, fileEntry("e", 1))), page), ErrProtocol, "other files"},
		{"more than the disk", say(hi, frOffer(t, fileEntry("f", 1<<60))), ErrNoSpace, "offered"},
		{"too many pages at once", []turn{{0, slices.Concat(hi, frOffer(t, f))}, {wire.AcceptKind, bytes.Repeat(frPages(t, f), 100)}}, ErrProtocol, ""},
	}
	for _, name := range []string{"../f", "/tmp/f", `..\f`, "..", "", "a\x1b[2Jb", "NUL", ".f.abc.tcppunch-part", "C:\\f", "a/b", "f.", "a\u202eb"} {
		attacks = append(attacks, evil(name)...)
	}
	return attacks
}

// dataAttacks send other data than was asked for.
func dataAttacks(t testing.TB) []attack {
	one, two, big := fileEntry("f", 1), fileEntry("f", 2), fileEntry("f", 3*mib)
	a, b := make([]byte, mib), content(mib)
	after := func(name string, e manifest.Entry, want error, text string, say ...[]byte) attack {
		return attack{name, agreed(t, slices.Concat(say...), e), want, text}
	}
	liar := frBlock(0, 0, []byte{1})
	liar[len(liar)-1]++
	zero := wire.Block{Size: mib, Flags: wire.FlagZero, Hash: tree.Block(b)}
	late := append(agreed(t, frBlock(0, 0, []byte{1}), one), turn{wire.AckKind, frBlock(0, 0, []byte{1})})
	return []attack{
		after("wrong hash", one, ErrHash, "f: hash", liar),
		after("not zero", big, ErrHash, "f: hash", frBlockAs(zero, nil)),
		after("no such file", one, ErrProtocol, "entry 1, which is not awaited", frBlock(1, 0, []byte{1})),
		after("no file at all", one, ErrProtocol, "not awaited", frBlock(math.MaxUint32, 0, []byte{1})),
		after("a folder", manifest.Entry{Type: manifest.Dir, Path: "f", Mode: 0o755, ModTime: testTime}, ErrProtocol, "not awaited", frBlock(0, 0, []byte{1})),
		after("too much", one, ErrProtocol, "does not fit", frBlock(0, 0, []byte{1, 2})),
		after("too little", two, ErrProtocol, "does not fit", frBlock(0, 0, []byte{1})),
		after("past the end", one, ErrProtocol, "does not fit", frBlock(0, 1, []byte{1})),
		after("far past the end", big, ErrProtocol, "does not fit", frBlock(0, 1<<41, b)),
		after("impossible number", big, ErrProtocol, "malformed", frBlock(0, math.MaxInt64, b)),
		after("nothing in it", one, ErrProtocol, "malformed", frBlock(0, 0, nil)),
		after("short block", one, ErrProtocol, "malformed", fr(wire.BlockKind, make([]byte, 20))),
		after("unknown flags", big, ErrProtocol, "malformed", frBlockAs(wire.Block{Size: mib, Flags: 3, Hash: tree.Block(a)}, nil)),
		after("twice", big, ErrProtocol, "twice", frBlock(0, 1, b), frBlock(0, 1, b)),
		after("twice in order", big, ErrProtocol, "twice", frBlock(0, 0, b), frBlock(0, 0, b)),
		{"again", late, ErrProtocol, "not awaited"},
		after("too far ahead", fileEntry("f", 20000*mib), ErrProtocol, "too far ahead", frBlock(0, limit.Ahead+1, b)),
		after("wrong root", big, ErrHash, "f: hash", frBlock(0, 0, b), frBlock(0, 1, b), frBlock(0, 2, b), frFile(0, slices.Concat(b, b, a))),
		after("end of a small file", one, ErrProtocol, "another size", frFile(0, []byte{1})),
		after("end of another size", big, ErrProtocol, "another size", frFile(0, slices.Concat(b, b))),
		after("end twice", big, ErrProtocol, "another one", frFile(0, slices.Concat(b, b, b)), frFile(0, slices.Concat(b, b, b))),
		after("end of no file", one, ErrProtocol, "not awaited", frFile(5, b)),
		after("malformed end of a file", one, ErrProtocol, "malformed", fr(wire.FileKind, []byte{0})),
		after("check that was not asked for", one, ErrProtocol, "not asked for", frCheck(0, 0, []byte{1})),
		after("check of no file", one, ErrProtocol, "not awaited", frCheck(7, 0, []byte{1})),
		after("check of nothing", one, ErrProtocol, "malformed", frCheck(0, 0, nil)),
		after("loss of no file", one, ErrProtocol, "not awaited", frLoss(wire.LostKind, 1)),
		after("malformed loss", one, ErrProtocol, "malformed", fr(wire.LostKind, []byte{0})),
		after("losses without end", one, ErrProtocol, "too many", bytes.Repeat(frLoss(wire.LostKind, wire.NoIndex), limit.LeftOut+1)),
		after("early end", one, ErrProtocol, "before all is sent", frEnd(0)),
		after("end with a block missing", big, ErrProtocol, "before all is sent", frBlock(0, 0, b), frEnd(0)),
		after("end without a root", fileEntry("f", 2*mib), ErrProtocol, "before all is sent", frBlock(0, 0, b), frBlock(0, 1, b), frEnd(0)),
		after("losses that do not add up", one, ErrProtocol, "1 losses", frBlock(0, 0, []byte{1}), frEnd(1)),
		after("block after the end", one, ErrProtocol, "", frBlock(0, 0, []byte{1}), frEnd(0), frBlock(0, 0, []byte{1})),
		after("page after the end", one, ErrProtocol, "unexpected page", frBlock(0, 0, []byte{1}), frEnd(0), frPages(t, one)),
		after("result", one, ErrProtocol, "unexpected result", fr(wire.ResultKind)),
		after("stream that nobody wants", one, ErrProtocol, "unexpected stream", frStream(1)),
		after("signal for nobody", one, ErrProtocol, "unexpected signal", frSignal(0)),
		after("stream goes on after its end", streamEntry, ErrProtocol, "behind the last", frBlock(0, 0, []byte{1}), frBlock(0, 1, b)),
		after("stream ends before its last block", streamEntry, ErrProtocol, "before its last", frBlock(0, 3, b), frFile(0, b)),
		after("stream of another size", streamEntry, ErrProtocol, "another one", frBlock(0, 0, []byte{1}), frFile(0, []byte{1, 2})),
		after("stream ends twice as short", streamEntry, ErrProtocol, "behind the last", frBlock(0, 1, []byte{1}), frBlock(0, 0, []byte{1}), frFile(0, []byte{1})),
	}
}

// pressAttacks are compressed blocks that are none.
func pressAttacks(t testing.TB) []attack {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	pressed := func(size int, data []byte) []byte {
		h := wire.Block{Size: size, Flags: wire.FlagZstd, Hash: tree.Block(make([]byte, size))}
		return frBlockAs(h, data)
	}
	bomb := enc.EncodeAll(make([]byte, 1<<30), nil)
	large := fileEntry("f", mib)
	return []attack{
		{"bomb", agreed(t, pressed(mib, bomb), large), ErrProtocol, "compressed block that is malformed"},
		{"too short", agreed(t, pressed(mib, enc.EncodeAll(make([]byte, mib-1), nil)), large), ErrProtocol, "compressed block that is malformed"},
		{"too long", agreed(t, pressed(mib, enc.EncodeAll(make([]byte, mib+1), nil)), large), ErrProtocol, "compressed block that is malformed"},
		{"garbage", agreed(t, pressed(mib, []byte("garbage")), large), ErrProtocol, "compressed block that is malformed"},
		{"nothing", agreed(t, pressed(mib, nil), large), ErrProtocol, "malformed"},
		{"something else", agreed(t, pressed(mib, enc.EncodeAll(append(make([]byte, mib-1), 1), nil)), large), ErrHash, "f: hash"},
	}
}

func TestHostileSender(t *testing.T) {
	for _, tt := range slices.Concat(openingAttacks(t), offerAttacks(t), dataAttacks(t), pressAttacks(t)) {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			if err := os.Mkdir(out, 0o755); err != nil {
				t.Fatal(err)
			}
			dst, err := Into(out)
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			a, b := tcpPair(t)
			var wg sync.WaitGroup
			wg.Go(func() { _, err = Receive(t.Context(), b, dst, nil); b.Close() })
			told := play(a, tt.turns...)
			wg.Wait()
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Receive: %v, want %v, %q", err, tt.want, tt.text)
			}
			if tt.want != nil && (told == nil || told.Code != Code(tt.want)) {
				t.Errorf("the sender was told %v", told)
			}
			for name := range listing(t, filepath.Dir(out)) {
				if base := filepath.Base(name); base != "f" && (filepath.Dir(name) != "out" || !strings.HasSuffix(base, ".tcppunch-part")) {
					t.Errorf("%q should not be there", name)
				}
			}
		})
	}
}

// A sender that breaks off is one that broke off, whatever it was about to say.
func TestSenderLeaves(t *testing.T) {
	whole := agreed(t, slices.Concat(frBlock(0, 0, []byte{1}), frEnd(0)), fileEntry("f", 1))
	for _, cut := range []int{0, 3, 4, 20} {
		dst, err := Into(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		a, b := tcpPair(t)
		var wg sync.WaitGroup
		wg.Go(func() { _, err = Receive(t.Context(), b, dst, nil); b.Close() })
		_, _ = a.Write(whole[0].say[:len(whole[0].say)-cut-1])
		_ = a.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, a)
		wg.Wait()
		dst.Close()
		if !errors.Is(err, ErrPeerGone) || !strings.Contains(err.Error(), "closed the connection") {
			t.Errorf("cut %d: %v", cut, err)
		}
	}
}

// Checks of what is partly there: out of order, twice, without end.
func TestHostileChecks(t *testing.T) {
	data := content(5 * mib)
	e := fileEntry("f", int64(len(data)))
	flood := bytes.Repeat(frCheck(0, 0, data[:mib]), 2)
	tests := []attack{
		{"not from the start", agreed(t, frCheck(0, 1, data[mib:2*mib]), e), ErrProtocol, "not asked for"},
		{"too many", agreed(t, frCheck(0, 0, data), e), ErrProtocol, "not asked for"},
		{"twice", agreed(t, flood, e), ErrProtocol, "not asked for"},
		{"block before the answer", agreed(t, slices.Concat(frCheck(0, 0, data[:3*mib]), frBlock(0, 1, data[mib:2*mib])), e), ErrProtocol, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dst, err := Into(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			a, b := tcpPair(t)
			var wg sync.WaitGroup
			wg.Go(func() { _, err = Receive(t.Context(), b, dst, nil); b.Close() })
			// First three blocks, and a break.
			some := slices.Concat(frBlock(0, 0, data[:mib]), frBlock(0, 1, data[mib:2*mib]), frBlock(0, 2, data[2*mib:3*mib]))
			play(a, append(agreed(t, some, e), turn{0, of(wire.FailKind, (&wire.Failure{Code: "interrupted"}).Append)})...)
			wg.Wait()
			if !errors.Is(err, ErrInterrupted) {
				t.Fatal(err)
			}
			a, b = tcpPair(t)
			wg.Go(func() { _, err = Receive(t.Context(), b, dst, nil); b.Close() })
			play(a, tt.turns...)
			wg.Wait()
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Receive: %v, want %q", err, tt.text)
			}
		})
	}
}

// What a sender says about further connections is bounded too.
func TestHostileStreams(t *testing.T) {
	one := fileEntry("f", 1)
	tests := []attack{
		{"flood of signals", agreed(t, slices.Concat(frStream(1), bytes.Repeat(frSignal(1), 100)), one), ErrProtocol, "more signals"},
		{"signal before its time", agreed(t, slices.Concat(frStream(1), frSignal(2)), one), ErrProtocol, "unexpected signal"},
		{"huge signal", agreed(t, slices.Concat(frStream(1), wire.AppendHeader(nil, wire.SignalKind, 1<<20)), one), ErrProtocol, "too long"},
		{"not the next one", agreed(t, frStream(2), one), ErrProtocol, "stream 2 after 0"},
		{"five at once", agreed(t, slices.Concat(frStream(1), frStream(2), frStream(3), frStream(4), frStream(5)), one), ErrProtocol, "unexpected stream"},
		{"malformed stream", agreed(t, fr(wire.StreamKind, []byte{1}), one), ErrProtocol, "malformed"},
		{"again after its end", append(agreed(t, slices.Concat(frStream(1), of(wire.NoStreamKind, (&wire.Signal{Number: 1}).Append)), one),
			turn{wire.NoStreamKind, frStream(3)}), ErrProtocol, "stream 3 after 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dst, err := Into(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			waiting := func(ctx context.Context, s *Signals) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			a, b := tcpPair(t)
			var wg sync.WaitGroup
			wg.Go(func() { _, err = Receive(t.Context(), b, dst, &ReceiveOptions{Extra: waiting}); b.Close() })
			told := play(a, tt.turns...)
			wg.Wait()
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || told == nil {
				t.Errorf("Receive: %v, want %q; told %v", err, tt.text, told)
			}
		})
	}
}
