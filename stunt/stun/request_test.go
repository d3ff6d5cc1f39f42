package stun

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	codec "github.com/pion/stun/v4"
)

var (
	home        = addr("192.0.2.1:7070")
	ownRequest  = cmpopts.IgnoreUnexported(Request{})
	twoExtras   = []Attribute{{0xC123, []byte{1, 2, 3, 4}}, {0xFFFF, []byte{5}}}
	allRequests = []Request{
		{}, {ChangeIP: true}, {ChangePort: true}, {ChangeIP: true, ChangePort: true, ResponsePort: 7070},
		{ResponsePort: 65535, Extra: twoExtras},
	}
)

func TestRequestRoundTrip(t *testing.T) {
	for _, want := range allRequests {
		b, id := want.Encode()
		got, err := ParseRequest(b)
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if d := cmp.Diff(&want, got, ownRequest); d != "" {
			t.Error(d)
		}
		resp, err := got.Respond(Response{Result{Mapped: home, Software: "s"}, twoExtras})
		if err != nil {
			t.Fatal(err)
		}
		if gotID, ok := ResponseID(resp); !ok || gotID != id {
			t.Errorf("the response's ID is %x, %v, want %x", gotID, ok, id)
		}
		res, err := ParseResponse(resp)
		if d := cmp.Diff(Response{Result{Mapped: home, Software: "s"}, twoExtras}, res, cmpopts.EquateComparable(netip.AddrPort{})); d != "" || err != nil {
			t.Errorf("%v %s", err, d)
		}
	}
}

// What a plain server cannot do it refuses, naming it; so does Respond what must be understood and is not.
func TestRefuse(t *testing.T) {
	both := message(request, attr(codec.AttrChangeRequest, 0, 0, 0, 6), attr(codec.AttrPadding, 0, 0, 0, 0))
	change := message(request, attr(codec.AttrChangeRequest, 0, 0, 0, 2))
	plain := func(b []byte) ([]byte, error) { return Respond(b, Result{Mapped: home}) }
	extended := func(b []byte) ([]byte, error) {
		return check(ParseRequest(b))(t).Respond(Response{Result: Result{Mapped: home}})
	}
	refusing := func(b []byte) ([]byte, error) { return check(ParseRequest(b))(t).RefuseExtended() }
	for _, tt := range []struct {
		name    string
		respond func([]byte) ([]byte, error)
		in      []byte
		want    []uint16 // nil is a success
	}{
		{"plain server, change", plain, change, []uint16{3}},
		{"plain server, change and padding", plain, both, []uint16{3, 0x26}},
		{"extended server, change", extended, change, nil},
		{"extended server, change and padding", extended, both, []uint16{0x26}},
		{"extended server without another address", refusing, change, []uint16{3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseResponse(check(tt.respond(tt.in))(t))
			var e *Error
			if tt.want == nil && err == nil {
				return
			}
			if !errors.As(err, &e) || e.Code != 420 || !slices.Equal(e.Unknown, tt.want) {
				t.Errorf("got %v, want 420 for %#04x", err, tt.want)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	for name, in := range map[string][]byte{
		"nothing":             nil,
		"response":            message(success),
		"indication":          message(indicate),
		"short change":        message(request, attr(codec.AttrChangeRequest, 0, 6)),
		"empty response port": message(request, attr(codec.AttrResponsePort)),
	} {
		if q, err := ParseRequest(in); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, q, err)
		}
	}
}

func TestExtrasAreBounded(t *testing.T) {
	var many []codec.RawAttribute
	for range 100 {
		many = append(many, attr(0xC000, 1, 2, 3, 4))
	}
	q := check(ParseRequest(message(request, many...)))(t)
	if len(q.Extra) != maxExtra {
		t.Errorf("%d attributes are kept, want %d", len(q.Extra), maxExtra)
	}
}

// echo answers with the attributes that it got.
type echo struct{ closed chan struct{} }

func (e echo) Respond(_ context.Context, b []byte) ([]byte, error) {
	q, err := ParseRequest(b)
	if err != nil {
		return nil, err
	}
	return q.Respond(Response{Result{Mapped: home}, q.Extra})
}
func (e echo) Close() { close(e.closed) }

func TestSession(t *testing.T) {
	closed := make(chan struct{})
	server := serve(t, &Server{NewSession: func(net.Conn) Session { return echo{closed} }})
	conn := dial(t, server)
	got, err := (&Request{Extra: twoExtras}).Query(t.Context(), conn)
	if d := cmp.Diff(twoExtras, got.Extra); d != "" || err != nil || got.Mapped != home {
		t.Errorf("got %+v, %v %s", got, err, d)
	}
	conn.Close()
	<-closed
}

func FuzzParseRequest(f *testing.F) {
	seeds(f)
	for _, q := range allRequests {
		b, _ := q.Encode()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := ParseRequest(in)
		if err != nil {
			return
		}
		if len(q.Extra) > maxExtra {
			t.Errorf("%d attributes are kept", len(q.Extra))
		}
		b, err := q.Respond(Response{Result: Result{Mapped: home}})
		if id, ok := ResponseID(b); err != nil || !ok || id != idOf(in) {
			t.Errorf("%x is no answer to %x: %v", b, in, err)
		}
		if _, err := ParseRequest(b); err == nil {
			t.Errorf("the answer %x would be answered", b)
		}
	})
}

func check[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
