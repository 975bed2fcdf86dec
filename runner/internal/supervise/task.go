package supervise

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/rawio"
	"k8s-burst/runner/internal/tty"
)

// task is one process tree with its conversation.
type task struct {
	name string
	sup  *Supervisor
	log  *slog.Logger

	// started is closed once the start has succeeded or failed; failure, proc and files are set before.
	started chan struct{}
	failure *pb.Failure
	proc    *Proc
	files   files
	limits  []*pb.ResourceLimit // as it was started with
	oomThen uint64
	wires   map[string]*net.UnixConn // by the purpose of the channel that each is for

	outDrain, errDrain *drain

	mu      sync.Mutex
	wake    wakes
	st      *state
	current *stream // the launcher's stream, nil while there is none
	gone    bool    // the launcher has ended: nobody comes back
	forgot  bool
	orphan  *time.Timer
	// deserted says that the task was ended because its launcher stayed away.
	deserted bool
	grown    bool // the pipe of standard input

	loops sync.WaitGroup
}

// grownPipe is what the pipe of a task's standard input holds, in bytes, once it was full: with the usual 64 KiB task and
// supervisor wait for each other all the time.
const grownPipe = 256 << 10

// files are the supervisor's ends of the task's standard files; for a terminal all three are the same.
type files struct{ in, out, err *os.File }

func (f files) close() {
	for _, file := range []*os.File{f.in, f.out, f.err} {
		if file != nil {
			file.Close()
		}
	}
}

func newTask(sup *Supervisor, name string) *task {
	t := &task{name: name, sup: sup, log: sup.log.With("task", name), started: make(chan struct{})}
	t.wake = wakes{sync.NewCond(&t.mu), sync.NewCond(&t.mu), sync.NewCond(&t.mu), sync.NewCond(&t.mu)}
	t.st = newState(channel.NewHub(channel.Supervisor, &t.mu, t.wake.send.Signal), t.passNow)
	return t
}

// wakes are what the goroutines of a task wait for, one each.
type wakes struct {
	send     *sync.Cond // there is something to send
	out, err *sync.Cond // there is room for output
	in       *sync.Cond // there is input to pass on
}

func (w wakes) all() {
	for _, c := range []*sync.Cond{w.send, w.out, w.err, w.in} {
		c.Broadcast()
	}
}

// run owns the goroutines of a started task. It returns at once; watch ends the rest.
func (t *task) run() {
	if t.files.in != nil {
		t.loops.Go(t.pumpIn)
	}
	var outputs sync.WaitGroup
	outputs.Go(func() { t.pumpOut(t.outDrain, t.wake.out) })
	if t.files.err != nil {
		outputs.Go(func() { t.pumpOut(t.errDrain, t.wake.err) })
	}
	t.loops.Go(func() { t.watch(&outputs) })
}

// watch waits for the leader, then for what the task has still to say. As slurmstepd does: when the last task of a step
// on this node has ended, what is left of the step is killed, and then output is read to its end. While other tasks of
// the step run, processes left behind live on, but what they write after this is lost.
func (t *task) watch(outputs *sync.WaitGroup) {
	<-t.proc.Done
	oom, ending := t.sup.ranOutOfMemory(t), t.sup.isStopping()
	t.sup.leaderEnded(t)
	// Whoever still holds a pipe open is out of reach, or not of this step's end: take what is there.
	now := time.Now()
	_ = t.files.out.SetReadDeadline(now)
	if t.files.err != nil {
		_ = t.files.err.SetReadDeadline(now)
	}
	outputs.Wait()
	t.unwire()
	t.mu.Lock()
	t.st.out.CloseWrite()
	t.st.err.CloseWrite()
	t.st.exit = exitOf(t.proc.Status, t.st)
	t.st.exit.OutOfMemory, t.st.exit.PodEnding = oom, ending
	t.st.further.End()
	forget := t.gone
	t.wake.all()
	t.mu.Unlock()
	t.files.close()
	t.log.Info("ended", "status", int(t.proc.Status), "oom", oom)
	if forget {
		t.sup.forget(t)
	}
}

func exitOf(status syscall.WaitStatus, st *state) *pb.Exit {
	exit := &pb.Exit{StdoutEnd: st.out.End(), StderrEnd: st.err.End()}
	if status.Signaled() {
		exit.Status = &pb.Exit_Signal{Signal: uint32(status.Signal())}
		return exit
	}
	exit.Status = &pb.Exit_Code{Code: uint32(status.ExitStatus())}
	return exit
}

// pumpOut spools what the task writes. While the spool is full nothing is read: the writer blocks, as on a full pipe.
func (t *task) pumpOut(d *drain, room *sync.Cond) {
	for {
		t.mu.Lock()
		for d.to.Room() == 0 && !t.gone {
			room.Wait()
		}
		if t.gone {
			t.mu.Unlock()
			return
		}
		space := d.to.Tail()
		t.mu.Unlock()
		if d.read(space) != nil {
			return
		}
	}
}

// pumpIn writes what the launcher sends. A task that has closed its standard input gets no more: the rest is taken and
// dropped, so that the launcher does not wait.
func (t *task) pumpIn() {
	broken := false
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for t.st.in.Empty() && !t.st.in.AtEOF() && !t.over() {
			t.wake.in.Wait()
		}
		if t.over() || t.st.in.AtEOF() {
			if t.files.in != t.files.out {
				t.files.in.Close()
			}
			return
		}
		data := t.st.in.Next(frame.Chunk)
		if !broken {
			t.mu.Unlock()
			_, err := t.files.in.Write(data)
			t.mu.Lock()
			broken = err != nil
		}
		t.st.in.Done(len(data))
		if t.st.ackDue() {
			t.wake.send.Signal()
		}
	}
}

// passNow writes the beginning of input that has just come, as much as the task's pipe takes without waiting: so most of
// it is neither kept nor handed to another goroutine. The caller holds t.mu, and nothing else waits to be written.
func (t *task) passNow(data []byte) int {
	if t.files.in == nil || t.files.in == t.files.out {
		return 0
	}
	raw, err := t.files.in.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	_ = raw.Write(func(fd uintptr) bool {
		n, _ = rawio.Write(fd, data) // an error is pumpIn's to find
		if n < len(data) && !t.grown {
			t.grown = true
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, grownPipe) // not granted: slower
			more, _ := rawio.Write(fd, data[n:])
			n += more
		}
		return true
	})
	return n
}

// over says that nobody is there for input any more. The caller holds t.mu.
func (t *task) over() bool { return t.gone || t.st.exit != nil }

// do carries out what a frame asked for.
func (t *task) do(what todo) {
	if what.resize != nil && t.files.in != nil && t.files.in == t.files.out {
		_ = tty.Resize(t.files.in, what.resize) // a terminal that is gone has no size
	}
	if what.arrived != nil {
		t.serveChannel(what.arrived)
	}
	if s := what.signal; s.GetNumber() > 0 && s.GetNumber() <= 64 {
		t.log.Info("signal", "number", s.GetNumber(), "scope", s.GetScope())
		t.deliver(syscall.Signal(s.GetNumber()), s.GetScope())
	}
}

// serveChannel takes a channel that the launcher has opened, by its purpose. The task's end fails every use of it.
func (t *task) serveChannel(conn *channel.Conn) {
	if t.serveWire(conn) {
		return
	}
	t.log.Warn("the launcher has opened a channel that this supervisor has no use for", "purpose", conn.Purpose())
	conn.Close()
}

// attach gives the task to a stream. An older stream loses it: the launcher has come back before its last stream was
// found dead.
func (t *task) attach(s *stream, open *pb.Open, resumed bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.st.collected {
		return errors.New(endCollected(t.name))
	}
	if t.forgot || t.gone {
		return errors.New("the task " + t.name + " has ended and was forgotten")
	}
	if err := t.st.resume(open, resumed); err != nil {
		t.await()
		return err
	}
	if t.current != nil {
		t.current.cut()
	}
	t.current = s
	if t.orphan != nil {
		t.orphan.Stop()
		t.orphan = nil
	}
	t.wake.all()
	return nil
}

// detach takes the task from a stream that has ended. Where the launcher itself has ended, its task ends too, as any
// task does whose slurmstepd is told to kill it; where the way was cut, the task waits for the launcher to come back.
func (t *task) detach(s *stream, launcherEnded bool) {
	t.mu.Lock()
	if t.current != s {
		t.mu.Unlock()
		return
	}
	t.current = nil
	if t.st.collected {
		t.gone = true
		t.mu.Unlock()
		t.sup.forget(t)
		return
	}
	if !launcherEnded {
		t.await()
		t.mu.Unlock()
		t.log.Info("stream cut: the task waits for its launcher", "for", t.sup.cfg.OrphanAfter)
		return
	}
	t.mu.Unlock()
	t.log.Info("the launcher has ended: the task is killed")
	t.abandon()
}

// await gives the launcher OrphanAfter to come. The caller holds t.mu.
func (t *task) await() {
	if t.current == nil && t.orphan == nil && !t.gone {
		t.orphan = time.AfterFunc(t.sup.cfg.OrphanAfter, t.orphaned)
	}
}

// abandon ends a task that nobody will collect.
func (t *task) abandon() {
	t.mu.Lock()
	t.gone = true
	ended := t.st.exit != nil
	t.wake.all()
	t.mu.Unlock()
	killAll(t.sup.reaper, t.name, t.proc)
	if ended {
		t.sup.forget(t)
	}
}

// orphaned ends a task whose launcher has stayed away.
func (t *task) orphaned() {
	t.mu.Lock()
	back := t.current != nil || t.gone
	t.mu.Unlock()
	if back {
		return
	}
	t.log.Warn("the launcher has stayed away: the task is ended")
	t.terminate()
	select {
	case <-t.proc.Done:
	case <-time.After(t.sup.cfg.KillAfter):
	}
	t.mu.Lock()
	back = t.current != nil
	t.deserted = !back
	t.mu.Unlock()
	if !back {
		t.abandon()
	}
}
