// Package channel carries further streams of bytes within a task's stream: a relayed command, a PMI socket, a port.
//
// Each channel has two directions, each with offsets, a window and an end of its own, and survives a cut as the standard
// streams do. It is pure: Next gives the frame to send now, Receive takes one, Positions and Resume are for a new stream.
// A Hub makes a Set usable by several goroutines. A channel that the other side opens and nobody here wants is answered
// with its end.
//
// What was written at once, up to frame.Chunk, travels in one frame, and so does not come in two halves with a cut between
// them: PMIx' library loses a message's header that it can read only a part of.
package channel

import (
	"fmt"
	"slices"

	"k8s-burst/runner/internal/flow"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Most bounds the channels that each side has opened and that are not done.
const Most = 1024

// ackAfter is how much is passed on before it is acknowledged, unless the channel is at its end.
const ackAfter = frame.ChannelWindow / 4

// The first id of each side; its others follow in steps of two.
const (
	Launcher   = 1
	Supervisor = 2
)

// Channel is one further stream. Its owner reads In and writes Out, and says so to nobody: Next sees it.
type Channel struct {
	ID      uint32
	Purpose string
	In      *flow.Inbox
	Out     *flow.Outbox

	pieces    pieces
	ours      bool
	rejected  bool   // what comes is dropped
	announced bool   // on this stream
	acked     uint64 // on this stream
	ackedEnd  bool   // on this stream: the other side knows that its end was passed on
	confirmed bool   // the other side has passed on all of ours
}

// Set is one side's channels of a task.
type Set struct {
	next uint32 // id of the next that we open
	last uint32 // highest id that the other side has opened
	open []*Channel
	turn int
}

// NewSet makes the set of the side whose first id is given.
func NewSet(first uint32) *Set { return &Set{next: first} }

// Open opens a channel.
func (s *Set) Open(purpose string) (*Channel, error) {
	if s.count(true) >= Most {
		return nil, fmt.Errorf("more than %d channels", Most)
	}
	c := s.add(s.next, purpose)
	c.ours = true
	s.next += 2
	return c, nil
}

func (s *Set) add(id uint32, purpose string) *Channel {
	c := &Channel{ID: id, Purpose: purpose,
		In: flow.NewInbox(frame.ChannelWindow), Out: flow.NewOutbox(frame.ChannelWindow), pieces: pieces{0}}
	s.open = append(s.open, c)
	return c
}

func (s *Set) count(ours bool) (n int) {
	for _, c := range s.open {
		if c.ours == ours {
			n++
		}
	}
	return n
}

// Reject ends a channel that the other side has opened: nothing comes back, and what comes is dropped.
func (s *Set) Reject(c *Channel) {
	c.rejected = true
	c.Out.CloseWrite()
	c.drop()
}

func (c *Channel) drop() {
	for data := c.In.Next(frame.Chunk); len(data) > 0; data = c.In.Next(frame.Chunk) {
		c.In.Done(len(data))
	}
}

func (s *Set) find(id uint32) *Channel {
	for _, c := range s.open {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// Receive takes a frame. Where it opens a channel, that is returned.
func (s *Set) Receive(f *pb.Channel) (opened *Channel, err error) {
	c := s.find(f.GetId())
	if c == nil {
		if c, err = s.opens(f); c == nil {
			return nil, err
		}
		opened = c
	}
	if err := c.In.Put(f.GetOffset(), f.GetData(), f.GetEof()); err != nil {
		return nil, fmt.Errorf("channel %d: %w", c.ID, err)
	}
	if err := c.Out.Acknowledged(f.GetAcknowledged()); err != nil {
		return nil, fmt.Errorf("channel %d: %w", c.ID, err)
	}
	c.pieces.forget(f.GetAcknowledged())
	if c.rejected {
		c.drop()
	}
	c.confirmed = c.confirmed || f.GetAcknowledgedEnd()
	s.forget()
	return opened, nil
}

// opens makes a channel of the other side's first frame for it. A frame for one that was here and is closed is late, and
// no error.
func (s *Set) opens(f *pb.Channel) (*Channel, error) {
	theirs := f.GetId()%2 != s.next%2
	switch {
	case f.GetId() == 0:
		return nil, fmt.Errorf("channel 0 was opened")
	case !theirs && f.GetId() >= s.next:
		return nil, fmt.Errorf("channel %d was opened by the wrong side", f.GetId())
	case !theirs || f.GetId() <= s.last:
		return nil, nil
	case s.count(false) >= Most:
		return nil, fmt.Errorf("more than %d channels", Most)
	}
	s.last = f.GetId()
	return s.add(f.GetId(), f.GetPurpose()), nil
}

// Next is the frame to send now; nil where there is none. Channels take turns; but they are opened in the order of their
// ids, by which the other side tells one that is new from one that it has forgotten.
func (s *Set) Next() *pb.Channel {
	for _, c := range s.open {
		if c.ours && !c.announced {
			return c.next()
		}
	}
	for range s.open {
		s.turn++
		if f := s.open[s.turn%len(s.open)].next(); f != nil {
			s.forget()
			return f
		}
	}
	return nil
}

// Append sends p, at most frame.Chunk bytes, in one frame; it says whether there is room.
func (c *Channel) Append(p []byte) bool {
	if c.Out.Room() < len(p) {
		return false
	}
	c.Out.Append(p)
	c.pieces.add(c.Out.End())
	return true
}

func (c *Channel) next() *pb.Channel {
	offset, data := c.Out.Next(c.pieces.size(c.Out.Sent()))
	if missing := c.pieces.size(offset) - len(data); len(data) > 0 && missing > 0 {
		_, more := c.Out.Next(missing) // a piece may lie in two of the outbox's chunks
		data = slices.Concat(data, more)
	}
	eof := c.Out.NextEOF()
	ended := c.In.AtEOF() && !c.ackedEnd
	opens := c.ours && !c.announced
	if len(data) == 0 && !eof && !ended && !opens && c.In.Passed()-c.acked < ackAfter {
		return nil
	}
	c.announced = true
	c.acked = c.In.Passed()
	c.ackedEnd = c.In.AtEOF()
	f := &pb.Channel{Id: c.ID, Offset: offset, Data: data, Eof: eof, Acknowledged: c.acked, AcknowledgedEnd: c.ackedEnd}
	if opens {
		f.Purpose = c.Purpose
	}
	return f
}

// forget drops what is done in both directions, and known to be on both sides.
func (s *Set) forget() {
	s.open = slices.DeleteFunc(s.open, func(c *Channel) bool { return c.confirmed && c.ackedEnd })
}

// Positions are for the first frame of a new stream.
func (s *Set) Positions() []*pb.ChannelPosition {
	var all []*pb.ChannelPosition
	for _, c := range s.open {
		all = append(all, &pb.ChannelPosition{Id: c.ID, Received: c.In.Received()})
	}
	return all
}

// Resume goes on where the other side stands. One that it does not list is done on its side, which it can only be after
// all that it had to say was passed on here; or the frame that opened it was lost.
func (s *Set) Resume(positions []*pb.ChannelPosition) error {
	var done []*Channel
	for _, c := range s.open {
		i := slices.IndexFunc(positions, func(p *pb.ChannelPosition) bool { return p.GetId() == c.ID })
		received := uint64(0)
		switch {
		case i >= 0:
			received = positions[i].GetReceived()
		case c.In.AtEOF():
			c.Out.CloseWrite()
			done = append(done, c)
			continue
		case !c.ours || c.In.Received() > 0:
			return fmt.Errorf("channel %d is unknown to the other side", c.ID)
		}
		if err := c.Out.Resume(received); err != nil {
			return fmt.Errorf("channel %d: %w", c.ID, err)
		}
		c.announced, c.acked, c.ackedEnd = i >= 0 || !c.ours, 0, false
	}
	s.open = slices.DeleteFunc(s.open, func(c *Channel) bool { return slices.Contains(done, c) })
	return nil
}
