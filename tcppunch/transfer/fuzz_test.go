package transfer

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// await is what an honest peer waits for before it sends a frame of a kind.
var await = map[wire.Kind]wire.Kind{
	wire.PageKind: wire.HelloKind, wire.BlockKind: wire.PlanKind, wire.CheckKind: wire.PlanKind, wire.FileKind: wire.PlanKind,
	wire.LostKind: wire.PlanKind, wire.EndKind: wire.PlanKind, wire.ByeKind: wire.ResultKind,
	wire.AcceptKind: wire.OfferKind, wire.PlanKind: wire.PageKind, wire.VerdictKind: wire.CheckKind, wire.ResultKind: wire.EndKind,
}

// drive sends a stream as a peer, as far as it is made of frames each when its time has
// come, so that a fuzzer gets far; then it leaves.
func drive(conn *net.TCPConn, stream []byte, patience time.Duration) {
	var mu sync.Mutex
	heard := make(map[wire.Kind]bool)
	gone := make(chan struct{})
	changed := make(chan struct{}, 1)
	go func() {
		defer close(gone)
		for {
			k, n, err := wire.ReadHeader(conn)
			if err == nil {
				_, err = io.CopyN(io.Discard, conn, int64(n))
			}
			if err != nil || k == wire.FailKind {
				return
			}
			mu.Lock()
			heard[k] = true
			mu.Unlock()
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	late := make(chan struct{}) // for all frames: whoever waits for each holds the fuzzer up
	defer time.AfterFunc(patience, func() { close(late) }).Stop()
	for len(stream) >= wire.HeaderSize {
		n := wire.HeaderSize + int(binary.BigEndian.Uint32(stream)&0xffffff)
		for waiting := true; waiting; {
			mu.Lock()
			k, gated := await[wire.Kind(stream[0])]
			waiting = gated && !heard[k]
			mu.Unlock()
			if waiting {
				select {
				case <-changed:
				case <-gone:
					waiting = false
				case <-late:
					waiting = false
				}
			}
		}
		n = min(n, len(stream))
		_, _ = conn.Write(stream[:n])
		stream = stream[n:]
	}
	_, _ = conn.Write(stream)
	_ = conn.CloseWrite()
	<-gone
	conn.Close()
}

// Whatever a sender sends: nothing outside of the folder, and nothing under a final
// name that was not verified.
func FuzzReceive(f *testing.F) {
	data, large := []byte("hello"), append(make([]byte, mib), "hello"...) // short on the wire
	zeros := frBlockAs(wire.Block{Index: 1, Size: mib, Flags: wire.FlagZero, Hash: tree.ZeroBlock()}, nil)
	hi := frHello(wire.RoleSend)
	one, two := fileEntry("f", 5), fileEntry("g", int64(len(large)))
	f.Add(slices.Concat(frOffer(f, one), frPages(f, one), frBlock(0, 0, data), frEnd(0), fr(wire.ByeKind)))
	f.Add(slices.Concat(frOffer(f, one, two), frPages(f, one, two), frBlock(1, 1, large[mib:]), frLoss(wire.LostKind, 0), zeros,
		frFile(1, large), frEnd(1), fr(wire.ByeKind)))
	f.Add(slices.Concat(frOffer(f, streamEntry), frPages(f, streamEntry), frBlock(0, 0, data), frFile(0, data), frEnd(0), fr(wire.ByeKind)))
	f.Add(slices.Concat(frOffer(f, one), frPages(f, one), frCheck(0, 0, data), frBlock(0, 0, data), frEnd(0)))
	f.Add(slices.Concat(frOffer(f, one), frPages(f, one), frStream(1), frSignal(1), frLoss(wire.LostKind, wire.NoIndex)))
	f.Add(slices.Concat(frOffer(f, fileEntry("e", 0)), frPages(f, fileEntry("e", 0)), frEnd(0), fr(wire.ByeKind)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		parent := t.TempDir()
		out := filepath.Join(parent, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, out, map[string][]byte{"g": []byte("before")})
		dst, err := Into(out)
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		a, b := tcpPair(t)
		var wg sync.WaitGroup
		wg.Go(func() { drive(a.(*net.TCPConn), slices.Concat(hi, stream), 100*time.Millisecond) })
		verified := make(map[string]tree.Hash)
		trace := &Trace{FileDone: func(f File, h [32]byte) { verified[f.Name] = h }}
		sum, err := Receive(t.Context(), b, dst, &ReceiveOptions{Exists: Overwrite, Trace: trace})
		b.Close()
		wg.Wait()
		if sum.Files < len(verified) || err == nil && sum.Files == 0 && sum.Elapsed == 0 {
			t.Errorf("Summary = %+v, %v, but %d files done", sum, err, len(verified))
		}
		for name, got := range listing(t, parent) {
			base, inside := strings.CutPrefix(filepath.ToSlash(name), "out/")
			want, ok := verified[base]
			part := strings.HasSuffix(base, ".tcppunch-part")
			before := base == "g" && string(got) == "before"
			if !inside || !part && !before && (!ok || rootOf(got) != want) {
				t.Errorf("%q was not verified", name)
			}
		}
	})
}

// Whatever a receiver answers, a sender comes to an end, and believes only what adds up.
func FuzzSend(f *testing.F) {
	large := content(2*mib + 5)
	hi := frHello(wire.RoleReceive)
	send, check := wire.Plan{Action: wire.Send}, wire.Plan{Action: wire.Check, Have: 2}
	all := int64(len(large) + 5)
	f.Add(slices.Concat(fr(wire.AcceptKind), frPlan(send, send), frAck(0, 1, mib, 0), frResult(2, 0, all)))
	f.Add(slices.Concat(fr(wire.AcceptKind), frPlan(check, wire.Plan{}), frVerdict(0, true, false), frResult(2, 0, all)))
	f.Add(slices.Concat(fr(wire.AcceptKind), frLoss(wire.FailedKind, 0), frPlan(wire.Plan{Action: wire.Failed}, send), frResult(1, 1, 5)))
	f.Add(slices.Concat(fr(wire.AcceptKind), frPlan(send, send), of(wire.FailKind, (&wire.Failure{Code: "no-space"}).Append)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		src := offering(t, map[string][]byte{"f": large, "g": content(5)})
		a, b := tcpPair(t)
		var wg sync.WaitGroup
		wg.Go(func() { drive(b.(*net.TCPConn), slices.Concat(hi, stream), 100*time.Millisecond) })
		sum, err := Send(t.Context(), a, src, nil)
		a.Close()
		wg.Wait()
		var inc *Incomplete
		if err == nil && (sum.Files != 2 || sum.Bytes != all) || errors.As(err, &inc) && (inc.Count < 1 || inc.Count > 2) {
			t.Errorf("Send = %+v, %v", sum, err)
		}
	})
}
