// Package podcmd is the command line of k8s-burst-pod.
package podcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s-burst/runner/internal/attach"
	"k8s-burst/runner/internal/install"
	"k8s-burst/runner/internal/names"
	"k8s-burst/runner/internal/receive"
	"k8s-burst/runner/internal/supervise"
	"k8s-burst/runner/internal/version"
)

const usage = `usage: k8s-burst-pod COMMAND
  install DIR [--passwd LINE]... [--group LINE]... [--host LINE]...   fill the pod's own directory (init container)
  supervise --dir DIR --job-id N --groups GID,... [--orphan-s N] [--first-attach-s N] [--grace-s N]
            [--warn-signal N --warn-s N [--warn-batch]]   run the job's tasks (main container)
  receive [--mode M] [--modified-ns N] [--force] FILE   write standard input to a file (a task of sbcast's step)
  attach --dir DIR [--hosts ADDRESS=NAME,...]   join standard input and output to the supervisor (executed by k8s-burst-gatewayd)
`

// Run is main without its exit. args are without the program's name.
func Run(args []string) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	code := 0
	var err error
	switch command {
	case "install":
		err = runInstall(args)
	case "supervise":
		code, err = runSupervise(args)
	case "attach":
		err = runAttach(args)
	case names.ReceiveCommand:
		err = runReceive(args)
	case supervise.ExecCommand:
		return supervise.ExecTask()
	case "--version":
		fmt.Println("k8s-burst-pod", version.Version)
		return 0
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "k8s-burst-pod %s: %v\n", command, err)
		return max(code, 1)
	}
	return code
}

type lines []string

func (l *lines) String() string { return "" }

func (l *lines) Set(line string) error {
	*l = append(*l, line)
	return nil
}

type gids []int

func (g *gids) String() string { return "" }

func (g *gids) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		gid, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("%q is no group id", word)
		}
		*g = append(*g, gid)
	}
	return nil
}

func runInstall(args []string) error {
	if len(args) == 0 {
		return errors.New("no directory is given")
	}
	dir := args[0]
	flags := flag.NewFlagSet("install", flag.ContinueOnError)
	var files install.Files
	flags.Var((*lines)(&files.Passwd), "passwd", "line of passwd; may be given more than once")
	flags.Var((*lines)(&files.Group), "group", "line of group; may be given more than once")
	flags.Var((*lines)(&files.Hosts), "host", "line of hosts; may be given more than once")
	if err := parse(flags, args[1:]); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return install.Install(self, dir, files)
}

func runReceive(args []string) error {
	flags := flag.NewFlagSet(names.ReceiveCommand, flag.ContinueOnError)
	mode := flags.String("mode", "644", "permissions, in octal")
	modified := flags.Int64("modified-ns", 0, "time of the last change in nanoseconds since 1970; 0: now")
	force := flags.Bool("force", false, "replace a file that is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	bits, err := strconv.ParseUint(*mode, 8, 32)
	if err != nil || flags.NArg() != 1 {
		return errors.New("one path is due, and a mode in octal")
	}
	options := receive.Options{Mode: os.FileMode(bits).Perm(), Force: *force}
	if *modified != 0 {
		options.Modified = time.Unix(0, *modified)
	}
	return receive.File(os.Stdin, flags.Arg(0), options)
}

func runAttach(args []string) error {
	flags := flag.NewFlagSet("attach", flag.ContinueOnError)
	dir := flags.String("dir", names.PodDir, "the pod's own directory")
	hosts := flags.String("hosts", "", "addresses of all pods of the job, ADDRESS=NAME,…, for /etc/hosts")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *hosts != "" {
		if err := install.Hosts(*dir, strings.Split(*hosts, ",")); err != nil {
			return err
		}
	}
	return attach.Run(*dir, os.Stdin, os.Stdout)
}

// killAfter is the time from SIGTERM to SIGKILL for a task that no launcher comes back to.
const killAfter = 10 * time.Second

// runSupervise returns 0 only where the job has had its run: a pod that has succeeded is nothing to run a job anew for.
func runSupervise(args []string) (int, error) {
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	dir := flags.String("dir", names.PodDir, "the pod's own directory")
	jobID := flags.Uint("job-id", 0, "Slurm job id")
	var allowed gids
	flags.Var(&allowed, "groups", "every group that the user is in: with any other nothing runs")
	orphan := flags.Uint("orphan-s", 300, "seconds that a task waits for a launcher that was cut off")
	first := flags.Uint("first-attach-s", 0, "seconds to wait for the first task to come; 0: for ever")
	grace := flags.Uint("grace-s", 30, "the pod's termination grace period in seconds")
	warn := flags.Uint("warn-signal", 0, "signal that tasks get before SIGTERM when the pod is deleted; 0: none")
	warnFor := flags.Uint("warn-s", 0, "seconds from that signal to SIGTERM")
	warnBatch := flags.Bool("warn-batch", false, "it is for the batch script alone, not for the tasks of steps")
	cgroup := flags.String("cgroup-root", "/sys/fs/cgroup", "where the cgroup file systems are mounted")
	if err := parse(flags, args); err != nil {
		return 1, err
	}
	if err := supervise.CheckGroups(allowed); err != nil {
		return names.ForeignGroupsExit, errors.Join(err, tellKubelet(err))
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	return serve(supervise.Config{
		Dir:         *dir,
		JobID:       uint32(*jobID),
		Self:        self,
		OrphanAfter: seconds(*orphan),
		KillAfter:   killAfter,
		FirstAttach: seconds(*first),
		Grace:       seconds(*grace),
		Warn:        supervise.Warning{Number: syscall.Signal(*warn), For: seconds(*warnFor), Batch: *warnBatch},
		CgroupRoot:  *cgroup,
		Log:         slog.New(slog.NewTextHandler(os.Stderr, nil)).With("job", *jobID),
	})
}

func serve(config supervise.Config) (int, error) {
	// One thread runs Go: goroutines that hand bytes to each other need not wake each other's threads for it, and the
	// CPUs are the job's.
	runtime.GOMAXPROCS(1)
	listener, err := listen(names.SupervisorSocket(config.Dir))
	if err != nil {
		return 1, err
	}
	commands, err := listen(names.CommandsSocket(config.Dir))
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config.Log.Info("ready", "version", version.Version)
	finished, err := supervise.New(config).Serve(ctx, listener, commands)
	switch {
	case finished || err != nil:
		return 0, err
	case ctx.Err() != nil:
		return 128 + int(syscall.SIGTERM), nil
	}
	return 1, errors.New("ended before its job")
}

// listen makes the supervisor's socket. One that is there is of a supervisor that was killed: a pod has one.
func listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// tellKubelet has the pod's status say why its container ended.
func tellKubelet(why error) error {
	file, err := os.OpenFile(names.TerminationLog, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(why.Error())
	return errors.Join(err, file.Close())
}

func seconds(n uint) time.Duration { return time.Duration(n) * time.Second }

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}
