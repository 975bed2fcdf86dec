package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
	"k8s-burst/runner/internal/rawio"
)

const (
	replyTimeout = 10 * time.Second
	// A splice begins with a small buffer, which is all that an idle launcher costs, and takes more at once while more
	// is there: every system call and every wake-up on the way is paid per piece.
	spliceLeast = 4 << 10
	spliceMost  = 128 << 10
)

// nodeName is what Slurm lets a node be called, as far as a pod's host name can be the same.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// serveLauncher serves one launcher until it is gone or its stream has ended. The caller closes its socket.
func (s *Server) serveLauncher(socket *net.UnixConn, peer *unix.Ucred) {
	conn, err := rawio.NewConn(socket)
	if err != nil {
		return // it is closed
	}
	frames := frame.NewReader(conn, frame.MaxHello)
	hello, refused := s.readHello(conn, frames, peer.Uid)
	if refused != nil {
		s.complain(peer.Uid, "launcher refused", "pid", peer.Pid, "message", refused.Message)
		_ = reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Refused{Refused: refused}}) // it may be gone
		return
	}
	if report := hello.GetReport(); report != nil {
		s.report(conn, hello, peer.Uid)
		return
	}
	k := key{hello.GetJobId(), hello.GetNodeName(), peer.Uid}
	if !s.cfg.IsTask(peer.Pid, k.job) && !s.allowed(conn, frames.Rest(), k) {
		return
	}
	l := s.acquire(k)
	defer s.release(l)
	session, stream := s.awaitStream(conn, frames.Rest(), l)
	if stream == nil {
		return
	}
	s.splice(conn, frames.Rest(), session, stream)
}

// allowed asks the agent for one who is no task that slurmstepd has started: the job may have ended, and the stream to its
// pod be there still. It waits for the answer; false where that is no, after the launcher was told, or where that has gone.
func (s *Server) allowed(conn net.Conn, rest *bufio.Reader, k key) bool {
	gone := watchHangup(conn, rest)
	defer gone.stop()
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		answer, err := s.ask(k)
		var refused *RefusedError
		switch lost := answer.GetLost(); {
		case errors.As(err, &refused):
			_ = reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Refused{Refused: &pb.Refused{Message: refused.Message}}}) // it may be gone
			return false
		case err != nil:
			err = reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Progress{Progress: &pb.Progress{Message: err.Error()}}})
		case lost != nil:
			_ = reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Refused{Refused: &pb.Refused{Message: lost.GetMessage(), Lost: true}}})
			return false
		default:
			return true
		}
		if err != nil {
			return false
		}
		select {
		case <-time.After(wait):
		case <-gone.gone:
			return false
		case <-s.ctx.Done():
			return false
		}
	}
}

// report passes on what the launcher says of its task's end.
func (s *Server) report(conn net.Conn, hello *pb.Hello, uid uint32) {
	ctx, cancel := context.WithTimeout(s.ctx, attachTimeout)
	defer cancel()
	done := s.turn(ctx, uid)
	if done == nil {
		return
	}
	defer done()
	answer := &pb.HelloReply{Reply: &pb.HelloReply_Reported{Reported: &pb.Reported{}}}
	err := s.cfg.Agent.Report(ctx, &agentpb.ReportRequest{
		JobId: hello.GetJobId(), NodeName: hello.GetNodeName(), Uid: uid,
		Task: hello.GetReport().GetTask(), OutOfMemory: hello.GetReport().GetOutOfMemory(),
	})
	if err != nil {
		s.complain(uid, "report not taken", "job", hello.GetJobId(), "error", err)
		answer = &pb.HelloReply{Reply: &pb.HelloReply_Refused{Refused: &pb.Refused{Message: err.Error()}}}
	}
	_ = reply(conn, answer) // the launcher may be gone: it does not wait for long
}

func (s *Server) readHello(conn net.Conn, frames *frame.Reader, uid uint32) (*pb.Hello, *pb.Refused) {
	if uid == 0 {
		return nil, &pb.Refused{Message: "jobs of root do not run in pods"}
	}
	_ = conn.SetReadDeadline(time.Now().Add(s.cfg.Hello)) // a closed connection fails at the read
	var hello pb.Hello
	if err := frames.Read(&hello); err != nil {
		return nil, &pb.Refused{Message: fmt.Sprintf("no hello came: %v", err)}
	}
	_ = conn.SetReadDeadline(time.Time{})
	if hello.GetJobId() == 0 || !nodeName.MatchString(hello.GetNodeName()) {
		return nil, &pb.Refused{Message: fmt.Sprintf("hello names job %d on node %q", hello.GetJobId(), hello.GetNodeName())}
	}
	return &hello, nil
}

func reply(conn net.Conn, r *pb.HelloReply) error {
	if err := conn.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if err := frame.NewWriter(conn, frame.MaxHelloReply).Write(r); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

// awaitStream tells the launcher how it goes until its stream is open; nil where the launcher has gone, was refused, or
// this server ends.
func (s *Server) awaitStream(conn net.Conn, rest *bufio.Reader, l *link) (*yamux.Session, *yamux.Stream) {
	gone := watchHangup(conn, rest)
	defer gone.stop()
	for {
		state, changed := l.look()
		var err error
		switch {
		case state.refused != nil:
			_ = reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Refused{Refused: state.refused}}) // it may be gone
			return nil, nil
		case state.session != nil:
			if stream, err := state.session.OpenStream(); err == nil {
				return s.connected(conn, gone, state, stream)
			}
		case state.message != "":
			err = reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Progress{Progress: &pb.Progress{Message: state.message}}})
		}
		if err != nil {
			return nil, nil
		}
		select {
		case <-changed:
		case <-gone.gone:
			return nil, nil
		case <-s.ctx.Done():
			return nil, nil
		}
	}
}

func (s *Server) connected(conn net.Conn, gone *hangup, state linkState, stream *yamux.Stream) (*yamux.Session, *yamux.Stream) {
	gone.stop()
	if err := reply(conn, &pb.HelloReply{Reply: &pb.HelloReply_Connected{Connected: state.ready}}); err != nil {
		s.endStream(state.session, stream)
		return nil, nil
	}
	return state.session, stream
}

// hangup notices that a launcher goes while it has nothing to say.
type hangup struct {
	conn net.Conn
	gone chan struct{}
	loop sync.WaitGroup
}

func watchHangup(conn net.Conn, rest *bufio.Reader) *hangup {
	h := &hangup{conn: conn, gone: make(chan struct{})}
	h.loop.Go(func() {
		// One that talks before its turn is not gone: what it says stays in the buffer.
		if _, err := rest.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			close(h.gone)
		}
	})
	return h
}

// stop ends the watch; nothing was read that rest does not hold. It may be called twice.
func (h *hangup) stop() {
	_ = h.conn.SetReadDeadline(time.Unix(1, 0)) // a closed connection ends the watch as well
	h.loop.Wait()
	_ = h.conn.SetReadDeadline(time.Time{})
}

// splice copies both ways until one side ends.
//
// What ends matters to the supervisor: where the launcher ends, the stream is closed in good form, and the task is
// killed; where anything else fails, the whole session is cut, and tasks wait for their launchers to come back.
func (s *Server) splice(conn net.Conn, rest *bufio.Reader, session *yamux.Session, stream *yamux.Stream) {
	var down sync.WaitGroup
	down.Go(func() {
		fromErr, _ := pump(conn, stream)
		if fromErr != nil {
			session.Close()
		}
		conn.Close() // the supervisor has ended the stream, or there is no way left to it
	})
	_, toErr := pump(stream, rest)
	if toErr != nil && !errors.Is(toErr, yamux.ErrStreamClosed) {
		session.Close()
	}
	s.endStream(session, stream)
	conn.Close()
	down.Wait()
}

// endStream tells the supervisor that the launcher has ended; but a launcher's socket that this server closes because
// it ends itself is no launcher that has ended.
func (s *Server) endStream(session *yamux.Session, stream *yamux.Stream) {
	if s.ctx.Err() != nil {
		session.Close()
	}
	stream.Close()
}

// pump copies until the end, or until one side fails, and says which.
func pump(to io.Writer, from io.Reader) (fromErr, toErr error) {
	buffer := make([]byte, spliceLeast)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, toErr = to.Write(buffer[:n]); toErr != nil {
				return nil, toErr
			}
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
		if size := fitting(len(buffer), n); size != len(buffer) {
			buffer = make([]byte, size)
		}
	}
}

// fitting is the size for the next piece after one of n bytes in a buffer of size: larger where that was full, small
// again where it was almost empty.
func fitting(size, n int) int {
	switch {
	case n == size:
		return min(2*size, spliceMost)
	case n <= size/16:
		return max(size/2, spliceLeast)
	}
	return size
}
