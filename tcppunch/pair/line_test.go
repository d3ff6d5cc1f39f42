package pair

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseLine(t *testing.T) {
	tests := []struct {
		name, in string
		want     string // as written by String
		err      string // a part of the error
	}{
		{name: "one address", in: "203.0.113.10:7070", want: "203.0.113.10:7070"},
		{name: "default port", in: "203.0.113.10", want: "203.0.113.10:7070"},
		{name: "two and words", in: "203.0.113.10:7070,192.168.1.5:7071/otter-lamp-zzzz",
			want: "203.0.113.10:7070,192.168.1.5:7071/otter-lamp-zzzz"},
		{name: "as pasted", in: " 203.0.113.10:7070 ,\n 192.168.1.5 / ABDO yogurt \r\n",
			want: "203.0.113.10:7070,192.168.1.5:7070/abdomen-yogurt"},
		{name: "IPv6", in: "[2001:db8::1]:99,[2001:DB8::2]", want: "[2001:db8::1]:99,[2001:db8::2]:7070"},
		{name: "IPv4 in IPv6", in: "[::ffff:192.0.2.1]:5", want: "192.0.2.1:5"},
		{name: "repeated", in: "192.0.2.1,192.0.2.1:7070", want: "192.0.2.1:7070"},
		{name: "loopback", in: "127.0.0.1:1", want: "127.0.0.1:1"},
		{name: "slash in words", in: "192.0.2.1/mine/too", want: "192.0.2.1:7070/mine/too"},

		{name: "empty", in: " ", err: "without an address"},
		{name: "only words", in: "/abdomen-yogurt", err: "without an address"},
		{name: "words but no address", in: "abdomen-yogurt", err: "host name"},
		{name: "cut off", in: "192.0.2.1/", err: "no words after it"},
		{name: "host name", in: "example.org:7070", err: `"example.org:7070" looks like a host name`},
		{name: "IPv6 without brackets", in: "2001:db8::1:7070", err: "in brackets"},
		{name: "half a bracket", in: "2001:db8::1]", err: "not an IP address"},
		{name: "brackets for IPv4", in: "[192.0.2.1]", err: "not an IP address"},
		{name: "not an address", in: "300.0.2.1:7070", err: "not an IP address"},
		{name: "port too large", in: "192.0.2.1:70700", err: `bad port "70700"`},
		{name: "port missing", in: "192.0.2.1:", err: `bad port ""`},
		{name: "port 0", in: "192.0.2.1:0", err: "port 0"},
		{name: "unspecified", in: "0.0.0.0:7070", err: "unspecified"},
		{name: "unspecified IPv6", in: "[::]:7070", err: "unspecified"},
		{name: "multicast", in: "[ff02::1]:7070", err: "of a group"},
		{name: "broadcast", in: "255.255.255.255", err: "of a group"},
		{name: "zone", in: "[fe80::1%eth0]:7070", err: "zone"},
		{name: "invisible", in: "192.0.2.1/abc\u200bdef", err: "U+200B"},
		{name: "too many", in: manyAddrs(maxAddrs + 1), err: "17 addresses"},
		{name: "too long", in: strings.Repeat(" ", maxText+1), err: "1025 bytes"},
		{name: "too long when written out", in: "192.0.2.1/" + strings.Repeat("q", maxText-10), err: "written out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ParseLine(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), lineExample) {
					t.Errorf("error %v, want %q and an example", err, tt.err)
				}
				return
			}
			if err != nil || l.String() != tt.want {
				t.Errorf("got %q, %v, want %q", l, err, tt.want)
			}
		})
	}
	if l, err := ParseLine(manyAddrs(maxAddrs)); err != nil || len(l.Addrs) != maxAddrs {
		t.Errorf("%d addresses, %v, want %d", len(l.Addrs), err, maxAddrs)
	}
}

func manyAddrs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "192.0.2.%d ", i)
	}
	return b.String()
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{
		"203.0.113.10:7070,192.168.1.5:7070/otter-lamp-sofa", "[2001:db8::1]:7070", "203.0.113.10", "a/b", "[::ffff:1.2.3.4]/q/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLine(s)
		if err != nil {
			return
		}
		again, err := ParseLine(l.String())
		if err != nil {
			t.Fatalf("%q -> %q: %v", s, l, err)
		}
		if d := cmp.Diff(l, again, cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
			t.Errorf("%q -> %q: %s", s, l, d)
		}
	})
}
