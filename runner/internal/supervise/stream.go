package supervise

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// openWait is how long a stream may be there without its first frame.
const openWait = 30 * time.Second

// stream is one launcher's stream: its own goroutine reads, one more writes.
type stream struct {
	conn *yamux.Stream
	task *task
	over bool // guarded by task.mu: the writer leaves
}

// cut ends the stream from this side. The caller holds task.mu.
func (s *stream) cut() {
	s.over = true
	s.task.wake.all()
	_ = s.conn.SetDeadline(time.Unix(1, 0)) // not Close: that may wait for the session's sender
}

// serveStream converses on one stream until it ends.
func (s *Supervisor) serveStream(conn *yamux.Stream, log *slog.Logger) {
	defer conn.Close()
	frames := frame.NewReader(conn, frame.MaxToPod)
	out := frame.NewWriter(conn, frame.MaxFromPod)
	var first pb.ToPod
	_ = conn.SetReadDeadline(time.Now().Add(openWait)) // never fails on yamux
	if err := frames.Read(&first); err != nil {
		log.Info("a stream ended before its first frame", "error", err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	t, resumed, failure := s.open(first.GetOpen())
	str := &stream{conn: conn, task: t}
	if failure == nil {
		if err := t.attach(str, first.GetOpen(), resumed); err != nil {
			failure = &pb.Failure{Message: err.Error()}
		}
	}
	if failure != nil {
		log.Info("open failed", "task", first.GetOpen().GetTask(), "failure", failure.GetMessage())
		_ = out.Write(&pb.FromPod{Frame: &pb.FromPod_Failure{Failure: failure}}) // a cut: the launcher asks again
		return
	}
	err := t.converse(str, frames, out)
	// A session that ends closes its streams as a launcher that ends does, but says so before. One that is killed may have
	// sent half a frame.
	launcherEnded := frame.Closed(err) && !conn.Session().IsClosed()
	t.detach(str, launcherEnded)
}

// converse returns why the stream ended, once its writer has ended too.
func (t *task) converse(s *stream, frames *frame.Reader, out *frame.Writer) error {
	var writer sync.WaitGroup
	writer.Go(func() { t.write(s, out) })
	err := t.read(s, frames)
	t.mu.Lock()
	s.over = true
	t.wake.all()
	t.mu.Unlock()
	s.conn.Close()
	writer.Wait()
	return err
}

var errProtocol = errors.New("protocol error")

func (t *task) read(s *stream, frames *frame.Reader) error {
	for {
		var f pb.ToPod
		if err := frames.Read(&f); err != nil {
			return err
		}
		t.mu.Lock()
		if s.over {
			t.mu.Unlock()
			return errors.New("another stream has the task")
		}
		what, err := t.st.receive(&f)
		collected := t.st.collected
		switch {
		case f.GetInput() != nil:
			t.wake.in.Signal()
			if t.st.ackDue() {
				t.wake.send.Signal()
			}
		case f.GetAck() != nil:
			t.wake.out.Signal()
			t.wake.err.Signal()
		case f.GetChannel() != nil:
			t.wake.send.Signal()
		}
		t.mu.Unlock()
		if collected {
			t.sup.collected(t.name) // before the launcher hears of it
			return nil
		}
		if err != nil {
			t.log.Warn("the launcher's stream is closed", "error", err)
			return errors.Join(errProtocol, err)
		}
		t.do(what)
	}
}

func (t *task) write(s *stream, out *frame.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !s.over {
		f := t.st.next(time.Now())
		if f == nil {
			t.wake.send.Wait()
			continue
		}
		t.mu.Unlock()
		err := out.Write(f)
		t.mu.Lock()
		if err != nil {
			s.cut() // so that the reader hears of it
			return
		}
	}
}
