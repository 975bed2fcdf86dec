package launch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s-burst/runner/internal/dieby"
	"k8s-burst/runner/internal/names"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/relay"
)

const (
	// killedWithin is how long a launcher that has had its job requeued waits to be killed by slurmstepd for it.
	killedWithin = 30 * time.Second
	// requeueGrace is how long the launcher of a batch script whose job is being requeued waits to be killed by
	// slurmstepd. If it ended first, the job would end as failed before slurmctld has taken it back. A script that heeds
	// the first warning may be done long before the last of the job's other pods, for which the requeue waits.
	requeueGrace = 3 * time.Minute
	// stepGrace is the same for a task of a step. Its end is the script's to judge, which may run in a pod that has not
	// been told yet, and would take it for a failure; but one that was warned too waits for its steps.
	stepGrace = 10 * time.Second
)

// lingers is how long a launcher waits to be killed before it ends as its task did.
func lingers(task string) time.Duration {
	if task == names.TaskBatch || task == names.TaskInteractive {
		return requeueGrace
	}
	return stepGrace
}

// Ending is how the launcher's own process is to end.
type Ending struct {
	Code int // exit code, where Signal is 0
	// Slurmstepd is what slurmstepd would say, in its name, before Lines.
	Slurmstepd []string
	Signal     syscall.Signal // die by it
	Lines      []string       // for the user, in order, in our name
	Report     bool           // tell the agent, once all is said, that the task ran out of memory
	Requeue    bool           // ask slurmctld to requeue the job, then wait to be killed
	Linger     bool           // wait to be killed
}

// End decides from the outcome of a task of that step. It is pure.
func End(o Outcome, job uint32, step string) Ending {
	switch {
	case o.Exit != nil:
		return endOfTask(o.Exit, fmt.Sprintf("%d.%s", job, step))
	case o.Failure != nil && o.Failure.GetErrno() != 0:
		// As slurmstepd does where execve fails: its words, and errno for the exit code.
		return Ending{Code: int(o.Failure.GetErrno() & 0xff), Slurmstepd: []string{o.Failure.GetMessage()}}
	case o.Failure != nil:
		return Ending{Code: 1, Linger: o.Started, Lines: []string{o.Failure.GetMessage()}}
	case o.Refused != nil:
		return Ending{Code: 1, Linger: o.Refused.GetLost(), Lines: []string{o.Refused.GetMessage()}}
	case o.Killed != 0:
		return Ending{Signal: o.Killed}
	case o.Started:
		return Ending{Code: 1, Lines: []string{
			fmt.Sprintf("the pod could not be reached for too long, last because: %v", o.GaveUp),
			"the task is given up. Ask the administrator to look at k8s-burst-gatewayd on this gateway; the job can be submitted again"}}
	}
	return neverStarted(o.GaveUp, step)
}

// neverStarted requeues the job whose batch script it is. A step is for its script to judge, which runs and must not be
// taken down with it; and slurmctld requeues no job that has an interactive step.
func neverStarted(why error, step string) Ending {
	e := Ending{Code: 1, Lines: []string{fmt.Sprintf("no pod could be reached for too long, last because: %v", why)}}
	what := "the step has not started and can be tried again"
	switch step {
	case names.TaskBatch:
		e.Requeue = true
		what = "the job has not started and is requeued"
	case names.TaskInteractive:
		what = "the job's shell has not started; the job can be submitted again"
	}
	e.Lines = append(e.Lines, what+". Ask the administrator to look at k8s-burst-gatewayd on this gateway and at the burst agent")
	return e
}

// endOfTask is for one that has run. stepID is StepId as Slurm prints it.
func endOfTask(exit *pb.Exit, stepID string) Ending {
	var e Ending
	if exit.GetOutOfMemory() {
		e.Slurmstepd = []string{"Detected 1 oom_kill event in StepId=" + stepID +
			". Some of the step tasks have been OOM Killed."}
		e.Report = true
	}
	if exit.GetPodEnding() {
		e.Linger = true
		e.Lines = append(e.Lines, "the pod was told to end (deleted, evicted or preempted), and the task with it")
	}
	if number := exit.GetSignal(); number != 0 {
		e.Signal = syscall.Signal(number)
		return e
	}
	e.Code = int(exit.GetCode())
	return e
}

// Do carries the ending out, up to the exit code that is left to main. It does not return where it dies by a signal. A
// slurmstepd that shares its host with others, as those of virtual nodes do, names itself after its node.
func (e Ending) Do(r Request) int {
	for _, line := range e.Slurmstepd {
		fmt.Fprintln(os.Stderr, "slurmstepd-"+r.Node+": error: "+line)
	}
	for _, line := range e.Lines {
		r.Say(line)
	}
	if e.Report {
		if err := r.report(&pb.Report{Task: r.Task, OutOfMemory: true}); err != nil {
			r.Say(fmt.Sprintf("the job's state will not be OUT_OF_MEMORY: %v", err))
		}
	}
	if e.Requeue {
		if err := r.requeue(); err != nil {
			r.Say(err.Error())
			return e.Code
		}
	}
	switch {
	case e.Requeue:
		time.Sleep(killedWithin)
	case e.Linger:
		time.Sleep(lingers(r.Task))
	}
	if e.Signal != 0 {
		dieby.Signal(e.Signal)
		return 128 + int(e.Signal)
	}
	return e.Code
}

// JobName is what Slurm's commands are to call the job. The last task of an array keeps the array's own id, by which they
// mean all of it: such a one is named by its index. The arguments are the job's id, and SLURM_ARRAY_JOB_ID and
// SLURM_ARRAY_TASK_ID of slurmstepd's environment, which in a job that a task of an array has submitted are that task's.
func JobName(id uint32, arrayJob, arrayTask string) string {
	name := strconv.FormatUint(uint64(id), 10)
	if arrayJob == name && arrayTask != "" {
		return name + "_" + arrayTask
	}
	return name
}

// requeue runs scontrol as the job's user.
func (r Request) requeue() error {
	scontrol := filepath.Join(r.Commands, "scontrol")
	cmd := exec.Command(scontrol, "requeue", r.JobName)
	cmd.Env = relay.Environment(r.Commands, r.SlurmConf)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the job can't be requeued: %s requeue %s: %v: %s", scontrol, r.JobName, err, out)
	}
	return nil
}
