package supervise

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reaper owns every wait of this process: as process 1 it also gets the orphans of the pod, and a wait for any child
// beside a wait for one steals the other's status. Start registers a child under the lock that reaping takes, so that
// no exit comes before its registration. Close ends it.
type Reaper struct {
	mu    sync.Mutex
	procs map[int]*Proc
	reap  chan struct{} // closed and replaced at each round that reaped somebody

	sigs chan os.Signal
	quit chan struct{}
	loop sync.WaitGroup
}

// Proc is a child that was started through the reaper.
type Proc struct {
	Pid int
	// Done is closed once Status is set.
	Done   chan struct{}
	Status syscall.WaitStatus
	reaper *Reaper
}

// NewReaper begins to reap. Orphans come to this process from now on, even where it is not process 1.
func NewReaper() *Reaper {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	r := &Reaper{
		procs: map[int]*Proc{},
		reap:  make(chan struct{}),
		sigs:  make(chan os.Signal, 1),
		quit:  make(chan struct{}),
	}
	signal.Notify(r.sigs, syscall.SIGCHLD)
	r.loop.Go(func() {
		for {
			r.round()
			select {
			case <-r.sigs:
			case <-r.quit:
				return
			}
		}
	})
	return r
}

// Close stops reaping.
func (r *Reaper) Close() {
	signal.Stop(r.sigs)
	close(r.quit)
	r.loop.Wait()
}

// round takes every child that has ended: SIGCHLD does not count.
func (r *Reaper) round() {
	r.mu.Lock()
	defer r.mu.Unlock()
	any := false
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		any = true
		if p := r.procs[pid]; p != nil {
			delete(r.procs, pid)
			p.Status = status
			close(p.Done)
		}
	}
	if any {
		close(r.reap)
		r.reap = make(chan struct{})
	}
}

// Reaped is closed at the next time that somebody was reaped.
func (r *Reaper) Reaped() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reap
}

// Start runs fork, which returns the new child's pid.
func (r *Reaper) Start(fork func() (int, error)) (*Proc, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return nil, err
	}
	p := &Proc{Pid: pid, Done: make(chan struct{}), reaper: r}
	r.procs[pid] = p
	return p, nil
}

// Signal signals the child, unless it was reaped: its number may be somebody else's by then.
func (p *Proc) Signal(number syscall.Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.procs[p.Pid] != p {
		return os.ErrProcessDone
	}
	return syscall.Kill(p.Pid, number)
}
