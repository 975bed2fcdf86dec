package flow

import "fmt"

// Inbox is what this side receives: in order, without gap, never more than the window beyond what was passed on.
type Inbox struct {
	buf    Buffer
	window int
	eof    bool
}

// NewInbox lets the other side have at most window bytes on the way.
func NewInbox(window int) *Inbox { return &Inbox{window: window} }

// Put takes a chunk. A gap, a repetition, too much, or anything after the end is an error of the other side.
func (i *Inbox) Put(offset uint64, data []byte, eof bool) error {
	return i.PutThrough(offset, data, eof, func([]byte) int { return 0 })
}

// PutThrough is Put; but where nothing waits to be passed on, the chunk is first offered to pass, which takes as much of
// its beginning as it returns and has then passed that on.
func (i *Inbox) PutThrough(offset uint64, data []byte, eof bool, pass func([]byte) int) error {
	switch {
	case offset != i.buf.End():
		return fmt.Errorf("got byte %d where %d was due", offset, i.buf.End())
	case i.eof && len(data) > 0:
		return fmt.Errorf("got %d bytes after the end at byte %d", len(data), offset)
	case i.buf.Len()+len(data) > i.window:
		return fmt.Errorf("got %d bytes with %d unacknowledged: the window is %d", len(data), i.buf.Len(), i.window)
	}
	if i.Empty() && len(data) > 0 {
		n := pass(data)
		i.buf.Skip(n)
		data = data[n:]
	}
	i.buf.Append(data)
	i.eof = i.eof || eof
	return nil
}

// Next is the next chunk to pass on, at most max bytes; call Done with how much was passed on.
func (i *Inbox) Next(max int) []byte { return i.buf.At(i.buf.Start(), max) }

// All is everything to pass on, in runs; call Done with how much was passed on.
func (i *Inbox) All() (runs [][]byte) {
	for at := i.buf.Start(); at < i.buf.End(); at += uint64(len(runs[len(runs)-1])) {
		runs = append(runs, i.buf.At(at, i.buf.Len()))
	}
	return runs
}

// Done says that n more bytes were passed on.
func (i *Inbox) Done(n int) { i.buf.Discard(i.buf.Start() + uint64(n)) }

// Received is how many bytes came so far: where a new stream goes on.
func (i *Inbox) Received() uint64 { return i.buf.End() }

// Passed is how many bytes were passed on so far: what is acknowledged.
func (i *Inbox) Passed() uint64 { return i.buf.Start() }

// Empty says that everything received was passed on.
func (i *Inbox) Empty() bool { return i.buf.Len() == 0 }

// AtEOF says that everything was passed on and nothing will follow.
func (i *Inbox) AtEOF() bool { return i.eof && i.Empty() }

// Close says that nothing will follow, as an eof in Put does.
func (i *Inbox) Close() { i.eof = true }
