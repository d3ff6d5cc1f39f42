//go:build unix && !linux

package syn

func ignoreSYNs(int) {}

func reportICMP(int, bool) {}

func icmpReported(int) (ExtendedError, bool) { return ExtendedError{}, false }
