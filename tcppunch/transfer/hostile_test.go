package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
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

	"github.com/zeebo/blake3"
)

func fr(k kind, body ...[]byte) []byte {
	b := slices.Concat(body...)
	return append(appendHeader(nil, k, len(b)), b...)
}

func frHello(role byte) []byte {
	return fr(kindHello, hello{version: version, min: minVersion, role: role}.append(nil))
}

func frOffer(files uint32, size uint64) []byte { return fr(kindOffer, offer{files, size}.append(nil)) }

func ent(name string, size uint64) []byte {
	return entry{File: File{name, int64(size)}, mode: 0o644, modTime: time.Unix(1e9, 0)}.append(nil)
}

func frIndex(i uint32) []byte { return fr(kindFile, binary.BigEndian.AppendUint32(nil, i)) }

func frHash(data []byte) []byte {
	h := blake3.Sum256(data)
	return fr(kindFileEnd, h[:])
}

// opening is an honest start with one file of the given size, named f.
func opening(size uint64) []byte {
	return slices.Concat(frHello(roleSend), frOffer(1, size), fr(kindPage, ent("f", size)))
}

// play writes a stream as the peer and closes when it has been told why it was
// turned down, which it returns.
func play(conn net.Conn, stream []byte) (told *RemoteError) {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer conn.Close()
		for {
			k, n, err := readHeader(conn)
			if err != nil {
				return
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(conn, body); err != nil {
				return
			}
			if k == kindFail {
				told, _ = parseFail(body)
				return
			}
		}
	})
	_, _ = conn.Write(stream)
	wg.Wait()
	return told
}

// attack is what a hostile sender sends, and what Receive makes of it.
type attack struct {
	name   string
	stream []byte
	want   error
	text   string
}

// onePage is a manifest of one page with figures that fit.
func onePage(entries ...[]byte) []byte {
	var size uint64
	for _, e := range entries {
		d := decoder{b: e}
		if got, err := d.entry(); err == nil {
			size += uint64(got.Size)
		}
	}
	return slices.Concat(frHello(roleSend), frOffer(uint32(len(entries)), size), fr(kindPage, entries...))
}

// openingAttacks go wrong before the manifest, or with frames that nobody knows.
func openingAttacks() []attack {
	cat := slices.Concat[[]byte]
	huge := appendHeader(nil, kindPage, maxPage+1)
	return []attack{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), ErrProtocol, "unknown frame 0x47"},
		{"no hello", frOffer(1, 1), ErrProtocol, "offer instead of hello"},
		{"wrong magic", fr(kindHello, []byte("somebody else's hello")), ErrProtocol, "does not speak"},
		{"short hello", fr(kindHello, []byte(magic), []byte{0, 1}), ErrProtocol, "cut short"},
		{"lying feature list", fr(kindHello, []byte(magic), []byte{0, 1, 0, 1, 's', 255, 200, 'x'}), ErrProtocol, "cut short"},
		{"future", fr(kindHello, hello{version: 9, min: 9, role: roleSend}.append(nil)), ErrVersion, "the other 9 to 9"},
		{"no role", frHello('x'), ErrProtocol, "without a role"},
		{"second receiver", frHello(roleReceive), ErrProtocol, "both sides want to receive"},
		{"hello twice", cat(frHello(roleSend), frHello(roleSend)), ErrProtocol, "hello instead of offer"},
		{"oversized frame", cat(frHello(roleSend), huge), ErrProtocol, "too long"},
		{"oversized control", cat(frHello(roleSend), appendHeader(nil, kindOffer, 1<<23)), ErrProtocol, "too long"},
		{"oversized optional", cat(frHello(roleSend), appendHeader(nil, 0x90, 1<<23)), ErrProtocol, "too long"},
		{"unknown frame", cat(frHello(roleSend), fr(0x33)), ErrProtocol, "unknown frame 0x33"},
		{"kind zero", cat(frHello(roleSend), fr(0)), ErrProtocol, "unknown"},
		{"receiver's frame", cat(frHello(roleSend), fr(kindAccept)), ErrProtocol, "accept instead of offer"},
		{"result", cat(opening(1), fr(kindResult)), ErrProtocol, "result instead of file"},
		{"bye", cat(opening(1), fr(kindBye)), ErrProtocol, "bye instead of file"},
	}
}

// manifestAttacks lie about counts and sizes.
func manifestAttacks() []attack {
	cat := slices.Concat[[]byte]
	return []attack{
		{"no files", cat(frHello(roleSend), frOffer(0, 0)), ErrProtocol, "0 files"},
		{"too many files", cat(frHello(roleSend), frOffer(maxFiles+1, 0)), ErrProtocol, "files"},
		{"too many bytes", cat(frHello(roleSend), frOffer(1, math.MaxUint64)), ErrProtocol, "bytes"},
		{"short offer", cat(frHello(roleSend), fr(kindOffer, []byte{0, 0, 0, 1})), ErrProtocol, "cut short"},
		{"empty page", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage)), ErrProtocol, "empty"},
		{"short page", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, ent("f", 1)[:20])), ErrProtocol, "cut short"},
		{"entry of no length", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, []byte{0, 0})), ErrProtocol, "cut short"},
		{"name longer than entry", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, badNameLength())), ErrProtocol, "cut short"},
		{"unknown entry type", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, badType())), ErrProtocol, "unknown type 7"},
		{"more files", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, ent("f", 1), ent("g", 0))), ErrProtocol, "more files"},
		{"more bytes", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, ent("f", 2))), ErrProtocol, "more bytes"},
		{"fewer bytes", cat(frHello(roleSend), frOffer(1, 2), fr(kindPage, ent("f", 1))), ErrProtocol, "announced"},
		{"negative size", cat(frHello(roleSend), frOffer(1, 1), fr(kindPage, ent("f", math.MaxUint64))), ErrProtocol, "impossible size"},
		{"sum overflows", cat(frHello(roleSend), frOffer(3, maxBytes), fr(kindPage, ent("f", maxBytes), ent("g", maxBytes), ent("h", maxBytes))), ErrProtocol, "more bytes"},
		{"files before the manifest is complete", cat(frHello(roleSend), frOffer(2, 1), fr(kindPage, ent("f", 1)), frIndex(0)), ErrProtocol, "file instead of page"},
		{"more than the disk", onePage(ent("f", 1<<60)), ErrNoSpace, "offered"},
	}
}

// nameAttacks try to leave the folder, or to deceive.
func nameAttacks() []attack {
	return []attack{
		{"parent", onePage(ent("../f", 1)), ErrName, "separator"},
		{"absolute", onePage(ent("/tmp/f", 1)), ErrName, "separator"},
		{"backslash", onePage(ent(`..\f`, 1)), ErrName, "separator"},
		{"dots", onePage(ent("..", 1)), ErrName, "folder"},
		{"no name", onePage(ent("", 1)), ErrName, "empty"},
		{"escape codes", onePage(ent("a\x1b[2Jb", 1)), ErrName, "invisible"},
		{"device", onePage(ent("NUL", 1)), ErrName, "device"},
		{"twice", onePage(ent("f", 1), ent("f", 1)), ErrName, "two files"},
		{"twice but for case", onePage(ent("f", 1), ent("F", 1)), ErrName, "two files"},
		{"a partial file", onePage(ent(".f.abc.tcppunch-part", 1)), ErrName, "unfinished"},
	}
}

// dataAttacks send other data than was announced.
func dataAttacks() []attack {
	cat := slices.Concat[[]byte]
	return []attack{
		{"wrong index", cat(opening(1), frIndex(1)), ErrProtocol, "out of order"},
		{"short index", cat(opening(1), fr(kindFile, []byte{0})), ErrProtocol, "out of order"},
		{"data without file", cat(opening(1), fr(kindData, []byte{1})), ErrProtocol, "data instead of file"},
		{"end without file", cat(opening(1), fr(kindEnd)), ErrProtocol, "end instead of file"},
		{"too much data", cat(opening(1), frIndex(0), fr(kindData, []byte{1, 2})), ErrProtocol, "does not fit"},
		{"data after the end", cat(opening(1), frIndex(0), fr(kindData, []byte{1}), fr(kindData, []byte{2})), ErrProtocol, "data instead of file-end"},
		{"data in an empty file", cat(opening(0), frIndex(0), fr(kindData, []byte{1})), ErrProtocol, "data instead of file-end"},
		{"endless empty data", cat(opening(1), frIndex(0), fr(kindData)), ErrProtocol, "does not fit"},
		{"file ends early", cat(opening(2), frIndex(0), fr(kindData, []byte{1}), frHash([]byte{1})), ErrProtocol, "file-end instead of data"},
		{"short hash", cat(opening(1), frIndex(0), fr(kindData, []byte{1}), fr(kindFileEnd, []byte{1})), ErrProtocol, "cut short"},
		{"wrong hash", cat(opening(1), frIndex(0), fr(kindData, []byte{1}), frHash([]byte{2})), ErrHash, "f: hash"},
		{"stream ends", cat(opening(1), frIndex(0)), ErrPeerGone, "closed the connection"},
		{"stream ends in a frame", cat(opening(2), frIndex(0), appendHeader(nil, kindData, 2), []byte{1}), ErrPeerGone, "closed the connection"},
		{"malformed fail", cat(opening(1), fr(kindFail, []byte{200})), ErrProtocol, "cut short"},
		{"fail with escape codes", cat(opening(1), fr(kindFail, appendFail(nil, "no\x1b[2Jvel", "bad\x1b]0;t\a\nnews"))), nil, "bad�]0;t��news"},
	}
}

func TestHostileSender(t *testing.T) {
	tests := slices.Concat(openingAttacks(), manifestAttacks(), nameAttacks(), dataAttacks())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			if err := os.Mkdir(out, 0o755); err != nil {
				t.Fatal(err)
			}
			a, b := tcpPair(t)
			var err error
			var wg sync.WaitGroup
			wg.Go(func() { _, err = Receive(t.Context(), b, out, nil); b.Close() })
			ends := errors.Is(tt.want, ErrPeerGone)
			if ends {
				_, _ = a.Write(tt.stream)
				_ = a.(*net.TCPConn).CloseWrite()
			}
			var told *RemoteError
			if !ends {
				told = play(a, tt.stream)
			}
			wg.Wait()
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Receive: %v, want %v, %q", err, tt.want, tt.text)
			}
			if tt.want != nil && !ends && (told == nil || told.Code != Code(tt.want)) {
				t.Errorf("the sender was told %v", told)
			}
			wantTree(t, filepath.Dir(out), nil)
		})
	}
}

func badNameLength() []byte {
	e := ent("f", 1)
	e[len(e)-2] = 200
	return e
}

func badType() []byte {
	e := ent("f", 1)
	e[2] = 7
	return e
}

// A manifest without end costs no more memory than its bounds say.
func TestManifestBounds(t *testing.T) {
	m := newManifest(offer{files: maxFiles, bytes: 0})
	var err error
	added := 0
	for i := 0; err == nil && i < maxFiles; i++ {
		name := strings.Repeat("x", maxName-8) + hex8(i)
		err = m.add(ent(name, 0))
		added += len(name)
	}
	if !errors.Is(err, ErrProtocol) || added > maxNames+maxName {
		t.Errorf("%d bytes of names, then %v", added, err)
	}
}

func hex8(i int) string {
	const digits = "0123456789abcdef"
	var b [8]byte
	for j := range b {
		b[7-j] = digits[i>>(4*j)&15]
	}
	return string(b[:])
}

// What later versions may add is skipped.
func TestForwardCompatible(t *testing.T) {
	data := []byte("hello")
	longer := func(b []byte) []byte { return append(slices.Clone(b), "more"...) }
	entry := longer(ent("f", 5))
	entry[1] += 4 // the entry itself has grown
	h := hello{version: 9, min: 1, role: roleSend, features: []string{"directories", "", strings.Repeat("x", 255)}}
	hash := blake3.Sum256(data)
	stream := slices.Concat(
		fr(kindHello, longer(h.append(nil))),
		fr(0x80), fr(kindPing, []byte("pong?")),
		fr(kindOffer, longer(offer{1, 5}.append(nil))),
		fr(kindPage, entry),
		fr(0xfe, make([]byte, maxData)),
		fr(kindFile, longer([]byte{0, 0, 0, 0})),
		fr(kindData, data[:2]), fr(0x81, []byte("in between")), fr(kindPing), fr(kindData, data[2:]),
		fr(kindFileEnd, longer(hash[:])),
		fr(kindEnd, []byte("more")),
		fr(kindBye, []byte("more")),
	)
	dir := t.TempDir()
	conn := &recorded{in: bytes.NewReader(stream)}
	if sum, err := Receive(t.Context(), conn, dir, nil); err != nil || sum.Files != 1 {
		t.Errorf("Receive = %+v, %v", sum, err)
	}
	wantTree(t, dir, map[string][]byte{"f": data})
}

// recorded is a connection that plays a recorded stream and keeps what is written.
type recorded struct {
	net.Conn
	in  io.Reader
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *recorded) Read(p []byte) (int, error)  { return r.in.Read(p) }
func (r *recorded) SetDeadline(time.Time) error { return nil }
func (r *recorded) SetReadDeadline(time.Time) error {
	return nil
}

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func TestHostileReceiver(t *testing.T) {
	data := content(3 << 20)
	result := fr(kindResult, offer{1, uint64(len(data))}.append(nil))
	hi := frHello(roleReceive)
	cat := slices.Concat[[]byte]
	flood := bytes.Repeat(fr(kindAccept), 1000)
	tests := []struct {
		name   string
		stream []byte
		want   error
		text   string
	}{
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrProtocol, "unknown frame"},
		{"no hello", fr(kindAccept), ErrProtocol, "unexpected accept"},
		{"second sender", frHello(roleSend), ErrProtocol, "both sides want to send"},
		{"future", fr(kindHello, hello{version: 9, min: 9, role: roleReceive}.append(nil)), ErrVersion, "the other 9"},
		{"hello twice", cat(hi, hi), ErrProtocol, "unexpected hello"},
		{"data", cat(hi, fr(kindData, data[:100])), ErrProtocol, "unexpected data"},
		{"bye", cat(hi, fr(kindBye)), ErrProtocol, "unexpected bye"},
		{"result at once", cat(hi, result), ErrProtocol, "unexpected result"},
		{"huge frame", cat(hi, appendHeader(nil, kindAccept, 1<<20)), ErrProtocol, "too long"},
		{"unknown frame", cat(hi, fr(0x44)), ErrProtocol, "unknown frame 0x44"},
		{"flood", cat(hi, flood), ErrProtocol, "unexpected accept"},
		{"refuses with a lie", cat(hi, fr(kindFail, appendFail(nil, "exists", "\x1b[31mno\u202e"))), ErrExists, "�[31mno�"},
		{"refuses without words", cat(hi, fr(kindFail, appendFail(nil, "so-what", ""))), nil, "reported: so-what"},
		{"leaves", hi, ErrPeerGone, "closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPair(t)
			var err error
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err = Send(t.Context(), a, source(t, map[string][]byte{"f": data}), nil)
				a.Close()
			})
			if errors.Is(tt.want, ErrPeerGone) {
				_, _ = b.Write(tt.stream)
				_ = b.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, b)
			} else {
				play(b, tt.stream)
			}
			wg.Wait()
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Send: %v, want %v, %q", err, tt.want, tt.text)
			}
		})
	}
}

// A receiver that claims success before it has been sent everything, or other
// figures than were sent, is not believed.
func TestHostileResult(t *testing.T) {
	data := content(100)
	tests := []struct {
		name string
		when kind // answer to this frame of the sender
		say  []byte
		text string
	}{
		{"early", kindData, fr(kindResult, offer{1, 100}.append(nil)), "unexpected result"},
		{"other count", kindEnd, fr(kindResult, offer{2, 100}.append(nil)), "counts other files"},
		{"other bytes", kindEnd, fr(kindResult, offer{1, 99}.append(nil)), "counts other files"},
		{"short", kindEnd, fr(kindResult, []byte{1}), "cut short"},
		{"accept again", kindEnd, fr(kindAccept), "unexpected accept"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			var err error
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err = Send(context.Background(), a, source(t, map[string][]byte{"f": data}), nil)
				a.Close()
			})
			answers := map[kind][]byte{kindPage: fr(kindAccept)}
			answers[tt.when] = tt.say
			_, _ = b.Write(frHello(roleReceive))
			for {
				k, n, err := readHeader(b)
				if err != nil || k == kindFail {
					break
				}
				_, _ = io.CopyN(io.Discard, b, int64(n))
				_, _ = b.Write(answers[k])
			}
			b.Close()
			wg.Wait()
			if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Send: %v, want %q", err, tt.text)
			}
		})
	}
}

// A receiver on Windows says what it cannot store, before it is offered.
func TestWindowsReceiver(t *testing.T) {
	a, b := tcpPair(t)
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err = Send(t.Context(), a, source(t, map[string][]byte{"10:30.txt": nil}), nil)
		a.Close()
	})
	told := play(b, fr(kindHello, hello{version, minVersion, roleReceive, []string{"other", featureWindowsNames}}.append(nil)))
	wg.Wait()
	if !errors.Is(err, ErrName) || told == nil || told.Code != "bad-name" {
		t.Errorf("Send: %v; told %v", err, told)
	}
}
