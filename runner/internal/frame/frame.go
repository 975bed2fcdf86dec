// Package frame reads and writes protobuf messages on a byte stream, each preceded by its size as a varint: the format
// of protodelim, with a cap that is checked before anything is allocated and buffers that are used again.
//
// A Reader or Writer belongs to one goroutine. An error is sticky: after it the stream is of no use.
package frame

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Caps of the conversation, in bytes: PROTOCOL.md gives the reasons.
const (
	// MaxToPod bounds a frame of the launcher; the largest is Open with script, environment and argv.
	MaxToPod = 8 << 20
	// MaxFromPod bounds a frame of the supervisor.
	MaxFromPod = 256 << 10
	// MaxHello bounds the first message on gatewayd's socket, before anybody is authorised.
	MaxHello = 4 << 10
	// MaxHelloReply bounds gatewayd's answers.
	MaxHelloReply = 64 << 10
	// Chunk bounds the data in one frame.
	Chunk = 64 << 10
	// InputWindow is how much input may be on the way, unacknowledged, at first and where it goes slowly.
	InputWindow = 256 << 10
	// OutputWindow is how much of one output stream may be on the way, unacknowledged, likewise.
	OutputWindow = 1 << 20
	// MostWindow is what either may grow to.
	MostWindow = 8 << 20
	// ChannelWindow is how much of one direction of a channel may be on the way, unacknowledged.
	ChannelWindow = 256 << 10
)

// Window checks a window that the other side grants; 0 is base, of one that grants none.
func Window(granted uint32, base int) (int, error) {
	if granted == 0 {
		return base, nil
	}
	if int(granted) < base || granted > MostWindow {
		return 0, fmt.Errorf("a window of %d bytes was granted: %d to %d are allowed", granted, base, MostWindow)
	}
	return int(granted), nil
}

// readAhead takes a whole frame with data at once, or several small ones.
const readAhead = Chunk + 4<<10

// keep bounds the buffer kept between frames: an 8 MiB Open must not cost 8 MiB for the rest of the task.
const keep = 256 << 10

// ErrTooLarge says that the peer announced, or the caller wanted to send, a frame above the cap.
var ErrTooLarge = errors.New("frame larger than allowed")

// Reader takes frames off a stream.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
	err error
}

// NewReader reads frames of at most max bytes from r.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, min(max, readAhead)), max: max}
}

// SetMax changes the cap from the next frame on.
func (r *Reader) SetMax(max int) { r.max = max }

// Rest is the stream after the frames read so far.
func (r *Reader) Rest() *bufio.Reader { return r.r }

// Closed says whether a Reader's error is the end of its stream, between two frames or within one.
func Closed(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Read fills m with the next frame. It returns io.EOF only where the stream ends between two frames. The data of Input and
// Output is good until the next Read: it is the Reader's own.
func (r *Reader) Read(m proto.Message) error {
	if r.err == nil {
		r.err = r.read(m)
	}
	return r.err
}

func (r *Reader) read(m proto.Message) error {
	size, err := binary.ReadUvarint(r.r)
	if err != nil {
		return err
	}
	if size > uint64(r.max) {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, r.max)
	}
	whole, err := r.take(int(size))
	if err != nil {
		return err
	}
	if err := unmarshal(whole, m); err != nil {
		return fmt.Errorf("frame of %d bytes: %v", size, err) // protobuf has ends of its own
	}
	if cap(r.buf) > keep {
		r.buf = nil
	}
	return nil
}

// take gives the next size bytes, which are good until the next Read: without a copy where they fit into what is read
// ahead.
func (r *Reader) take(size int) ([]byte, error) {
	if size > r.r.Size() {
		err := r.fill(size)
		return r.buf, err
	}
	whole, err := r.r.Peek(size)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	_, err = r.r.Discard(size) // moves nothing
	return whole, err
}

// fill reads size bytes, and allocates only as they arrive: a size alone must not cost memory.
func (r *Reader) fill(size int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < size {
		had := len(r.buf)
		n := min(size-had, max(had, Chunk))
		r.buf = slices.Grow(r.buf, n)[:had+n]
		if _, err := io.ReadFull(r.r, r.buf[had:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Writer puts frames on a stream, one Write each.
type Writer struct {
	w   io.Writer
	max int
	buf []byte
	err error
}

// NewWriter writes frames of at most max bytes to w.
func NewWriter(w io.Writer, max int) *Writer {
	return &Writer{w: w, max: max}
}

// Write sends m. A frame above the cap is refused before a byte of it is sent, and is no sticky error.
func (w *Writer) Write(m proto.Message) error {
	if w.err != nil {
		return w.err
	}
	size := proto.Size(m)
	if size > w.max {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, w.max)
	}
	w.buf = binary.AppendUvarint(w.buf[:0], uint64(size))
	if input, conn := inputOf(m), twiceOf(w.w); input != nil && conn != nil {
		w.buf = appendInputHeader(w.buf, input)
		_, w.err = conn.Write2(w.buf, input.GetData())
		return w.err
	}
	w.buf, w.err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(w.buf, m)
	if w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
	if cap(w.buf) > keep {
		w.buf = nil
	}
	return w.err
}
