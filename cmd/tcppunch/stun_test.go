package main

import (
	"slices"
	"testing"
)

func TestSTUNServers(t *testing.T) {
	cases := []struct{ given, want []string }{
		{nil, publicSTUN},
		{[]string{"stun.example.org"}, []string{"stun.example.org:3478"}},
		{[]string{"stun.example.org:443", " 192.0.2.1 "}, []string{"stun.example.org:443", "192.0.2.1:3478"}},
		{[]string{"stun:stun.example.org:5349"}, []string{"stun.example.org:5349"}},
		{[]string{"stun:stun.example.org"}, []string{"stun.example.org:3478"}},
		{[]string{"2001:db8::1"}, []string{"[2001:db8::1]:3478"}},
		{[]string{"[2001:db8::1]"}, []string{"[2001:db8::1]:3478"}},
		{[]string{"[2001:db8::1]:9"}, []string{"[2001:db8::1]:9"}},
	}
	for _, c := range cases {
		if got := stunServers(c.given); !slices.Equal(got, c.want) {
			t.Errorf("stunServers(%q) = %q, want %q", c.given, got, c.want)
		}
	}
}
