package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/tty"
)

// ExecCommand is the first argument that makes this program the beginning of a task's process.
const ExecCommand = "exec-task"

// Descriptors of a task's process before its program runs, beside 0, 1 and 2.
const (
	execStartFD  = 3 // Start comes from here
	execReportFD = 4 // Failure goes here; closed by a successful exec
)

// start runs the task's process up to its program. What must be set in the process itself (limits, umask, nice,
// directory) is set by this program in the child, see exec.go: Go can't run code between fork and exec.
func (t *task) start(start *pb.Start) *pb.Failure {
	if len(start.GetArgv()) == 0 {
		return &pb.Failure{Message: "No executable program specified for this task", Errno: uint32(syscall.ENOENT)}
	}
	start = proto.CloneOf(start)
	if start.Script != nil {
		if err := t.spoolScript(start); err != nil {
			return &pb.Failure{Message: fmt.Sprintf("the batch script can't be written in the pod: %v", err)}
		}
	}
	start.Env = append(withoutTag(start.Env), []byte(names.TaskVariable+"="+t.name))
	standInsFirst(start.Env, names.StandIns(t.sup.cfg.Dir))
	ours, theirs, err := standardFiles(start)
	defer theirs.close()
	if err != nil {
		ours.close()
		return &pb.Failure{Message: fmt.Sprintf("standard files of the task: %v", err)}
	}
	inherited, err := t.wire(start)
	defer closeAll(inherited)
	if err != nil {
		ours.close()
		t.unwire()
		return &pb.Failure{Message: fmt.Sprintf("the task's way to Slurm's PMI: %v", err)}
	}
	proc, failure := t.sup.fork(start, theirs, inherited)
	if failure != nil {
		ours.close()
		t.unwire()
		return failure
	}
	t.proc, t.files, t.limits = proc, ours, start.GetLimits()
	t.outDrain = &drain{task: t, from: ours.out, to: t.st.out}
	t.errDrain = &drain{task: t, from: ours.err, to: t.st.err}
	return nil
}

// spoolScript writes the batch script where slurmd would have, and makes argv[0] its path.
func (t *task) spoolScript(start *pb.Start) error {
	dir := names.SpoolDir(t.sup.cfg.Dir, t.sup.cfg.JobID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	base := filepath.Base(string(start.Argv[0]))
	if base == "." || base == ".." || base == "/" {
		return fmt.Errorf("bad name %q", start.Argv[0])
	}
	path := filepath.Join(dir, base)
	// A new file: whoever has an old one open keeps the old text, and none is open for writing when it is executed.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// No fork meanwhile: a child that has the file open for writing makes its execution fail (ETXTBSY).
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, start.Script, 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	start.Argv[0], start.Script = []byte(path), nil
	return nil
}

// standInsFirst lets the stand-ins for Slurm's commands be found before any commands of the image.
func standInsFirst(env [][]byte, dir string) {
	for i, entry := range env {
		path, ok := strings.CutPrefix(string(entry), "PATH=")
		if ok && !slices.Contains(filepath.SplitList(path), dir) {
			env[i] = []byte("PATH=" + dir + ":" + path)
		}
	}
}

func withoutTag(env [][]byte) [][]byte {
	prefix := names.TaskVariable + "="
	var out [][]byte
	for _, entry := range env {
		if len(entry) < len(prefix) || string(entry[:len(prefix)]) != prefix {
			out = append(out, entry)
		}
	}
	return out
}

// standardFiles makes the task's standard files and our ends of them. Both are valid, and to be closed, even with an
// error.
func standardFiles(start *pb.Start) (ours, theirs files, err error) {
	if size := start.GetTerminal(); size != nil {
		ours.in, theirs.in, err = tty.Open()
		if err != nil {
			return ours, theirs, err
		}
		ours.out, theirs.out, theirs.err = ours.in, theirs.in, theirs.in
		return ours, theirs, tty.Resize(ours.in, size)
	}
	if start.GetStdinNull() {
		theirs.in, err = os.Open(os.DevNull)
	} else {
		theirs.in, ours.in, err = pipe(writeEnd)
	}
	if err != nil {
		return ours, theirs, err
	}
	if ours.out, theirs.out, err = pipe(readEnd); err != nil {
		return ours, theirs, err
	}
	if start.GetStderrToStdout() {
		theirs.err = theirs.out
		return ours, theirs, nil
	}
	ours.err, theirs.err, err = pipe(readEnd)
	return ours, theirs, err
}

// Which end of a pipe is ours.
const (
	readEnd = iota
	writeEnd
)

// pipe makes a pipe whose one end is ours: that one does not block, so that deadlines and Close end a Read or Write; the
// task's must block, as programs expect.
func pipe(our int) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[our], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "|0"), os.NewFile(uintptr(fds[1]), "|1"), nil
}

// fork starts this program as the beginning of the task's process and returns once that has become the task's program.
func (s *Supervisor) fork(start *pb.Start, stdio files, inherited map[uint32]*os.File) (*Proc, *pb.Failure) {
	message, err := proto.Marshal(start)
	if err != nil {
		return nil, &pb.Failure{Message: fmt.Sprintf("start: %v", err)}
	}
	startR, startW, err := os.Pipe()
	if err != nil {
		return nil, &pb.Failure{Message: fmt.Sprintf("pipe: %v", err)}
	}
	defer startW.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		startR.Close()
		return nil, &pb.Failure{Message: fmt.Sprintf("pipe: %v", err)}
	}
	defer reportR.Close()
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: descriptors(inherited, stdio.in, stdio.out, stdio.err, startR, reportW),
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: start.GetTerminal() != nil},
	}
	proc, err := s.reaper.Start(func() (int, error) {
		return syscall.ForkExec(s.cfg.Self, []string{names.PodBinary, ExecCommand}, attr)
	})
	startR.Close()
	reportW.Close()
	if err != nil {
		return nil, &pb.Failure{Message: fmt.Sprintf("fork: %v", err), Errno: errnoOf(err)}
	}
	_, writeErr := startW.Write(message) // a child that has ended meanwhile says why, or has no time to
	startW.Close()
	report, err := io.ReadAll(reportR)
	if len(report) == 0 && err == nil && writeErr == nil {
		return proc, nil
	}
	var failure pb.Failure
	if proto.Unmarshal(report, &failure) != nil || failure.GetMessage() == "" {
		failure.Message = fmt.Sprintf("the task's process has ended before its program ran (%v)", errors.Join(writeErr, err))
	}
	_ = proc.Signal(syscall.SIGKILL) // it has ended, or is about to
	<-proc.Done
	return nil, &failure
}

// descriptors are those of a child: the first ones, and what it inherits at numbers of its own.
func descriptors(inherited map[uint32]*os.File, first ...*os.File) []uintptr {
	var all []uintptr
	for _, file := range first {
		all = append(all, file.Fd())
	}
	for fd, file := range inherited {
		for uint32(len(all)) <= fd {
			all = append(all, ^uintptr(0)) // closed in the child
		}
		all[fd] = file.Fd()
	}
	return all
}

func errnoOf(err error) uint32 {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return uint32(errno)
	}
	return 0
}
