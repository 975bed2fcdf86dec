package supervise

import (
	"os"
	"slices"
	"syscall"
	"time"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// deliver gives a signal to whom of a task it is for: to its leader alone, or to all of its processes. Stand-ins are none
// of those: Slurm has signalled the commands on the gateway that they stand for, and they end as those do. Only SIGKILL
// goes to everybody.
func (t *task) deliver(number syscall.Signal, scope pb.SignalScope) {
	if scope == pb.SignalScope_SIGNAL_SCOPE_LEADER {
		_ = t.proc.Signal(number) // one that has just ended needs none
		return
	}
	var elsewhere []int
	if number != syscall.SIGKILL {
		elsewhere = t.sup.standIns.pids()
	}
	t.signalAll(number, elsewhere)
}

// goOn lets every process that is stopped go on, so that it hears what it is told.
func (t *task) goOn() { t.signalAll(syscall.SIGCONT, nil) }

// terminate asks every process of the task to end.
func (t *task) terminate() {
	t.deliver(syscall.SIGTERM, pb.SignalScope_SIGNAL_SCOPE_ALL)
	t.goOn()
}

// warn gives a task the job's --signal as slurmctld would before the time limit.
func (t *task) warn(w Warning) {
	t.log.Info("the pod is being deleted: warned", "signal", int(w.Number), "for", w.For)
	t.goOn()
	scope := pb.SignalScope_SIGNAL_SCOPE_ALL
	if w.Batch {
		scope = pb.SignalScope_SIGNAL_SCOPE_LEADER
	}
	t.deliver(w.Number, scope)
}

// signalAll signals every process of a task once, but those that have it from elsewhere.
func (t *task) signalAll(number syscall.Signal, but []int) {
	for _, pid := range members(below("/proc", os.Getpid()), t.name, t.proc.Pid) {
		if slices.Contains(but, pid) {
			continue
		}
		if pid == t.proc.Pid {
			_ = t.proc.Signal(number) // where it has just ended there is nobody to signal
			continue
		}
		_ = syscall.Kill(pid, number)
	}
}

const (
	killFor   = 2 * time.Second // a process in the kernel's hands may take longer: the end of the pod takes it
	killEvery = 20 * time.Millisecond
)

// killAll kills until no process of the task is left: a process that forks quickly needs more than one round. A list of
// children that changes while it is read may miss one, so that nobody is left counts when it is seen twice.
func killAll(reaper *Reaper, tag string, leader *Proc) {
	empty := 0
	for end := time.Now().Add(killFor); empty < 2 && time.Now().Before(end); {
		reaped := reaper.Reaped()
		left := members(below("/proc", os.Getpid()), tag, leader.Pid)
		if len(left) == 0 {
			empty++
			continue
		}
		empty = 0
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-reaped:
		case <-time.After(killEvery):
		}
	}
}
