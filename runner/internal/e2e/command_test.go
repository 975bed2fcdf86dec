package e2e

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/relay"
)

// installed puts the stand-ins into the pod and fakes of Slurm's commands, shell scripts each, onto the gateway.
func (h *house) installed(commands map[string]string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Join(h.dir, "bin"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	for name, text := range commands {
		if err := os.Link(h.self, filepath.Join(h.dir, "bin", name)); err != nil {
			if err := os.Symlink(h.self, filepath.Join(h.dir, "bin", name)); err != nil {
				h.t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(h.commands, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			h.t.Fatal(err)
		}
	}
}

// script runs a batch script in the pod.
func (h *house) script(text string, options ...launchOption) (status int, out, err string) {
	h.t.Helper()
	t := h.t.(*testing.T)
	l := h.command([]string{batchScript(t, "#!/bin/bash\n"+text)}, append([]launchOption{withStep("batch")}, options...)...)
	l.start()
	status = l.status()
	return status, l.out.String(), l.err.String()
}

// A command runs on the gateway with its arguments, passes both outputs and ends as the command ends.
func TestCommandRunsOnTheGateway(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"squeue": `echo "$0 $*"; echo oops >&2; exit 3`, "sinfo": `kill -TERM $$`})
	status, out, err := h.script(`x=$(squeue -o '%j %T' 2>"$TMP/err"); echo "$? [$x]"; cat "$TMP/err"; sinfo; echo $?`,
		withEnv("TMP="+t.TempDir()))
	want := "3 [" + filepath.Join(h.commands, "squeue") + " -o %j %T]\noops\n143\n"
	if status != 0 || out != want {
		t.Errorf("ended with %d: %q, want %q; %s", status, out, want, err)
	}
}

// What the script writes and what its steps write come in the order in which they were written, though the steps' output
// does not travel to the pod.
func TestOutputOfCommandsKeepsItsPlace(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"srun": `echo step $1; echo error $1 >&2`})
	status, out, err := h.script(`for i in {1..30}; do echo before $i; srun $i; echo after $i; done 2>&1`)
	var want strings.Builder
	for i := 1; i <= 30; i++ {
		n := strconv.Itoa(i)
		want.WriteString("before " + n + "\nstep " + n + "\nerror " + n + "\nafter " + n + "\n")
	}
	if status != 0 || out != want.String() {
		t.Errorf("ended with %d: %q; %s", status, out, err)
	}
}

// Commands that do not read standard input leave it to the script.
func TestStandardInputIsTheScripts(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"squeue": `cat; echo done`, "srun": `cat`})
	status, out, err := h.script(`seq 3 | while read i; do squeue; echo $i; done; seq 2 | srun cat; srun cat <<< here`)
	if want := "done\n1\ndone\n2\ndone\n3\n1\n2\nhere\n"; status != 0 || out != want {
		t.Errorf("ended with %d: %q, want %q; %s", status, out, want, err)
	}
}

// Commands outlive cuts of the stream and gatewayds: input and output arrive whole, and each ends as it would have.
func TestCommandsSurviveCuts(t *testing.T) {
	h := newHouse(t)
	// Each reads all of its input, then writes it back; the script compares, and cuts in between.
	h.installed(map[string]string{"srun": `cat > "$TMP/$1"; cat "$TMP/$1"; exit $1`})
	marks := t.TempDir()
	l := h.command([]string{batchScript(t, `#!/bin/bash
seq 200000 > $TMP/in
for i in 1 2 3 4 5 6; do
	(srun $i < $TMP/in | cmp - $TMP/in; echo $i ${PIPESTATUS[*]} > $TMP/end$i) & touch $MARKS/$i
done
wait; cat $TMP/end*
`)}, withStep("batch"), withEnv("TMP="+t.TempDir(), "MARKS="+marks)).start()
	for i := range 6 {
		h.await("a mark", func() bool {
			_, err := os.Stat(filepath.Join(marks, strconv.Itoa(i+1)))
			return err == nil
		})
		if i == 3 {
			h.stop()
			h.startGateway()
			continue
		}
		h.kube.cut()
	}
	if got := l.status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if got, want := l.out.String(), "1 1 0\n2 2 0\n3 3 0\n4 4 0\n5 5 0\n6 6 0\n"; got != want {
		t.Errorf("got %q, want %q; %s", got, want, l.err.String())
	}
}

// A command that the script signals gets the signal; one whose stand-in is killed is killed.
func TestSignalsReachCommands(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"srun": `trap 'echo usr1; touch $TMP/ready' USR1; trap 'echo term; exit 9' TERM; touch $TMP/ready; while :; do sleep 0.01; done`,
		"squeue": `echo $$ > $TMP/pid; touch $TMP/ready; exec sleep 1000`})
	dir := t.TempDir()
	status, out, err := h.script(`
ready() { until [ -e $TMP/ready ]; do sleep 0.01; done; rm $TMP/ready; }
srun & ready; kill -USR1 $!; ready; kill -TERM $!; wait $!; echo $?
squeue & ready; kill -KILL $!; wait $! 2>/dev/null; echo $?`, withEnv("TMP="+dir))
	if want := "usr1\nterm\n9\n137\n"; status != 0 || out != want {
		t.Errorf("ended with %d: %q, want %q; %s", status, out, want, err)
	}
	pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
	h.await("the command to end with its stand-in", func() bool { return !alive(strings.TrimSpace(string(pid))) })
}

// When the script has ended, the commands that it has left behind end, and their exit is not the script's.
func TestCommandsEndWithTheScript(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"srun": `echo $$ > $TMP/pid; exec sleep 1000`})
	dir := t.TempDir()
	status, _, err := h.script(`srun & until [ -s $TMP/pid ]; do sleep 0.01; done; exit 4`, withEnv("TMP="+dir))
	if status != 4 {
		t.Errorf("ended with %d: %s", status, err)
	}
	pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
	h.await("the command to end", func() bool { return !alive(strings.TrimSpace(string(pid))) })
}

// What srun has started to kill its step, should srun itself be killed, does so where the stand-in alone is killed. Where
// the script has ended it is killed as well: the step is left to slurmctld.
func TestStepsOutliveTheScript(t *testing.T) {
	for end, kills := range map[string]bool{"kill -KILL $!; until [ -e $TMP/killed ]; do sleep 0.01; done": true, "exit 0": false} {
		h := newHouse(t)
		h.installed(map[string]string{"srun": `mkfifo $TMP/pipe
(read x; touch $TMP/killed) < $TMP/pipe & exec 3> $TMP/pipe; echo $! > $TMP/pid; exec sleep 1000`})
		dir := t.TempDir()
		status, _, err := h.script("srun & until [ -s $TMP/pid ]; do sleep 0.01; done; "+end, withEnv("TMP="+dir))
		if status != 0 {
			t.Errorf("%s: ended with %d: %s", end, status, err)
		}
		pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
		h.await("all processes of srun to end", func() bool { return !alive(strings.TrimSpace(string(pid))) })
		if _, err := os.Stat(filepath.Join(dir, "killed")); (err == nil) != kills {
			t.Errorf("%s: the step is killed: %v, due: %v", end, err == nil, kills)
		}
	}
}

// Nothing of the pod says what code a command loads, where programs are, or which Slurm it talks to.
func TestHostileEnvironment(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"squeue": "/usr/bin/env", "srun": "/usr/bin/env"})
	status, out, err := h.script(`export LD_PRELOAD= LD_LIBRARY_PATH=/evil LD_AUDIT= GCONV_PATH=/evil SLURM_CONF=/evil SLURM_CONF_SERVER=evil
export LUA_CPATH=/evil BASH_ENV=/evil HWLOC_PLUGINS_PATH=/evil PATH=$PATH:/evil PMIX_MCA_x=/evil PYTHONPATH=/evil PERL5LIB=/evil HARMLESS=evil
squeue; srun x`)
	if status != 0 {
		t.Fatalf("ended with %d: %s", status, err)
	}
	seen := 0
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, "=")
		if strings.Contains(line, "evil") && name != "HARMLESS" && !strings.HasPrefix(name, "K8S_BURST_VAR_") {
			t.Errorf("the command sees %s", line)
		}
		if name == "HARMLESS" {
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("%d commands ran: %s", seen, out)
	}
}

// What was hidden from srun is there again in its tasks, and so is a directory that only the pod has.
func TestTasksGetTheirEnvironmentBack(t *testing.T) {
	h := newHouse(t)
	l := h.command([]string{"/bin/sh", "-c", `echo "$FAVOURITE $LD_LIBRARY_PATH [$K8S_BURST_VAR_LD_LIBRARY_PATH] $PATH"; pwd -P`}, withEnv(
		"K8S_BURST_VAR_LD_LIBRARY_PATH=/opt/lib", "K8S_BURST_VAR_PATH=/bin:/opt/bin", "SLURM_K8S_BURST_CWD=/usr/bin", "FAVOURITE=x",
		"PATH="+relay.Path(h.commands))).start()
	if got := l.status(); got != 0 {
		t.Fatalf("ended with %d: %s", got, l.err.String())
	}
	if got, want := l.out.String(), "x /opt/lib [] "+filepath.Join(h.dir, "bin")+":/bin:/opt/bin\n/usr/bin\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// knock sends a first frame to the supervisor as a stand-in would, and gives what comes back on standard error.
func (h *house) knock(first []byte) string {
	h.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(h.dir, "run", "commands.sock"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(first); err != nil {
		h.t.Fatal(err)
	}
	frames, said := frame.NewReader(conn, frame.MaxFromPod), ""
	for {
		var f pb.FromGateway
		if err := frames.Read(&f); err != nil {
			h.t.Fatalf("%v, after %q", err, said)
		}
		said += string(f.GetOutput().GetData())
		if f.GetExit() != nil {
			if f.GetExit().GetCode() != 1 {
				h.t.Errorf("ended with %v", f.GetExit())
			}
			return said
		}
	}
}

func framed(t *testing.T, c *pb.Command) []byte {
	var out strings.Builder
	if err := frame.NewWriter(&out, 1<<30).Write(&pb.ToGateway{Frame: &pb.ToGateway_Command{Command: c}}); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

// Who asks for anything else than one of Slurm's commands, for a task that is not there, or for too much, is told so; and
// the next one is served.
func TestRefusedCommands(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"squeue": `echo fine`})
	dir := t.TempDir()
	l := h.command([]string{batchScript(t, "#!/bin/bash\nuntil [ -e $TMP/go ]; do sleep 0.01; done; squeue\n")}, withStep("batch"), withEnv("TMP="+dir)).start()
	h.await("the task", func() bool {
		_, err := os.Stat(filepath.Join(h.dir, "spool", "job00007"))
		return err == nil
	})
	files := []*pb.StandardFile{{Kind: 1}, {Kind: 3}, {Kind: 3}}
	batch := func(argv ...string) *pb.Command {
		c := &pb.Command{Task: "batch", Cwd: []byte("/"), Files: files}
		for _, word := range argv {
			c.Argv = append(c.Argv, []byte(word))
		}
		return c
	}
	for _, bad := range []struct {
		name  string
		first []byte
		says  string
	}{
		{"a shell", framed(t, batch("/bin/sh", "-c", "id")), `only Slurm's own commands run on the gateway, and "sh"`},
		{"a path", framed(t, batch("../../bin/sh")), "only Slurm's own commands"},
		{"nothing", framed(t, batch()), "only Slurm's own commands"},
		{"one that the gateway lacks", framed(t, batch("/tmp/sinfo")), "the gateway has no " + filepath.Join(h.commands, "sinfo")},
		{"no such task", framed(t, &pb.Command{Task: "batc", Argv: [][]byte{[]byte("squeue")}}), "no running task of the job"},
		{"no task", framed(t, &pb.Command{Argv: [][]byte{[]byte("squeue")}}), "no running task of the job"},
		{"ten megabytes", binary.AppendUvarint(nil, 10<<20), "too large"},
	} {
		if got := h.knock(bad.first); !strings.Contains(got, bad.says) {
			t.Errorf("%s: %q", bad.name, got)
		}
	}
	stranger := exec.Command(filepath.Join(h.dir, "bin", "squeue"))
	stranger.Env = []string{"K8S_BURST_TASK="}
	if out, err := stranger.CombinedOutput(); err == nil || !strings.Contains(string(out), "squeue: error: k8s-burst: this process belongs to no running task") {
		t.Errorf("a stand-in outside of any task: %v %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 0 || l.out.String() != "fine\n" {
		t.Errorf("ended with %d: %q %s", got, l.out.String(), l.err.String())
	}
}

// A signal that Slurm sends to all processes of a task does not come to its commands twice: once there, once by way of
// the pod.
func TestSignalForAllComesOnce(t *testing.T) {
	h := newHouse(t)
	h.installed(map[string]string{"srun": `trap 'echo got' USR1; touch $TMP/ready; while [ ! -e $TMP/end ]; do sleep 0.01; done`})
	dir := t.TempDir()
	l := h.command([]string{"/bin/bash", "-c", `trap : USR1; srun; touch $TMP/heard; exit 0`}, withEnv("TMP="+dir)).start()
	h.await("the command", func() bool {
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err == nil
	})
	if err := l.Process.Signal(syscall.SIGUSR1); err != nil { // to the launcher alone, as slurmstepd's reaches the command too
		t.Fatal(err)
	}
	l.h.await("the supervisor to pass it on", func() bool { return strings.Contains(h.supervisorLog(), "number=10") })
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := l.status(); got != 0 || l.out.String() != "" {
		t.Errorf("ended with %d: %q %s", got, l.out.String(), l.err.String())
	}
}
