package launch

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

func TestEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome Outcome
		want    Ending
		says    string
	}{
		{"code", Outcome{Exit: &pb.Exit{Status: &pb.Exit_Code{Code: 7}}}, Ending{Code: 7}, ""},
		{"signal", Outcome{Exit: &pb.Exit{Status: &pb.Exit_Signal{Signal: 11}}}, Ending{Signal: 11}, ""},
		{"out of memory", Outcome{Exit: &pb.Exit{Status: &pb.Exit_Signal{Signal: 9}, OutOfMemory: true}},
			Ending{Signal: 9, Report: true}, "slurmstepd: Detected 1 oom_kill event in StepId=7.3."},
		{"pod evicted", Outcome{Exit: &pb.Exit{Status: &pb.Exit_Code{}, PodEnding: true}}, Ending{Linger: true}, "evicted"},
		{"no program", Outcome{Failure: &pb.Failure{Errno: 2, Message: "execve(): x: No such file or directory"}},
			Ending{Code: 2}, "slurmstepd: execve(): x: No such file or directory"},
		{"not started", Outcome{Failure: &pb.Failure{Message: "no space"}}, Ending{Code: 1}, "no space"},
		{"supervisor restarted", Outcome{Started: true, Failure: &pb.Failure{Message: "the task is lost"}},
			Ending{Code: 1, Linger: true}, "the task is lost"},
		{"refused", Outcome{Refused: &pb.Refused{Message: "not yours"}}, Ending{Code: 1}, "not yours"},
		{"pod lost", Outcome{Refused: &pb.Refused{Message: "evicted", Lost: true}}, Ending{Code: 1, Linger: true}, "evicted"},
		{"killed while waiting", Outcome{Killed: syscall.SIGTERM}, Ending{Signal: syscall.SIGTERM}, ""},
		{"never started", Outcome{GaveUp: errors.New("no room")}, Ending{Code: 1}, "no room\nthe step has not started"},
		{"cut for ever", Outcome{GaveUp: errors.New("no route"), Started: true}, Ending{Code: 1}, "no route"},
	} {
		got := End(c.outcome, 7, "3")
		lines := strings.Join(got.Lines, "\n")
		for _, line := range got.Slurmstepd {
			lines += "slurmstepd: " + line
		}
		if !strings.Contains(lines, c.says) || c.says == "" && lines != "" {
			t.Errorf("%s: says %q", c.name, lines)
		}
		if got.Code != c.want.Code || got.Signal != c.want.Signal ||
			got.Report != c.want.Report || got.Requeue != c.want.Requeue || got.Linger != c.want.Linger {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// A step that never starts is its script's to judge: only the batch script's own launcher has its job requeued.
func TestOnlyABatchScriptThatNeverStartedIsRequeued(t *testing.T) {
	for step, says := range map[string]string{
		"batch":       "the job has not started and is requeued",
		"interactive": "the job's shell has not started",
		"0":           "the step has not started",
	} {
		got := End(Outcome{GaveUp: errors.New("no room")}, 7, step)
		if got.Requeue != (step == "batch") || got.Code != 1 || got.Linger {
			t.Errorf("%s: %+v", step, got)
		}
		if lines := strings.Join(got.Lines, "\n"); !strings.Contains(lines, "no room") || !strings.Contains(lines, says) {
			t.Errorf("%s: says %q", step, lines)
		}
	}
}

// By the id of an array slurmctld takes all of it, though it is that of the array's last task as well.
func TestJobName(t *testing.T) {
	for _, c := range []struct{ arrayJob, arrayTask, want string }{
		{"", "", "12"},
		{"12", "3", "12_3"}, // the last task
		{"10", "1", "12"},   // any other, or a job that a task of an array has submitted
		{"12", "", "12"},
	} {
		if got := JobName(12, c.arrayJob, c.arrayTask); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestTaskName(t *testing.T) {
	for _, c := range []struct{ step, rank, procID, want string }{
		{"batch", "0", "0", "batch"},
		{"interactive", "0", "0", "interactive"},
		{"3", "5", "", "3.5"},
		{"3", "0", "4", "3.4"}, // the second component of a heterogeneous step
	} {
		if got := TaskName(c.step, c.rank, c.procID); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

// The script waits for the requeue, which its steps' ends must not keep it from hearing of.
func TestLingers(t *testing.T) {
	for task, want := range map[string]time.Duration{
		"batch": requeueGrace, "interactive": requeueGrace, "0.0": stepGrace, "12.3": stepGrace, "pending.0": stepGrace,
	} {
		if got := lingers(task); got != want {
			t.Errorf("%s: %s, not %s", task, got, want)
		}
	}
}
