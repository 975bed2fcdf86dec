// Package standin is what stands in the pod for Slurm's commands: this program under another name (srun, squeue, …). It
// has the real command run on the gateway, by the launcher of the task that it belongs to, and passes bytes, signals and
// the terminal between that and its own caller. It ends as the command ended.
//
// It decides nothing: what is read, which files are wanted and what may be run is the launcher's business
// (package relay).
package standin

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/catch"
	"k8s-burst/runner/internal/dieby"
	"k8s-burst/runner/internal/frame"
	"k8s-burst/runner/internal/limits"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/tty"
)

// dialWait is how long a supervisor with little CPU may take to let a stand-in in.
const dialWait = 30 * time.Second

// Is says whether a program called so is a stand-in.
func Is(argv0 string) bool { return slices.Contains(names.Commands, filepath.Base(argv0)) }

// Run is main without its exit.
func Run(argv []string) int {
	name := filepath.Base(argv[0])
	conn, err := dial()
	if err != nil {
		return fail(name, err)
	}
	defer conn.Close()
	s := &standIn{name: name, conn: conn, out: frame.NewWriter(conn, frame.MaxToPod)}
	exit, err := s.run(argv)
	s.restoreTerminal()
	if err != nil {
		return fail(name, err)
	}
	if number := exit.GetSignal(); number != 0 {
		dieby.Signal(syscall.Signal(number))
		return 128 + int(number)
	}
	return int(exit.GetCode())
}

func fail(name string, err error) int {
	fmt.Fprintf(os.Stderr, "%s: error: k8s-burst: %v\n", name, err)
	return 1
}

// dial finds the supervisor: beside this program, or in the usual place where this is mounted somewhere else.
func dial() (*net.UnixConn, error) {
	dir := names.PodDir
	if self, err := os.Executable(); err == nil {
		beside := filepath.Dir(filepath.Dir(self))
		if _, err := os.Stat(names.CommandsSocket(beside)); err == nil {
			dir = beside
		}
	}
	conn, err := (&net.Dialer{Timeout: dialWait}).Dial("unix", names.CommandsSocket(dir))
	if err != nil {
		return nil, fmt.Errorf("the pod's supervisor does not answer: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// command describes this process to the launcher.
func command(argv []string) *pb.Command {
	umask := unix.Umask(0)
	unix.Umask(umask)
	cwd, err := os.Getwd()
	if err != nil {
		cwd = os.Getenv("PWD")
	}
	c := &pb.Command{
		Task: os.Getenv(names.TaskVariable), Argv: words(argv), Env: words(os.Environ()), Cwd: []byte(cwd),
		Umask: uint32(umask), Limits: limits.Own(),
	}
	for fd := range 3 {
		c.Files = append(c.Files, standardFile(fd))
	}
	if c.Files[0].Kind == pb.FileKind_FILE_KIND_TERMINAL {
		if !foreground() {
			// Reading would stop this process, as it would stop the command.
			c.Files[0].Kind = pb.FileKind_FILE_KIND_NULL
			return c
		}
		c.Terminal = tty.Size(0)
		c.TerminalSettings = terminalSettings(0)
	}
	return c
}

func words(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, word := range list {
		out[i] = []byte(word)
	}
	return out
}

func standardFile(fd int) *pb.StandardFile {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return &pb.StandardFile{Kind: pb.FileKind_FILE_KIND_NULL}
	}
	file := &pb.StandardFile{Kind: pb.FileKind_FILE_KIND_OTHER, Device: st.Dev, Inode: st.Ino}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFCHR:
	case st.Rdev == unix.Mkdev(1, 3):
		file.Kind = pb.FileKind_FILE_KIND_NULL
	case tty.Size(fd) != nil:
		file.Kind = pb.FileKind_FILE_KIND_TERMINAL
	}
	return file
}

// foreground says whether the terminal at standard input listens to this process' group.
func foreground() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func terminalSettings(fd int) []byte {
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil
	}
	raw := *(*[unsafe.Sizeof(unix.Termios{})]byte)(unsafe.Pointer(settings))
	return raw[:]
}

// notify catches signals and changes of the terminal's size, for the rest of this process' life.
func notify() (<-chan os.Signal, error) {
	caught, err := catch.Signals(catch.PassedOn(syscall.SIGWINCH))
	if err != nil {
		return nil, err
	}
	// Caught only, so that writing to a pipe that nobody reads fails instead of killing.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return caught.C, nil
}
