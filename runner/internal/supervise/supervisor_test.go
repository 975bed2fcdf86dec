package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/goleak"

	"k8s-burst/runner/internal/attach"
	"k8s-burst/runner/internal/frame"
	"k8s-burst/runner/internal/mux"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

const patience = 30 * time.Second

// TestMain is also the beginning of a task's process, and a stranger who knocks.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ExecCommand {
		os.Exit(ExecTask())
	}
	if socket := os.Getenv("SUPERVISE_TEST_KNOCK"); socket != "" {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			os.Exit(2)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			os.Exit(3) // it was let in
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// running is a supervisor within the test's own process.
type running struct {
	t      *testing.T
	dir    string
	socket string
	cancel context.CancelFunc
	ended  chan struct{}
	// finished is what Serve said, once ended.
	finished bool
}

func supervisor(t *testing.T, change func(*Config)) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, dir: t.TempDir(), ended: make(chan struct{})}
	r.socket = filepath.Join(r.dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(r.dir, "c"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: r.dir, JobID: 7, Self: self, OrphanAfter: time.Minute, KillAfter: 10 * time.Second, Grace: 10 * time.Second,
		CgroupRoot: r.dir, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		var err error
		if r.finished, err = New(cfg).Serve(ctx, listener, commands); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		r.awaitEnd()
	})
	return r
}

func (r *running) awaitEnd() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("the supervisor does not end")
	}
}

func (r *running) session() *yamux.Session {
	r.t.Helper()
	session, err := mux.Client(r.attach(), slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { session.Close() })
	return session
}

// attached is the container runtime's side of an attach, and the attach itself.
type attached struct {
	*os.File // its standard output
	input    *os.File
	conn     *net.UnixConn
}

func (a *attached) Write(p []byte) (int, error) { return a.input.Write(p) }

func (a *attached) Close() error {
	return errors.Join(a.input.Close(), a.conn.Close(), a.File.Close())
}

// attach does what the container runtime and an executed attach do.
func (r *running) attach() *attached {
	r.t.Helper()
	in, input, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Close()
	output, out, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: r.socket, Net: "unix"})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := attach.Hand(conn, in, out); err != nil {
		r.t.Fatal(err)
	}
	return &attached{output, input, conn}
}

// talker is a launcher's stream in the hands of a test.
type talker struct {
	t    *testing.T
	conn net.Conn
	in   *frame.Reader
	out  *frame.Writer
}

func (r *running) talk(session *yamux.Session, open *pb.Open) *talker {
	r.t.Helper()
	conn, err := session.Open()
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	k := &talker{r.t, conn, frame.NewReader(conn, frame.MaxFromPod), frame.NewWriter(conn, frame.MaxToPod)}
	k.send(toPod(open))
	return k
}

func (k *talker) send(f *pb.ToPod) {
	k.t.Helper()
	if err := k.out.Write(f); err != nil {
		k.t.Fatal(err)
	}
}

func (k *talker) next() *pb.FromPod {
	k.t.Helper()
	var f pb.FromPod
	if err := k.in.Read(&f); err != nil {
		k.t.Fatalf("no frame: %v", err)
	}
	return &f
}

// until collects output up to the exit.
func (k *talker) until() (out string, exit *pb.Exit) {
	k.t.Helper()
	for {
		f := k.next()
		if f.GetExit() != nil {
			return out, f.GetExit()
		}
		out += string(f.GetOutput().GetData())
	}
}

// collect acknowledges the exit and waits until that has arrived: the supervisor closes the stream then.
func (k *talker) collect() {
	k.t.Helper()
	k.send(toPod(&pb.ExitAck{}))
	if err := k.in.Read(&pb.FromPod{}); err != io.EOF {
		k.t.Errorf("after the acknowledgement: %v", err)
	}
}

func shell(task, script string) *pb.Open {
	return &pb.Open{Task: task, Start: &pb.Start{Cwd: []byte("/"), StdinNull: true,
		Argv: [][]byte{[]byte("/bin/sh"), []byte("-c"), []byte(script)}, Env: [][]byte{[]byte("PATH=/usr/bin:/bin")}}}
}

// Two launchers of one task at the same moment: one process, and the newer stream has it.
func TestOpenTwiceStartsOnce(t *testing.T) {
	r := supervisor(t, nil)
	session := r.session()
	script := `echo up >> ` + r.dir + `/count; until [ -e ` + r.dir + `/go ]; do sleep 0.01; done`
	var both sync.WaitGroup
	talkers := make([]*talker, 2)
	for i := range talkers {
		both.Go(func() { talkers[i] = r.talk(session, shell("0.0", script)) })
	}
	both.Wait()
	closed := make(chan struct{}, 2)
	var readers sync.WaitGroup
	for _, k := range talkers {
		readers.Go(func() {
			for k.in.Read(&pb.FromPod{}) == nil {
			}
			closed <- struct{}{}
		})
	}
	<-closed // the older of the two: both have been there
	third := r.talk(r.session(), shell("0.0", script))
	if f := third.next(); !f.GetOpened().GetResumed() {
		t.Fatalf("got %v", f)
	}
	<-closed
	readers.Wait()
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, exit := third.until(); exit.GetCode() != 0 {
		t.Errorf("exit %v", exit)
	}
	if count, _ := os.ReadFile(filepath.Join(r.dir, "count")); string(count) != "up\n" {
		t.Errorf("started %q", count)
	}
	third.collect()
}

// The exit is kept until it is collected, and then the name never starts again.
func TestExitIsKeptUntilCollected(t *testing.T) {
	r := supervisor(t, nil)
	session := r.session()
	first := r.talk(session, shell("0.0", "echo out; exit 3"))
	first.next()
	if out, exit := first.until(); out != "out\n" || exit.GetCode() != 3 {
		t.Fatalf("%q %v", out, exit)
	}
	session.Close() // a cut before the acknowledgement
	again := r.talk(r.session(), &pb.Open{Task: "0.0", StdoutOffset: 1})
	if f := again.next(); !f.GetOpened().GetResumed() {
		t.Fatalf("got %v", f)
	}
	if out, exit := again.until(); out != "ut\n" || exit.GetCode() != 3 {
		t.Fatalf("%q %v", out, exit)
	}
	again.collect()
	last := r.talk(r.session(), shell("0.0", "true"))
	if f := last.next(); !strings.Contains(f.GetFailure().GetMessage(), "collected before") {
		t.Errorf("got %v", f)
	}
}

// A launcher that knows its task to run does not start it again in a supervisor that does not know it.
func TestUnknownTaskIsNotStartedAgain(t *testing.T) {
	r := supervisor(t, nil)
	k := r.talk(r.session(), &pb.Open{Task: "batch", StdoutOffset: 100})
	if f := k.next(); !strings.Contains(f.GetFailure().GetMessage(), "restarted") {
		t.Errorf("got %v", f)
	}
}

func TestBadNames(t *testing.T) {
	r := supervisor(t, nil)
	session := r.session()
	for _, name := range []string{"", "../x", "a b", ".", strings.Repeat("x", 65)} {
		if f := r.talk(session, shell(name, "true")).next(); f.GetFailure() == nil {
			t.Errorf("%q: %v", name, f)
		}
	}
	k := r.talk(session, &pb.Open{})
	k.conn.Close()
}

// A start that fails leaves no trace.
func TestFailedStartCanBeTriedAgain(t *testing.T) {
	r := supervisor(t, nil)
	session := r.session()
	program := filepath.Join(r.dir, "prog")
	open := &pb.Open{Task: "0.0", Start: &pb.Start{Argv: [][]byte{[]byte(program)}, Cwd: []byte("/"), StdinNull: true}}
	if f := r.talk(session, open).next(); f.GetFailure().GetErrno() != uint32(syscall.ENOENT) {
		t.Fatalf("got %v", f)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 5\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	k := r.talk(session, open)
	if f := k.next(); f.GetOpened() == nil {
		t.Fatalf("got %v", f)
	}
	if _, exit := k.until(); exit.GetCode() != 5 {
		t.Errorf("exit %v", exit)
	}
	k.collect()
}

// More than the window is a protocol error: the stream is closed and the task lives.
func TestOverrunClosesTheStreamOnly(t *testing.T) {
	r := supervisor(t, nil)
	open := shell("0.0", `read x; echo "got $x"`)
	open.Start.StdinNull = false
	k := r.talk(r.session(), open)
	k.next()
	k.send(toPod(&pb.Input{Offset: 5, Data: []byte("x")}))
	if k.in.Read(&pb.FromPod{}) == nil {
		t.Fatal("the stream goes on")
	}
	again := r.talk(r.session(), &pb.Open{Task: "0.0"})
	again.next()
	again.send(toPod(&pb.Input{Data: []byte("y\n"), Eof: true}))
	if out, _ := again.until(); out != "got y\n" {
		t.Errorf("got %q", out)
	}
	again.collect()
}

func TestStrangersAreNotLetIn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	r := supervisor(t, nil)
	for _, path := range []string{r.socket, r.dir, filepath.Dir(r.dir)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	// As a task, because the supervisor's reaper owns every wait in this process.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(r.dir, "knock")
	if err := os.WriteFile(copied, self, 0o755); err != nil {
		t.Fatal(err)
	}
	k := r.talk(r.session(), shell("0.0", "setpriv --reuid 12345 --regid 12345 --clear-groups env SUPERVISE_TEST_KNOCK="+r.socket+" "+copied))
	k.next()
	if text, exit := k.until(); exit.GetCode() != 0 {
		t.Errorf("a stranger's end: %v %s", exit, text)
	}
	k.collect()
}

// Once the exit of the batch script or interactive step was collected, nothing starts any more, whoever is connected;
// what runs may end as it would, and then the supervisor ends by itself.
func TestEndsWhenTheJobHasEnded(t *testing.T) {
	for _, name := range []string{"batch", "interactive"} {
		t.Run(name, func(t *testing.T) {
			r := supervisor(t, func(c *Config) { c.OrphanAfter = 50 * time.Millisecond })
			session := r.session()
			step := r.talk(session, shell("0.0", "until [ -e "+r.dir+"/go ]; do sleep 0.01; done; echo on"))
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
			if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
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

// The executed attach may be killed by whoever lives in the pod: that is a cut, and the task goes on.
func TestAttachKilledIsACut(t *testing.T) {
	r := supervisor(t, nil)
	ends := r.attach()
	session, err := mux.Client(ends, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	k := r.talk(session, shell("batch", "echo up; until [ -e "+r.dir+"/gate ]; do sleep 0.01; done; echo on"))
	k.next()
	k.next()
	ends.conn.Close()
	select {
	case <-session.CloseChan():
	case <-time.After(patience):
		t.Fatal("the session goes on without its attach")
	}
	again := r.talk(r.session(), &pb.Open{Task: "batch", StdoutOffset: 3})
	if opened := again.next().GetOpened(); !opened.GetResumed() {
		t.Fatalf("opened %v", opened)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if text, exit := again.until(); text != "on\n" || exit.GetCode() != 0 {
		t.Errorf("output %q, exit %v", text, exit)
	}
	again.collect()
}

func TestAConnectionWithoutDescriptorsIsClosed(t *testing.T) {
	r := supervisor(t, nil)
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("it was let in: %v", err)
	}
}

func TestEndsWhenNoTaskComes(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.FirstAttach = 20 * time.Millisecond })
	r.awaitEnd()
}

// A gatewayd that comes and goes brings no task by itself.
func TestEndsWhenOnlyAGatewayCame(t *testing.T) {
	r := supervisor(t, func(c *Config) { c.FirstAttach = 200 * time.Millisecond })
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
					c.KillAfter = 500 * time.Millisecond
					if !ignores {
						c.KillAfter = time.Hour // not waited for
					}
				})
				script := `trap 'touch ` + r.dir + `/term; exit' TERM; `
				if ignores {
					script = `trap 'touch ` + r.dir + `/term' TERM; `
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
		{"steps", "yes", false, 50 * time.Millisecond, "up\nterm\n 4", "up\nwarned\n 3"},
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
