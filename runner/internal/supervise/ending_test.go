package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Once the exit of the batch script or interactive step was collected, nothing starts any more, whoever is connected;
// what runs may end as it would, and then the supervisor ends by itself.
func TestEndsWhenTheJobHasEnded(t *testing.T) {
	for _, name := range []string{"batch", "interactive"} {
		t.Run(name, func(t *testing.T) {
			r := supervisor(t, func(c *Config) { c.OrphanAfter = 50 * time.Millisecond })
			session := r.session()
			step := r.talk(session, shell("0.0", "until "+r.gate()+"; do sleep 0.01; done; echo on"))
			step.next()
			k := r.talk(session, shell(name, "true"))
			k.next()
			k.until()
			k.collect()
			for _, late := range []string{"1.0", "0.1", name} {
				if f := r.talk(session, shell(late, "true")).next(); f.GetFailure() == nil {
					t.Errorf("%s after the job's end: %v", late, f)
				}
			}
			select {
			case <-r.ended:
				t.Fatal("ended under a step")
			case <-time.After(100 * time.Millisecond):
			}
			r.openGate()
			if out, exit := step.until(); out != "on\n" || exit.GetCode() != 0 {
				t.Errorf("the step's end: %q %v", out, exit)
			}
			step.collect()
			r.awaitEnd()
			if !r.finished {
				t.Error("the job was not said to have had its run")
			}
		})
	}
}

// A batch script whose launcher was killed has had no run that anybody knows the end of.
func TestAKilledLauncherLeavesTheJobUnfinished(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.OrphanAfter = 50 * time.Millisecond })
	k := r.talk(r.session(), shell("batch", "sleep infinity"))
	k.next()
	k.conn.Close()
	r.awaitEnd()
	if r.finished {
		t.Error("the job was said to have had its run")
	}
}

// A launcher is killed wherever it is in what it sends: its task ends at once.
func TestAKilledLauncherEndsItsTask(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.OrphanAfter = time.Hour })
	session := r.session()
	for name, last := range map[string]string{
		"between":       "",
		"within-size":   "\xff",
		"within-small":  "\x40\x12\x3e",
		"within-script": "\x80\x80\x40" + strings.Repeat("x", 100<<10), // of a megabyte
	} {
		k := r.talk(session, shell(name+".0", "echo $$; exec sleep infinity"))
		k.next()
		pid, err := strconv.Atoi(strings.TrimSpace(string(k.next().GetOutput().GetData())))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.conn.Write([]byte(last)); err != nil {
			t.Fatal(err)
		}
		k.conn.Close()
		r.await("the end of "+name, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
}

func TestEndsWhenNoTaskComes(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.FirstAttach = 20 * time.Millisecond })
	r.awaitEnd()
}

// A gatewayd that comes and goes brings no task by itself.
func TestEndsWhenOnlyAGatewayCame(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.FirstAttach = 2 * time.Second })
	r.session().Close()
	r.awaitEnd()
}

// Nobody comes back: SIGTERM first, then SIGKILL for a task that ignores it, then the supervisor ends, whatever the task.
func TestEndsWhenLaunchersStayAway(t *testing.T) {
	for _, name := range []string{"batch", "0.0"} {
		for _, ignores := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s ignoring %v", name, ignores), func(t *testing.T) {
				r := supervisor(t, func(c *Config) {
					c.OrphanAfter = 50 * time.Millisecond
					c.KillAfter = 2 * time.Second // for its trap
					if !ignores {
						c.KillAfter = time.Hour // not waited for
					}
				})
				script := `trap ': > ` + r.dir + `/term; exit' TERM; `
				if ignores {
					script = `trap ': > ` + r.dir + `/term' TERM; `
				}
				session := r.session()
				k := r.talk(session, shell(name, script+`echo $$; while :; do sleep 0.01; done`))
				k.next()
				pid, err := strconv.Atoi(strings.TrimSpace(string(k.next().GetOutput().GetData())))
				if err != nil {
					t.Fatal(err)
				}
				session.Close()
				r.awaitEnd()
				if _, err := os.Stat(filepath.Join(r.dir, "term")); err != nil {
					t.Errorf("no SIGTERM came: %v", err)
				}
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("the task lives on: %v", err)
				}
			})
		}
	}
}

// A launcher that was away, but not for too long, finds its task as it was.
func TestStaysForALauncherThatComesBack(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.OrphanAfter = time.Hour })
	session := r.session()
	k := r.talk(session, shell("0.0", "echo up; sleep infinity"))
	k.next()
	k.next()
	session.Close()
	again := r.talk(r.session(), &pb.Open{Task: "0.0", StdoutOffset: 3})
	if opened := again.next().GetOpened(); !opened.GetResumed() {
		t.Fatalf("opened %v", opened)
	}
	again.conn.Close()
	_, _ = io.Copy(io.Discard, again.conn) // the task is killed, and the stream with it
}

// A task whose first launcher can't have it waits for one that can, and not for ever.
func TestAFailedAttachIsNoLauncher(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.OrphanAfter = 50 * time.Millisecond })
	open := shell("0.0", "sleep infinity")
	open.StdoutOffset = 5
	session := r.session()
	if failure := r.talk(session, open).next().GetFailure(); failure == nil {
		t.Fatal("opened at an offset that never was")
	}
	session.Close()
	r.awaitEnd()
}

// A pod that has only tasks of steps may get more at any time.
func TestStaysForMoreSteps(t *testing.T) {
	r := supervisor(t, func(c *Config) {
		c.OrphanAfter = 20 * time.Millisecond
		c.FirstAttach = 20 * time.Second
	})
	for _, name := range []string{"0.0", "1.0"} {
		session := r.session()
		k := r.talk(session, shell(name, "true"))
		k.next()
		k.until()
		k.collect()
		session.Close()
		select {
		case <-r.ended:
			t.Fatal("ended after a step")
		case <-time.After(60 * time.Millisecond):
		}
	}
}

// The pod's end is not held up by a task that ignores SIGTERM.
func TestShutdownKillsBeforeTheGraceEnds(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.Grace = killBefore + time.Second })
	k := r.talk(r.session(), shell("batch", `trap '' TERM; echo up; while :; do sleep 0.01; done`))
	k.next()
	k.next()
	r.cancel()
	_, exit := k.until()
	if exit.GetSignal() != uint32(syscall.SIGKILL) {
		t.Errorf("exit %v", exit)
	}
	k.collect()
	r.awaitEnd()
}

// The job's --signal comes before SIGTERM: with B: to the batch script's own shell alone, otherwise to the tasks of steps
// and all their processes. Who ends at it never sees SIGTERM; who does not has it once the time is over.
func TestShutdownWarns(t *testing.T) {
	const script = `exec 2>/dev/null; trap 'echo warned; [ -z "$HEEDS" ] || exit 3' USR1; trap 'echo term; exit 4' TERM; echo up; while :; do sleep 0.01; done`
	for _, c := range []struct {
		what, heeds string
		batch       bool
		forS        time.Duration
		wantBatch   string
		wantStep    string
	}{
		{"batch heeds", "yes", true, time.Minute, "up\nwarned\n 3", ""},
		{"batch waits for TERM", "", true, 50 * time.Millisecond, "up\nwarned\nterm\n 4", ""},
		// The step has this long to heed, and the batch script, which ends at SIGTERM only, waits it out.
		{"steps", "yes", false, 3 * time.Second, "up\nterm\n 4", "up\nwarned\n 3"},
		{"nobody to warn", "yes", false, time.Minute, "up\nterm\n 4", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := supervisor(t, func(cfg *Config) {
				cfg.Grace = time.Minute
				cfg.Warn = Warning{Number: syscall.SIGUSR1, For: c.forS, Batch: c.batch}
			})
			wanted := map[string]string{"batch": c.wantBatch}
			if c.wantStep != "" {
				wanted["0.0"] = c.wantStep
			}
			talks := map[string]*talker{}
			for name := range wanted {
				k := r.talk(r.session(), shell(name, "HEEDS="+c.heeds+"; "+script))
				k.next() // Opened
				k.next() // up
				talks[name] = k
			}
			r.cancel()
			for name, k := range talks {
				out, exit := k.until()
				if got := fmt.Sprintf("up\n%s %d", out, exit.GetCode()); got != wanted[name] || !exit.GetPodEnding() {
					t.Errorf("%s: %q, not %q; %v", name, got, wanted[name], exit)
				}
				k.collect()
			}
			r.awaitEnd()
		})
	}
}
