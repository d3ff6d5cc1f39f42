//go:build !linux

package lanfind

import "errors"

func neighbours() ([]Neighbour, error) { return nil, errors.ErrUnsupported }
