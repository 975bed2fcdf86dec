package supervise

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s-burst/runner/internal/mux"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Two launchers of one task at the same moment: one process, and the newer stream has it.
func TestOpenTwiceStartsOnce(t *testing.T) {
	r := supervisor(t, nil)
	session := r.session()
	script := `echo up >> ` + r.dir + `/count; until ` + r.gate() + `; do sleep 0.01; done`
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
	r.openGate()
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

// The executed attach may be killed by whoever lives in the pod: that is a cut, and the task goes on.
func TestAttachKilledIsACut(t *testing.T) {
	r := supervisor(t, nil)
	ends := r.attach()
	session, err := mux.Client(ends, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	k := r.talk(session, shell("batch", "echo up; until "+r.gate()+"; do sleep 0.01; done; echo on"))
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
	r.openGate()
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
