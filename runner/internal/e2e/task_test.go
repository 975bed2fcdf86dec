package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/tty"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

func procFile(t *testing.T, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// alive says whether a process is there and no zombie.
func alive(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func batchScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slurm_script")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// niced is how nice a process is that this one makes nicer.
func niced(t *testing.T, by int) int {
	t.Helper()
	got, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call gives 20 less
	if err != nil {
		t.Fatal(err)
	}
	return min(20-got+by, 19)
}

// A batch script travels by its text, keeps its name and its arguments, and has the process' attributes.
func TestBatchScript(t *testing.T) {
	h := newHouse(t)
	script := batchScript(t, "#!/bin/bash\n"+
		`echo "$(basename $0) $# $1 $2"; [ "$0" != "$LAUNCHED" ] && cat $0 | head -1; umask; pwd; ulimit -Sn; ulimit -Hn; nice; echo $K8S_BURST_TASK; [ $SLURM_TASK_PID = $$ ] && echo pid`+"\n")
	dir := t.TempDir()
	l := h.command([]string{script, "one", "two words"}, withStep("batch"), withDir(dir), withEnv("LAUNCHED="+script))
	shell := exec.Command("/bin/bash", append([]string{"-c", `umask 027; ulimit -Sn 321; ulimit -Hn 654; exec nice -n 3 "$0" "$@"`, l.Path}, l.Args[1:]...)...)
	shell.Env, shell.Dir, shell.Stdout, shell.Stderr = l.Env, l.Dir, l.Stdout, l.Stderr
	l.Cmd = shell
	if got := l.start().status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	want := fmt.Sprintf("slurm_script 2 one two words\n#!/bin/bash\n0027\n%s\n321\n654\n%d\nbatch\npid\n", dir, niced(t, 3))
	if got := l.out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	h.await("the spooled script to be removed", func() bool {
		_, err := os.Stat(filepath.Join(h.dir, "spool", "job00007"))
		return os.IsNotExist(err)
	})
}

// Environment and arguments are bytes, GPU numbers are the pod's, and the partition is the one of the submission.
func TestEnvironmentAndArgumentsPassUnchanged(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/sh", "-c", `printf '%s|' "$1" "$LATIN" "$SLURM_JOB_NODELIST" "$CUDA_VISIBLE_DEVICES" "$SLURM_JOB_PARTITION" "$EMPTY"`, "sh", "a\xe9b"},
		withEnv("LATIN=\xfcber", "SLURM_JOB_NODELIST=k8s-[0-1]", "SLURM_JOB_GPUS=0,1", "CUDA_VISIBLE_DEVICES=5",
			"SLURM_JOB_PARTITION=k8s-burst", "EMPTY=")).start()
	if got := l.status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if got, want := l.out.String(), "a\xe9b|\xfcber|k8s-[0-1]|1|gpu||"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMissingDirectory(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// The launcher's directory is there when it starts, and the pod has none of that name.
	l := h.command([]string{"pwd"}, withDir(dir), func(c *exec.Cmd) {
		c.Args = append([]string{"/bin/sh", "-c", `rmdir "$PWD"; exec "$0" "$@"`, c.Path}, c.Args[1:]...)
		c.Path = "/bin/sh"
		c.Env = append(c.Env, "PWD="+dir)
	}).start()
	if got := l.status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if l.out.String() != "/tmp\n" {
		t.Errorf("ran in %q", l.out.String())
	}
	want := fmt.Sprintf("slurmstepd-: error: couldn't chdir to `%s': No such file or directory: going to /tmp instead\n", dir)
	if l.err.String() != want {
		t.Errorf("said %q, want %q", l.err.String(), want)
	}
}

// Where both outputs are one file, what is written stays in its order.
func TestOneFileForBothOutputsKeepsTheOrder(t *testing.T) {
	h := newHouse(t)
	path := filepath.Join(t.TempDir(), "slurm-7.out")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	l := h.command([]string{"/bin/bash", "-c", `for i in $(seq 200); do echo o$i; echo e$i >&2; done`})
	l.Stdout, l.Stderr = file, file
	status := l.start().status()
	file.Close()
	got, _ := os.ReadFile(path)
	var want strings.Builder
	for i := 1; i <= 200; i++ {
		fmt.Fprintf(&want, "o%d\ne%d\n", i, i)
	}
	if status != 0 || string(got) != want.String() {
		t.Errorf("status %d; out of order: %.80q", status, got)
	}
}

func TestNullInputStaysNull(t *testing.T) {
	h := newHouse(t)
	status, out, err := h.run("/bin/sh", "-c", `[ -p /dev/stdin ] && echo pipe; [ -c /dev/stdin ] && echo null`)
	if status != 0 || out != "null\n" {
		t.Errorf("got %d %q %q", status, out, err)
	}
}

// What a task leaves behind is killed with its end, and does not hold the end up.
func TestBackgroundChildHoldingOutput(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/bash", "-c", `sleep 1000 & echo $!; setsid sleep 1000 & echo $!; exit 4`}).start()
	if got := l.status(); got != 4 {
		t.Fatalf("ended with %d", got)
	}
	for _, pid := range strings.Fields(l.out.String()) {
		if alive(pid) {
			t.Errorf("process %s lives on", pid)
		}
	}
}

// What one task leaves behind lives as long as another task of its step on this node.
func TestLeftoversLiveWithTheirStep(t *testing.T) {
	h := newHouse(t)
	dir := t.TempDir()
	other := h.command([]string{"/bin/sh", "-c", `echo up; until [ -e ` + dir + `/go ]; do sleep 0.01; done`}, withEnv("SLURM_PROCID=1")).start()
	h.await("the other task", func() bool { return other.out.String() != "" })
	first := h.command([]string{"/bin/bash", "-c", `sleep 1000 & echo $!`}, withEnv("SLURM_PROCID=0")).start()
	if got := first.status(); got != 0 {
		t.Fatalf("ended with %d", got)
	}
	left := strings.TrimSpace(first.out.String())
	if !alive(left) {
		t.Error("killed although the step runs")
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := other.status(); got != 0 {
		t.Fatalf("ended with %d", got)
	}
	h.await("the end of what was left", func() bool { return !alive(left) })
}

// A launcher that is killed takes its task along, whatever the task ignores.
func TestKilledLauncherEndsItsTask(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/bash", "-c", `trap '' TERM HUP; sleep 1000 & echo $$ $!; wait`}).start()
	h.await("the task's pids", func() bool { return strings.Contains(l.out.String(), "\n") })
	if err := l.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	l.status()
	for _, pid := range strings.Fields(l.out.String()) {
		h.await("the end of process "+pid, func() bool { return !alive(pid) })
	}
}

// A task whose launcher is cut off for too long is ended.
func TestOrphanIsEnded(t *testing.T) {
	h := newHouse(t, "--orphan-s", "1")
	h.loses = true
	l := h.command([]string{"/bin/bash", "-c", `trap 'echo term >> ` + h.dir + `/seen; exit' TERM; echo $$; while :; do sleep 0.01; done`}).start()
	h.await("the task", func() bool { return strings.Contains(l.out.String(), "\n") })
	h.stop() // and nobody starts it again
	pid := strings.TrimSpace(l.out.String())
	h.await("the end of the orphan", func() bool { return !alive(pid) })
	if seen, _ := os.ReadFile(filepath.Join(h.dir, "seen")); string(seen) != "term\n" {
		t.Errorf("it was not asked first: %q", seen)
	}
}

// scancel -b is for the script alone, everything else for all of a batch job's processes.
func TestScopeOfSignalsToABatchScript(t *testing.T) {
	h := newHouse(t)
	script := batchScript(t, "#!/bin/bash\n"+
		`trap 'echo script $(date +%N)' USR1; bash -c 'trap "echo child" USR1; echo ready; while :; do sleep 0.01; done' & child=$!`+"\n"+
		`trap 'kill -9 $child; exit 5' TERM; while :; do sleep 0.01; done`+"\n")
	l := h.command([]string{script}, withStep("batch"), func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }).start()
	h.await("the script", func() bool { return strings.Contains(l.out.String(), "ready") })
	signal := func(pid int) {
		if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	signal(l.Process.Pid)
	h.await("the script's trap", func() bool { return strings.Contains(l.out.String(), "script") })
	if strings.Contains(l.out.String(), "child") {
		t.Error("a signal for the script reached its child")
	}
	signal(-l.Process.Pid)
	h.await("both traps", func() bool {
		return strings.Contains(l.out.String(), "child") && strings.Count(l.out.String(), "script") == 2
	})
	if err := syscall.Kill(-l.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 5 {
		t.Errorf("ended with %d", got)
	}
}

// slurmstepd suspends with SIGTSTP, and SIGSTOP two seconds later: by then the task must have stopped.
func TestSuspendAndResume(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/bash", "-c", `trap 'exit 6' TERM; echo $$; while :; do sleep 0.01; done`}).start()
	h.await("the task", func() bool { return strings.Contains(l.out.String(), "\n") })
	pid, _ := strconv.Atoi(strings.TrimSpace(l.out.String()))
	stopped := func() bool { return strings.Contains(procFile(t, pid, "stat"), ") T ") }
	for _, step := range []struct {
		number syscall.Signal
		want   bool
	}{{syscall.SIGTSTP, true}, {syscall.SIGCONT, false}} {
		if err := l.Process.Signal(step.number); err != nil {
			t.Fatal(err)
		}
		h.await(step.number.String(), func() bool { return stopped() == step.want })
	}
	if err := l.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 6 {
		t.Errorf("ended with %d", got)
	}
}

// A terminal has a size, follows its changes, and its own interrupt character.
func TestTerminal(t *testing.T) {
	h := newHouse(t)
	master, slave, err := tty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := tty.Resize(master, &pb.WindowSize{Rows: 33, Columns: 101}); err != nil {
		t.Fatal(err)
	}
	l := h.command([]string{"/bin/bash", "-c",
		`trap 'echo int; stty size; exit 8' INT; trap 'stty size' WINCH; stty size; [ -t 2 ] && echo tty; while :; do sleep 0.01; done`})
	l.Stdin, l.Stdout, l.Stderr = slave, slave, slave
	l.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	l.start()
	slave.Close()
	var shown safeBuffer
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			_, _ = shown.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	h.await("the first size", func() bool { return strings.Contains(shown.String(), "33 101\r\ntty\r\n") })
	if err := tty.Resize(master, &pb.WindowSize{Rows: 44, Columns: 90}); err != nil {
		t.Fatal(err)
	}
	h.await("the new size", func() bool { return strings.Contains(shown.String(), "44 90") })
	if _, err := master.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 8 {
		t.Errorf("ended with %d: %q", got, shown.String())
	}
	_ = master.SetReadDeadline(time.Now().Add(time.Second))
	<-reading
	if !strings.Contains(shown.String(), "int\r\n44 90") {
		t.Errorf("shown: %q", shown.String())
	}
}
