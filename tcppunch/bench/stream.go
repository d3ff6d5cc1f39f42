package bench

import (
	"math/rand/v2"
)

// A source is random bytes in blocks that are frames already, so that sending costs
// no more than writing, and a network that compresses gains nothing.
type source struct{ blocks [][]byte }

const sourceBlocks = 32

func newSource() *source {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	random := rand.NewChaCha8(seed)
	s := &source{}
	for range sourceBlocks {
		b := appendFrame(make([]byte, 0, blockSize), kindData, make([]byte, maxData))
		random.Read(b[headerSize:]) //nolint:errcheck // never fails
		s.blocks = append(s.blocks, b)
	}
	return s
}

// block returns the nth frame. It must not be changed.
func (s *source) block(n int) []byte { return s.blocks[n%len(s.blocks)] }

// A parser follows the frames of one stream of data, without keeping them.
type parser struct {
	header [headerSize]byte
	have   int // bytes of the header
	left   int // bytes of the body that are to come
	ended  bool
}

// feed takes what was read, and tells how much of it was data.
func (p *parser) feed(b []byte) (data int, err error) {
	for len(b) > 0 {
		if p.ended {
			return data, violation("%d bytes after END", len(b))
		}
		if p.left > 0 {
			n := min(p.left, len(b))
			p.left -= n
			data += n
			b = b[n:]
			continue
		}
		n := copy(p.header[p.have:], b)
		p.have += n
		b = b[n:]
		if p.have < headerSize {
			break
		}
		p.have = 0
		k, n, err := parseHeader(p.header[:])
		switch {
		case err != nil:
			return data, err
		case k == kindEnd:
			p.ended = true
		case k != kindData:
			return data, violation("%s among data", k)
		}
		p.left = n
	}
	return data, nil
}
