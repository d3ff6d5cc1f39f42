package lanfind

import (
	"fmt"
	"net/netip"
)

// A Neighbour is a host of which the system's own table knows: its ARP cache, and for IPv6 what neighbour discovery says.
type Neighbour struct {
	// Addr is its address, with a zone if it is link-local.
	Addr netip.Addr
	// Index is the system's number of the interface.
	Index int
	// Answers says whether it has told its hardware address. Otherwise it was asked for it, and has not answered so far.
	Answers bool
}

// Neighbours returns the hosts with which this one has had to do lately, in either direction. Where the system's table
// is not read, which is everywhere but on Linux, it returns an error for which errors.Is(err, errors.ErrUnsupported).
func Neighbours() ([]Neighbour, error) {
	all, err := neighbours()
	if err != nil {
		return nil, fmt.Errorf("reading the table of neighbours: %w", err)
	}
	return all, nil
}
