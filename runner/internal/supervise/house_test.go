package supervise

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
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

// await waits for a condition.
func (r *running) await(what string, done func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// gate is a condition that holds in a task's script once touched.
func (r *running) gate() string { return "[ -e " + r.dir + "/gate ]" }

func (r *running) openGate() {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "gate"), nil, 0o600); err != nil {
		r.t.Fatal(err)
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
	// A supervisor that has nothing else to wait for ends its sessions at once: maybe before yamux hears that this was sent.
	if err := k.out.Write(toPod(&pb.ExitAck{})); err != nil && !errors.Is(err, yamux.ErrSessionShutdown) {
		k.t.Fatal(err)
	}
	if err := k.in.Read(&pb.FromPod{}); err != io.EOF {
		k.t.Errorf("after the acknowledgement: %v", err)
	}
}

func shell(task, script string) *pb.Open {
	return &pb.Open{Task: task, Start: &pb.Start{Cwd: []byte("/"), StdinNull: true,
		Argv: [][]byte{[]byte("/bin/sh"), []byte("-c"), []byte(script)}, Env: [][]byte{[]byte("PATH=/usr/bin:/bin")}}}
}
