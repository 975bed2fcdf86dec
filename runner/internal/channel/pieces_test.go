package channel

import (
	"slices"
	"testing"

	"k8s-burst/runner/internal/frame"
)

// Whatever was written, from each end of it on there is an end that fits into a frame, and few ends are kept.
func TestPieces(t *testing.T) {
	for name, sizes := range map[string][]uint64{
		"bytes":    slices.Repeat([]uint64{1}, frame.ChannelWindow),
		"messages": slices.Repeat([]uint64{4097, 16, 1999}, frame.ChannelWindow/6112),
		"chunks":   slices.Repeat([]uint64{frame.Chunk}, frame.ChannelWindow/frame.Chunk),
		"both":     slices.Repeat([]uint64{frame.Chunk, 1}, frame.ChannelWindow/frame.Chunk-1),
	} {
		p, end, ends := pieces{0}, uint64(0), []uint64{0}
		for _, size := range sizes {
			end += size
			ends = append(ends, end)
			p.add(end)
		}
		if len(p) > 2*frame.ChannelWindow/frame.Chunk+1 {
			t.Errorf("%s: %d ends are kept", name, len(p))
		}
		for _, from := range ends[:len(ends)-1] {
			size := p.size(from)
			if _, isEnd := slices.BinarySearch(ends, from+uint64(size)); size <= 0 || size > frame.Chunk || !isEnd {
				t.Fatalf("%s: from byte %d on a frame of %d bytes", name, from, size)
			}
		}
		if p.size(end) != 0 {
			t.Errorf("%s: %d bytes after the end", name, p.size(end))
		}
		p.forget(end)
		if p.add(end + 1); p.size(end) != 1 || len(p) != 2 {
			t.Errorf("%s: after all was acknowledged %v", name, p)
		}
	}
}
