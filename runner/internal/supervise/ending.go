package supervise

import (
	"syscall"
	"time"

	"k8s-burst/runner/internal/names"
)

// Warning is the job's --signal. The zero value is none.
type Warning struct {
	Number syscall.Signal
	// For is how long tasks have from it to SIGTERM, less where the grace period does not suffice.
	For time.Duration
	// Batch says that it is for the batch script's shell alone; otherwise it is for the tasks of steps, as in Slurm.
	Batch bool
}

// isFor says whether a task gets it.
func (w Warning) isFor(name string) bool {
	return w.Number != 0 && (w.Batch && name == names.TaskBatch || !w.Batch && !isMain(name))
}

func (s *Supervisor) end(why string) {
	s.quitOnce.Do(func() {
		s.log.Info("ending", "why", why)
		close(s.quit)
	})
}

// leaveAfter is the time between the end of the last task of a job that has ended and the supervisor's: where the agent
// lives, it has deleted the pod by then.
const leaveAfter = 5 * time.Second

// considerIdle starts or stops the timer that ends a supervisor which nobody needs. No task is left, and the batch
// script or interactive step has ended; or nobody is connected either, and no task ever came, or the last ones were
// ended because their launchers stayed away. A pod that has had only tasks of steps may get more at any time: its end is
// the agent's, or the pod's deadline. The caller holds s.mu.
func (s *Supervisor) considerIdle() {
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	switch {
	case len(s.tasks) > 0:
	case s.deserted && len(s.sessions) == 0:
		s.end("the launchers stayed away")
	case s.main:
		s.leave.Do(func() {
			time.AfterFunc(min(s.cfg.OrphanAfter, leaveAfter), func() { s.end("the job has ended") })
		})
	case len(s.sessions) > 0:
	case !s.begun && s.cfg.FirstAttach > 0:
		s.idle = time.AfterFunc(s.cfg.FirstAttach, func() { s.end("no task came") })
	}
}

// warn gives the warning to whom it is for, and says whether anybody got it.
func (s *Supervisor) warn(all []*task) bool {
	warned := false
	for _, t := range all {
		if s.cfg.Warn.isFor(t.name) {
			t.warn(s.cfg.Warn)
			warned = true
		}
	}
	return warned
}

const (
	termTime    = 5 * time.Second // between SIGTERM and SIGKILL, where a long warning leaves no more
	killBefore  = 5 * time.Second // before the end of the grace period
	collectWait = 3 * time.Second // for launchers to collect the ends
)

// shutdown ends all tasks: the job's own warning, SIGTERM, and SIGKILL shortly before the pod's grace ends; then it lets
// launchers collect.
func (s *Supervisor) shutdown() {
	kill := time.Now().Add(max(s.cfg.Grace-killBefore, time.Second))
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	all := s.running()
	if s.warn(all) && s.waitEmpty(min(s.cfg.Warn.For, time.Until(kill)-termTime)) {
		return
	}
	for _, t := range all {
		t.terminate()
	}
	if s.waitEmpty(time.Until(kill)) {
		return
	}
	for _, t := range s.running() {
		killAll(s.reaper, t.name, t.proc)
	}
	if s.waitEmpty(collectWait) {
		return
	}
	for _, t := range s.running() {
		t.abandon()
	}
}

func (s *Supervisor) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// running are the tasks that have started and are not forgotten.
func (s *Supervisor) running() []*task {
	s.mu.Lock()
	var all []*task
	for _, t := range s.tasks {
		all = append(all, t)
	}
	s.mu.Unlock()
	started := all[:0]
	for _, t := range all {
		<-t.started
		if t.failure == nil {
			started = append(started, t)
		}
	}
	return started
}

func (s *Supervisor) waitEmpty(most time.Duration) bool {
	deadline := time.After(most)
	for {
		s.mu.Lock()
		left, changed := len(s.tasks), s.changed
		s.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}
