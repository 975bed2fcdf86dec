package supervise

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
	"k8s-burst/runner/internal/limits"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// commandWait is how long a stand-in may take for its first frame.
const commandWait = 30 * time.Second

// spliceSize is the buffer of each direction between a stand-in and its channel.
const spliceSize = 32 << 10

// standIns are the processes of the pod that stand for one of Slurm's commands and are connected.
type standIns struct {
	mu    sync.Mutex
	over  bool
	conns map[*net.UnixConn]int // to the pid
}

func (s *standIns) add(conn *net.UnixConn, pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	if s.conns == nil {
		s.conns = map[*net.UnixConn]int{}
	}
	s.conns[conn] = pid
	return true
}

func (s *standIns) remove(conn *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *standIns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for conn := range s.conns {
		conn.Close()
	}
}

// pids are those that get no signal meant for all of a task: the command on the gateway, a process of the same step, has
// had it.
func (s *standIns) pids() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int
	for _, pid := range s.conns {
		all = append(all, pid)
	}
	return all
}

// serveStandIn joins a stand-in to the launcher of its task, by a channel. All but the first frame is between those two.
func (s *Supervisor) serveStandIn(conn *net.UnixConn, peer *unix.Ucred) {
	defer conn.Close()
	if !s.standIns.add(conn, int(peer.Pid)) {
		return
	}
	defer s.standIns.remove(conn)
	_ = conn.SetReadDeadline(time.Now().Add(commandWait))
	frames := frame.NewReader(conn, frame.MaxToPod)
	var first pb.ToGateway
	if err := frames.Read(&first); err != nil {
		if errors.Is(err, frame.ErrTooLarge) {
			refuse(conn, "", "arguments and environment are too large: "+err.Error())
		}
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	command := first.GetCommand()
	if command == nil {
		return
	}
	name := ""
	if len(command.GetArgv()) > 0 {
		name = string(command.GetArgv()[0])
	}
	t := s.taskOf(command.GetTask(), int(peer.Pid))
	if t == nil {
		refuse(conn, name, "this process belongs to no running task of the job, so there is nobody on the gateway to run the command")
		return
	}
	t.describe(command)
	ch, err := t.st.further.Open(names.ChannelCommand)
	if err != nil {
		refuse(conn, name, fmt.Sprintf("the task has ended, or has too many commands at once (%v)", err))
		return
	}
	if err := frame.NewWriter(ch, frame.MaxToPod).Write(&first); err == nil {
		t.splice(conn, frames.Rest(), ch)
	}
	if !t.ended() {
		ch.Close()
	}
}

// splice copies until the launcher has ended its side, or the task is over. A stand-in that ends first, ends its side; but
// of one that was killed because its task has ended, the launcher is to hear by that end only: see relay.
func (t *task) splice(conn *net.UnixConn, rest io.Reader, ch *channel.Conn) {
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{ch}, struct{ io.Reader }{rest}, make([]byte, spliceSize))
		if !t.ended() {
			_ = ch.CloseWrite()
		}
	})
	_, _ = io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{ch}, make([]byte, spliceSize))
	conn.Close()
	if !t.ended() {
		ch.Close()
	}
	up.Wait()
}

// ended says whether the task's leader has; what it left behind is killed after that. The end of the task's channels
// follows.
func (t *task) ended() bool {
	select {
	case <-t.proc.Done:
		return true
	default:
		return false
	}
}

// refuse answers as the command would fail.
func refuse(conn net.Conn, name, why string) {
	if name == "" {
		name = "slurm"
	}
	out := frame.NewWriter(conn, frame.MaxFromPod)
	text := fmt.Sprintf("%s: error: k8s-burst: %s\n", filepath.Base(name), why)
	_ = out.Write(&pb.FromGateway{Frame: &pb.FromGateway_Output{Output: &pb.CommandOutput{
		Stream: pb.OutputStream_OUTPUT_STREAM_STDERR, Data: []byte(text)}}})
	_ = out.Write(&pb.FromGateway{Frame: &pb.FromGateway_Exit{Exit: &pb.Exit{Status: &pb.Exit_Code{Code: 1}}}})
}

// taskOf finds the running task of a stand-in: by its tag, or where it has none (its environment was emptied) by the
// nearest process above it that has one. nil where there is none.
func (s *Supervisor) taskOf(tag string, pid int) *task {
	if tag == "" {
		tag = s.tagAbove(pid)
	}
	s.mu.Lock()
	t := s.tasks[tag]
	s.mu.Unlock()
	if t == nil {
		return nil
	}
	<-t.started
	if t.failure != nil {
		return nil
	}
	return t
}

func (s *Supervisor) tagAbove(pid int) string {
	leaders := map[int]string{}
	for _, t := range s.running() {
		leaders[t.proc.Pid] = t.name
	}
	self := os.Getpid()
	for pid > 1 && pid != self {
		p, ok := readProcess("/proc", pid)
		switch {
		case !ok:
			return ""
		case p.tag != "":
			return p.tag
		case leaders[pid] != "":
			return leaders[pid]
		case leaders[p.session] != "":
			return leaders[p.session]
		}
		pid = p.parent
	}
	return ""
}

// describe fills in what only the supervisor knows: which outputs are the task's own, and which limits the script has
// changed.
func (t *task) describe(c *pb.Command) {
	for _, file := range c.GetFiles()[min(1, len(c.GetFiles())):] {
		file.TaskOutput, file.TaskOffset = t.ownOutput(file)
	}
	hard := func(resource uint32) uint64 {
		var now syscall.Rlimit
		if syscall.Getrlimit(int(resource), &now) != nil {
			return 0
		}
		return now.Max
	}
	c.Limits = slices.DeleteFunc(c.Limits, func(l *pb.ResourceLimit) bool {
		i := slices.IndexFunc(t.limits, func(given *pb.ResourceLimit) bool { return given.GetResource() == l.GetResource() })
		if i < 0 {
			return false
		}
		soft, most := limits.Within(t.limits[i], hard(l.GetResource()))
		return l.GetSoft() == soft && l.GetHard() == most
	})
}

// ownOutput says which of the task's outputs a stand-in's file is, and how many bytes were written to it by now.
func (t *task) ownOutput(file *pb.StandardFile) (pb.OutputStream, uint64) {
	if file.GetKind() != pb.FileKind_FILE_KIND_OTHER {
		return pb.OutputStream_OUTPUT_STREAM_UNSPECIFIED, 0
	}
	for _, own := range []struct {
		pipe   *os.File
		end    func() (uint64, bool)
		stream pb.OutputStream
	}{
		{t.files.out, t.outDrain.end, pb.OutputStream_OUTPUT_STREAM_STDOUT},
		{t.files.err, t.errDrain.end, pb.OutputStream_OUTPUT_STREAM_STDERR},
	} {
		if own.pipe == nil || own.pipe == t.files.in || !isFile(own.pipe, file) {
			continue
		}
		if end, ok := own.end(); ok {
			return own.stream, end
		}
	}
	return pb.OutputStream_OUTPUT_STREAM_UNSPECIFIED, 0
}

func isFile(pipe *os.File, file *pb.StandardFile) bool {
	var st unix.Stat_t
	raw, err := pipe.SyscallConn()
	if err != nil || raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }) != nil || err != nil {
		return false
	}
	return st.Dev == file.GetDevice() && st.Ino == file.GetInode()
}
