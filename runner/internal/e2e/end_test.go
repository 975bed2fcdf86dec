package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	h := newHouse(t)
	for step, code := range []int{0, 1, 7, 126, 127, 255} {
		l := h.command([]string{"/bin/sh", "-c", fmt.Sprintf("echo out; echo err >&2; exit %d", code)},
			withStep(fmt.Sprint(step))).start()
		if got := l.status(); got != code {
			t.Errorf("exit %d: the launcher ended with %d", code, got)
		}
		if l.out.String() != "out\n" || l.err.String() != "err\n" {
			t.Errorf("exit %d: outputs %q and %q", code, l.out.String(), l.err.String())
		}
	}
	if n := h.kube.dials(); n != 1 {
		t.Errorf("%d exec streams for one pod", n)
	}
	if n := h.agent.questions(); n != 1 {
		t.Errorf("%d questions to the agent while the stream lived", n)
	}
}

func TestEndsBySignal(t *testing.T) {
	h := newHouse(t)
	for step, number := range []int{1, 2, 3, 6, 9, 11, 15} {
		l := h.command([]string{"/bin/sh", "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$; sleep 60", number)},
			withStep(fmt.Sprint(step))).start()
		if got := l.status(); got != 128+number {
			t.Errorf("signal %d: the launcher ended with %d: %s", number, got, l.err.String())
		}
		if strings.Contains(l.err.String(), "goroutine") {
			t.Errorf("signal %d: the launcher shows its stacks", number)
		}
	}
}

func TestMissingProgramEndsAsUnderSlurmstepd(t *testing.T) {
	h := newHouse(t)
	status, _, err := h.run("no-such-program")
	if status != 2 || err != "slurmstepd-k8s-0: error: execve(): no-such-program: No such file or directory\n" {
		t.Errorf("got %d and %q", status, err)
	}
}
