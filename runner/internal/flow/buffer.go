// Package flow holds bytes that are on the way: numbered from the start of the stream, kept until acknowledged, never
// more than a window of them. It is pure: no goroutine, no lock, no clock; the owner serialises the calls.
//
//	Outbox   what this side sends: append, send from a position, discard what was acknowledged, go back after a cut
//	Inbox    what this side receives: put in order, pass on, tell how far
//	Buffer   the chunks under both
package flow

// chunkSize is also the most that one task holds per stream while nothing flows.
const chunkSize = 64 << 10

// Buffer is a queue of bytes that knows the offsets of its two ends. The zero value is an empty stream at offset 0.
type Buffer struct {
	chunks [][]byte // each of chunkSize, the last one filled up to `end`
	base   uint64   // offset of chunks[0][0]
	start  uint64   // first byte still needed
	end    uint64   // one past the last byte
}

// Start is the offset of the first byte held.
func (b *Buffer) Start() uint64 { return b.start }

// End is the offset of the next byte to come.
func (b *Buffer) End() uint64 { return b.end }

// Len is the number of bytes held.
func (b *Buffer) Len() int { return int(b.end - b.start) }

// Tail is free space at the end, at least one byte and at most max: fill a part of it, then Commit.
func (b *Buffer) Tail(max int) []byte {
	if b.end == b.base+uint64(len(b.chunks))*chunkSize {
		b.chunks = append(b.chunks, make([]byte, chunkSize))
	}
	last := b.chunks[len(b.chunks)-1]
	free := last[(b.end-b.base)%chunkSize:]
	return free[:min(len(free), max)]
}

// Commit appends the first n bytes of the latest Tail.
func (b *Buffer) Commit(n int) { b.end += uint64(n) }

// Append copies p to the end.
func (b *Buffer) Append(p []byte) {
	for len(p) > 0 {
		n := copy(b.Tail(len(p)), p)
		b.Commit(n)
		p = p[n:]
	}
}

// At is a contiguous run of held bytes from offset on, at most max of them; empty at the end or outside. It stays valid
// until Discard passes it.
func (b *Buffer) At(offset uint64, max int) []byte {
	if offset < b.start || offset >= b.end {
		return nil
	}
	at := offset - b.base
	chunk := b.chunks[at/chunkSize]
	n := min(uint64(max), b.end-offset, chunkSize-at%chunkSize)
	return chunk[at%chunkSize:][:n]
}

// Skip lets the stream go on n bytes further. The buffer must be empty.
func (b *Buffer) Skip(n int) {
	b.chunks = nil
	b.end += uint64(n)
	b.base, b.start = b.end, b.end
}

// Discard forgets the bytes before offset. Going back, or beyond the end, changes nothing.
func (b *Buffer) Discard(offset uint64) {
	if offset <= b.start || offset > b.end {
		return
	}
	b.start = offset
	done := int((b.start - b.base) / chunkSize)
	if done == 0 {
		return
	}
	b.chunks = append(b.chunks[:0:0], b.chunks[done:]...)
	b.base += uint64(done) * chunkSize
}
