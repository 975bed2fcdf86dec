// Package attach is what gatewayd executes in the pod: a process that hands its standard input and output over to the
// supervisor, and is there until the supervisor or the exec stream ends. The bytes then go between the supervisor and
// the container runtime, without a process of ours between them. Nothing else is ever written to standard output.
//
//	Run    in the executed process
//	Accept in the supervisor
package attach

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/names"
	"k8s-burst/runner/internal/rawio"
)

const (
	// acceptWait is how long a connection may be there without its descriptors, which come at once.
	acceptWait = 5 * time.Second
	// pipeSize is what a pipe to or from the container runtime holds, where the kernel grants it: with the usual 64 KiB
	// each side waits for the other all the time.
	pipeSize = 256 << 10
)

// Run hands in and out over and waits until the supervisor ends the session.
func Run(dir string, in, out *os.File) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: names.SupervisorSocket(dir), Net: "unix"})
	if err != nil {
		return fmt.Errorf("the pod's supervisor does not answer: %w", err)
	}
	defer conn.Close()
	if err := Hand(conn, in, out); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// Hand gives in and out to whoever accepts conn. The caller's own are still open, and do not block from now on.
func Hand(conn *net.UnixConn, in, out *os.File) error {
	rights := unix.UnixRights(int(in.Fd()), int(out.Fd()))
	_, _, err := conn.WriteMsgUnix([]byte{0}, rights, nil)
	return err
}

// Stream is the standard input and output of an executed attach. Close ends both, and the attach.
type Stream struct {
	io.Reader
	io.Writer

	in, out *os.File
	conn    *net.UnixConn
	watch   sync.WaitGroup
}

// Accept takes what Hand gave. It takes conn over, also where it fails. An attach that is killed ends the stream.
func Accept(conn *net.UnixConn) (*Stream, error) {
	in, out, err := receive(conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("attach: %w", err)
	}
	reader, inErr := rawio.NewStream(in)
	writer, outErr := rawio.NewStream(out)
	s := &Stream{Reader: reader, Writer: writer, in: in, out: out, conn: conn}
	if err := errors.Join(inErr, outErr); err != nil {
		s.end()
		return nil, fmt.Errorf("attach: %w", err)
	}
	s.watch.Go(func() {
		_, _ = conn.Read(make([]byte, 1)) // whatever it is: nothing is to come
		s.end()
	})
	return s, nil
}

func receive(conn *net.UnixConn) (in, out *os.File, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(acceptWait)); err != nil {
		return nil, nil, err
	}
	control := make([]byte, unix.CmsgSpace(2*4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil, nil, err
	}
	var fds []int
	for _, message := range messages {
		if got, err := unix.ParseUnixRights(&message); err == nil {
			fds = append(fds, got...)
		}
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize) // not a pipe, or not granted: slower
		_ = unix.SetNonblock(fd, true)                                 // NewFile asks for it
		files[i] = os.NewFile(uintptr(fd), "attach")
	}
	if len(files) != 2 {
		for _, file := range files {
			file.Close()
		}
		return nil, nil, errors.New("no standard input and output came")
	}
	return files[0], files[1], nil
}

// Close ends the stream; what is in the pipes by then is still carried.
func (s *Stream) Close() error {
	s.end()
	s.watch.Wait()
	return nil
}

func (s *Stream) end() {
	s.in.Close()
	s.out.Close()
	s.conn.Close()
}
