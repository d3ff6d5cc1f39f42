//go:build !race

package kcpconn

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = false
