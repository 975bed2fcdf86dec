package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// stream makes one attempt: connect, introduce, converse until the task has ended or the stream is cut. It returns why
// the stream ended.
func (l *Launcher) stream(ctx context.Context) error {
	conn, err := l.cfg.Dial(ctx)
	if err != nil {
		l.wait(fmt.Sprintf("the gateway's k8s-burst-gatewayd does not answer (%v); waiting", err), l.patience(dialQuiet))
		return err
	}
	// A context that ends (a signal before the start) closes the socket, and so ends every read and write.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	frames := frame.NewReader(conn, frame.MaxHelloReply)
	connected, err := l.introduce(conn, frames)
	if err != nil {
		return cause(ctx, err)
	}
	l.mu.Lock()
	if l.start == nil {
		l.start = l.cfg.Start(connected)
	}
	first := l.st.open(l.start)
	l.mu.Unlock()
	frames.SetMax(frame.MaxFromPod)
	return cause(ctx, l.converse(conn, frames, first))
}

// cause prefers the end of the context over the error that it made.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// patience is how long a gap stays unmentioned: longer once the task runs.
func (l *Launcher) patience(atStart time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.st.started {
		return quiet
	}
	return atStart
}

// introduce says who we are and waits until gatewayd has connected us. The connection has a deadline until the task is
// open: as long as GiveUp allows. To come again earlier would not hasten a start, and might be taken for the launcher's end.
func (l *Launcher) introduce(conn net.Conn, frames *frame.Reader) (*pb.Connected, error) {
	if err := conn.SetDeadline(l.since.Add(l.cfg.GiveUp)); err != nil {
		return nil, err
	}
	hello := &pb.Hello{JobId: l.cfg.JobID, NodeName: l.cfg.Node}
	if err := frame.NewWriter(conn, frame.MaxHello).Write(hello); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	last := errors.New("k8s-burst-gatewayd closed the connection")
	for {
		var reply pb.HelloReply
		if err := frames.Read(&reply); err != nil {
			return nil, last
		}
		switch r := reply.GetReply().(type) {
		case *pb.HelloReply_Progress:
			last = errors.New(r.Progress.GetMessage())
			l.wait(r.Progress.GetMessage(), l.patience(0))
		case *pb.HelloReply_Refused:
			return nil, &refusedError{r.Refused}
		case *pb.HelloReply_Connected:
			if l.podUID != "" && l.podUID != r.Connected.GetPodUid() {
				return nil, &refusedError{&pb.Refused{Lost: true,
					Message: "the pod that the task ran in was replaced by another one"}}
			}
			l.podUID = r.Connected.GetPodUid()
			return r.Connected, nil
		}
	}
}

// converse owns the stream's two goroutines: itself, the reader, and a writer. It returns when both have ended.
func (l *Launcher) converse(conn net.Conn, frames *frame.Reader, first *pb.ToPod) error {
	out := frame.NewWriter(conn, frame.MaxToPod)
	if err := out.Write(first); err != nil {
		if errors.Is(err, frame.ErrTooLarge) {
			l.fail("script, environment and arguments are too large to send: " + err.Error())
		}
		return err
	}
	cut := false // guarded by l.mu
	var writer sync.WaitGroup
	writer.Go(func() {
		l.write(out, &cut)
		conn.Close()
	})
	err := l.read(conn, frames)
	l.mu.Lock()
	cut = true
	l.wake.all()
	l.mu.Unlock()
	conn.Close()
	writer.Wait()
	return err
}

func (l *Launcher) fail(message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.failure = &pb.Failure{Message: message}
}

// read never waits for anybody but the stream: output goes into an inbox as large as what may be on the way.
func (l *Launcher) read(conn net.Conn, frames *frame.Reader) error {
	for {
		var f pb.FromPod
		if err := frames.Read(&f); err != nil {
			return fmt.Errorf("stream to the pod: %w", err)
		}
		l.mu.Lock()
		before := l.st.opened
		err := l.st.receive(&f)
		opened, failed := l.st.opened && !before, l.st.failure != nil
		arrived := l.st.arrived
		l.st.arrived = nil
		l.wakeFor(&f)
		l.mu.Unlock()
		for _, conn := range arrived {
			l.serve(conn)
		}
		if opened {
			l.connected()
			_ = conn.SetDeadline(time.Time{}) // a connection that is closed says so at the next read
		}
		if err != nil {
			return err
		}
		if failed {
			return nil
		}
	}
}

// wakeFor wakes who can go on with what the frame brought.
func (l *Launcher) wakeFor(f *pb.FromPod) {
	switch {
	case f.GetOutput() == nil:
		l.wake.all()
	case f.GetOutput().GetStream() == pb.OutputStream_OUTPUT_STREAM_STDERR:
		l.wake.err.Signal()
	default:
		l.wake.out.Signal()
	}
}

// write sends until the stream is cut, or the exit was acknowledged.
func (l *Launcher) write(out *frame.Writer, cut *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !*cut {
		f := l.st.next(time.Now())
		if f == nil {
			if l.st.exitAcked {
				return
			}
			l.wake.send.Wait()
			continue
		}
		// Not under the lock: a write blocks for as long as the pod does. What f refers to is not written to any more.
		l.mu.Unlock()
		err := out.Write(f)
		l.mu.Lock()
		if err != nil {
			l.st.exitAcked = false
			return
		}
	}
}
