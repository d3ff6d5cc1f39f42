//go:build unix && !linux

package natcheck

func ignoreSYNs(int) {}

func reportICMP(int, bool) {}

func icmpReported(int) bool { return false }
