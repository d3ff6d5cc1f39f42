package datagram

// A Batch is datagrams that go to one address together. The zero value is empty.
type Batch struct {
	buf  []byte
	ends []int // where each datagram ends in buf
}

// Add appends a datagram, which is copied.
func (b *Batch) Add(d []byte) {
	b.buf = append(b.buf, d...)
	b.ends = append(b.ends, len(b.buf))
}

// Len returns the number of datagrams.
func (b *Batch) Len() int { return len(b.ends) }

// Size returns the number of bytes.
func (b *Batch) Size() int { return len(b.buf) }

// Reset empties it, for use again.
func (b *Batch) Reset() { b.buf, b.ends = b.buf[:0], b.ends[:0] }

// Datagram returns the nth datagram, which is valid until Add or Reset.
func (b *Batch) Datagram(n int) []byte {
	begin := 0
	if n > 0 {
		begin = b.ends[n-1]
	}
	return b.buf[begin:b.ends[n]]
}

// run returns how many datagrams from the nth on have one size, of which the
// last may be shorter, and are at most most datagrams and room bytes. It is
// 1 at least.
func (b *Batch) run(n, most, room int) int {
	size := len(b.Datagram(n))
	total := size
	k := 1
	for n+k < len(b.ends) && k < most {
		next := len(b.Datagram(n + k))
		if next > size || total+next > room {
			break
		}
		total += next
		k++
		if next < size {
			break
		}
	}
	return k
}

// span returns k datagrams from the nth on as they stand behind each other.
func (b *Batch) span(n, k int) []byte {
	begin := 0
	if n > 0 {
		begin = b.ends[n-1]
	}
	return b.buf[begin:b.ends[n+k-1]]
}
