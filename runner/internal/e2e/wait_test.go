package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s-burst/runner/internal/gateway"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

func pending(message string) func() (*agentpb.AttachResponse, error) {
	return func() (*agentpb.AttachResponse, error) {
		return &agentpb.AttachResponse{Outcome: &agentpb.AttachResponse_Pending{
			Pending: &agentpb.Pending{Message: message, RetryAfterMs: 100}}}, nil
	}
}

// While the pod is being made the launcher says so once, and then runs its task.
func TestWaitsForThePod(t *testing.T) {
	h := newHouse(t)
	h.agent.set(pending("the pod is being made"))
	l := h.command([]string{"echo", "done"}).start()
	h.await("three questions", func() bool { return h.agent.questions() >= 3 })
	h.agent.set(ready(h.kube))
	if got := l.status(); got != 0 || l.out.String() != "done\n" {
		t.Errorf("got %d %q", got, l.out.String())
	}
	said := strings.SplitAfter(l.err.String(), "\n")
	if len(said) != 3 || said[0] != "k8s-burst: the pod is being made\n" || !strings.HasPrefix(said[1], "k8s-burst: connected after ") {
		t.Errorf("said %q", said)
	}
}

func TestWaitsForAnAgentThatIsAway(t *testing.T) {
	h := newHouse(t)
	h.agent.set(func() (*agentpb.AttachResponse, error) {
		return nil, errors.New("the burst agent does not answer; waiting")
	})
	l := h.command([]string{"true"}).start()
	h.await("the message", func() bool { return l.err.String() == "k8s-burst: the burst agent does not answer; waiting\n" })
	h.agent.set(ready(h.kube))
	if got := l.status(); got != 0 {
		t.Errorf("ended with %d", got)
	}
}

func TestTriesAgainWhenTheAPIServerFails(t *testing.T) {
	h := newHouse(t)
	h.kube.refuseNext(2)
	l := h.command([]string{"true"}).start()
	if got := l.status(); got != 0 {
		t.Errorf("ended with %d", got)
	}
	if !strings.Contains(l.err.String(), "the Kubernetes API server answers 500: etcdserver: leader changed") {
		t.Errorf("said %q", l.err.String())
	}
	if n := h.agent.questions(); n != 3 {
		t.Errorf("%d questions: each try asks for a fresh token", n)
	}
}

func TestRefused(t *testing.T) {
	h := newHouse(t)
	h.agent.set(func() (*agentpb.AttachResponse, error) {
		return nil, &gateway.RefusedError{Message: "job 7 is not yours"}
	})
	if status, _, err := h.run("true"); status != 1 || err != "k8s-burst: job 7 is not yours\n" {
		t.Errorf("got %d %q", status, err)
	}
}

func TestRootIsRefused(t *testing.T) {
	h := newHouse(t)
	h.uid.Store(0)
	if status, _, err := h.run("true"); status != 1 || err != "k8s-burst: jobs of root do not run in pods\n" {
		t.Errorf("got %d %q", status, err)
	}
	if n := h.agent.questions(); n != 0 {
		t.Error("the agent was asked about root")
	}
}

// A positive answer is for the uid that it was given to.
func TestEachUserIsAskedFor(t *testing.T) {
	h := newHouse(t)
	h.run("true")
	h.uid.Store(1001)
	h.agent.set(func() (*agentpb.AttachResponse, error) {
		return nil, &gateway.RefusedError{Message: "job 7 is not yours"}
	})
	if status, _, err := h.run("true"); status != 1 || !strings.Contains(err, "not yours") {
		t.Errorf("got %d %q", status, err)
	}
}

// A signal that would end the task ends a launcher that waits for its pod.
func TestTermWhileWaiting(t *testing.T) {
	h := newHouse(t)
	h.agent.set(pending("the pod is being made"))
	l := h.command([]string{"true"}).start()
	h.await("the message", func() bool { return l.err.String() != "" })
	if err := l.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 128+15 {
		t.Errorf("ended with %d", got)
	}
}

// givesUp is a launcher that finds no pod for a second, with a scontrol that writes its words to the file asked.
func givesUp(t *testing.T, step string, env ...string) (l *launcher, asked func() string) {
	h := newHouse(t)
	h.agent.set(pending("no room in the cluster"))
	dir := t.TempDir()
	said := filepath.Join(dir, "asked")
	if err := os.WriteFile(filepath.Join(dir, "scontrol"), []byte("#!/bin/sh\necho \"$@\" > "+said+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	l = h.command([]string{batchScript(t, "#!/bin/sh\n")}, withStep(step), withEnv(env...), func(c *exec.Cmd) {
		c.Args[slicesIndex(c.Args, "--give-up-s")+1] = "1"
		c.Args[slicesIndex(c.Args, "--commands")+1] = dir
	}).start()
	return l, func() string {
		words, _ := os.ReadFile(said)
		return string(words)
	}
}

// Without a pod for too long the job is requeued, and no other, and the launcher waits to be killed. The last task of an
// array has the array's id; what a job that such a task has submitted finds in its environment is the task's.
func TestGivesUpAndRequeues(t *testing.T) {
	for env, want := range map[string]string{
		"SLURM_ARRAY_JOB_ID=7": "requeue 7_3\n",
		"SLURM_ARRAY_JOB_ID=5": "requeue 7\n",
	} {
		l, asked := givesUp(t, "batch", env, "SLURM_ARRAY_TASK_ID=3")
		l.h.await("the requeue", func() bool { return asked() != "" })
		if err := l.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if got := l.status(); got != 128+15 || asked() != want {
			t.Errorf("%s: ended with %d after %q", env, got, asked())
		}
		if !strings.Contains(l.err.String(), "no room in the cluster") {
			t.Errorf("said %q", l.err.String())
		}
	}
}

// The script of a step that finds no pod runs: its job stays as it is.
func TestAStepThatGivesUpRequeuesNothing(t *testing.T) {
	l, asked := givesUp(t, "0")
	if got := l.status(); got != 1 || asked() != "" {
		t.Errorf("ended with %d after %q", got, asked())
	}
	if !strings.Contains(l.err.String(), "the step has not started") {
		t.Errorf("said %q", l.err.String())
	}
}

// A pod whose supervisor is gone says so, and the wait goes on.
func TestSupervisorAway(t *testing.T) {
	h := newHouse(t)
	socket := filepath.Join(h.dir, "run", "supervisor.sock")
	if err := os.Rename(socket, socket+".away"); err != nil {
		t.Fatal(err)
	}
	l := h.command([]string{"true"}).start()
	h.await("the message", func() bool { return strings.Contains(l.err.String(), "the pod's supervisor does not answer") })
	if err := os.Rename(socket+".away", socket); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 0 {
		t.Errorf("ended with %d", got)
	}
}

// A pod that is deleted asks its tasks to end, and their launchers wait for the requeue: it must come before their ends.
func TestPodDeletion(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/bash", "-c", `trap 'echo bye; exit 12' TERM; echo up; while :; do sleep 0.01; done`}).start()
	h.await("the task", func() bool { return strings.Contains(l.out.String(), "up") })
	if err := h.supervisor.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.await("the message", func() bool { return strings.Contains(l.err.String(), "the pod was told to end") })
	// Now slurmctld requeues the job: its launcher is killed.
	if err := l.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 128+15 || !strings.Contains(l.out.String(), "bye") {
		t.Errorf("got %d %q", got, l.out.String())
	}
}

const oomSays = "slurmstepd-k8s-0: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed.\n"

// outOfMemory gives a house whose pod counts three kills for want of memory, and a script that makes it four.
func outOfMemory(t *testing.T) (*house, string) {
	root := t.TempDir()
	events := filepath.Join(root, "memory.events")
	if err := os.WriteFile(events, []byte("low 0\noom 3\noom_kill 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, "--cgroup-root", root)
	return h, batchScript(t, "#!/bin/sh\nprintf 'oom_kill 4\\n' > "+events+"\nexit 137\n")
}

// The container's count of kills for want of memory goes with the exit, and the agent hears of it before the launcher
// ends.
func TestOutOfMemory(t *testing.T) {
	for _, refuses := range []error{nil, errors.New("slurmctld does not answer")} {
		h, script := outOfMemory(t)
		h.agent.answerReports(func() error { return refuses })
		l := h.command([]string{script}, withStep("batch")).start()
		if got := l.status(); got != 137 {
			t.Errorf("ended with %d", got)
		}
		want := oomSays
		if refuses != nil {
			want += "k8s-burst: the job's state will not be OUT_OF_MEMORY: slurmctld does not answer\n"
		}
		if l.err.String() != want {
			t.Errorf("said %q", l.err.String())
		}
		if reports := h.agent.reported(); len(reports) != 1 || reports[0].GetJobId() != 7 || reports[0].GetUid() != 1000 ||
			reports[0].GetTask() != "batch" || !reports[0].GetOutOfMemory() {
			t.Errorf("reported %v", reports)
		}
	}
}

// Once slurmctld knows, it may kill the launcher at any moment: the user must have been told by then.
func TestOutOfMemoryIsSaidBeforeItIsReported(t *testing.T) {
	h, script := outOfMemory(t)
	command := h.command([]string{script}, withStep("batch"))
	started := make(chan struct{})
	h.agent.answerReports(func() error {
		<-started
		return command.Process.Kill()
	})
	l := command.start()
	close(started)
	if got := l.status(); got != 128+9 || l.err.String() != oomSays {
		t.Errorf("ended with %d and said %q", got, l.err.String())
	}
}
