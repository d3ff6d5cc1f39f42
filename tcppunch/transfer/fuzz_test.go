package transfer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zeebo/blake3"
)

// tee keeps what is written to a connection.
type tee struct {
	net.Conn
	out bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.out.Write(p)
	return t.Conn.Write(p)
}

// However the bytes come, a frame that is let pass is one that we know the size
// of, and every body parses or fails without a panic.
func FuzzFrame(f *testing.F) {
	f.Add(slices.Concat(opening(5), frIndex(0), fr(kindData, []byte("hello")), frHash([]byte("hello")), fr(kindEnd), fr(kindBye)))
	f.Add(slices.Concat(frHello(roleReceive), fr(kindAccept), fr(kindFail, appendFail(nil, "refused", "no"))))
	f.Add(fr(0x95, []byte("optional")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			k, n, err := readHeader(r)
			if err != nil {
				return
			}
			if n > k.limit() || n > maxData {
				t.Fatalf("%s of %d bytes let pass", k, n)
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			if h, err := parseHello(body); err == nil && !bytes.HasPrefix(body, h.append(nil)) {
				t.Errorf("hello %+v was %x", h, body)
			}
			if o, err := parseOffer(k, body); err == nil && !bytes.HasPrefix(body, o.append(nil)) {
				t.Errorf("offer %+v was %x", o, body)
			}
			if e, err := parseFail(body); err == nil && (Clean(e.Message) != e.Message || Clean(e.Code) != e.Code) {
				t.Errorf("fail %+v is not clean", e)
			}
		}
	})
}

// What a manifest lets pass keeps to what was announced.
func FuzzManifest(f *testing.F) {
	f.Add(uint32(2), uint64(7), slices.Concat(ent("a", 3), ent("b", 4)))
	f.Add(uint32(1), uint64(1), ent("../a", 1))
	f.Add(uint32(9), uint64(1<<62), ent("a", 1<<62))
	f.Fuzz(func(t *testing.T, files uint32, size uint64, page []byte) {
		announced, err := parseOffer(kindOffer, offer{files, size}.append(nil))
		if err != nil {
			return
		}
		m := newManifest(announced)
		if err := m.add(page); err != nil {
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrName) {
				t.Error(err)
			}
			return
		}
		var sum uint64
		seen := make(map[string]bool)
		for _, e := range m.files {
			if err := CheckName(e.Name); err != nil || e.Size < 0 || seen[e.Name] {
				t.Errorf("let pass: %+v", e)
			}
			seen[e.Name] = true
			sum += uint64(e.Size)
		}
		if sum > size || len(m.files) > int(files) || (m.complete() && sum != size) {
			t.Errorf("%d of %d files, %d of %d bytes", len(m.files), files, sum, size)
		}
		var again []byte
		if err := pages(m.files, func(p []byte) error { again = append(again, p...); return nil }); err != nil {
			t.Error(err)
		}
		m2 := newManifest(announced)
		if err := m2.add(again); err != nil {
			t.Errorf("does not survive another round: %v", err)
		}
	})
}

// Whatever a sender sends: nothing outside of the folder, and nothing under a final
// name that was not verified.
func FuzzReceive(f *testing.F) {
	hello5 := slices.Concat(frIndex(0), fr(kindData, []byte("hello")), frHash([]byte("hello")))
	f.Add(slices.Concat(opening(5), hello5, fr(kindEnd), fr(kindBye)))
	f.Add(slices.Concat(opening(5), hello5, fr(kindFail, appendFail(nil, "interrupted", ""))))
	f.Add(slices.Concat(frHello(roleSend), frOffer(1, 1), fr(kindPage, ent("../f", 1)), frIndex(0)))
	f.Add(slices.Concat(opening(0), frIndex(0), frHash(nil)))
	if golden, err := os.ReadFile("testdata/v1-send.bin"); err == nil {
		f.Add(golden)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		parent := t.TempDir()
		out := filepath.Join(parent, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		verified := make(map[string][32]byte)
		trace := &Trace{FileDone: func(f File, h [32]byte) { verified[f.Name] = h }}
		sum, err := Receive(t.Context(), &recorded{in: bytes.NewReader(stream)}, out, &ReceiveOptions{Trace: trace})
		if sum.Files != len(verified) || (err == nil && sum.Files == 0) {
			t.Errorf("Summary = %+v, %v, but %d files done", sum, err, len(verified))
		}
		for name, data := range tree(t, parent) {
			want, ok := verified[filepath.Base(name)]
			if filepath.Dir(name) != "out" || !ok || blake3.Sum256(data) != want {
				t.Errorf("%q was not verified", name)
			}
			delete(verified, filepath.Base(name))
		}
		if len(verified) > 0 {
			t.Errorf("done, but not there: %v", verified)
		}
	})
}
