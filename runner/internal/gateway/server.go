// Package gateway is the switch between the launchers of a gateway and the pods: who may, which pod, and then bytes.
//
//	server.go    the socket, who connects, caps
//	launcher.go  one launcher: Hello, answers, and the splice
//	task.go      which processes are tasks of a job that runs here
//	link.go      one pod for one (job, node, uid): Attach, exec, yamux, and again after a cut
//	agent.go     the agent's Attach in our words
//	listen.go    a unix socket that is only ever taken from the dead
//	complaints.go  log lines that users cause
//
// It never looks into what launcher and supervisor say to each other.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

const (
	// acceptPause is how long nobody is admitted after the kernel had no file descriptor left.
	acceptPause = 100 * time.Millisecond
	// asksPerUser bounds the questions on the way to the agent for one uid: it answers some dozens at a time, for all.
	asksPerUser = 8
)

// Agent answers which pod a launcher may reach.
type Agent interface {
	// Attach returns *RefusedError where the answer is never; any other error is worth another try.
	Attach(context.Context, *agentpb.AttachRequest) (*agentpb.AttachResponse, error)
	// Report passes on what a launcher says of its task's end; errors as with Attach.
	Report(context.Context, *agentpb.ReportRequest) error
}

// PodConn is a pod's exec stream.
type PodConn interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	// Close cuts the stream.
	Close() error
	// Said is what the other side has said beside the stream, may be empty.
	Said() string
}

// Config is what a gatewayd works with.
type Config struct {
	Agent Agent
	// DialPod opens a pod's exec stream.
	DialPod func(context.Context, *agentpb.PodEndpoint) (PodConn, error)
	// Peer says whose process is at the other end; SO_PEERCRED, but for tests.
	Peer func(*net.UnixConn) (*unix.Ucred, error)
	// IsTask says whether a process is a task that slurmstepd has started for the job; see IsTask.
	IsTask func(pid int32, job uint32) bool
	// PerUser bounds the connections of one uid.
	PerUser int
	// Hello is how long a connection may be there without its Hello.
	Hello time.Duration
	// Idle is how long a pod's stream stays without a launcher.
	Idle time.Duration
	Log  *slog.Logger
}

// Server serves launchers. Use New, then Serve once.
type Server struct {
	cfg        Config
	log        *slog.Logger
	complaints complaints

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // links and launchers

	mu      sync.Mutex
	links   map[key]*link
	conns   map[*net.UnixConn]bool
	perUser map[uint32]int
	asking  map[uint32]*turns
	closing bool
}

// key is whom a link was authorised for.
type key struct {
	job  uint32
	node string
	uid  uint32
}

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, log: cfg.Log, links: map[key]*link{}, conns: map[*net.UnixConn]bool{}, perUser: map[uint32]int{},
		asking: map[uint32]*turns{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve works until ctx ends; then it cuts the pods' streams, which supervisors take for a cut and not for the end of
// their launchers, and returns once every goroutine has ended.
func (s *Server) Serve(ctx context.Context, listener *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var broken error
	for {
		conn, err := listener.AcceptUnix()
		if err == nil {
			s.admit(conn)
			continue
		}
		if !passing(err) {
			if !errors.Is(err, net.ErrClosed) {
				broken = err
			}
			break
		}
		s.log.Error("no connection can be taken at the moment", "error", err)
		select {
		case <-time.After(acceptPause):
		case <-ctx.Done():
		}
	}
	s.shutdown()
	return broken
}

// passing says whether what keeps a connection from being taken ends by itself: then those who have one keep it.
func passing(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// shutdown cuts the pods first: a launcher's socket closed before would tell its supervisor that the launcher has ended.
func (s *Server) shutdown() {
	s.cancel()
	s.mu.Lock()
	s.closing = true
	links := make([]*link, 0, len(s.links))
	for _, l := range s.links {
		links = append(links, l)
	}
	s.mu.Unlock()
	for _, l := range links {
		l.cut()
	}
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// admit takes a connection within the caps.
func (s *Server) admit(conn *net.UnixConn) {
	peer, err := s.cfg.Peer(conn)
	if err != nil {
		s.log.Warn("a connection without a known peer", "error", err)
		conn.Close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.perUser[peer.Uid] >= s.cfg.PerUser {
		s.complain(peer.Uid, "too many connections", "most", s.cfg.PerUser)
		conn.Close()
		return
	}
	s.perUser[peer.Uid]++
	s.conns[conn] = true
	s.wg.Go(func() {
		defer s.dismiss(conn, peer.Uid)
		s.serveLauncher(conn, peer)
	})
}

// dismiss counts before it closes: who sees the end may come again at once.
func (s *Server) dismiss(conn *net.UnixConn, uid uint32) {
	defer conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	if s.perUser[uid]--; s.perUser[uid] == 0 {
		delete(s.perUser, uid)
	}
}

// turns are the questions that one uid may have on the way to the agent.
type turns struct {
	slots chan struct{}
	users int // holders and waiters; guarded by Server.mu
}

// turn waits until uid may ask the agent, and returns what ends the turn; nil where ctx ends before, or where more wait
// than uid may have connections: those are of launchers that have gone.
func (s *Server) turn(ctx context.Context, uid uint32) (done func()) {
	s.mu.Lock()
	t := s.asking[uid]
	if t == nil {
		t = &turns{slots: make(chan struct{}, asksPerUser)}
		s.asking[uid] = t
	}
	if t.users >= s.cfg.PerUser {
		s.mu.Unlock()
		return nil
	}
	t.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.asking, uid)
		}
	}
	select {
	case t.slots <- struct{}{}:
		return func() { <-t.slots; leave() }
	case <-ctx.Done():
		leave()
		return nil
	}
}

// acquire finds or begins the link for k. Release it.
func (s *Server) acquire(k key) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[k]
	if l == nil {
		l = newLink(s, k)
		s.links[k] = l
		s.wg.Go(l.run)
	}
	l.users++
	return l
}

func (s *Server) release(l *link) {
	s.mu.Lock()
	l.users--
	s.mu.Unlock()
	select {
	case l.released <- struct{}{}:
	default:
	}
}

// retire removes a link, unless a launcher uses it and mustUnused is set.
func (s *Server) retire(l *link, mustUnused bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mustUnused && l.users > 0 {
		return false
	}
	if s.links[l.key] == l {
		delete(s.links, l.key)
	}
	return true
}
