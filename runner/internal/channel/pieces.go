package channel

import "k8s-burst/runner/internal/frame"

// pieces are offsets at which frames end: each the end of something that was written at once, no two neighbours further
// apart than a frame may be. Not all such ends are kept, but enough for that. The first is not after what is still needed.
type pieces []uint64

// add notes the end of what was written last.
func (p *pieces) add(end uint64) {
	for n := len(*p); n > 1 && end-(*p)[n-2] <= frame.Chunk; n-- {
		*p = (*p)[:n-1]
	}
	*p = append(*p, end)
}

// size is how much of what begins at an offset goes into one frame.
func (p pieces) size(offset uint64) int {
	for i := len(p) - 1; i >= 0 && p[i] > offset; i-- {
		if p[i]-offset <= frame.Chunk {
			return int(p[i] - offset)
		}
	}
	return 0
}

// forget drops what is before an offset.
func (p *pieces) forget(offset uint64) {
	for len(*p) > 1 && (*p)[1] <= offset {
		*p = (*p)[1:]
	}
}
