// Package runcmd is the command line of k8s-burst-run.
package runcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s-burst/runner/internal/launch"
	"k8s-burst/runner/internal/names"
	"k8s-burst/runner/internal/rawio"
	"k8s-burst/runner/internal/relay"
	"k8s-burst/runner/internal/version"
)

const usage = `usage: k8s-burst-run COMMAND
  announce --agent HOST:PORT --ca FILE --cluster NAME --mode auto|now|never [--image I] [--max-cost C] [--deadline-ms N] -- COMMAND LINE…
  launch --socket PATH --give-up-s N --job ID --step batch|interactive|NUMBER --task RANK --node NODE [--commands DIR] [--port N]... -- ARGV…
Slurm's plugin runs it; there is nothing in it for people.
`

// Run is main without its exit. args are without the program's name.
func Run(args []string) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	var code int
	var err error
	switch command {
	case "announce":
		code, err = 1, becomeAnnounce(args)
	case "launch":
		code, err = runLaunch(args)
	case launch.SentinelCommand:
		return launch.RunSentinel()
	case launch.ShimCommand:
		err = relay.RunShim(args)
	case "--version":
		fmt.Println("k8s-burst-run", version.Version)
		return 0
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		say(err.Error())
		return 1
	}
	return code
}

// say prints one line for the user.
func say(line string) { fmt.Fprintln(os.Stderr, "k8s-burst: "+line) }

// announceProgram lies beside this one: what it links (TLS, gRPC) would cost each task start-up time and memory here.
const announceProgram = "k8s-burst-announce"

// becomeAnnounce returns only where that fails.
func becomeAnnounce(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(self), announceProgram)
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, append([]string{announceProgram}, args...), os.Environ()))
}

// launchFlags are the words before the task's own.
type launchFlags struct {
	socket, step, task, node, commands string
	giveUp                             int
	job                                uint64
	ports                              []uint32
	argv                               []string
}

func parseLaunch(args []string) (launchFlags, error) {
	var l launchFlags
	flags := flag.NewFlagSet("launch", flag.ContinueOnError)
	flags.StringVar(&l.socket, "socket", names.GatewaySocket, "gatewayd's unix socket")
	flags.IntVar(&l.giveUp, "give-up-s", 1800, "seconds without a pod until the batch script's job is requeued, or a step's task has failed")
	flags.Uint64Var(&l.job, "job", 0, "Slurm job id")
	flags.StringVar(&l.step, "step", "", "batch, interactive, or the number of a step")
	flags.StringVar(&l.task, "task", "0", "global rank of the task")
	flags.StringVar(&l.node, "node", "", "Slurm node name")
	flags.StringVar(&l.commands, "commands", "", "directory of Slurm's commands, where it is not one of "+strings.Join(usualPlaces, ", "))
	flags.Func("port", "port of 127.0.0.1 that slurmstepd listens at for the task; may be given more than once", func(word string) error {
		port, err := strconv.ParseUint(word, 10, 16)
		l.ports = append(l.ports, uint32(port))
		return err
	})
	if err := flags.Parse(args); err != nil {
		return l, err
	}
	l.argv = flags.Args()
	if l.commands == "" {
		l.commands = placeOfCommands()
	}
	switch {
	case l.job == 0 || l.job > 1<<32-1:
		return l, fmt.Errorf("launch: --job is %d", l.job)
	case l.node == "":
		return l, errors.New("launch: --node is missing")
	case len(l.argv) == 0:
		return l, errors.New("launch: no program is given")
	}
	if l.step != names.TaskBatch && l.step != names.TaskInteractive {
		if _, err := strconv.ParseUint(l.step, 10, 32); err != nil {
			return l, fmt.Errorf("launch: --step is %q: it is batch, interactive or a number", l.step)
		}
	}
	return l, nil
}

func runLaunch(args []string) (int, error) {
	l, err := parseLaunch(args)
	if err != nil {
		return 1, err
	}
	// One thread runs Go: there is a launcher for each task, and its goroutines only hand bytes to each other.
	runtime.GOMAXPROCS(1)
	// slurmstepd always puts its own here, whatever the user has set.
	slurmConf := os.Getenv("SLURM_CONF")
	request := launch.Request{
		Job:     uint32(l.job),
		JobName: launch.JobName(uint32(l.job), os.Getenv("SLURM_ARRAY_JOB_ID"), os.Getenv("SLURM_ARRAY_TASK_ID")),
		Node:    l.node,
		Step:    l.step,
		Task:    launch.TaskName(l.step, l.task, os.Getenv("SLURM_PROCID")),
		Argv:    l.argv,

		Commands: l.commands, SlurmConf: slurmConf,
		GiveUp: time.Duration(l.giveUp) * time.Second,
		Ports:  l.ports,
		Dial: func(ctx context.Context) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", l.socket)
			if err != nil {
				return nil, err
			}
			return rawio.NewConn(conn.(*net.UnixConn)) // what "unix" gives
		},
		Say: say,
	}
	ending, err := launch.Own(request)
	if err != nil {
		return 1, err
	}
	return ending.Do(request), nil
}

// usualPlaces are where Slurm's commands are looked for.
var usualPlaces = []string{"/usr/bin", "/usr/local/bin", "/opt/slurm/bin"}

// placeOfCommands is the first that has srun.
func placeOfCommands() string {
	for _, dir := range usualPlaces {
		if info, err := os.Stat(filepath.Join(dir, "srun")); err == nil && info.Mode().IsRegular() {
			return dir
		}
	}
	return usualPlaces[0]
}
