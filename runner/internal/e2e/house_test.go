package e2e

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/gateway"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
	"k8s-burst/runner/internal/podexec"
)

// patience bounds what a test waits for; nothing should come near it.
const patience = 60 * time.Second

// house is a gateway and a pod.
type house struct {
	t      testing.TB
	self   string
	dir    string // of the pod
	socket string
	// commands has what stands for Slurm's commands on the gateway.
	commands string
	kube     *kube
	agent    *fakeAgent
	uid      atomic.Uint32 // that the kernel would say

	supervisor *exec.Cmd
	log        *testLog // the supervisor's
	stop       func()
	loses      bool // the supervisor may end with an exit that nobody came for
}

type fakeAgent struct {
	mu     sync.Mutex
	answer func() (*agentpb.AttachResponse, error)
	asked  int

	reports  []*agentpb.ReportRequest
	onReport func() error // gives the answer
}

func (a *fakeAgent) Attach(context.Context, *agentpb.AttachRequest) (*agentpb.AttachResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.answer()
}

func (a *fakeAgent) Report(_ context.Context, r *agentpb.ReportRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reports = append(a.reports, r)
	if a.onReport == nil {
		return nil
	}
	return a.onReport()
}

func (a *fakeAgent) answerReports(answer func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onReport = answer
}

func (a *fakeAgent) reported() []*agentpb.ReportRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.reports)
}

func (a *fakeAgent) set(answer func() (*agentpb.AttachResponse, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *fakeAgent) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func ready(k *kube) func() (*agentpb.AttachResponse, error) {
	return func() (*agentpb.AttachResponse, error) {
		return &agentpb.AttachResponse{Outcome: &agentpb.AttachResponse_Ready{Ready: k.endpoint()}}, nil
	}
}

// newHouse builds both; superviseArgs are further flags of the supervisor.
func newHouse(t testing.TB, superviseArgs ...string) *house {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, self: self, dir: t.TempDir(), commands: t.TempDir()}
	h.uid.Store(1000)
	h.socket = filepath.Join(t.TempDir(), "gatewayd.sock")
	h.supervisor = h.startSupervisor(superviseArgs...)
	h.kube = newKube(t, self, h.dir)
	h.agent = &fakeAgent{answer: ready(h.kube)}
	h.startGateway()
	t.Cleanup(func() { h.stop() })
	return h
}

// superviseWords starts a supervisor whose user has the groups of this process.
func superviseWords(t testing.TB, dir string) []string {
	t.Helper()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"supervise", "--dir", dir, "--job-id", "7"}
	for _, gid := range append(groups, os.Getgid()) {
		words = append(words, "--groups", strconv.Itoa(gid))
	}
	return words
}

func (h *house) startSupervisor(args ...string) *exec.Cmd {
	h.t.Helper()
	cmd := exec.Command(h.self, append(superviseWords(h.t, h.dir), args...)...)
	h.log = &testLog{t: h.t, name: "supervisor"}
	cmd.Stderr = h.log
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	ended := make(chan struct{})
	var status error
	go func() {
		status = cmd.Wait()
		close(ended)
	}()
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			h.t.Error("the supervisor does not end")
			_ = cmd.Process.Kill()
			<-ended
		}
		// 0: the launcher has the exit; 143: told to end; 1: an exit was lost.
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 128+int(syscall.SIGTERM) && (code != 1 || !h.loses) {
			h.t.Errorf("the supervisor ended badly: %v", status)
		}
	})
	h.await("the supervisor's socket", func() bool {
		conn, err := net.Dial("unix", filepath.Join(h.dir, "run", "supervisor.sock"))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return cmd
}

// startGateway starts gatewayd's core on the socket; h.stop ends it as SIGTERM does.
func (h *house) startGateway() {
	h.t.Helper()
	_ = os.Remove(h.socket) // of one before it
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.socket, Net: "unix"})
	if err != nil {
		h.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&testLog{t: h.t, name: "gatewayd"}, nil))
	server := gateway.New(gateway.Config{
		Agent: h.agent,
		DialPod: func(ctx context.Context, e *agentpb.PodEndpoint) (gateway.PodConn, error) {
			conn, err := podexec.Dial(ctx, e, log)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		Peer: func(*net.UnixConn) (*unix.Ucred, error) {
			return &unix.Ucred{Uid: h.uid.Load(), Pid: 1}, nil
		},
		IsTask:  func(int32, uint32) bool { return true },
		PerUser: 100, Hello: time.Minute, Idle: time.Minute, Log: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(ctx, listener); err != nil {
			h.t.Error(err)
		}
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
}

// await waits for a condition.
func (h *house) await(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if done() {
			return
		}
	}
	h.t.Fatalf("waited in vain for %s", what)
}

// launcher is one that runs.
type launcher struct {
	*exec.Cmd
	h        *house
	out, err safeBuffer
}

type launchOption func(*exec.Cmd)

func withStep(step string) launchOption {
	return func(c *exec.Cmd) { c.Args[slicesIndex(c.Args, "--step")+1] = step }
}

func withEnv(env ...string) launchOption { return func(c *exec.Cmd) { c.Env = append(c.Env, env...) } }

func withDir(dir string) launchOption { return func(c *exec.Cmd) { c.Dir = dir } }

func slicesIndex(list []string, word string) int {
	for i, w := range list {
		if w == word {
			return i
		}
	}
	panic(word)
}

// command prepares a launcher of argv. Its outputs go to buffers unless an option sets them.
func (h *house) command(argv []string, options ...launchOption) *launcher {
	args := []string{"launch", "--socket", h.socket, "--give-up-s", "60", "--job", "7", "--step", "0", "--task", "0",
		"--node", "k8s-0", "--commands", h.commands, "--"}
	l := &launcher{h: h, Cmd: exec.Command(h.self, append(args, argv...)...)}
	l.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "GORACE=" + os.Getenv("GORACE")}
	l.Stdout, l.Stderr = &l.out, &l.err
	for _, option := range options {
		option(l.Cmd)
	}
	return l
}

// start starts a prepared launcher.
func (l *launcher) start() *launcher {
	l.h.t.Helper()
	if err := l.Start(); err != nil {
		l.h.t.Fatal(err)
	}
	l.h.t.Cleanup(func() { _ = l.Process.Kill() })
	return l
}

// status waits for the end: exit code, or 128 plus the number of the signal.
func (l *launcher) status() int {
	l.h.t.Helper()
	timer := time.AfterFunc(patience, func() {
		l.h.t.Error("the launcher does not end")
		_ = l.Process.Kill()
	})
	defer timer.Stop()
	err := l.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.h.t.Fatal(err)
	}
	status := l.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func (h *house) run(argv ...string) (status int, out, err string) {
	h.t.Helper()
	l := h.command(argv).start()
	status = l.status()
	return status, l.out.String(), l.err.String()
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// testLog shows a component's log where a test fails.
type testLog struct {
	t    testing.TB
	name string
	mu   sync.Mutex
	text strings.Builder
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	l.t.Logf("%s: %s", l.name, strings.TrimSpace(string(p)))
	return len(p), nil
}

// supervisorLog is what the supervisor has said so far.
func (h *house) supervisorLog() string {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	return h.log.text.String()
}
