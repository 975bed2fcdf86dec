package launch

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/carry"
	"k8s-burst/runner/internal/environ"
	"k8s-burst/runner/internal/gpu"
	"k8s-burst/runner/internal/limits"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/pmi"
	"k8s-burst/runner/internal/tty"
)

// Process is what slurmstepd gave this process, and the pod's is to have.
type Process struct {
	argv   []string
	env    []string
	cwd    string
	umask  int
	nice   int
	script []byte
	term   *pb.WindowSize
	null   bool // standard input is /dev/null, or closed
	merged bool // standard output and error are the same file
	limits []*pb.ResourceLimit
	wires  *pmi.Wires
	// prolog and epilog are srun's --task-prolog and --task-epilog, of a step from within a pod.
	prolog, epilog string
	// stdout and stderr are files of the pod for this task; nil where its output comes here.
	stdout, stderr *pb.OutputFile
}

// OwnProcess looks at this process. argv is the task's; where it is a batch script its text is read now, because
// slurmstepd removes the file when the launcher ends. gatewayPath is the PATH of relayed commands.
func OwnProcess(argv []string, isBatch bool, gatewayPath string) (*Process, error) {
	env, directory := carry.Unpack(os.Environ(), gatewayPath)
	p := &Process{argv: argv, env: env, limits: limits.Own(), wires: &pmi.Wires{}}
	if !isBatch {
		p.prolog, p.epilog = os.Getenv(carry.TaskProlog), os.Getenv(carry.TaskEpilog)
		p.stdout, p.stderr = outputFile(os.Getenv(carry.Stdout), env), outputFile(os.Getenv(carry.Stderr), env)
	}
	p.umask = unix.Umask(0)
	unix.Umask(p.umask)
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
		p.nice = 20 - raw // the system call answers 20 - nice, to stay positive
	}
	var err error
	if p.cwd, err = os.Getwd(); err != nil {
		p.cwd = os.Getenv("PWD")
	}
	if directory != "" {
		p.cwd = directory
	}
	if isBatch {
		if p.script, err = os.ReadFile(argv[0]); err != nil {
			return nil, fmt.Errorf("batch script: %w", err)
		}
	}
	p.term = tty.Size(0)
	p.null = isNull(0)
	p.merged = sameFile(1, 2)
	return p, nil
}

// Start is what the supervisor is asked for.
func (p *Process) Start(connected *pb.Connected) *pb.Start {
	start := &pb.Start{
		Argv:           words(p.argv),
		Env:            words(p.wires.Environment(inPod(p.env, connected))),
		Cwd:            []byte(p.cwd),
		Umask:          uint32(p.umask),
		Limits:         p.limits,
		Script:         p.script,
		Terminal:       p.term,
		Nice:           int32(p.nice),
		StdinNull:      p.null,
		StderrToStdout: p.merged,
		Sockets:        p.wires.Sockets(),
		Ports:          p.wires.Ports(),
		StdoutFile:     p.stdout,
		StderrFile:     p.stderr,
	}
	return start
}

// outputFile reads what carry.Stdout and carry.Stderr say.
func outputFile(carried string, env []string) *pb.OutputFile {
	if carried == "" {
		return nil
	}
	return &pb.OutputFile{Path: []byte(taskFile(carried[1:], env)), Append: carried[0] == 'a'}
}

// taskFile puts into a pattern what slurmstepd would for this task; a number between % and its letter is the least width of
// a number. It is pure.
func taskFile(pattern string, env []string) string {
	var out strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			out.WriteByte(pattern[i])
			continue
		}
		width := 0
		at := i + 1
		for at < len(pattern) && pattern[at] >= '0' && pattern[at] <= '9' {
			width = min(10*width+int(pattern[at]-'0'), mostWidth)
			at++
		}
		if at == len(pattern) {
			out.WriteString(pattern[i:])
			break
		}
		value, known := patternValue(pattern[at], env)
		if !known {
			out.WriteString(pattern[i : at+1])
		} else if _, err := strconv.ParseUint(value, 10, 64); err == nil {
			out.WriteString(strings.Repeat("0", max(0, width-len(value))) + value)
		} else {
			out.WriteString(value)
		}
		i = at
	}
	return out.String()
}

// mostWidth is the most that Slurm pads a number to.
const mostWidth = 10

func patternValue(letter byte, env []string) (value string, known bool) {
	variable := map[byte]string{
		't': "SLURM_PROCID", 'n': "SLURM_NODEID", 'N': "SLURMD_NODENAME", 's': "SLURM_STEP_ID", 'j': "SLURM_JOB_ID",
		'A': "SLURM_ARRAY_JOB_ID", 'a': "SLURM_ARRAY_TASK_ID", 'x': "SLURM_JOB_NAME", 'u': "SLURM_JOB_USER",
	}[letter]
	switch {
	case letter == '%':
		return "%", true
	case letter == 'J':
		return environ.Get(env, "SLURM_JOB_ID") + "." + environ.Get(env, "SLURM_STEP_ID"), true
	}
	return environ.Get(env, variable), variable != ""
}

// inPod is an environment with what has another name or number in the pod.
func inPod(env []string, connected *pb.Connected) []string {
	env = gpu.Rewrite(env, connected.GetGpuIndices())
	if own := connected.GetPartition(); own != "" {
		env = environ.Replaced(env, "SLURM_JOB_PARTITION", own)
	}
	return env
}

// Terminal says whether standard input is one.
func (p *Process) Terminal() bool { return p.term != nil }

// Stdin is what to copy to the task; nil where there is nothing.
func (p *Process) Stdin() (io.ReadCloser, error) {
	if p.null {
		return nil, nil
	}
	return newPollReader(0)
}

func words(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, word := range list {
		out[i] = []byte(word)
	}
	return out
}

// TaskName names the task within its pod. A step's task goes by SLURM_PROCID where slurmstepd set it: unlike the rank
// within the step it is different for each component of a heterogeneous step, which share the step's number.
func TaskName(step, rank, procID string) string {
	switch step {
	case names.TaskBatch, names.TaskInteractive:
		return step
	}
	if procID != "" {
		rank = procID
	}
	return names.StepTask(step, rank)
}

func isNull(fd int) bool {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return true
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

func sameFile(a, b int) bool {
	var sa, sb unix.Stat_t
	if unix.Fstat(a, &sa) != nil || unix.Fstat(b, &sb) != nil {
		return false
	}
	return sa.Dev == sb.Dev && sa.Ino == sb.Ino && sa.Rdev == sb.Rdev
}

// pollReader reads a descriptor that may block, and lets Close end the Read.
type pollReader struct {
	fd   int
	wake int
}

func newPollReader(fd int) (*pollReader, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return &pollReader{fd, wake}, nil
}

func (r *pollReader) Read(p []byte) (int, error) {
	for {
		set := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(set, -1); err != nil && err != unix.EINTR {
			return 0, err
		}
		if set[1].Revents != 0 {
			return 0, os.ErrClosed
		}
		if set[0].Revents == 0 {
			continue
		}
		n, err := syscall.Read(r.fd, p)
		switch {
		case err == syscall.EINTR || err == syscall.EAGAIN:
			continue
		case err == syscall.EIO && n <= 0:
			return 0, io.EOF // the other side of a terminal is gone
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Close ends a blocked Read, and every later one. The descriptors stay until the process ends.
func (r *pollReader) Close() error {
	_, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}
