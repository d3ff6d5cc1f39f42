package stun

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	codec "github.com/pion/stun/v4"
)

// The test vectors of RFC 5769, sections 2.1 to 2.3.
const (
	sampleRequest = "000100582112a442b7e7a701bc34d686fa87dfae" +
		"802200105354554e207465737420636c69656e74" + "002400046e0001ff" + "80290008932ff9b151263b36" +
		"000600096576746a3a68367659202020" + "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2" + "80280004e57a3bcf"
	sampleIPv4 = "0101003c2112a442b7e7a701bc34d686fa87dfae" + "8022000b7465737420766563746f7220" +
		"002000080001a147e112a643" + "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7" + "80280004c07d4c96"
	sampleIPv6 = "010100482112a442b7e7a701bc34d686fa87dfae" + "8022000b7465737420766563746f7220" +
		"002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9" +
		"00080014a382954e4be67bf11784c97c8292c275bfe3ed41" + "80280004c8fb0b4c"
)

var equalAddrs = cmpopts.EquateComparable(netip.AddrPort{})

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func idOf(b []byte) TransactionID { return TransactionID(b[8:headerSize]) }

func TestRFC5769Responses(t *testing.T) {
	tests := []struct{ name, in, mapped string }{
		{"IPv4", sampleIPv4, "192.0.2.1:32853"},
		{"IPv6", sampleIPv6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := readFrame(bytes.NewReader(unhex(tt.in)))
			if err != nil {
				t.Fatal(err)
			}
			if !answers(b, idOf(b)) {
				t.Error("is no answer to its request")
			}
			got, err := parseResponse(b)
			want := Result{Mapped: addr(tt.mapped), Software: "test vector"}
			if d := cmp.Diff(want, got, equalAddrs); d != "" || err != nil {
				t.Errorf("%v, %s", err, d)
			}
		})
	}
}

// The sample request carries PRIORITY, which is ICE's: a server without ICE has to refuse it.
func TestRFC5769Request(t *testing.T) {
	b := unhex(sampleRequest)
	resp, err := Respond(b, Result{Mapped: addr("192.0.2.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	if !answers(resp, idOf(b)) {
		t.Error("is no answer to its request")
	}
	_, err = parseResponse(resp)
	var e *Error
	if !errors.As(err, &e) || e.Code != 420 || !slices.Equal(e.Unknown, []uint16{0x0024}) {
		t.Errorf("got %v (%+v), want 420 for 0x0024", err, e)
	}
}

// message builds a message of any type and attributes.
func message(typ uint16, attrs ...codec.RawAttribute) []byte {
	m := &codec.Message{TransactionID: TransactionID{1, 2, 3}}
	m.WriteHeader()
	for _, a := range attrs {
		m.Add(a.Type, a.Value)
	}
	binary.BigEndian.PutUint16(m.Raw, typ)
	return m.Raw
}

func attr(typ codec.AttrType, v ...byte) codec.RawAttribute {
	return codec.RawAttribute{Type: typ, Value: v}
}

const (
	request  = 0x0001
	success  = 0x0101
	failure  = 0x0111
	indicate = 0x0011
)

func TestParseResponse(t *testing.T) {
	v4 := func(t codec.AttrType) codec.RawAttribute { return attr(t, 0, 1, 0x1B, 0x9E, 192, 0, 2, 1) }
	mapped := v4(codec.AttrMappedAddress)
	in6 := attr(codec.AttrMappedAddress, 0, 2, 0x1B, 0x9E, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1)
	home := addr("192.0.2.1:7070")
	tests := []struct {
		name string
		in   []byte
		want Result
		bad  bool
	}{
		{"old server", message(success, mapped, v4(codec.AttrSourceAddress), v4(codec.AttrChangedAddress)), Result{Mapped: home}, false},
		{"IPv4 in IPv6", message(success, in6), Result{Mapped: home}, false},
		{"all of RFC 5780", message(success, mapped, v4(codec.AttrResponseOrigin), v4(codec.AttrOtherAddress)),
			Result{Mapped: home, Origin: home, Other: home}, false},
		{"useless extras", message(success, mapped, attr(codec.AttrOtherAddress, 0, 1, 0, 0, 0, 0, 0, 0), attr(codec.AttrResponseOrigin)),
			Result{Mapped: home}, false},
		{"unknown optional attribute", message(success, mapped, attr(0xFFFE, 1)), Result{Mapped: home}, false},

		{"unknown required attribute", message(success, mapped, attr(0x7FFE, 1)), Result{}, true},
		{"no address", message(success), Result{}, true},
		{"empty address", message(success, attr(codec.AttrMappedAddress)), Result{}, true},
		{"short IPv6", message(success, attr(codec.AttrMappedAddress, 0, 2, 0, 1, 1, 2, 3, 4)), Result{}, true},
		{"long IPv4", message(success, attr(codec.AttrMappedAddress, append([]byte{0, 1}, make([]byte, 18)...)...)), Result{}, true},
		{"unknown family", message(success, attr(codec.AttrMappedAddress, 0, 3, 0, 1, 1, 2, 3, 4)), Result{}, true},
		{"port 0", message(success, attr(codec.AttrMappedAddress, 0, 1, 0, 0, 1, 2, 3, 4)), Result{}, true},
		{"unspecified", message(success, attr(codec.AttrMappedAddress, 0, 1, 0, 1, 0, 0, 0, 0)), Result{}, true},
		{"bad XOR beside good", message(success, mapped, attr(codec.AttrXORMappedAddress, 0, 1)), Result{}, true},
		{"attribute longer than the message", append(message(success, mapped)[:22], 0xFF, 0xFF, 0, 1, 0, 1, 1, 2, 3, 4), Result{}, true},
		{"error without a code", message(failure), Result{}, true},
		{"error with half a code", message(failure, attr(codec.AttrErrorCode, 0, 0)), Result{}, true},
		{"something after it", append(message(success, mapped), 0), Result{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseResponse(tt.in)
			if d := cmp.Diff(tt.want, got, equalAddrs); d != "" || errors.Is(err, ErrMalformed) != tt.bad || (err != nil) != tt.bad {
				t.Errorf("%v, %s", err, d)
			}
		})
	}
}

func TestError(t *testing.T) {
	_, err := parseResponse(message(failure, attr(codec.AttrErrorCode, append([]byte{0, 0, 4, 1}, "who\n?"...)...)))
	var e *Error
	if !errors.As(err, &e) || e.Code != 401 || err.Error() != `STUN server answered 401 "who\n?"` {
		t.Errorf("got %v", err)
	}
}

func TestReadFrame(t *testing.T) {
	whole := unhex(sampleIPv4)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"whole", whole, nil},
		{"with more after it", append(bytes.Clone(whole), "more"...), nil},
		{"nothing", nil, io.EOF},
		{"half a header", whole[:19], io.ErrUnexpectedEOF},
		{"header only", whole[:20], io.ErrUnexpectedEOF},
		{"half a body", whole[:50], io.ErrUnexpectedEOF},
		{"first bits", change(0, 0x81), ErrMalformed},
		{"length not divisible", change(3, 0x3D), ErrMalformed},
		{"too long", change(2, 0x08), ErrMalformed},
		{"no cookie", change(4, 0), ErrMalformed},
		{"another protocol", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader} {
				in := bytes.NewReader(tt.in)
				got, err := readFrame(wrap(in))
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if tt.want == nil && !bytes.Equal(got, whole) {
					t.Errorf("got %x", got)
				}
			}
			in := bytes.NewReader(tt.in)
			if _, err := readFrame(in); err == nil && in.Len() != len(tt.in)-len(whole) {
				t.Errorf("%d bytes are left, want %d", in.Len(), len(tt.in)-len(whole))
			}
		})
	}
}

func TestRespond(t *testing.T) {
	v6 := addr("[2001:db8::7]:99")
	tests := []struct {
		name string
		in   []byte
		say  Result
		want Result
		code int // of an error response
		none bool
	}{
		{name: "plain", in: message(request), say: Result{Mapped: v6}, want: Result{Mapped: v6}},
		{name: "all", in: message(request), say: Result{v6, addr("192.0.2.1:3478"), addr("192.0.2.2:3479"), "tcppunch"},
			want: Result{v6, addr("192.0.2.1:3478"), addr("192.0.2.2:3479"), "tcppunch"}},
		{name: "IPv4 in IPv6", in: message(request), say: Result{Mapped: addr("[::ffff:192.0.2.1]:9")},
			want: Result{Mapped: addr("192.0.2.1:9")}},
		{name: "bound to every address", in: message(request), say: Result{Mapped: v6, Origin: addr("0.0.0.0:3478")}, want: Result{Mapped: v6}},
		{name: "long description", in: message(request), say: Result{Mapped: v6, Software: strings.Repeat("x", 1<<16)},
			want: Result{Mapped: v6, Software: strings.Repeat("x", maxSoftware)}},
		{name: "optional attribute", in: message(request, attr(0x8F00, 1, 2, 3)), say: Result{Mapped: v6}, want: Result{Mapped: v6}},
		{name: "credentials are not needed", in: message(request, attr(codec.AttrUsername, 'x'), attr(codec.AttrMessageIntegrity, make([]byte, 20)...)),
			say: Result{Mapped: v6}, want: Result{Mapped: v6}},
		{name: "CHANGE-REQUEST", in: message(request, attr(codec.AttrChangeRequest, 0, 0, 0, 6)), say: Result{Mapped: v6}, code: 420},
		{name: "response", in: message(success), say: Result{Mapped: v6}, none: true},
		{name: "error response", in: message(failure), say: Result{Mapped: v6}, none: true},
		{name: "indication", in: message(indicate), say: Result{Mapped: v6}, none: true},
		{name: "Allocate", in: message(0x0003), say: Result{Mapped: v6}, none: true},
		{name: "empty", say: Result{Mapped: v6}, none: true},
		{name: "bad attribute", in: append(message(request)[:2], append([]byte{0, 4}, append(message(request)[4:], 0, 6, 0, 9)...)...),
			say: Result{Mapped: v6}, none: true},
		{name: "no address", in: message(request), none: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := Respond(tt.in, tt.say)
			if tt.none {
				if err == nil || b != nil {
					t.Errorf("answered with %x", b)
				}
				return
			}
			if err != nil || !answers(b, idOf(tt.in)) {
				t.Fatalf("%x, %v", b, err)
			}
			got, err := parseResponse(b)
			var e *Error
			if errors.As(err, &e) && e.Code == tt.code {
				return
			}
			if d := cmp.Diff(tt.want, got, equalAddrs); d != "" || err != nil {
				t.Errorf("%v, %s", err, d)
			}
		})
	}
}

func seeds(f *testing.F) {
	for _, s := range []string{sampleRequest, sampleIPv4, sampleIPv6} {
		f.Add(unhex(s))
	}
	f.Add(message(request, attr(codec.AttrChangeRequest, 0, 0, 0, 6), attr(0x7000, 1)))
	f.Add(message(failure, attr(codec.AttrErrorCode, 0, 0, 4, 20), attr(codec.AttrUnknownAttributes, 0, 3)))
}

func FuzzReadFrame(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := readFrame(bytes.NewReader(in))
		if err == nil && (!bytes.HasPrefix(in, b) || len(b) > maxMessage) {
			t.Errorf("%x is not the beginning of %x", b, in)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		res, err := parseResponse(in)
		if (err == nil) != usable(res.Mapped) {
			t.Errorf("%+v with error %v", res, err)
		}
	})
}

// What is answered is an answer that the asker understands, and never gets one itself.
func FuzzRespond(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		say := Result{Mapped: addr("192.0.2.1:7070"), Origin: addr("192.0.2.9:3478"), Software: "s"}
		b, err := Respond(in, say)
		if err != nil {
			return
		}
		if len(b) > maxMessage || !answers(b, idOf(in)) {
			t.Fatalf("%x is no answer to %x", b, in)
		}
		if again, err := Respond(b, say); err == nil {
			t.Errorf("an answer is answered with %x", again)
		}
		got, err := parseResponse(b)
		var e *Error
		if !errors.As(err, &e) && (err != nil || got != say) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
