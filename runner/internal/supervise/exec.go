package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/environ"
	"k8s-burst/runner/internal/limits"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// ExecTask is the task's process before its program: it takes its Start from one pipe, becomes what slurmstepd would
// have made of it, and executes the program. It returns only where that fails, after telling the supervisor.
func ExecTask() int {
	unix.CloseOnExec(execStartFD)
	unix.CloseOnExec(execReportFD)
	failure := execTask(os.NewFile(execStartFD, "start"))
	report := os.NewFile(execReportFD, "report")
	message, err := proto.Marshal(failure)
	if err != nil {
		return 1
	}
	if _, err := report.Write(message); err != nil {
		return 1
	}
	return int(failure.GetErrno() & 0xff)
}

func execTask(from io.ReadCloser) *pb.Failure {
	message, err := io.ReadAll(from)
	if err != nil {
		return &pb.Failure{Message: fmt.Sprintf("start: %v", err)}
	}
	from.Close()
	var start pb.Start
	if err := proto.Unmarshal(message, &start); err != nil {
		return &pb.Failure{Message: fmt.Sprintf("start: %v", err)}
	}
	env := stringsOf(start.GetEnv())
	env = set(env, "SLURM_TASK_PID", strconv.Itoa(os.Getpid()))
	unix.Umask(int(start.GetUmask()))
	enter(string(start.GetCwd()), "slurmstepd-"+environ.Get(env, "SLURMD_NODENAME"))
	if failure := redirect(&start); failure != nil {
		return failure
	}
	path := resolve(string(start.GetArgv()[0]), env)
	argv := stringsOf(start.GetArgv())
	argv[0] = path // as slurmstepd does
	// The nice value is a thread's, and the program's is that of the thread that executes it.
	runtime.LockOSThread()
	// Where the user may not have the nice value or a limit of the gateway in the pod, the pod's own hold.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, int(start.GetNice()))
	_ = limits.Apply(start.GetLimits())
	return execFailure(path, syscall.Exec(path, argv, env))
}

// enter goes to the task's directory, or says in the name of slurmstepd, as it does, that it can't.
func enter(dir, slurmstepd string) {
	err := os.Chdir(dir)
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: error: couldn't chdir to `%s': %s: going to /tmp instead\n", slurmstepd, dir, errorText(err))
	if err := os.Chdir("/tmp"); err != nil {
		fmt.Fprintf(os.Stderr, "%s: error: couldn't chdir to /tmp either: %s\n", slurmstepd, errorText(err))
	}
}

// redirect puts the task's own files in the place of its output pipes.
func redirect(start *pb.Start) *pb.Failure {
	var before *pb.OutputFile
	for i, file := range []*pb.OutputFile{start.GetStdoutFile(), start.GetStderrFile()} {
		switch {
		case file == nil:
			continue
		case i == 1 && proto.Equal(file, before):
			if err := unix.Dup3(1, 2, 0); err != nil {
				return &pb.Failure{Message: fmt.Sprintf("dup3: %v", err), Errno: errnoOf(err)}
			}
			continue
		}
		before = file
		flags := unix.O_WRONLY | unix.O_CREAT | unix.O_APPEND | unix.O_CLOEXEC
		if !file.GetAppend() {
			flags |= unix.O_TRUNC
		}
		fd, err := unix.Open(string(file.GetPath()), flags, 0o666)
		if err == nil {
			err = unix.Dup3(fd, i+1, 0)
		}
		if err != nil {
			return &pb.Failure{Errno: errnoOf(err), Message: fmt.Sprintf("Could not open %s file %s: %s",
				[]string{"stdout", "stderr"}[i], file.GetPath(), errorText(err))}
		}
	}
	return nil
}

// resolve finds the program as slurmstepd's _build_path does: an absolute name is itself, one that begins with a dot
// goes by the directory, any other is looked for in the task's own PATH; one that is not found stays as it is.
func resolve(name string, env []string) string {
	switch {
	case strings.HasPrefix(name, "/"):
		return name
	case strings.HasPrefix(name, "."):
		cwd, err := os.Getwd()
		if err != nil {
			return name
		}
		return cwd + "/" + name
	}
	for dir := range strings.SplitSeq(environ.Get(env, "PATH"), ":") {
		if dir == "" {
			continue
		}
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return name
}

// execFailure words a failed execve as slurmstepd does, with the interpreter's name where that is what is missing.
func execFailure(path string, err error) *pb.Failure {
	failure := &pb.Failure{Errno: errnoOf(err), Message: fmt.Sprintf("execve(): %s: %s", path, errorText(err))}
	if !errors.Is(err, syscall.ENOENT) {
		return failure
	}
	if interpreter := interpreterOf(path); interpreter != "" {
		failure.Message = fmt.Sprintf("execve(): bad interpreter(%s): %s", interpreter, errorText(err))
	}
	return failure
}

func interpreterOf(path string) string {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer file.Close()
	head := make([]byte, 256)
	n, _ := io.ReadFull(file, head) // shorter is usual
	line, ok := bytes.CutPrefix(head[:n], []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return string(line)
}

// errorText is the kernel's reason in the C library's words.
func errorText(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

func stringsOf(words [][]byte) []string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = string(word)
	}
	return out
}

func set(env []string, name, value string) []string {
	for i, entry := range env {
		if strings.HasPrefix(entry, name+"=") {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}
