package transfer

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

// kind is the type of a frame. A frame is four bytes, the kind and a 24 bit
// big-endian length, and then as many bytes of body.
type kind byte

const (
	kindHello   kind = 0x01
	kindOffer   kind = 0x02
	kindPage    kind = 0x03
	kindAccept  kind = 0x04
	kindFile    kind = 0x05
	kindData    kind = 0x06
	kindFileEnd kind = 0x07
	kindEnd     kind = 0x08
	kindResult  kind = 0x09
	kindBye     kind = 0x0a
	kindFail    kind = 0x0b
	kindPing    kind = 0x0c

	// kindOptional marks a frame that a reader who does not know it may skip.
	kindOptional kind = 0x80
)

const (
	version    = 1 // the newest protocol version spoken here
	minVersion = 1 // the oldest

	headerSize = 4
	magic      = "tcppunch-files\n"

	maxData  = 1 << 20  // bytes in a data frame
	maxPage  = 64 << 10 // bytes in a manifest page
	maxOther = 4 << 10  // bytes in any other frame
	maxFiles = 1 << 20
	maxBytes = 1 << 62             // of all files together
	maxNames = 64 << 20            // bytes of all names together
	entryLen = 1 + 2 + 8*2 + 4 + 2 // bytes of a manifest entry without the name

	roleSend    = 's'
	roleReceive = 'r'

	// featureWindowsNames: this receiver cannot store names with < > : " | ? *.
	featureWindowsNames = "windows-names"
)

// limit is the most that the body of a frame may hold; it is checked before any
// byte is allocated. Frames of unknown kinds have one too: they are skipped.
func (k kind) limit() int {
	switch k {
	case kindData:
		return maxData
	case kindPage:
		return maxPage
	}
	if k&kindOptional != 0 {
		return maxData
	}
	return maxOther
}

func (k kind) known() bool { return kindHello <= k && k <= kindPing }

func (k kind) String() string {
	names := [...]string{"hello", "offer", "page", "accept", "file", "data", "file-end", "end", "result", "bye", "fail", "ping"}
	if k.known() {
		return names[k-kindHello]
	}
	return fmt.Sprintf("frame 0x%02x", byte(k))
}

func appendHeader(b []byte, k kind, n int) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(k)<<24|uint32(n))
}

// readHeader reads the start of a frame and vets kind and length. io.EOF means
// that the stream ended between two frames.
func readHeader(r io.Reader) (kind, int, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	v := binary.BigEndian.Uint32(h[:])
	k, n := kind(v>>24), int(v&0xffffff)
	if !k.known() && k&kindOptional == 0 {
		return k, n, protocolError("unknown " + k.String())
	}
	if n > k.limit() {
		return k, n, protocolError(fmt.Sprintf("%s of %d bytes is too long", k, n))
	}
	return k, n, nil
}

// decoder takes a body apart. Once it ran past the end, all it returns is zero
// and ok is false. What is left over at the end is room for later versions.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return make([]byte, min(n, 8))
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) text(n int) string {
	s := string(d.take(n))
	if d.bad {
		return ""
	}
	return s
}

func (d *decoder) err(k kind) error {
	if d.bad {
		return protocolError(k.String() + " is cut short")
	}
	return nil
}

// hello opens both directions: who speaks, which versions, what else it can do.
type hello struct {
	version, min uint16
	role         byte
	features     []string
}

func (h hello) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, h.version)
	b = binary.BigEndian.AppendUint16(b, h.min)
	b = append(b, h.role, byte(len(h.features)))
	for _, f := range h.features {
		b = append(b, byte(len(f)))
		b = append(b, f...)
	}
	return b
}

func parseHello(body []byte) (hello, error) {
	if !strings.HasPrefix(string(body), magic) {
		return hello{}, protocolError("the other side does not speak this protocol")
	}
	d := decoder{b: body[len(magic):]}
	h := hello{version: d.u16(), min: d.u16(), role: d.u8()}
	for range d.u8() {
		h.features = append(h.features, d.text(int(d.u8())))
	}
	return h, d.err(kindHello)
}

// entry is one file of the manifest.
type entry struct {
	File
	mode    uint16 // permission bits, as the sender has them
	modTime time.Time
}

func (e entry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(entryLen+len(e.Name)))
	b = append(b, 0) // a regular file
	b = binary.BigEndian.AppendUint16(b, e.mode)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(e.modTime.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(e.modTime.Nanosecond()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Name)))
	return append(b, e.Name...)
}

func (d *decoder) entry() (entry, error) {
	in := decoder{b: d.take(int(d.u16()))}
	what := in.u8()
	e := entry{mode: in.u16()}
	size, sec, nsec := in.u64(), in.u64(), in.u32()
	e.Name = in.text(int(in.u16()))
	switch {
	case d.bad || in.bad:
		return e, protocolError("a manifest entry is cut short")
	case what != 0:
		return e, protocolError(fmt.Sprintf("manifest entry of unknown type %d", what))
	case size > maxBytes:
		return e, protocolError("a file of impossible size")
	}
	e.Size = int64(size)
	e.modTime = time.Unix(int64(sec), int64(nsec%1e9))
	return e, nil
}

// offer announces the manifest pages that follow it.
type offer struct {
	files uint32
	bytes uint64
}

func (o offer) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, o.files)
	return binary.BigEndian.AppendUint64(b, o.bytes)
}

func parseOffer(k kind, body []byte) (offer, error) {
	d := decoder{b: body}
	o := offer{files: d.u32(), bytes: d.u64()}
	if err := d.err(k); err != nil {
		return o, err
	}
	if o.files == 0 || o.files > maxFiles || o.bytes > maxBytes {
		return o, protocolError(fmt.Sprintf("%s of %d files and %d bytes", k, o.files, o.bytes))
	}
	return o, nil
}

func appendFail(b []byte, code, message string) []byte {
	code, message = code[:min(len(code), maxCode)], message[:min(len(message), maxMessage)]
	b = append(b, byte(len(code)))
	b = append(b, code...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	return append(b, message...)
}

func parseFail(body []byte) (*RemoteError, error) {
	d := decoder{b: body}
	code := d.text(int(d.u8()))
	message := d.text(int(d.u16()))
	if err := d.err(kindFail); err != nil {
		return nil, err
	}
	message = message[:min(len(message), maxMessage)]
	return &RemoteError{Code: Clean(code[:min(len(code), maxCode)]), Message: Clean(message)}, nil
}
