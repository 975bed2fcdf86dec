package launch

import (
	"context"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"k8s-burst/runner/internal/flow"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// suspendAfter is when a task that got SIGTSTP is stopped. slurmstepd suspends with SIGTSTP, two seconds, SIGSTOP: the
// latter stops the launcher, which then can't pass it on. So it goes before.
const suspendAfter = time.Second

func (l *Launcher) startPumps(ctx context.Context, pumps *sync.WaitGroup) {
	pumps.Go(func() { l.pumpOutput("standard output", l.st.out, l.wake.out, l.cfg.Stdout) })
	pumps.Go(func() { l.pumpOutput("standard error", l.st.err, l.wake.err, l.cfg.Stderr) })
	pumps.Go(func() { l.pumpEvents(ctx) })
	if l.cfg.Stdin != nil {
		pumps.Go(l.pumpInput)
		return
	}
	l.st.input.CloseWrite()
}

// pumpOutput passes on what has come. A write that fails loses its bytes, as a task's own would: it is said once.
func (l *Launcher) pumpOutput(name string, inbox *flow.Inbox, more *sync.Cond, to io.Writer) {
	broken := false
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		data := inbox.Next(frame.Chunk)
		if len(data) == 0 {
			if l.over {
				return
			}
			more.Wait()
			continue
		}
		l.mu.Unlock()
		_, err := to.Write(data)
		if err != nil && !broken {
			broken = true
			l.cfg.Say(fmt.Sprintf("%s can't be written, output is lost: %v", name, err))
		}
		l.mu.Lock()
		inbox.Done(len(data))
		l.wake.passed.Broadcast()
		if l.st.ackDue() || l.st.allPassed() {
			l.wake.send.Signal()
		}
	}
}

// pumpInput reads only what there is room for, and only once the task runs.
func (l *Launcher) pumpInput() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.over && (!l.st.started || l.st.input.Room() == 0) {
			l.wake.in.Wait()
		}
		if l.over {
			return
		}
		space := l.st.input.Tail()
		l.mu.Unlock()
		n, err := l.cfg.Stdin.Read(space)
		l.mu.Lock()
		l.st.input.Commit(n)
		if err != nil {
			l.st.input.CloseWrite()
		}
		l.wake.send.Signal()
		if err != nil {
			return
		}
	}
}

// pumpEvents forwards signals and sizes.
func (l *Launcher) pumpEvents(ctx context.Context) {
	var suspend <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case size := <-l.cfg.Sizes:
			l.mu.Lock()
			l.st.resize(size)
			l.wake.send.Signal()
			l.mu.Unlock()
		case s := <-l.cfg.Signals:
			if !l.forward(s) {
				return
			}
			switch s.Number {
			case syscall.SIGTSTP:
				suspend = time.After(suspendAfter)
			case syscall.SIGCONT:
				suspend = nil
			}
		case <-suspend:
			suspend = nil
			l.forward(Signal{syscall.SIGSTOP, pb.SignalScope_SIGNAL_SCOPE_ALL})
		}
	}
}

// forward queues a signal. Before the task has started there is nobody to have it: what would end the task ends the
// launcher, and the rest is dropped, as it says. It returns false where the launcher ends.
func (l *Launcher) forward(s Signal) bool {
	l.mu.Lock()
	started := l.st.started
	if started {
		l.st.signal(uint32(s.Number), s.Scope)
		l.wake.send.Signal()
	}
	l.mu.Unlock()
	if started {
		return true
	}
	switch s.Number {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGXCPU:
		l.mu.Lock()
		l.killed = s.Number
		l.mu.Unlock()
		l.cancel()
		return false
	case syscall.SIGUSR1, syscall.SIGUSR2:
		l.cfg.Say(fmt.Sprintf("signal %d came before the task has started: it is not delivered", int(s.Number)))
	}
	return true
}
