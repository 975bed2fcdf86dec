// Package supervise is process 1 of a job's pod. It starts tasks for launchers, keeps what they write until it is
// acknowledged, keeps their exits until collected, and lets a launcher come back after a cut.
//
//	supervisor.go  the socket, the sessions, the tasks by name
//	ending.go      when there is nothing left to wait for, and how tasks are ended with the pod
//	stream.go      one launcher's stream
//	task.go        one task's processes and pumps; drain.go is a pump's pipe
//	state.go       one task's conversation, pure
//	start.go       from Start to a process; exec.go is what runs in the process before its program
//	commands.go    stand-ins of Slurm's commands
//	wires.go       sockets and ports that a task has with slurmstepd
//	procs.go       whose process is whose; signals.go is which of them get a signal
//	reaper.go, oom.go  waits, kills for want of memory
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/attach"
	"k8s-burst/runner/internal/mux"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/peer"
)

// Config is what a supervisor works with.
type Config struct {
	// Dir is the emptyDir of ours.
	Dir string
	// JobID names the spool directory.
	JobID uint32
	// Self is this program's file, run again for each task.
	Self string
	// OrphanAfter is how long a task waits for a launcher that was cut off.
	OrphanAfter time.Duration
	// KillAfter is the time between the SIGTERM and the SIGKILL of a task that nobody comes back to.
	KillAfter time.Duration
	// FirstAttach is how long to wait for the first task; 0: for ever.
	FirstAttach time.Duration
	// Grace is the pod's termination grace period.
	Grace time.Duration
	// Warn is what tasks get before SIGTERM when the pod is being deleted.
	Warn Warning
	// CgroupRoot is /sys/fs/cgroup.
	CgroupRoot string
	Log        *slog.Logger
}

// maxSessions bounds sessions: one is in use, others are dead but not yet found so.
const maxSessions = 64

// Supervisor runs tasks. Use New, then Serve once.
type Supervisor struct {
	cfg    Config
	log    *slog.Logger
	reaper *Reaper
	oom    oomCounter

	mu       sync.Mutex
	blame    blame
	tasks    map[string]*task
	ended    map[string]bool   // names that were collected: never started again
	groups   map[string]*group // by step
	ports    map[uint32]*port
	sessions map[*yamux.Session]bool
	stopping bool
	begun    bool // a task has run
	standIns standIns
	main     bool // the batch script or interactive step has ended: nothing starts any more
	finished bool // and its launcher has its exit
	deserted bool // a task was ended because its launcher stayed away, and no gatewayd has come since
	idle     *time.Timer
	leave    sync.Once
	changed  chan struct{} // closed and replaced when a task is forgotten
	quit     chan struct{} // closed when it is time to end
	quitOnce sync.Once

	conns sync.WaitGroup
}

// group is the tasks of one step on this node.
type group struct {
	running int
	ended   []*task
}

// New makes a supervisor.
func New(cfg Config) *Supervisor {
	return &Supervisor{
		cfg: cfg, log: cfg.Log, oom: newOOMCounter(cfg.CgroupRoot, "/proc/self/cgroup"),
		tasks: map[string]*task{}, ended: map[string]bool{}, groups: map[string]*group{}, ports: map[uint32]*port{},
		sessions: map[*yamux.Session]bool{}, changed: make(chan struct{}), quit: make(chan struct{}),
	}
}

// Serve works until ctx ends (the pod is being deleted) or there is nothing left to wait for. When it returns, no task
// runs any more. finished says that the batch script or interactive step has ended and its launcher has its exit: the
// job has had its run.
//
// listener is for sessions, commands for stand-ins.
func (s *Supervisor) Serve(ctx context.Context, listener, commands *net.UnixListener) (finished bool, err error) {
	s.reaper = NewReaper()
	defer s.reaper.Close()
	s.mu.Lock()
	s.considerIdle()
	s.mu.Unlock()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		s.accept(listener, func(conn *net.UnixConn, _ *unix.Ucred) { s.serveSession(conn) })
	})
	accepting.Go(func() { s.accept(commands, s.serveStandIn) })
	select {
	case <-ctx.Done():
	case <-s.quit:
	}
	s.shutdown()
	err = errors.Join(listener.Close(), commands.Close())
	accepting.Wait()
	s.standIns.close()
	s.mu.Lock()
	for session := range s.sessions {
		session.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
	return s.finished, err
}

func (s *Supervisor) accept(listener *net.UnixListener, serve func(*net.UnixConn, *unix.Ucred)) {
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("accept", "error", err)
				s.end("the socket is broken")
			}
			return
		}
		peer, err := samePeer(conn)
		if err != nil {
			s.log.Warn("connection refused", "error", err)
			conn.Close()
			continue
		}
		s.conns.Go(func() { serve(conn, peer) })
	}
}

// samePeer lets only this pod's own user in.
func samePeer(conn *net.UnixConn) (*unix.Ucred, error) {
	who, err := peer.Of(conn)
	if err == nil && int(who.Uid) != os.Getuid() {
		err = fmt.Errorf("the peer's uid is %d, not %d", who.Uid, os.Getuid())
	}
	return who, err
}

// serveSession serves one attach until it ends.
func (s *Supervisor) serveSession(conn *net.UnixConn) {
	ends, err := attach.Accept(conn)
	if err != nil {
		s.log.Info("no session", "error", err)
		return
	}
	session, err := mux.Server(ends, s.log)
	if err != nil {
		s.log.Error("session", "error", err)
		ends.Close()
		return
	}
	if !s.addSession(session) {
		session.Close()
		return
	}
	s.log.Info("session opened")
	var streams sync.WaitGroup
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			break
		}
		streams.Go(func() { s.serveStream(stream, s.log) })
	}
	session.Close()
	streams.Wait()
	s.log.Info("session closed")
	s.mu.Lock()
	delete(s.sessions, session)
	s.considerIdle()
	s.mu.Unlock()
}

func (s *Supervisor) addSession(session *yamux.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= maxSessions {
		return false
	}
	s.sessions[session] = true
	s.deserted = false
	s.considerIdle()
	return true
}

// goodName says whether a task may be called so. No regular expression: compiling one costs each start of this program
// half a millisecond.
func goodName(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '.' && c != '+' && c != '_' && c != '-') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxName
}

// maxName bounds the name of a task.
const maxName = 64

// open finds the task or starts it. resumed says that it was there.
func (s *Supervisor) open(open *pb.Open) (t *task, resumed bool, failure *pb.Failure) {
	name := open.GetTask()
	if !goodName(name) {
		return nil, false, &pb.Failure{Message: fmt.Sprintf("the first frame opens no task, or one of a bad name: %q", name)}
	}
	s.mu.Lock()
	t = s.tasks[name]
	if t != nil {
		s.mu.Unlock()
		<-t.started
		return t, true, t.failure
	}
	switch {
	case s.ended[name]:
		failure = &pb.Failure{Message: endCollected(name)}
	case open.GetStart() == nil:
		failure = &pb.Failure{Message: "the pod's supervisor was restarted: the task " + name + " is lost"}
	case s.main:
		failure = &pb.Failure{Message: "the job has ended: the task " + name + " is not started"}
	case s.stopping:
		failure = &pb.Failure{Message: "the pod is being deleted: the task " + name + " is not started"}
	}
	if failure != nil {
		s.mu.Unlock()
		return nil, false, failure
	}
	t = newTask(s, name)
	s.tasks[name] = t
	s.group(name).running++
	s.considerIdle()
	s.mu.Unlock()
	s.startTask(t, open.GetStart())
	return t, false, t.failure
}

func endCollected(name string) string {
	return "the task " + name + " has ended, and its end was collected before"
}

// startTask starts, and lets those in who wait for it. A start that failed leaves no trace: the next open tries again.
func (s *Supervisor) startTask(t *task, start *pb.Start) {
	t.oomThen = s.oom.count()
	t.failure = t.start(start)
	if t.failure == nil {
		t.log.Info("started", "pid", t.proc.Pid)
		s.mu.Lock()
		s.begun = true
		s.mu.Unlock()
		t.run()
		s.conns.Go(t.loops.Wait)
	} else {
		s.mu.Lock()
		delete(s.tasks, t.name)
		s.group(t.name).running--
		s.considerIdle()
		s.mu.Unlock()
	}
	close(t.started)
}

// group finds the step of a task. The caller holds s.mu.
func (s *Supervisor) group(name string) *group {
	step, _, _ := strings.Cut(name, ".")
	if s.groups[step] == nil {
		s.groups[step] = &group{}
	}
	return s.groups[step]
}

// leaderEnded kills what a step has left behind, where t was the last of its tasks on this node.
func (s *Supervisor) leaderEnded(t *task) {
	s.mu.Lock()
	g := s.group(t.name)
	g.running--
	g.ended = append(g.ended, t)
	var left []*task
	if g.running == 0 {
		left, g.ended = g.ended, nil
	}
	s.mu.Unlock()
	for _, t := range left {
		killAll(s.reaper, t.name, t.proc)
	}
}

// isMain says whether the end of a task is that of its job.
func isMain(name string) bool { return name == names.TaskBatch || name == names.TaskInteractive }

// collected notes that a launcher has its task's exit.
func (s *Supervisor) collected(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isMain(name) {
		s.main, s.finished = true, true
	}
}

// forget removes a task whose end was collected, or that nobody will collect.
func (s *Supervisor) forget(t *task) {
	t.mu.Lock()
	forgot, deserted := t.forgot, t.deserted
	t.forgot = true
	if t.orphan != nil {
		t.orphan.Stop()
	}
	t.mu.Unlock()
	if forgot {
		return
	}
	if t.name == names.TaskBatch {
		_ = os.RemoveAll(names.SpoolDir(s.cfg.Dir, s.cfg.JobID)) // the pod's end removes it otherwise
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tasks, t.name)
	s.ended[t.name] = true
	s.main = s.main || isMain(t.name)
	s.deserted = s.deserted || deserted && len(s.sessions) == 0
	close(s.changed)
	s.changed = make(chan struct{})
	s.considerIdle()
}
