package launch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/environ"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// epilogMost is how long an epilog may take, as with slurmstepd.
const epilogMost = 5 * time.Second

// mostPrinted bounds what a prolog's output is kept of; the rest is dropped.
const mostPrinted = 1 << 20

// contextVariable tells a script of Slurm's what it is run for.
const contextVariable = "SLURM_SCRIPT_CONTEXT"

// runProlog has --task-prolog run in the pod, as a task of its own beside the one that it is for, and does what it prints.
// ok says that the task may run; else this process ends as slurmstepd would end the task.
func (r Request) runProlog(ctx context.Context, cfg Config, p *Process) (ending Ending, ok bool) {
	const name = "user task_prolog"
	if p.prolog == "" {
		return Ending{}, true
	}
	failed := func(status int, why ...string) (Ending, bool) {
		return Ending{Code: status, Slurmstepd: append(why, fmt.Sprintf("--task-prolog failed status=%d", status))}, false
	}
	unrunnable := func(why string) (Ending, bool) {
		return failed(1, "run_command: "+why, name+" did not exit normally. reason: Run command failed - configuration error")
	}
	if !filepath.IsAbs(p.prolog) {
		return unrunnable(fmt.Sprintf("%s is not a fully qualified pathname (%s)", name, p.prolog))
	}
	env := withContext(p.env, "prolog_task")
	printed := &capped{most: mostPrinted}
	outcome := r.runScript(ctx, cfg, p, "prolog", p.prolog, env, printed, io.Discard)
	exit := outcome.Exit
	switch {
	case outcome.Failure.GetErrno() != 0:
		reason := outcome.Failure.GetMessage()
		return unrunnable(fmt.Sprintf("%s can not be executed (%s) %s", name, p.prolog, reason[strings.LastIndex(reason, ": ")+2:]))
	case exit == nil:
		return End(outcome, r.Job, r.Step), false
	case exit.GetSignal() != 0:
		return failed(1, name+" did not exit normally. reason: "+printed.String())
	}
	var say string
	p.env, say = afterProlog(env, printed.String())
	if _, err := io.WriteString(cfg.Stdout, say); err != nil {
		cfg.Say(fmt.Sprintf("what --task-prolog prints can't be written: %v", err))
	}
	if exit.GetCode() != 0 {
		return failed(int(exit.GetCode()))
	}
	return Ending{}, true
}

// runEpilog has --task-epilog run in the pod after the task, with the environment that the task had before its prolog. Its
// failure is said, and changes nothing.
func (r Request) runEpilog(ctx context.Context, cfg Config, p *Process, env []string) {
	if p.epilog == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, epilogMost)
	defer cancel()
	outcome := r.runScript(ctx, cfg, p, "epilog", p.epilog, withContext(env, "epilog_task"), io.Discard, os.Stderr)
	status := int(outcome.Exit.GetCode())
	if outcome.Failure != nil {
		fmt.Fprintln(os.Stderr, "slurmstepd-"+r.Node+": error: "+outcome.Failure.GetMessage())
		status = 127
	}
	if status != 0 {
		fmt.Fprintf(os.Stderr, "slurmstepd-%s: error: TaskEpilog failed status=%d\n", r.Node, status)
	}
}

// runScript runs a program as a task of its own in the pod, with nothing to read.
func (r Request) runScript(
	ctx context.Context, cfg Config, p *Process, suffix, path string, env []string, stdout, stderr io.Writer,
) Outcome {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return Outcome{GaveUp: err}
	}
	defer null.Close()
	cfg.Task += "+" + suffix
	cfg.Stdout, cfg.Stderr = stdout, stderr
	cfg.Start = func(connected *pb.Connected) *pb.Start {
		return &pb.Start{
			Argv: words([]string{path}), Env: words(inPod(env, connected)), Cwd: []byte(p.cwd), Umask: uint32(p.umask),
			Limits: p.limits, Nice: int32(p.nice), StdinNull: true, StderrToStdout: stderr == io.Discard,
		}
	}
	cfg.Serve = func(l *Launcher, conn *channel.Conn) { r.serveCommand(l, conn, null, null) }
	return New(cfg).Run(ctx)
}

// capped keeps the beginning of what is written to it.
type capped struct {
	bytes.Buffer
	most int
}

func (c *capped) Write(p []byte) (int, error) {
	_, _ = c.Buffer.Write(p[:min(len(p), c.most-c.Len())])
	return len(p), nil
}

func withContext(env []string, context string) []string {
	return append(environ.Without(env, contextVariable), contextVariable+"="+context)
}

// afterProlog does what a prolog's output asks for, line by line: export NAME=VALUE, unset NAME, print TEXT. It is pure.
func afterProlog(env []string, printed string) (changed []string, say string) {
	changed = slices.Clone(env)
	for line := range strings.Lines(printed) {
		text := strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(text, "print "); ok {
			say += strings.TrimLeft(rest, " \t") + "\n"
		} else if rest, ok := strings.CutPrefix(text, "export "); ok {
			name, value, ok := strings.Cut(strings.TrimLeft(rest, " \t"), "=")
			if name = strings.TrimRight(name, " \t"); ok && name != "" {
				changed = append(environ.Without(changed, name), name+"="+value)
			}
		} else if rest, ok := strings.CutPrefix(text, "unset "); ok {
			changed = environ.Without(changed, strings.Trim(rest, " \t"))
		}
	}
	return changed, say
}
