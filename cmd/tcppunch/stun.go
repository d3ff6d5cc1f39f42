package main

import (
	"net"
	"strings"
)

// publicSTUN are well-known servers that answer over TCP. They learn this
// side's public address, which they have to tell, and nothing else.
var publicSTUN = []string{"turn.cloudflare.com:3478", "stun.nextcloud.com:443", "global.turn.twilio.com:3478"}

// stunServers completes what was given with the default port.
func stunServers(given []string) []string {
	if len(given) == 0 {
		return publicSTUN
	}
	var servers []string
	for _, s := range given {
		s = strings.TrimPrefix(strings.TrimSpace(s), "stun:")
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), "3478")
		}
		servers = append(servers, s)
	}
	return servers
}
