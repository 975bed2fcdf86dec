package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/frame"
	"k8s-burst/runner/internal/mux"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// pod is the supervisor's end of a session: it echoes, and notes how streams end.
type pod struct {
	net.Conn
	session *yamux.Session
	ends    chan string // "closed" in good form, or "cut"
	wg      sync.WaitGroup
}

func (p *pod) Said() string { return "" }

func newPod(ends chan string) *pod {
	ours, theirs := net.Pipe()
	session, err := mux.Server(theirs, slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	p := &pod{Conn: ours, session: session, ends: ends}
	p.wg.Go(func() {
		for {
			stream, err := session.AcceptStream()
			if err != nil {
				return
			}
			p.wg.Go(func() {
				_, err := io.Copy(stream, stream)
				if err == nil && !session.IsClosed() {
					ends <- "closed"
				} else {
					ends <- "cut"
				}
				stream.Close()
			})
		}
	})
	return p
}

// site is a gatewayd with what it needs.
type site struct {
	t      *testing.T
	socket string
	ends   chan string
	cancel context.CancelFunc
	done   chan struct{}

	block  chan struct{} // jobs from 100 on wait for its end in Attach …
	inside chan struct{} // … and say here that they do

	mu    sync.Mutex
	uid   uint32
	met   chan struct{} // if not nil: a connection was seen
	asked []*agentpb.AttachRequest
	pods  []*pod
}

func (s *site) Attach(_ context.Context, r *agentpb.AttachRequest) (*agentpb.AttachResponse, error) {
	s.mu.Lock()
	s.asked = append(s.asked, r)
	s.mu.Unlock()
	if r.GetJobId() >= 100 {
		s.inside <- struct{}{}
		<-s.block
	}
	if r.GetJobId() == 13 {
		return nil, &RefusedError{Message: "job 13 is not yours"}
	}
	return &agentpb.AttachResponse{Outcome: &agentpb.AttachResponse_Ready{Ready: &agentpb.PodEndpoint{PodUid: "u"}}}, nil
}

func (s *site) Report(_ context.Context, r *agentpb.ReportRequest) error {
	if r.GetJobId() == 13 {
		return &RefusedError{Message: "job 13 is not yours"}
	}
	if r.GetUid() != 1000 || r.GetNodeName() != "k8s-0" || r.GetTask() != "batch" || !r.GetOutOfMemory() {
		return errors.New("another report")
	}
	return nil
}

func (s *site) counts() (asked, dialled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked), len(s.pods)
}

// setUID says whose process the next connections are.
func (s *site) setUID(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uid = uid
}

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	s := &site{t: t, socket: filepath.Join(t.TempDir(), "s"), uid: 1000, ends: make(chan string, 100), done: make(chan struct{})}
	cfg := Config{
		Agent: s,
		DialPod: func(context.Context, *agentpb.PodEndpoint) (PodConn, error) {
			p := newPod(s.ends)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pods = append(s.pods, p)
			return p, nil
		},
		Peer: func(*net.UnixConn) (*unix.Ucred, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.met != nil {
				s.met <- struct{}{}
			}
			return &unix.Ucred{Uid: s.uid}, nil
		},
		IsTask:  func(int32, uint32) bool { return true },
		PerUser: 10, Hello: patience, Idle: time.Hour, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	listener, err := Listen(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		if err := New(cfg).Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-s.done
		for _, p := range s.pods {
			p.session.Close()
			p.wg.Wait()
		}
	})
	return s
}

func (s *site) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// launcher says Hello and returns gatewayd's last reply.
func (s *site) launcher(job uint32) (net.Conn, *frame.Reader, *pb.HelloReply) {
	s.t.Helper()
	conn := s.dial()
	if err := frame.NewWriter(conn, frame.MaxHello).Write(&pb.Hello{JobId: job, NodeName: "k8s-0"}); err != nil {
		s.t.Fatal(err)
	}
	frames := frame.NewReader(conn, frame.MaxHelloReply)
	for {
		var reply pb.HelloReply
		if err := frames.Read(&reply); err != nil {
			s.t.Fatal(err)
		}
		if reply.GetProgress() == nil {
			return conn, frames, &reply
		}
	}
}

func echo(t *testing.T, conn net.Conn, frames *frame.Reader, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(frames.Rest(), got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestOneStreamForManyLaunchers(t *testing.T) {
	s := newSite(t, nil)
	for _, text := range []string{"a", "bb", strings.Repeat("c", 300<<10)} {
		conn, frames, reply := s.launcher(7)
		if reply.GetConnected().GetPodUid() != "u" {
			t.Fatalf("got %v", reply)
		}
		echo(t, conn, frames, text)
	}
	if asked, dialled := s.counts(); asked != 1 || dialled != 1 {
		t.Errorf("%d questions, %d streams", asked, dialled)
	}
	if r := s.asked[0]; r.GetJobId() != 7 || r.GetNodeName() != "k8s-0" || r.GetUid() != 1000 {
		t.Errorf("asked %v", r)
	}
}

// One whom no slurmstepd has started may be of a job that has ended since the stream was opened: the agent is asked.
func TestOnlyTasksUseAStreamUnasked(t *testing.T) {
	s := newSite(t, func(c *Config) { c.IsTask = func(_ int32, job uint32) bool { return job != 7 && job != 13 } })
	for range 2 {
		conn, frames, _ := s.launcher(7)
		echo(t, conn, frames, "x")
	}
	if asked, dialled := s.counts(); asked != 3 || dialled != 1 {
		t.Errorf("%d questions, %d streams: one question for each, and one for the stream", asked, dialled)
	}
	if _, _, reply := s.launcher(13); reply.GetRefused().GetMessage() != "job 13 is not yours" {
		t.Errorf("got %v", reply)
	}
	if asked, dialled := s.counts(); asked != 4 || dialled != 1 {
		t.Errorf("%d questions, %d streams after a refusal", asked, dialled)
	}
}

// The supervisor must be able to tell the end of a launcher from every other end.
func TestEndOfALauncherIsACloseOfItsStreamOnly(t *testing.T) {
	s := newSite(t, nil)
	first, frames, _ := s.launcher(7)
	echo(t, first, frames, "x")
	second, frames, _ := s.launcher(7)
	echo(t, second, frames, "x")
	first.Close()
	if end := <-s.ends; end != "closed" {
		t.Errorf("the launcher's end is seen as %s", end)
	}
	echo(t, second, frames, "y")
	s.cancel()
	<-s.done
	if end := <-s.ends; end != "cut" {
		t.Errorf("gatewayd's own end is seen as %s", end)
	}
}

// When the session dies its launchers are sent away to come again, and then the agent is asked again.
func TestCutSendsLaunchersAway(t *testing.T) {
	s := newSite(t, nil)
	conn, frames, _ := s.launcher(7)
	echo(t, conn, frames, "x")
	s.mu.Lock()
	s.pods[0].session.Close()
	s.mu.Unlock()
	if _, err := frames.Rest().ReadByte(); err != io.EOF {
		t.Errorf("got %v", err)
	}
	conn, frames, _ = s.launcher(7)
	echo(t, conn, frames, "x")
	if asked, dialled := s.counts(); asked != 2 || dialled != 2 {
		t.Errorf("%d questions, %d streams", asked, dialled)
	}
}

func TestUnusedStreamIsClosed(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Idle = 20 * time.Millisecond })
	conn, frames, _ := s.launcher(7)
	echo(t, conn, frames, "x")
	s.mu.Lock()
	p := s.pods[0]
	s.mu.Unlock()
	select {
	case <-p.session.CloseChan():
		t.Fatal("closed while it was used")
	case <-time.After(100 * time.Millisecond):
	}
	conn.Close()
	select {
	case <-p.session.CloseChan():
	case <-time.After(patience):
		t.Error("an unused stream stays")
	}
}

func TestRefusals(t *testing.T) {
	s := newSite(t, nil)
	for range 2 {
		if _, _, reply := s.launcher(13); reply.GetRefused().GetMessage() != "job 13 is not yours" {
			t.Errorf("got %v", reply)
		}
	}
	if _, _, reply := s.launcher(0); reply.GetRefused() == nil {
		t.Errorf("job 0: %v", reply)
	}
	if asked, dialled := s.counts(); asked != 2 || dialled != 0 {
		t.Errorf("%d questions, %d streams: a refusal is not kept", asked, dialled)
	}
}

func TestReports(t *testing.T) {
	s := newSite(t, nil)
	for job, want := range map[uint32]string{7: "", 13: "job 13 is not yours"} {
		conn := s.dial()
		hello := &pb.Hello{JobId: job, NodeName: "k8s-0", Report: &pb.Report{Task: "batch", OutOfMemory: true}}
		if err := frame.NewWriter(conn, frame.MaxHello).Write(hello); err != nil {
			t.Fatal(err)
		}
		var reply pb.HelloReply
		if err := frame.NewReader(conn, frame.MaxHelloReply).Read(&reply); err != nil {
			t.Fatal(err)
		}
		if (reply.GetReported() != nil) != (want == "") || reply.GetRefused().GetMessage() != want {
			t.Errorf("job %d: %v", job, &reply)
		}
	}
	if asked, dialled := s.counts(); asked+dialled != 0 {
		t.Errorf("%d questions, %d streams for reports", asked, dialled)
	}
}

func TestASilentConnectionIsClosed(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Hello = 20 * time.Millisecond })
	if answer, err := io.ReadAll(s.dial()); err != nil || !strings.Contains(string(answer), "no hello came") {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestHostileConnections(t *testing.T) {
	s := newSite(t, func(c *Config) { c.PerUser = 2 })
	large := s.dial()
	if _, err := large.Write([]byte{0x81, 0x20}); err != nil { // a Hello of 4097 bytes
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(large); err != nil || !strings.Contains(string(answer), "no hello came") {
		t.Errorf("a large hello: %q, %v", answer, err)
	}
	conn, frames, _ := s.launcher(7)
	echo(t, conn, frames, "x")
	other, frames2, _ := s.launcher(7)
	echo(t, other, frames2, "x")
	if answer, err := io.ReadAll(s.dial()); len(answer) > 0 || err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a third connection: %q, %v", answer, err)
	}
}

func TestListenTakesOnlyADeadSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	stale.Close()
	other := filepath.Join(dir, "f")
	if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(other); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
	if text, _ := os.ReadFile(other); string(text) != "precious" {
		t.Error("the file is gone")
	}
}

func TestListenReplacesADeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another k8s-burst-gatewayd") {
		t.Errorf("a second one: %v", err)
	}
}

func TestSpliceTakesMoreWhileMoreIsThere(t *testing.T) {
	for _, c := range []struct{ size, n, want int }{
		{spliceLeast, spliceLeast, 2 * spliceLeast},
		{spliceLeast, 1, spliceLeast},
		{spliceMost, spliceMost, spliceMost},
		{spliceMost, spliceMost - 1, spliceMost},
		{spliceMost, 100, spliceMost / 2},
	} {
		if got := fitting(c.size, c.n); got != c.want {
			t.Errorf("after %d bytes in a buffer of %d: %d, want %d", c.n, c.size, got, c.want)
		}
	}
}

// One user's questions, however many, leave the agent to others.
func TestOneUserDoesNotOccupyTheAgent(t *testing.T) {
	s := newSite(t, func(c *Config) { c.PerUser = 4 * asksPerUser })
	s.block, s.inside = make(chan struct{}), make(chan struct{}, 4*asksPerUser)
	s.mu.Lock()
	s.met = make(chan struct{}, 4*asksPerUser)
	s.mu.Unlock()
	for job := range uint32(3 * asksPerUser) {
		conn := s.dial()
		if err := frame.NewWriter(conn, frame.MaxHello).Write(&pb.Hello{JobId: 100 + job, NodeName: "k8s-0"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 * asksPerUser {
		<-s.met
	}
	for range asksPerUser {
		<-s.inside
	}
	s.setUID(1001)
	if _, _, reply := s.launcher(7); reply.GetConnected() == nil {
		t.Errorf("another user: %v", reply)
	}
	if asked, _ := s.counts(); asked != asksPerUser+1 {
		t.Errorf("%d questions on the way, want %d of one user and one of the other", asked, asksPerUser)
	}
	close(s.block)
	for range 2 * asksPerUser {
		<-s.inside
	}
}

// What the kernel has no room for keeps nobody out for good.
func TestAcceptGoesOnWithoutFileDescriptors(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ECONNABORTED} {
		err := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
		if !passing(err) {
			t.Errorf("%v ends the service", err)
		}
	}
	if passing(net.ErrClosed) || passing(unix.EBADF) {
		t.Error("a closed listener is asked for ever")
	}
}
