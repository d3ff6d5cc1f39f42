package datagram

import "golang.org/x/sys/windows"

// dontFragment sets DF. Both options have the number 14 (ws2ipdef.h).
func dontFragment(fd uintptr, v6 bool) {
	const dontFragment = 14
	level := windows.IPPROTO_IP
	if v6 {
		level = windows.IPPROTO_IPV6
	}
	_ = windows.SetsockoptInt(windows.Handle(fd), level, dontFragment, 1)
}
