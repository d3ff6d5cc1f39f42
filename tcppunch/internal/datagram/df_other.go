//go:build !linux && !windows && !darwin && !freebsd && !netbsd && !dragonfly && !openbsd

package datagram

func dontFragment(uintptr, bool) {}
