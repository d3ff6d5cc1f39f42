//go:build linux

package transfer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// A plot is a sender that is up to something.
type plot struct {
	name  string
	args  []string // of the victim
	turns []turn
	code  string   // of its error; "" if all is to end well
	says  string   // the error
	gets  []string // what may be received
}

// hostileSenders say what they like to tcppunch recv.
func (c *builtCommand) hostileSenders(t *testing.T) {
	t.Parallel()
	plots := slices.Concat(folderPlots(t), listPlots(t), floodPlots(t))
	for _, a := range slices.Concat(openingAttacks(t), offerAttacks(t), dataAttacks(t), pressAttacks(t)) {
		if a.name == "stream that nobody wants" { // the command may want one
			continue
		}
		code := "failed"
		if a.want != nil {
			code = Code(a.want)
		}
		plots = append(plots, plot{name: a.name, turns: a.turns, code: code, says: a.text, gets: []string{"f"}})
	}
	for _, p := range plots {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			v := c.newVictim(t)
			v.start(append([]string{"recv", "--out=out"}, p.args...)...)
			conn := v.meet()
			v.exchange(conn)
			play(conn, p.turns...)
			v.want(p.code, p.says)
			v.wantOut(p.gets...)
		})
	}
}

// want checks how it ended.
func (v *victim) want(code, says string) {
	v.t.Helper()
	if code == "" {
		v.wantDone()
	} else {
		v.wantError(code, says)
	}
}

func dirEntry(path string) manifest.Entry {
	return manifest.Entry{Type: manifest.Dir, Path: path, Mode: 0o777, ModTime: testTime}
}

// folderPlots use what is in the receiver's folder to get out of it.
func folderPlots(t testing.TB) []plot {
	data := []byte("evil")
	put := func(index uint32) []byte { return slices.Concat(frBlock(index, 0, data), frEnd(0)) }
	one := func(path string) []turn {
		return append(agreed(t, put(0), fileEntry(path, int64(len(data)))), turn{wire.ResultKind, fr(wire.ByeKind)})
	}
	in := func(path string) []turn {
		return append(agreed(t, frEnd(0), dirEntry(filepath.Dir(path)), fileEntry(path, int64(len(data)))), turn{wire.ResultKind, fr(wire.ByeKind)})
	}
	replaced := []string{"--overwrite"}
	return []plot{
		{"through a planted link", nil, in("planted/f"), "exists", "planted", nil},
		{"through a planted link, overwriting", replaced, in("planted/f"), "exists", "planted", nil},
		{"onto a planted link", nil, append(agreed(t, frEnd(0), fileEntry("leads-out", 4)), turn{wire.ResultKind, fr(wire.ByeKind)}), "exists", "leads-out", []string{"leads-out"}},
		{"onto a planted link, overwriting", replaced, one("leads-out"), "", "", []string{"leads-out"}},
		{"partial file that is a link", nil, one("trap"), "exists", "in the way", nil},
		{"file over a folder", replaced, one("mine-too"), "", "", []string{"mine-too"}},
		{"over what is there", nil, append(agreed(t, frEnd(0), fileEntry("mine", 5)), turn{wire.ResultKind, fr(wire.ByeKind)}), "exists", "mine", nil},
		{"drive", nil, one("C:f"), "", "", []string{"C:f"}}, // a name like any other here
		{"names that differ in case", nil, append(agreed(t, slices.Concat(frBlock(0, 0, data), frBlock(1, 0, data), frEnd(0)),
			fileEntry("README", 4), fileEntry("readme", 4)), turn{wire.ResultKind, fr(wire.ByeKind)}), "", "", []string{"README", "readme"}},
	}
}

// rawEntry is an entry that no Builder would take.
func rawEntry(depth int, kind manifest.Type, called, target string) (b []byte) {
	b = binary.AppendUvarint(b, uint64(depth)<<2|uint64(kind))
	b = append(binary.AppendUvarint(b, uint64(len(called))), called...)
	b = append(b, 0, 0, 0) // permissions and time
	switch kind {
	case manifest.File:
		b = append(b, 1) // size
	case manifest.Symlink:
		b = append(binary.AppendUvarint(b, uint64(len(target))), target...)
	}
	return b
}

// listPlots are lists that cannot be.
func listPlots(t testing.TB) []plot {
	raw := func(files int, entries ...[]byte) []turn {
		o := wire.Offer{Totals: manifest.Totals{Entries: len(entries), Files: files, Bytes: int64(files)}}
		return []turn{{0, slices.Concat(frHello(wire.RoleSend), of(wire.OfferKind, o.Append))}, {wire.AcceptKind, fr(wire.PageKind, entries...)}}
	}
	link := func(depth int, target string) []byte { return rawEntry(depth, manifest.Symlink, "l", target) }
	dir, file := rawEntry(0, manifest.Dir, "d", ""), rawEntry(1, manifest.File, "f", "")
	plots := []plot{
		{"file in a link", nil, raw(1, link(0, "."), file), "link", "leads out", nil},
		{"file in a link of its folder", nil, raw(1, dir, link(1, "."), rawEntry(2, manifest.File, "f", "")), "protocol", "not a folder", []string{"d"}},
		{"like a journal", nil, raw(1, rawEntry(0, manifest.File, ".tcppunch-x.journal", "")), "bad-name", "notes", nil},
		{"listed twice", nil, raw(2, rawEntry(0, manifest.File, "f", ""), rawEntry(0, manifest.File, "f", "")), "protocol", "listed twice", nil},
		{"folder listed twice", nil, raw(0, dir, dir), "protocol", "listed twice", nil},
		{"link and file of one name", nil, raw(1, dir, link(1, "x"), rawEntry(1, manifest.File, "l", "")), "protocol", "listed twice", nil},
		{"without its folder", nil, raw(1, file), "protocol", "without its folder", nil},
		{"in a file", nil, raw(2, rawEntry(0, manifest.File, "f", ""), file), "protocol", "not a folder", nil},
		{"out of order", nil, raw(2, rawEntry(0, manifest.File, "g", ""), rawEntry(0, manifest.File, "f", "")), "protocol", "out of order", nil},
		{"unlike the totals", nil, raw(1, rawEntry(0, manifest.File, "f", ""), rawEntry(0, manifest.File, "g", "")), "protocol", "", nil},
	}
	for _, target := range []string{"/etc/passwd", "../elsewhere", "../../elsewhere", "x/../../../elsewhere", `..\elsewhere`, "C:\\f", "", "a\x00b", "." + strings.Repeat("/..", 200)} {
		plots = append(plots, plot{"link to " + target[:min(len(target), 30)], nil, raw(0, dir, link(1, target)), "link", "", []string{"d"}})
	}
	for _, bad := range []string{"/tmp/evil", `C:\evil`, `\\server\share\evil`, "con.txt", "COM1", "LPT9.log", "aux.", "f ", "a\x00b", "a\nb", "\u2066b", "a\u200eb", "\xff"} {
		plots = append(plots, plot{"name " + bad, nil, raw(1, rawEntry(0, manifest.File, bad, "")), "bad-name", "", nil})
	}
	return plots
}

// floodPlots send too much.
func floodPlots(t testing.TB) []plot {
	var many []manifest.Entry
	var begun []byte
	block := make([]byte, mib)
	for i := range 200 {
		many = append(many, fileEntry(fmt.Sprintf("f%03d", i), 2*mib))
		begun = append(begun, frBlockAs(wire.Block{Index: uint32(i), Size: mib, Flags: wire.FlagZero, Hash: tree.Block(block)}, nil)...)
	}
	var ahead []byte
	for n := range int64(limit.Ahead - 1) {
		ahead = append(ahead, frBlockAs(wire.Block{Number: limit.Ahead - 1 - n, Size: mib, Flags: wire.FlagZero, Hash: tree.Block(block)}, nil)...)
	}
	var losses []byte
	for range progress.MaxListed {
		l := wire.Loss{Index: wire.NoIndex, Failure: wire.Failure{Code: "e\x1b[2J", Message: string(bytes.Repeat([]byte("\x1b[31m\u202e"), 120))}}
		losses = append(losses, of(wire.LostKind, l.Append)...)
	}
	one := fileEntry("f", 1)
	return []plot{
		{"too many files at a time", nil, agreed(t, begun, many...), "protocol", "too many files", nil},
		{"from the last block to the first", []string{"--retry=0"}, agreed(t, append(ahead, frEnd(0)...), fileEntry("big", limit.Ahead*mib)), "protocol", "before all is sent", nil},
		{"a thousand evil losses", nil, append(agreed(t, slices.Concat(losses, frBlock(0, 0, []byte{1}), frEnd(progress.MaxListed)), one), turn{wire.ResultKind, fr(wire.ByeKind)}), "failed", "1000 of", []string{"f"}},
		{"pings without end", nil, agreed(t, slices.Concat(bytes.Repeat(fr(wire.PingKind, make([]byte, 100)), 100_000), frBlock(1, 0, []byte{1})), one), "protocol", "not awaited", nil},
		{"frames of the future without end", nil, agreed(t, slices.Concat(bytes.Repeat(fr(0x99, make([]byte, mib)), 50), frBlock(1, 0, []byte{1})), one), "protocol", "not awaited", nil},
	}
}

// million: a million entries, none of which can be received.
func (c *builtCommand) million(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	const million = 1_000_000
	var b manifest.Builder
	add := func(e manifest.Entry) {
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	add(dirEntry("planted"))
	for i := range million {
		add(fileEntry(fmt.Sprintf("planted/%07d", i), 1))
	}
	v := c.newVictim(t)
	v.plain = true               // a million events take longer than all else
	v.start("recv", "--out=out") // only now: making the list takes its time
	conn := v.meet()
	v.exchange(conn)
	o := wire.Offer{ID: [16]byte{9}, Digest: b.Digest(), Totals: b.Totals(), First: []manifest.Entry{dirEntry("planted")}}
	turns := []turn{{0, slices.Concat(frHello(wire.RoleSend), of(wire.OfferKind, o.Append))}}
	after := wire.AcceptKind
	for _, p := range b.Pages() {
		turns = append(turns, turn{after, fr(wire.PageKind, p)})
		after = wire.PlanKind
	}
	turns = append(turns, turn{wire.PlanKind, frEnd(0)}, turn{wire.ResultKind, fr(wire.ByeKind)})
	if told := play(conn, turns...); told != nil {
		t.Errorf("it says %v", told)
	}
	v.wantError("exists", fmt.Sprintf("%d of %d failed", million+1, million+1))
	v.wantOut()
	t.Logf("%d pages, %d KiB of memory", len(b.Pages()), v.most.Load()>>10)
}

// otherList: after a break the same offer has other files.
func (c *builtCommand) otherList(t *testing.T) {
	t.Parallel()
	v := c.newVictim(t)
	v.start("recv", "--out=out")
	data := content(3 * mib)
	first := fileEntry("f", int64(len(data)))
	conn := v.meet()
	v.exchange(conn)
	leave(conn, wire.AckKind, turn{0, slices.Concat(frHello(wire.RoleSend), frOffer(t, first))}, turn{wire.AcceptKind, frPages(t, first)},
		turn{wire.PlanKind, frBlock(0, 0, data[:mib])})
	conn = v.meet()
	v.exchange(conn)
	other := fileEntry("f", int64(len(data))-1)
	told := play(conn, turn{0, slices.Concat(frHello(wire.RoleSend), frOffer(t, other))})
	if told == nil || told.Code != "protocol" {
		t.Errorf("it says %v", told)
	}
	v.wantError("protocol", "the same offer with other files")
	v.wantOut()
	if info, err := os.Stat(filepath.Join(v.dir, "out", name.Partial("f"))); err != nil || info.Size() != mib {
		t.Errorf("what has arrived is not kept: %v", err)
	}
}
