package launch

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/pmi"
	"k8s-burst/runner/internal/relay"
	"k8s-burst/runner/internal/tty"
)

// Request is one task to run in the place of this process.
type Request struct {
	Job     uint32
	JobName string // see JobName
	Node    string
	Step    string // batch, interactive, or a number
	Task    string // name within the pod
	Argv    []string
	GiveUp  time.Duration
	Ports   []uint32 // of 127.0.0.1 that slurmstepd listens at
	// Commands is the directory of Slurm's commands, SlurmConf a slurm.conf that is not in its usual place.
	Commands, SlurmConf string
	Dial                func(context.Context) (net.Conn, error)
	Say                 func(string)
}

// Own runs the task with what this process has from slurmstepd, and says how this process is to end. Everything that it
// changed about the process (terminal, signals) is as before when it returns.
func Own(r Request) (Ending, error) {
	isBatch := r.Step == names.TaskBatch
	signals, err := CatchSignals(isBatch)
	if err != nil {
		return Ending{}, err
	}
	defer signals.Close()
	// Caught only, so that writing to a pipe that nobody reads fails instead of killing.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	process, err := OwnProcess(r.Argv, isBatch, relay.Path(r.Commands))
	if err != nil {
		return Ending{}, err
	}
	if process.wires, err = pmi.Inherit(process.env, r.Ports); err != nil {
		return Ending{}, err
	}
	stdin, err := process.Stdin()
	if err != nil {
		return Ending{}, err
	}
	sizes := make(chan *pb.WindowSize)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if process.Terminal() {
		restore, err := tty.MakeRaw(0)
		if err != nil {
			return Ending{}, err
		}
		defer restore()
		defer watchSize(ctx, sizes)()
	}
	cfg := Config{
		JobID: r.Job, Node: r.Node, Task: r.Task, Start: process.Start, Dial: r.Dial, GiveUp: r.GiveUp, Say: r.Say,
		Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals.C, Sizes: sizes,
		Serve: func(l *Launcher, conn *channel.Conn) { r.serve(process, l, conn) },
	}
	unchanged := process.env
	if ending, ok := r.runProlog(ctx, cfg, process); !ok {
		return ending, nil
	}
	if stdin != nil {
		cfg.Stdin = stdin
	}
	launcher := New(cfg)
	if err := process.wires.Open(launcher.OpenChannel); err != nil {
		return Ending{}, err
	}
	outcome := launcher.Run(ctx)
	process.wires.Close()
	if outcome.Exit != nil {
		r.runEpilog(ctx, cfg, process, unchanged)
	}
	return End(outcome, r.Job, r.Step), nil
}

// ShimCommand is the first argument that makes this program the shim of a relayed command.
const ShimCommand = "exec-command"

// serve takes a channel that the supervisor has opened.
func (r Request) serve(p *Process, l *Launcher, conn *channel.Conn) {
	if p.wires.Serve(conn) {
		return
	}
	r.serveCommand(l, conn, os.Stdout, os.Stderr)
}

// serveCommand runs a command of Slurm; where its output is that of the task, it goes to stdout and stderr.
func (r Request) serveCommand(l *Launcher, conn *channel.Conn, stdout, stderr *os.File) {
	if conn.Purpose() != names.ChannelCommand {
		conn.Close()
		return
	}
	relay.Serve(relay.Config{
		Directory: r.Commands, SlurmConf: r.SlurmConf, Shim: []string{"/proc/self/exe", ShimCommand},
		Stdout: stdout, Stderr: stderr, AwaitPassed: l.AwaitPassed,
	}, conn)
}

// watchSize forwards each change of the terminal's size, until ctx ends; call the returned function to wait for that.
func watchSize(ctx context.Context, sizes chan<- *pb.WindowSize) func() {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(done)
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case sizes <- tty.Size(0):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		cancel()
		<-done
	}
}
