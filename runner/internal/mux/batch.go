package mux

import (
	"io"
	"sync"
)

// batchSize bounds what waits to be written. yamux writes each frame's header and body on their own; on an exec stream
// every write is a message that passes through four programs. What comes while one write is under way goes with the next.
const batchSize = 128 << 10

// PieceSize is what API server, kubelet and container runtime pass on in two pieces of 32 KiB. Each costs the same, full or
// not: what is more goes in whole ones, and its rest with what comes meanwhile.
const PieceSize = 64<<10 - 11

// batch joins small writes to conn. A write error is sticky.
type batch struct {
	io.ReadWriteCloser

	mu      sync.Mutex
	cond    *sync.Cond
	pending []byte
	err     error
	closed  bool
	writer  sync.WaitGroup
}

func newBatch(conn io.ReadWriteCloser) *batch {
	b := &batch{ReadWriteCloser: conn}
	b.cond = sync.NewCond(&b.mu)
	b.writer.Go(b.write)
	return b
}

// Write takes p, and waits while too much is pending.
func (b *batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pending) >= batchSize && b.err == nil && !b.closed {
		b.cond.Wait()
	}
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	if b.err != nil {
		return 0, b.err
	}
	b.pending = append(b.pending, p...)
	b.cond.Broadcast()
	return len(p), nil
}

func (b *batch) write() {
	var out []byte
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for len(b.pending) == 0 && !b.closed {
			b.cond.Wait()
		}
		if b.closed {
			return
		}
		whole := len(b.pending)
		if whole > PieceSize {
			whole -= whole % PieceSize
		}
		out, b.pending = b.pending[:whole], append(out[:0], b.pending[whole:]...)
		b.cond.Broadcast()
		b.mu.Unlock()
		_, err := b.ReadWriteCloser.Write(out)
		b.mu.Lock()
		if err != nil {
			b.err = err
			b.pending = nil
			b.cond.Broadcast()
			return
		}
	}
}

// Close drops what is pending: the end of a session is a cut, and the conversation knows how to go on.
func (b *batch) Close() error {
	b.mu.Lock()
	b.closed = true
	b.cond.Broadcast()
	b.mu.Unlock()
	err := b.ReadWriteCloser.Close()
	b.writer.Wait()
	return err
}
