package flow

import "fmt"

// Outbox is what this side sends. Bytes stay until the other side has acknowledged them, so that a new stream can go on
// where the other side stands.
type Outbox struct {
	buf     Buffer
	window  int
	sent    uint64
	eof     bool // nothing is appended any more
	eofSent bool
}

// NewOutbox holds at most window bytes, until SetWindow.
func NewOutbox(window int) *Outbox { return &Outbox{window: window} }

// SetWindow changes how many bytes may be held. What is held already stays.
func (o *Outbox) SetWindow(window int) { o.window = window }

// Room is how many bytes may be appended now.
func (o *Outbox) Room() int { return max(o.window-o.buf.Len(), 0) }

// Tail is space for at most Room bytes, empty where there is no room: fill a part, then Commit.
func (o *Outbox) Tail() []byte {
	if o.Room() == 0 {
		return nil
	}
	return o.buf.Tail(o.Room())
}

// Commit appends the first n bytes of the latest Tail.
func (o *Outbox) Commit(n int) { o.buf.Commit(n) }

// Append copies as much of p as there is room for, and returns how much that was.
func (o *Outbox) Append(p []byte) int {
	n := min(len(p), o.Room())
	o.buf.Append(p[:n])
	return n
}

// CloseWrite says that nothing will be appended any more.
func (o *Outbox) CloseWrite() { o.eof = true }

// Closed says whether CloseWrite was called.
func (o *Outbox) Closed() bool { return o.eof }

// End is the offset of the next byte to be appended.
func (o *Outbox) End() uint64 { return o.buf.End() }

// Sent is the offset of the next byte to be sent.
func (o *Outbox) Sent() uint64 { return o.sent }

// Next is the next chunk to send, at most max bytes, and its offset; empty when all is sent. It is taken as sent.
func (o *Outbox) Next(max int) (offset uint64, data []byte) {
	offset, data = o.sent, o.buf.At(o.sent, max)
	o.sent += uint64(len(data))
	return offset, data
}

// NextEOF says once per stream that all was sent and nothing will follow.
func (o *Outbox) NextEOF() bool {
	if !o.eof || o.eofSent || o.sent != o.buf.End() {
		return false
	}
	o.eofSent = true
	return true
}

// Drained says that all was sent.
func (o *Outbox) Drained() bool { return o.sent == o.buf.End() }

// Acknowledged forgets the bytes before offset. Acknowledging what was never sent is an error.
func (o *Outbox) Acknowledged(offset uint64) error {
	if offset > o.sent {
		return fmt.Errorf("byte %d was acknowledged but only %d were sent", offset, o.sent)
	}
	o.buf.Discard(offset)
	return nil
}

// Resume goes on from offset on a new stream: what the other side has received, acknowledged or not.
func (o *Outbox) Resume(offset uint64) error {
	if offset < o.buf.Start() || offset > o.buf.End() {
		return fmt.Errorf("cannot go on at byte %d: bytes %d to %d are here", offset, o.buf.Start(), o.buf.End())
	}
	o.sent = offset
	o.eofSent = false
	return nil
}
