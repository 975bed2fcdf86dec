package launch

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/catch"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/scope"
)

// SentinelCommand is the first argument that makes this program a sentinel.
const SentinelCommand = "sentinel"

// sentinelReady is what a sentinel writes first; every other byte is the number of a signal it got.
const sentinelReady = 0xff

// forwarded lists what a launcher passes on, those that the processor raises among them: here they were sent.
func forwarded() []syscall.Signal {
	return catch.PassedOn(syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGSTKFLT,
		syscall.SIGTSTP, syscall.SIGVTALRM, syscall.SIGSYS)
}

// RunSentinel reports the signals that this process gets on the socket that is its standard input, and ends when the
// launcher closes the other side or dies.
func RunSentinel() int {
	caught, err := catch.Signals(forwarded())
	if err != nil {
		return 1
	}
	gone := make(chan struct{})
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	report := byte(sentinelReady)
	for {
		if _, err := unix.Write(0, []byte{report}); err != nil {
			return 0
		}
		select {
		case s := <-caught.C:
			report = byte(s.(syscall.Signal))
		case <-gone:
			return 0
		}
	}
}

// Signals catches what this process gets and says whom each is for. Close it.
type Signals struct {
	C chan Signal

	caught   *catch.Caught
	sentinel *os.File // our end of its socket; nil without a sentinel
	child    *os.Process
	cancel   context.CancelFunc
	loops    sync.WaitGroup
}

// CatchSignals begins. Only a batch script's signals have a scope: those of a step are for all its processes.
func CatchSignals(isBatch bool) (*Signals, error) {
	caught, err := catch.Signals(forwarded())
	if err != nil {
		return nil, fmt.Errorf("signals: %w", err)
	}
	s := &Signals{C: make(chan Signal), caught: caught}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	reports := make(chan byte)
	if isBatch {
		if err := s.startSentinel(ctx, reports); err != nil {
			s.cancel()
			caught.Close()
			return nil, fmt.Errorf("sentinel: %w", err)
		}
	}
	s.loops.Go(func() { s.judge(ctx, reports) })
	return s, nil
}

// startSentinel runs this program once more. It holds none of the task's files open: whoever waits for the end of the
// task's output would wait for it.
func (s *Signals) startSentinel(ctx context.Context, reports chan<- byte) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "sentinel")
	defer theirs.Close()
	_ = unix.SetNonblock(pair[0], true)
	s.sentinel = os.NewFile(uintptr(pair[0]), "sentinel")
	cmd := exec.Command("/proc/self/exe", SentinelCommand)
	cmd.Stdin = theirs
	cmd.Env = []string{}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		s.sentinel.Close()
		return err
	}
	s.child = cmd.Process
	s.loops.Go(func() {
		defer close(reports)
		buf := make([]byte, 64)
		for {
			n, err := s.sentinel.Read(buf)
			for _, b := range buf[:n] {
				select {
				case reports <- b:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	return nil
}

func (s *Signals) judge(ctx context.Context, reports <-chan byte) {
	var judge scope.Judge
	for {
		var expire <-chan time.Time
		if wait, ok := judge.Wait(time.Now()); ok {
			expire = time.After(wait)
		}
		var verdicts []scope.Verdict
		select {
		case <-ctx.Done():
			return
		case sig := <-s.caught.C:
			verdicts = judge.Launcher(uint32(sig.(syscall.Signal)), time.Now())
		case number, ok := <-reports:
			switch {
			case !ok:
				reports = nil
				verdicts = judge.Gone()
			case number == sentinelReady:
				judge.Ready()
			default:
				verdicts = judge.Sentinel(uint32(number), time.Now())
			}
		case <-expire:
			verdicts = judge.Expire(time.Now())
		}
		if !s.deliver(ctx, verdicts) {
			return
		}
	}
}

func (s *Signals) deliver(ctx context.Context, verdicts []scope.Verdict) bool {
	for _, v := range verdicts {
		to := pb.SignalScope_SIGNAL_SCOPE_LEADER
		if v.All {
			to = pb.SignalScope_SIGNAL_SCOPE_ALL
		}
		select {
		case s.C <- Signal{syscall.Signal(v.Number), to}:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Close ends the sentinel and the loops. Signals have their default effect again.
func (s *Signals) Close() {
	s.caught.Close()
	s.cancel()
	if s.sentinel != nil {
		s.sentinel.Close()
		_, _ = s.child.Wait()
	}
	s.loops.Wait()
}
