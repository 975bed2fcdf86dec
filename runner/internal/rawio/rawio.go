// Package rawio reads and writes what never blocks, past Go's scheduler.
//
// Of each system call the scheduler takes note, because it may block: it wakes the thread that watches over such calls, and
// gives the processor away where one takes 20 µs. With descriptors that are polled anyway that is for nothing, and where
// bytes come piece by piece it costs more CPU time than the bytes themselves. Only for pipes and sockets that do not block.
//
//	Stream       a pipe or a socket: Read and Write that wait, as io's do
//	Conn         a network connection whose bytes go through a Stream
//	Read, Write  one call, for who waits by himself
package rawio

import (
	"errors"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads once; EAGAIN where there is nothing yet, io.EOF at the end.
func Read(fd uintptr, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := call(unix.SYS_READ, fd, unsafe.Pointer(&p[0]), len(p))
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// Write writes once, as much as there is room for; EAGAIN where there is none.
func Write(fd uintptr, p []byte) (int, error) { return write2(fd, p, nil) }

// write2 is Write for two pieces, in order.
func write2(fd uintptr, p, q []byte) (int, error) {
	var vectors [2]unix.Iovec
	n := 0
	for _, part := range [2][]byte{p, q} {
		if len(part) > 0 {
			vectors[n].Base = &part[0]
			vectors[n].SetLen(len(part))
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	return call(unix.SYS_WRITEV, fd, unsafe.Pointer(&vectors[0]), n)
}

func call(number, fd uintptr, p unsafe.Pointer, n int) (int, error) {
	for {
		done, _, errno := unix.RawSyscall(number, fd, uintptr(p), uintptr(n))
		switch errno {
		case 0:
			return int(done), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Stream is a pipe or socket that does not block. Deadlines and Close are those of what it was made of.
type Stream struct{ raw syscall.RawConn }

// NewStream makes the Stream of a file or connection that Go's poller knows, and that stays its owner's. One that blocks is
// an error: it would stop every goroutine.
func NewStream(of syscall.Conn) (Stream, error) {
	raw, err := of.SyscallConn()
	if err != nil {
		return Stream{}, err
	}
	flags := 0
	controlErr := raw.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	if err := errors.Join(controlErr, err); err != nil {
		return Stream{}, err
	}
	if flags&unix.O_NONBLOCK == 0 {
		return Stream{}, errors.New("a descriptor that blocks can't be read or written past the scheduler")
	}
	return Stream{raw}, nil
}

// Read waits until there is something, or the end.
func (s Stream) Read(p []byte) (n int, err error) {
	waitErr := s.raw.Read(func(fd uintptr) bool {
		n, err = Read(fd, p)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

// Write waits until all of p is written.
func (s Stream) Write(p []byte) (int, error) { return s.Write2(p, nil) }

// Write2 writes two pieces as if they were one.
func (s Stream) Write2(p, q []byte) (written int, err error) {
	waitErr := s.raw.Write(func(fd uintptr) bool {
		for len(p)+len(q) > 0 {
			var n int
			if n, err = write2(fd, p, q); err != nil {
				return !errors.Is(err, unix.EAGAIN)
			}
			written += n
			ofP := min(n, len(p))
			p, q = p[ofP:], q[n-ofP:]
		}
		return true
	})
	if waitErr != nil {
		return written, waitErr
	}
	return written, err
}

// Conn is a network connection whose bytes go through a Stream.
type Conn struct {
	net.Conn

	Stream
}

// NewConn takes over a TCP or unix connection.
func NewConn(conn interface {
	net.Conn
	syscall.Conn
}) (*Conn, error) {
	stream, err := NewStream(conn)
	return &Conn{conn, stream}, err
}

// Read is the Stream's.
func (c *Conn) Read(p []byte) (int, error) { return c.Stream.Read(p) }

// Write is the Stream's.
func (c *Conn) Write(p []byte) (int, error) { return c.Stream.Write(p) }
