package transfer

import "fmt"

// manifest is the list of files as the receiver puts it together, page by page.
// It grows with what has arrived, never with what was announced.
type manifest struct {
	announced offer
	files     []entry
	bytes     int64
	nameBytes int
	names     nameSet
}

func newManifest(announced offer) *manifest {
	return &manifest{announced: announced, names: make(nameSet)}
}

func (m *manifest) complete() bool { return len(m.files) == int(m.announced.files) }

// add takes one page. A page holds one entry at least, or a hostile sender
// could keep us reading for ever.
func (m *manifest) add(page []byte) error {
	if len(page) == 0 {
		return protocolError("empty manifest page")
	}
	d := decoder{b: page}
	for len(d.b) > 0 {
		if m.complete() {
			return protocolError("more files than announced")
		}
		e, err := d.entry()
		if err != nil {
			return err
		}
		if err := CheckName(e.Name); err != nil {
			return err
		}
		if err := m.names.add(e.Name); err != nil {
			return err
		}
		if m.nameBytes += len(e.Name); m.nameBytes > maxNames {
			return protocolError("the names in the manifest are too long")
		}
		if uint64(e.Size) > m.announced.bytes-uint64(m.bytes) {
			return protocolError("more bytes than announced")
		}
		m.bytes += e.Size
		m.files = append(m.files, e)
	}
	if m.complete() && uint64(m.bytes) != m.announced.bytes {
		return protocolError(fmt.Sprintf("%d bytes announced, but the files have %d", m.announced.bytes, m.bytes))
	}
	return nil
}

// pages calls send with one manifest page after the other; the buffer is reused.
func pages(files []entry, send func([]byte) error) error {
	const full = maxPage - (2 + entryLen + maxName)
	page := make([]byte, 0, maxPage)
	for i, e := range files {
		page = e.append(page)
		if len(page) > full || i == len(files)-1 {
			if err := send(page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	return nil
}
