//go:build unix && !linux

package natcheck

func reportICMP(int, bool) {}

func icmpReported(int) bool { return false }
