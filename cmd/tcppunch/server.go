package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// serverFlags are the flags of commands that use a rendezvous server.
type serverFlags struct {
	Server string `placeholder:"HOST" env:"TCPPUNCH_SERVER" help:"The rendezvous server: host, host:port, or a URL. The host alone means ws://HOST:7478, and STUN on its ports 3478 and 3479."`
}

// host is the server's name or address alone, "" when no server was given.
func (f *serverFlags) host() (string, error) {
	s := strings.TrimSpace(f.Server)
	if s == "" {
		return "", nil
	}
	if !strings.Contains(s, "://") {
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			return a.String(), nil
		}
		s = "ws://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "", errServerFlag
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
		return u.Hostname(), nil
	}
	return "", fmt.Errorf("%w: the scheme is none of ws, wss, http and https", errServerFlag)
}

// errServerFlag does not repeat what was given, which may have a password in it.
var errServerFlag = errors.New("--server is neither a host, a host:port nor a URL")

// stun returns the STUN servers: those that were given, else the server's two,
// else the public ones.
func (f *serverFlags) stun(given []string) []string {
	host, err := f.host()
	if len(given) > 0 || err != nil || host == "" {
		return stunServers(given)
	}
	return []string{net.JoinHostPort(host, "3478"), net.JoinHostPort(host, "3479")}
}
