package stunt

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestNumbers(t *testing.T) {
	var n numbers
	used := make(map[string]bool)
	counts := make(map[int]int)
	for range 20_000 {
		name := n.pick(func(s string) bool { return used[s] })
		if used[name] || !isNumber(name) {
			t.Fatalf("handed out %q", name)
		}
		used[name] = true
		n.note(name, 1)
		counts[len(name)]++
	}
	// Under 1 % of 9,000, 90,000 and 900,000 numbers; the others are longer.
	for digits, want := range map[int]int{4: 89, 5: 899, 6: 8999, 7: 20_000 - 89 - 899 - 8999} {
		if counts[digits] != want {
			t.Errorf("%d numbers of %d digits, want %d", counts[digits], digits, want)
		}
	}
	for name := range used {
		n.note(name, -1)
	}
	if name := n.pick(func(string) bool { return false }); len(name) != minDigits {
		t.Errorf("handed out %q when all rooms were free again", name)
	}
	n.note("garden", 1) // no number
	n.note("0123", 1)   // never handed out
	n.note(strings.Repeat("9", 99), 1)
	if n != (numbers{}) {
		t.Errorf("counted %v, want nothing", n.used)
	}
}

func TestServerURL(t *testing.T) {
	for _, c := range []struct{ server, want string }{
		{"example.org", "http://example.org:7478/v1/join"},
		{"example.org:80", "http://example.org:80/v1/join"},
		{"example.org/stunt", "http://example.org:7478/stunt/v1/join"},
		{" 192.0.2.1 ", "http://192.0.2.1:7478/v1/join"},
		{"2001:db8::1", "http://[2001:db8::1]:7478/v1/join"},
		{"[2001:db8::1]", "http://[2001:db8::1]:7478/v1/join"},
		{"[2001:db8::1]:80", "http://[2001:db8::1]:80/v1/join"},
		{"ws://example.org", "http://example.org/v1/join"},
		{"http://example.org:81/", "http://example.org:81/v1/join"},
		{"wss://example.org/a/b/", "https://example.org/a/b/v1/join"},
		{"https://example.org", "https://example.org/v1/join"},
		{"", ""}, {":7478", ""}, {"ftp://example.org", ""}, {"https://", ""}, {"a b", ""}, {"example.org:x", ""},
		{"https://user:secret@example.org", ""}, {"https://user:se cret@example.org", ""}, {"user:secret@example.org", ""},
		{"ws://user:1secret/@example.org", ""}, {"https://example.org/?a=b", ""}, {"https://example.org/#a", ""},
	} {
		u, err := serverURL(c.server)
		if c.want == "" {
			if !errors.Is(err, ErrServer) {
				t.Errorf("%q: %v, %v, want %v", c.server, u, err, ErrServer)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: the error tells the password: %v", c.server, err)
			}
			continue
		}
		if err != nil || u.String() != c.want {
			t.Errorf("%q: %v, %v, want %s", c.server, u, err, c.want)
		}
	}
}

func TestRefusedError(t *testing.T) {
	for code, want := range map[string]struct {
		is     error
		final  bool
		status int
	}{
		"bad-request":       {nil, true, 400},
		"side-taken":        {ErrSideTaken, true, 409},
		"room-full":         {ErrRoomFull, true, 409},
		"mismatch":          {ErrMismatch, true, 409},
		"too-many-joins":    {ErrLimited, false, 429},
		"too-many-members":  {ErrLimited, false, 429},
		"too-many-misses":   {ErrLimited, false, 429},
		"too-many-messages": {ErrLimited, true, 503},
		"too-many-visits":   {ErrLimited, false, 429},
		"server-full":       {ErrBusy, false, 503},
		"stopping":          {ErrBusy, false, 503},
		"dropped":           {ErrDropped, true, 503},
		"expired":           {ErrExpired, true, 503},
		"replaced":          {nil, false, 503},
		"something-newer":   {nil, false, 503},
	} {
		e := &RefusedError{Code: code, Message: "a sentence", Retry: 1500 * time.Millisecond}
		if !errors.Is(e, want.is) && want.is != nil || e.final() != want.final || e.status() != want.status {
			t.Errorf("%s: %v, final %v, status %d, want %v", code, errors.Unwrap(e), e.final(), e.status(), want)
		}
		if got := decodeRefusal(e.encode()); got == nil || *got != *e {
			t.Errorf("%s: decoded %v, want %v", code, got, e)
		}
		if got := decodeReason(e.reason()); got == nil || got.Code != code || got.Message != e.Message {
			t.Errorf("%s: decoded reason %v, want %v", code, got, e)
		}
	}
	if e := (&RefusedError{Code: "odd", Retry: 1500 * time.Millisecond}).Error(); !strings.HasSuffix(e, "try again in 2 s") {
		t.Errorf("%q does not tell how long to wait", e)
	}
	if e := (&RefusedError{Code: "odd"}).Error(); !strings.Contains(e, "odd") {
		t.Errorf("%q does not tell the code", e)
	}
	if e := (&RefusedError{Code: "odd", Message: strings.Repeat("ü", 100)}).reason(); len(e) > 123 || !utf8.ValidString(e) {
		t.Errorf("a reason of %d bytes, %q", len(e), e)
	}
}

func TestDecodeJoin(t *testing.T) {
	token := strings.Repeat("0a", 16)
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"a number", "room=4821&side=send&token=" + token, true},
		{"no room", "side=recv&token=" + token, true},
		{"the longest name", "room=" + strings.Repeat("x", 64) + "&side=bench&token=" + token, true},
		{"the longest name, escaped", "room=" + strings.Repeat("%C3%BC", 32) + "&side=bench&token=" + token, true},
		{"a rejoin", "made=1&rejoin=1&room=4821&side=send&token=" + token, true},
		{"what is newer", "new=1&room=4821&side=send&token=" + token, true},
		{"nothing", "", false},
		{"no side", "room=4821&token=" + token, false},
		{"no token", "room=4821&side=send", false},
		{"a short token", "room=4821&side=send&token=" + token[1:], false},
		{"a token of other digits", "room=4821&side=send&token=" + strings.Repeat("G", 32), false},
		{"a long name", "room=" + strings.Repeat("x", 65) + "&side=send&token=" + token, false},
		{"controls", "room=%1b%5b2J&side=send&token=" + token, false},
		{"bad UTF-8", "room=%ff&side=send&token=" + token, false},
		{"a bad escape", "room=%zz&side=send&token=" + token, false},
		{"much", "room=4821&side=send&token=" + token + "&x=" + strings.Repeat("x", 1000), false},
	} {
		if q, err := decodeJoin(c.in); (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", c.name, q, err)
		}
	}
}

func FuzzDecodeJoin(f *testing.F) {
	f.Add("room=4821&side=send&token=" + strings.Repeat("0a", 16))
	f.Add("made=1&rejoin=1&room=4821&side=send&token=" + strings.Repeat("0a", 16))
	f.Add("room=K%C3%BCche&side=bench&token=" + strings.Repeat("ff", 16))
	f.Fuzz(func(t *testing.T, s string) {
		q, err := decodeJoin(s)
		if err != nil {
			return
		}
		if again, err := decodeJoin(q.encode()); err != nil || again != q {
			t.Errorf("%+v becomes %+v, %v", q, again, err)
		}
		if q.Room != "" && checkName(q.Room) != nil || len(q.Token) != tokenDigits {
			t.Errorf("took %+v", q)
		}
	})
}

// FuzzEnvelope is for both sides' parsers: what is taken is within bounds, and means the same when it is said again.
func FuzzEnvelope(f *testing.F) {
	f.Add(envelope{Type: typeMet, Meeting: 7, First: true}.encode())
	f.Add(envelope{Type: typeMessage, Meeting: 7, Data: []byte("hello")}.encode())
	f.Add(envelope{Type: typeOver, Meeting: 1 << 63}.encode())
	f.Add(envelope{Type: typeDrop, Meeting: 7}.encode())
	f.Add([]byte(`{"type":"leave","type":"drop"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(e envelope, again envelope, err error) {
			if err != nil || again.Type != e.Type || again.Meeting != e.Meeting || !bytes.Equal(again.Data, e.Data) {
				t.Errorf("%+v becomes %+v, %v", e, again, err)
			}
		}
		if e, err := fromMember(b, 64); err == nil {
			if len(e.Data) > 64 || e.Type == typeMet || e.Type == typeOver {
				t.Errorf("took %+v", e)
			}
			again, err := fromMember(e.encode(), 64)
			same(e, again, err)
			if len(e.encode()) > frameLimit(64) {
				t.Errorf("%d bytes are more than the limit of %d", len(e.encode()), frameLimit(64))
			}
		}
		if e, err := fromServer(b); err == nil {
			if e.Type == typeDrop || e.Type == typeLeave || e.Meeting == 0 {
				t.Errorf("took %+v", e)
			}
			again, err := fromServer(e.encode())
			same(e, again, err)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add((&RefusedError{Code: "side-taken", Message: "a sentence", Retry: time.Second}).encode())
	f.Add([]byte(`{"code":"x","retry_s":1e308}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range []*RefusedError{decodeRefusal(b), decodeReason(string(b))} {
			if e == nil {
				continue
			}
			if !isCode(e.Code) || e.Retry < 0 || e.Retry > time.Hour {
				t.Errorf("took %+v", e)
			}
			if reason := e.reason(); len(reason) > 123 {
				t.Errorf("a reason of %d bytes", len(reason))
			}
		}
	})
}

func FuzzServerURL(f *testing.F) {
	for _, s := range []string{"example.org", "[2001:db8::1]:80", "wss://example.org/a", "::1", "a/b:c", ":0:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := serverURL(s)
		if err != nil {
			return
		}
		web := u.Scheme == "http" || u.Scheme == "https"
		if !web || u.Hostname() == "" || !strings.HasSuffix(u.Path, joinPath) || u.User != nil {
			t.Errorf("%q becomes %v", s, u)
		}
		if _, err := http.NewRequest(http.MethodGet, u.String(), nil); err != nil {
			t.Errorf("%q becomes %v: %v", s, u, err)
		}
	})
}

func FuzzClientAddr(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.1")
	f.Add("[2001:db8::1]:80,,x")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, s string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1000", Header: http.Header{"X-Forwarded-For": {s}}}
		if a := clientAddr(r, trusted); !a.IsValid() {
			t.Errorf("%q: no address", s)
		}
		r.Header.Add("X-Forwarded-For", "192.0.2.1") // what the proxy has added counts
		if a := clientAddr(r, trusted); a != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%q: %v, want what the proxy has seen", s, a)
		}
	})
}

func TestProxyFromEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		url  string
		want string
	}{
		{"none", nil, "http://example.org:7478", ""},
		{"http", map[string]string{"HTTP_PROXY": "http://p:3128"}, "http://example.org:7478", "http://p:3128"},
		{"http for https", map[string]string{"HTTP_PROXY": "http://p:3128"}, "https://example.org", ""},
		{"https", map[string]string{"https_proxy": "p:3128"}, "https://example.org", "http://p:3128"},
		{"all", map[string]string{"ALL_PROXY": "socks5://p"}, "http://example.org:7478", "socks5://p"},
		{"all, for https", map[string]string{"all_proxy": "socks5h://p"}, "https://example.org", "socks5h://p"},
		{"one before all", map[string]string{"ALL_PROXY": "socks5://p", "HTTPS_PROXY": "q"}, "https://example.org", "http://q"},
		{"not for", map[string]string{"ALL_PROXY": "socks5://p", "NO_PROXY": "example.org"}, "http://example.org:7478", ""},
		{"not for some", map[string]string{"ALL_PROXY": "socks5://p", "no_proxy": "192.0.2.0/24"}, "http://192.0.2.1:7478", ""},
		{"not for this machine", map[string]string{"ALL_PROXY": "socks5://p"}, "http://127.0.0.1:7478", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
				t.Setenv(name, "")
				t.Setenv(strings.ToLower(name), "")
			}
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := proxyFromEnvironment(u)
			if err != nil {
				t.Fatal(err)
			}
			if got == nil && c.want != "" || got != nil && got.String() != c.want {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}
