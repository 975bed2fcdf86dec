// Package launch stands in the place of a Slurm task on a gateway: it runs the task in the pod, passes bytes and
// signals, and comes back after any cut.
//
//	launch.go    Run: connect, converse, reconnect, give up
//	stream.go    one stream: Hello, then frames both ways
//	pumps.go     standard input, output and error, signals
//	state.go     the conversation itself, pure
//	report.go    what the exit code can't say; notice.go is how often the user hears of a cut
//	own.go       Own: a task with all that this process has from slurmstepd
//	process.go   what this process has from slurmstepd: argv, environment, limits, …
//	scripts.go   srun's --task-prolog and --task-epilog
//	sentinel.go  whom a signal was meant for
//	end.go       ending as the task ended
//
// Run needs no operating system beyond readers, writers and a clock; own.go, process.go, sentinel.go and end.go are the rest.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"k8s-burst/runner/internal/channel"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// quiet is how long a cut may last before the user hears of it.
const quiet = 10 * time.Second

// dialQuiet is how long gatewayd may be away at the start before the user hears of it: a restart takes less.
const dialQuiet = 2 * time.Second

// Signal is one that the launcher got, and whom it is for.
type Signal struct {
	Number syscall.Signal
	Scope  pb.SignalScope
}

// Config is what a launcher works with.
type Config struct {
	// JobID and Node say which pod.
	JobID uint32
	Node  string
	// Task is the name of the task within the pod.
	Task string
	// Start makes the start, once gatewayd has said what it knows of the pod.
	Start func(*pb.Connected) *pb.Start
	// Dial connects to gatewayd.
	Dial func(context.Context) (net.Conn, error)
	// Stdin is read once the task runs; nil where there is nothing to read. Close ends a blocked Read.
	Stdin io.ReadCloser
	// Stdout and Stderr take the task's output.
	Stdout, Stderr io.Writer
	// Say prints one line for the user. It is called from several goroutines.
	Say func(string)
	// Serve is given each channel that the supervisor opens, and closes it; nil: none is wanted. Run waits for it: when
	// the task has ended, every use of the channel fails.
	Serve func(*Launcher, *channel.Conn)
	// Signals and Sizes are what to forward.
	Signals <-chan Signal
	Sizes   <-chan *pb.WindowSize
	// GiveUp is how long to go on without a stream.
	GiveUp time.Duration
}

// Outcome is how it ended: exactly one of the first five is set.
type Outcome struct {
	Exit    *pb.Exit       // the task ended
	Failure *pb.Failure    // the supervisor could not start it, or does not know it any more
	Refused *pb.Refused    // gatewayd will not serve this launcher
	Killed  syscall.Signal // a signal came before the task had started
	GaveUp  error          // no stream for too long: the last reason
	// Started says that the task had run.
	Started bool
}

// Launcher runs one task. Use New, then Run once.
type Launcher struct {
	cfg Config

	mu     sync.Mutex
	wake   wakes
	st     *state
	over   bool           // Run is ending: pumps leave once they have nothing to pass on
	served sync.WaitGroup // channels
	killed syscall.Signal // before the start

	start     *pb.Start
	podUID    string
	since     time.Time // without a stream since then; zero while there is one
	said      notice
	complains bool // the user was told of this gap
	retry     backoff
	cancel    context.CancelFunc
}

// New makes a launcher.
func New(cfg Config) *Launcher {
	l := &Launcher{cfg: cfg}
	l.wake = wakes{sync.NewCond(&l.mu), sync.NewCond(&l.mu), sync.NewCond(&l.mu), sync.NewCond(&l.mu), sync.NewCond(&l.mu)}
	l.st = newState(cfg.Task, channel.NewHub(channel.Launcher, &l.mu, l.wake.send.Signal))
	return l
}

// wakes are what the goroutines of a launcher wait for, one each: at a hundred megabytes a second it matters who wakes.
type wakes struct {
	send     *sync.Cond // there is something to send
	out, err *sync.Cond // there is output to pass on
	in       *sync.Cond // there is room for input
	passed   *sync.Cond // output was passed on; nobody waits, usually
}

func (w wakes) all() {
	for _, c := range []*sync.Cond{w.send, w.out, w.err, w.in, w.passed} {
		c.Broadcast()
	}
}

// refusedError ends the attempts: gatewayd said never.
type refusedError struct{ refused *pb.Refused }

func (e *refusedError) Error() string { return e.refused.GetMessage() }

// Run returns when the task has ended and all its output was passed on, or when there is no hope.
func (l *Launcher) Run(ctx context.Context) Outcome {
	ctx, l.cancel = context.WithCancel(ctx)
	var pumps sync.WaitGroup
	l.startPumps(ctx, &pumps)
	outcome := l.attempts(ctx)
	l.mu.Lock()
	l.over = true
	outcome.Started = l.st.started
	l.st.further.End()
	l.wake.all()
	l.mu.Unlock()
	l.cancel()
	if l.cfg.Stdin != nil {
		l.cfg.Stdin.Close()
	}
	pumps.Wait()
	l.served.Wait()
	return outcome
}

func (l *Launcher) attempts(ctx context.Context) Outcome {
	l.since = time.Now()
	for {
		err := l.stream(ctx)
		if outcome, ended := l.ended(err); ended {
			return outcome
		}
		if l.since.IsZero() {
			l.since = time.Now()
			l.retry.reset()
		}
		if time.Since(l.since) >= l.cfg.GiveUp {
			return Outcome{GaveUp: err}
		}
		select {
		case <-time.After(l.retry.next()):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			outcome, _ := l.ended(ctx.Err())
			return outcome
		}
	}
}

// ended looks at the state after a stream. The exit counts only once it was acknowledged: all output is passed on then.
func (l *Launcher) ended(err error) (Outcome, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var refused *refusedError
	switch {
	case l.killed != 0:
		return Outcome{Killed: l.killed}, true
	case l.st.failure != nil:
		return Outcome{Failure: l.st.failure}, true
	case l.st.exitAcked:
		return Outcome{Exit: l.st.exit}, true
	case errors.As(err, &refused):
		return Outcome{Refused: refused.refused}, true
	case errors.Is(err, context.Canceled):
		return Outcome{GaveUp: err}, true
	}
	return Outcome{}, false
}

// OpenChannel opens a channel to the supervisor; its purpose says what it is for. It may be used before the task runs, and
// outlives cuts. Close it.
func (l *Launcher) OpenChannel(purpose string) (*channel.Conn, error) {
	return l.st.further.Open(purpose)
}

// serve takes a channel that the supervisor has opened.
func (l *Launcher) serve(conn *channel.Conn) {
	if l.cfg.Serve == nil {
		conn.Close()
		return
	}
	l.served.Go(func() { l.cfg.Serve(l, conn) })
}

// AwaitPassed waits until this many bytes of one output were passed on, and says whether they were: the task's end may
// come before.
func (l *Launcher) AwaitPassed(stream pb.OutputStream, offset uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	inbox := l.st.out
	if stream == pb.OutputStream_OUTPUT_STREAM_STDERR {
		inbox = l.st.err
	}
	for inbox.Passed() < offset && !l.over {
		l.wake.passed.Wait()
	}
	return inbox.Passed() >= offset
}

// wait tells the user what is waited for, once the gap is older than patience.
func (l *Launcher) wait(message string, patience time.Duration) {
	if l.since.IsZero() || time.Since(l.since) < patience || !l.said.due(time.Now()) {
		return
	}
	l.complains = true
	l.cfg.Say(message)
}

// connected ends a gap.
func (l *Launcher) connected() {
	if l.complains {
		l.cfg.Say(fmt.Sprintf("connected after %d s", int(time.Since(l.since).Seconds())))
	}
	l.complains, l.since, l.said = false, time.Time{}, notice{}
}
