package relay

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/limits"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/procs"
	"k8s-burst/runner/internal/tty"
)

// inputAhead is how much of standard input is asked for before the command has taken it, as a pipe would hold.
const inputAhead = 64 << 10

// standInDirectory is where the pod's supervisor puts the stand-ins.
var standInDirectory = names.StandIns(names.PodDir)

// streams are what each of a process' reads is to the stand-in; the terminal's has no name.
var streams = [3]pb.OutputStream{
	pb.OutputStream_OUTPUT_STREAM_STDOUT, pb.OutputStream_OUTPUT_STREAM_STDERR, pb.OutputStream_OUTPUT_STREAM_UNSPECIFIED,
}

// forking keeps the umask, which is the whole process', with the command that it is for.
var forking sync.Mutex

// process is a command that runs.
type process struct {
	*session
	plan   *plan
	proc   *os.Process
	stdin  *os.File   // our end; nil where it reads none
	master *os.File   // of its terminal; nil without
	reads  []*os.File // outputs, the terminal's, and further files by number
	ended  chan struct{}

	input chan []byte // for stdin, nil at its end
}

// run runs the command and passes everything on until it has ended.
func (s *session) run(p *plan) (*pb.Exit, error) {
	r := &process{session: s, plan: p, ended: make(chan struct{}), input: make(chan []byte, 1024),
		reads: make([]*os.File, 3)}
	theirs, err := r.files()
	if err == nil {
		err = r.start(theirs)
	}
	for _, file := range theirs {
		if file != s.cfg.Stdout && file != s.cfg.Stderr {
			file.Close()
		}
	}
	if err != nil {
		r.close()
		return nil, err
	}
	var outputs, others sync.WaitGroup
	for i, from := range r.reads {
		if from != nil {
			outputs.Go(func() { r.passOutput(i, from) })
		}
	}
	if r.stdin != nil {
		others.Go(r.passInput)
		_ = s.send(&pb.FromGateway{Frame: &pb.FromGateway_InputWanted{InputWanted: inputAhead}})
	}
	go r.receive()
	state, err := r.proc.Wait()
	close(r.ended)
	// All that it has written is there to be read. Whoever else has its files open is not waited for.
	for _, from := range r.reads {
		if from != nil {
			_ = from.SetReadDeadline(time.Now())
		}
	}
	outputs.Wait()
	r.close()
	others.Wait()
	// The goroutine that receives ends with the channel, which the caller closes.
	if err != nil {
		return nil, err
	}
	return exitOf(state.Sys().(syscall.WaitStatus)), nil
}

func exitOf(status syscall.WaitStatus) *pb.Exit {
	if status.Signaled() {
		return &pb.Exit{Status: &pb.Exit_Signal{Signal: uint32(status.Signal())}}
	}
	return &pb.Exit{Status: &pb.Exit_Code{Code: uint32(status.ExitStatus())}}
}

func (r *process) close() {
	for _, file := range append(r.reads, r.stdin, r.master) {
		if file != nil {
			file.Close()
		}
	}
}

// files makes the command's standard files and our ends of them. What it returns is to be closed, even with an error.
func (r *process) files() (theirs []*os.File, err error) {
	files := r.plan.command.GetFiles()
	in, err := r.inputFile(files[0])
	if in != nil {
		theirs = append(theirs, in)
	}
	if err != nil {
		return theirs, err
	}
	for i, file := range files[1:] {
		var out *os.File
		switch {
		case file.GetTaskOutput() != pb.OutputStream_OUTPUT_STREAM_UNSPECIFIED:
			if !r.cfg.AwaitPassed(file.GetTaskOutput(), file.GetTaskOffset()) {
				return theirs, errors.New("the task has ended")
			}
			out = r.cfg.Stdout
			if file.GetTaskOutput() == pb.OutputStream_OUTPUT_STREAM_STDERR {
				out = r.cfg.Stderr
			}
		case r.master != nil && file.GetKind() == pb.FileKind_FILE_KIND_TERMINAL:
			out = in
		case i == 1 && sameFile(files[1], files[2]):
			out = theirs[1] // one pipe for both, so that what is written stays in its order
		default:
			if r.reads[i], out, err = os.Pipe(); err != nil {
				return theirs, err
			}
		}
		theirs = append(theirs, out)
	}
	r.reads[2] = r.master
	for _, open := range r.plan.outputs {
		if err := r.send(&pb.FromGateway{Frame: &pb.FromGateway_OpenOutput{OpenOutput: open}}); err != nil {
			return theirs, err
		}
		ours, out, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		r.reads, theirs = append(r.reads, ours), append(theirs, out)
	}
	return theirs, nil
}

func sameFile(a, b *pb.StandardFile) bool {
	return a.GetKind() == b.GetKind() && a.GetKind() != pb.FileKind_FILE_KIND_NULL && a.GetDevice() == b.GetDevice() &&
		a.GetInode() == b.GetInode()
}

func (r *process) inputFile(file *pb.StandardFile) (*os.File, error) {
	var in *os.File
	var err error
	if r.plan.inputPath != "" {
		open := &pb.OpenInput{Path: []byte(r.plan.inputPath)}
		if err := r.send(&pb.FromGateway{Frame: &pb.FromGateway_OpenInput{OpenInput: open}}); err != nil {
			return nil, err
		}
		in, r.stdin, err = os.Pipe()
		return in, err
	}
	if !r.plan.input || file.GetKind() == pb.FileKind_FILE_KIND_NULL {
		return os.Open(os.DevNull)
	}
	if file.GetKind() != pb.FileKind_FILE_KIND_TERMINAL {
		in, r.stdin, err = os.Pipe()
		return in, err
	}
	r.master, in, err = tty.Open()
	if err != nil {
		return nil, err
	}
	r.stdin = r.master
	if size := r.plan.command.GetTerminal(); size != nil {
		_ = tty.Resize(r.master, size)
	}
	if settings := r.plan.command.GetTerminalSettings(); len(settings) == int(unsafe.Sizeof(unix.Termios{})) {
		termios := *(*unix.Termios)(unsafe.Pointer(&settings[0]))
		_ = unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, &termios)
	}
	return in, nil
}

// start starts the command, by way of the shim where its caller has changed the limits.
func (r *process) start(files []*os.File) error {
	argv := append([]string{r.plan.name}, r.plan.words...)
	path := r.plan.path
	if changed := r.plan.command.GetLimits(); len(changed) > 0 {
		message, err := proto.Marshal(&pb.Start{Limits: changed})
		if err != nil {
			return err
		}
		argv = append(append(r.cfg.Shim[:len(r.cfg.Shim):len(r.cfg.Shim)], base64.StdEncoding.EncodeToString(message), path), argv...)
		path = r.cfg.Shim[0]
	}
	attr := &os.ProcAttr{Dir: r.plan.dir, Env: r.plan.env, Files: files, Sys: &syscall.SysProcAttr{}}
	if r.master != nil {
		attr.Sys.Setsid, attr.Sys.Setctty = true, true
	}
	forking.Lock()
	defer forking.Unlock()
	old := unix.Umask(r.plan.umask)
	defer unix.Umask(old)
	var err error
	if r.proc, err = os.StartProcess(path, argv, attr); err != nil {
		var bare *os.PathError // which names the shim
		if errors.As(err, &bare) {
			err = bare.Err
		}
		return fmt.Errorf("%s can't be run on the gateway: %w", r.plan.path, err)
	}
	return nil
}

// RunShim is the shim: it sets limits and becomes the command. It returns only where that fails.
func RunShim(args []string) error {
	if len(args) < 3 {
		return errors.New("limits, a path and words are due")
	}
	message, err := base64.StdEncoding.DecodeString(args[0])
	if err != nil {
		return err
	}
	var start pb.Start
	if err := proto.Unmarshal(message, &start); err != nil {
		return err
	}
	// What may not be raised here stays as it is, as it would for a process of this host.
	_ = limits.Apply(start.GetLimits())
	return syscall.Exec(args[1], args[2:], os.Environ())
}

func (r *process) passOutput(number int, from *os.File) {
	output := &pb.CommandOutput{}
	if number < len(streams) {
		output.Stream = streams[number]
	} else {
		output.File = uint32(number - len(streams) + 1)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n, err = readNow(from, buf)
		}
		output.Data = buf[:n]
		if n > 0 && r.send(&pb.FromGateway{Frame: &pb.FromGateway_Output{Output: output}}) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// readNow reads what is there, whatever the deadline; an error where there is nothing.
func readNow(from *os.File, p []byte) (n int, err error) {
	raw, err := from.SyscallConn()
	if err != nil {
		return 0, err
	}
	control := raw.Control(func(fd uintptr) {
		for {
			n, err = syscall.Read(int(fd), p)
			if err != syscall.EINTR {
				return
			}
		}
	})
	if err == nil && n <= 0 {
		err = io.EOF
	}
	return max(n, 0), errors.Join(control, err)
}

// passInput writes what the stand-in sends and asks for as much again.
func (r *process) passInput() {
	for {
		select {
		case <-r.ended:
			return
		case data := <-r.input:
			if data == nil {
				if r.stdin != r.master {
					r.stdin.Close()
				}
				return
			}
			if _, err := r.stdin.Write(data); err != nil {
				return // it does not want any more
			}
			wanted := &pb.FromGateway_InputWanted{InputWanted: uint32(len(data))}
			_ = r.send(&pb.FromGateway{Frame: wanted})
		}
	}
}

// receive takes what the stand-in sends until its channel ends. A stand-in that ends before the command takes it along;
// where the whole task has ended, with all that the command has started, as slurmstepd kills what is left of a task: srun
// has a child that would kill the step at once, while after a batch script it is slurmctld that ends the job's steps, and
// gives them time.
func (r *process) receive() {
	for {
		var f pb.ToGateway
		if err := r.frames.Read(&f); err != nil {
			if errors.Is(err, os.ErrClosed) {
				r.killBelow()
			}
			_ = r.proc.Kill() // os.Process knows when there is nobody to kill any more
			return
		}
		switch body := f.GetFrame().(type) {
		case *pb.ToGateway_Input:
			r.put(body.Input)
		case *pb.ToGateway_InputEnd:
			r.put(nil)
		case *pb.ToGateway_Signal:
			if body.Signal > 0 && body.Signal <= 64 {
				_ = r.proc.Signal(syscall.Signal(body.Signal))
			}
		case *pb.ToGateway_WindowSize:
			if r.master != nil {
				_ = tty.Resize(r.master, body.WindowSize)
			}
		case *pb.ToGateway_OutputClosed:
			if i := int(body.OutputClosed) - 1; i >= 0 && i < 2 && r.reads[i] != nil {
				r.reads[i].Close()
			}
		}
	}
}

// killBelow kills what descends from the command, and stops the command before, so that it neither starts more nor acts on
// that.
func (r *process) killBelow() {
	if r.proc.Signal(syscall.SIGSTOP) != nil {
		return // it has ended
	}
	for queue := procs.Children("/proc", r.proc.Pid); len(queue) > 0; queue = queue[1:] {
		_ = syscall.Kill(queue[0], syscall.SIGSTOP)
		queue = append(queue, procs.Children("/proc", queue[0])...)
		_ = syscall.Kill(queue[0], syscall.SIGKILL)
	}
}

func (r *process) put(data []byte) {
	if data != nil {
		data = append([]byte(nil), data...)
	}
	select {
	case r.input <- data:
	case <-r.ended:
	}
}

// takesArgument asks the command itself, once, what a plugin's options are.
func (s *session) takesArgument(path string) func(name string) bool {
	options := sync.OnceValue(func() map[string]bool {
		cmd := exec.Command(path, "--help")
		cmd.Env = Environment(s.cfg.Directory, s.cfg.SlurmConf)
		out, _ := cmd.Output()
		return pluginOptions(string(out))
	})
	return func(name string) bool { return options()[name] }
}
