package channel

import (
	"io"
	"net"
	"os"
	"sync"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Hub lets goroutines use a Set: each channel is a Conn to be read and written. The lock is the Set's owner's, which
// holds it while it calls Next, Receive, Positions, Resume and End; Open and the methods of a Conn take it themselves.
type Hub struct {
	mu    sync.Locker
	wake  func() // there may be something to send; called with the lock held
	set   *Set
	conns map[uint32]*Conn
	ended bool
}

// NewHub makes the hub of the side whose first id is given.
func NewHub(first uint32, mu sync.Locker, wake func()) *Hub {
	return &Hub{mu: mu, wake: wake, set: NewSet(first), conns: map[uint32]*Conn{}}
}

// Open opens a channel. It is there whatever happens to streams; whether the other side wants it shows by its end.
func (h *Hub) Open(purpose string) (*Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, os.ErrClosed
	}
	c, err := h.set.Open(purpose)
	if err != nil {
		return nil, err
	}
	h.wake()
	return h.add(c), nil
}

func (h *Hub) add(c *Channel) *Conn {
	conn := &Conn{hub: h, ch: c, changed: sync.NewCond(h.mu)}
	h.conns[c.ID] = conn
	return conn
}

// Receive takes a frame. Where it opens a channel, that is returned: its new owner must Close it.
func (h *Hub) Receive(f *pb.Channel) (*Conn, error) {
	opened, err := h.set.Receive(f)
	if opened != nil {
		return h.add(opened), err
	}
	if conn := h.conns[f.GetId()]; conn != nil {
		conn.changed.Broadcast()
	}
	return nil, err
}

// Next is the frame to send now; nil where there is none.
func (h *Hub) Next() *pb.Channel { return h.set.Next() }

// Positions are for the first frame of a new stream.
func (h *Hub) Positions() []*pb.ChannelPosition { return h.set.Positions() }

// Resume goes on where the other side stands.
func (h *Hub) Resume(positions []*pb.ChannelPosition) error {
	err := h.set.Resume(positions)
	for _, conn := range h.conns {
		conn.changed.Broadcast()
	}
	return err
}

// End fails every Read, Write and Open from now on: the task is over, nothing comes or goes any more.
func (h *Hub) End() {
	h.ended = true
	for _, conn := range h.conns {
		conn.changed.Broadcast()
	}
}

// Conn is one channel. Read or WriteTo, and Write, may be used by one goroutine each.
type Conn struct {
	hub     *Hub
	ch      *Channel
	changed *sync.Cond
	closed  bool
}

// Purpose is what its opener wants it for.
func (c *Conn) Purpose() string { return c.ch.Purpose }

// Read waits for the next bytes. It returns io.EOF at the end of what the other side sends.
func (c *Conn) Read(p []byte) (int, error) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	for {
		switch {
		case c.closed || c.hub.ended:
			return 0, os.ErrClosed
		case c.ch.In.AtEOF():
			return 0, io.EOF
		case !c.ch.In.Empty():
			n := copy(p, c.ch.In.Next(len(p)))
			c.ch.In.Done(n)
			c.hub.wake()
			return n, nil
		}
		c.changed.Wait()
	}
}

// WriteTo passes on to w what comes, until the end: all that is there with one call, as net.Buffers does it, so that w's
// reader sees what was written at once on the other side at once as well.
func (c *Conn) WriteTo(w io.Writer) (passed int64, err error) {
	for {
		runs, err := c.await()
		if err != nil || runs == nil {
			return passed, err
		}
		n, err := runs.WriteTo(w)
		passed += n
		c.hub.mu.Lock()
		c.ch.In.Done(int(n))
		c.hub.wake()
		c.hub.mu.Unlock()
		if err != nil {
			return passed, err
		}
	}
}

// await waits for the next bytes, and gives all that are there, which stay until In.Done; nil at the end.
func (c *Conn) await() (net.Buffers, error) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	for {
		switch {
		case c.closed || c.hub.ended:
			return nil, os.ErrClosed
		case c.ch.In.AtEOF():
			return nil, nil
		case !c.ch.In.Empty():
			return c.ch.In.All(), nil
		}
		c.changed.Wait()
	}
}

// Write waits until all of p is on its way. Of each frame.Chunk of it, nobody sees a part.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	for n < len(p) {
		if c.closed || c.hub.ended || c.ch.Out.Closed() {
			return n, os.ErrClosed
		}
		piece := p[n:min(len(p), n+frame.Chunk)]
		if !c.ch.Append(piece) {
			c.changed.Wait()
			continue
		}
		n += len(piece)
		c.hub.wake()
	}
	return n, nil
}

// CloseWrite ends what this side sends.
func (c *Conn) CloseWrite() error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.ch.Out.CloseWrite()
	c.hub.wake()
	return nil
}

// Close ends both directions: what was written goes out, what still comes is dropped.
func (c *Conn) Close() error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.hub.set.Reject(c.ch)
	delete(c.hub.conns, c.ch.ID)
	c.changed.Broadcast()
	c.hub.wake()
	return nil
}
