package bench

import (
	"errors"
	"fmt"
	"io"
)

// kind is the type of a frame. Package transfer's and pair's are others, so that two
// programs that do different things find out with the first byte.
type kind byte

const (
	kindHello kind = 0xB0 + iota
	kindDone
	kindSignal
	kindPing
	kindPong
	kindCount
	kindFail
	kindBye
	kindData
	kindEnd
)

const (
	headerSize = 4
	pingSize   = 8
	signalID   = 4        // bytes before the message of a signal
	maxSignal  = 16 << 10 // bytes of a message of Signals
	// blockSize is what is written at once of the data, with its header: what fits
	// into one write of a UDP transport.
	blockSize = 64 << 10
	maxData   = blockSize - headerSize
)

func (k kind) String() string {
	names := [...]string{"HELLO", "DONE", "SIGNAL", "PING", "PONG", "COUNT", "FAIL", "BYE", "DATA", "END"}
	if k < kindHello || int(k-kindHello) >= len(names) {
		return fmt.Sprintf("frame of kind %#02x", byte(k))
	}
	return names[k-kindHello]
}

// limit is how long a body may be, and whether it may be shorter.
func (k kind) limit() (most int, exactly bool) {
	switch k {
	case kindHello:
		return 4 << 10, false
	case kindDone:
		return 64 << 10, false
	case kindSignal:
		return signalID + maxSignal, false
	case kindPing, kindPong, kindCount:
		return pingSize, true
	case kindFail:
		return 2 << 10, false
	case kindData:
		return maxData, false
	}
	return 0, true // BYE, END, and what is none
}

func (k kind) known() bool { return k >= kindHello && k <= kindEnd }

// parseHeader checks the first four bytes of a frame.
func parseHeader(b []byte) (kind, int, error) {
	k, n := kind(b[0]), int(b[1])<<16|int(b[2])<<8|int(b[3])
	if !k.known() {
		return 0, 0, violation("%s", k)
	}
	if most, exactly := k.limit(); n > most || exactly && n != most {
		return 0, 0, violation("%s of %d bytes", k, n)
	}
	return k, n, nil
}

// readFrame reads one frame. At the end of the stream it returns io.EOF.
func readFrame(r io.Reader) (kind, []byte, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	k, n, err := parseHeader(h[:])
	if err != nil {
		return 0, nil, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return k, body, nil
}

func appendFrame(b []byte, k kind, body []byte) []byte {
	n := len(body)
	b = append(b, byte(k), byte(n>>16), byte(n>>8), byte(n))
	return append(b, body...)
}
