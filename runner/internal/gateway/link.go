package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"k8s-burst/runner/internal/mux"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

const (
	attachTimeout = 10 * time.Second
	dialTimeout   = 30 * time.Second
	retryFirst    = 200 * time.Millisecond
	retryMost     = 5 * time.Second
	retryLeast    = 100 * time.Millisecond // whatever the agent says
	pendingMost   = 30 * time.Second
)

// link is the way to one pod, authorised for one key. It asks the agent before each stream that it opens; tasks of the
// job that come while the stream lives use it without a further question.
type link struct {
	key
	srv      *Server
	log      *slog.Logger
	users    int           // guarded by srv.mu
	released chan struct{} // somebody has released it

	mu      sync.Mutex
	state   linkState
	changed chan struct{} // closed and replaced at each change
}

// linkState is one of: waiting (message), ready (session), refused.
type linkState struct {
	message string
	session *yamux.Session
	ready   *pb.Connected
	refused *pb.Refused
}

func newLink(s *Server, k key) *link {
	return &link{
		key: k, srv: s, released: make(chan struct{}, 1), changed: make(chan struct{}),
		log: s.log.With("job", k.job, "node", k.node, "uid", k.uid),
	}
}

// look returns the state, and what is closed at its next change.
func (l *link) look() (linkState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

func (l *link) set(state linkState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = state
	close(l.changed)
	l.changed = make(chan struct{})
}

// cut ends the session, if there is one, without a word to the other side.
func (l *link) cut() {
	if state, _ := l.look(); state.session != nil {
		state.session.Close()
	}
}

// run opens the stream and opens it again, as long as there are launchers.
func (l *link) run() {
	defer l.srv.retire(l, false)
	wait := retryFirst
	for l.srv.ctx.Err() == nil {
		session, again, err := l.connect()
		if session != nil {
			wait = retryFirst
			if l.serve(session) {
				return
			}
			continue
		}
		var refused *RefusedError
		if errors.As(err, &refused) {
			l.srv.complain(l.uid, "refused", "job", l.job, "node", l.node, "message", refused.Message)
			l.srv.retire(l, false)
			l.set(linkState{refused: &pb.Refused{Message: refused.Message, Lost: refused.Lost}})
			return
		}
		if again == 0 {
			again, wait = wait, min(2*wait, retryMost)
			l.log.Warn("no stream", "error", err)
		}
		l.set(linkState{message: err.Error()})
		if !l.pause(again) {
			return
		}
	}
}

// pause waits, and returns false where nobody is left to wait for.
func (l *link) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-l.srv.ctx.Done():
			return false
		case <-l.released:
			if l.srv.retire(l, true) {
				return false
			}
		}
	}
}

// serve publishes the session until it ends, or until it has been unused for Idle: then it returns true and the link is
// retired.
func (l *link) serve(session *yamux.Session) (done bool) {
	defer session.Close()
	idle := time.NewTimer(l.srv.cfg.Idle)
	defer idle.Stop()
	for {
		select {
		case <-session.CloseChan():
			l.log.Info("stream cut")
			l.set(linkState{message: "the stream to the pod was cut; connecting again"})
			return l.srv.retire(l, true)
		case <-l.srv.ctx.Done():
			return true
		case <-l.released:
			idle.Reset(l.srv.cfg.Idle)
		case <-idle.C:
			if l.srv.retire(l, true) {
				l.log.Info("stream closed: unused")
				return true
			}
			idle.Reset(l.srv.cfg.Idle)
		}
	}
}

// connect asks the agent and opens the stream. Where it can't, the error is a line for the user, and again is when to
// try again, 0 for a back-off.
func (l *link) connect() (session *yamux.Session, again time.Duration, err error) {
	answer, err := l.srv.ask(l.key)
	if err != nil {
		return nil, 0, err
	}
	switch outcome := answer.GetOutcome().(type) {
	case *agentpb.AttachResponse_Pending:
		again = time.Duration(outcome.Pending.GetRetryAfterMs()) * time.Millisecond
		return nil, min(max(again, retryLeast), pendingMost), errors.New(outcome.Pending.GetMessage())
	case *agentpb.AttachResponse_Lost:
		return nil, 0, &RefusedError{Message: outcome.Lost.GetMessage(), Lost: true}
	case *agentpb.AttachResponse_Ready:
		session, err = l.open(outcome.Ready)
		if err != nil {
			return nil, 0, fmt.Errorf("the pod %s/%s can't be reached: %w",
				outcome.Ready.GetNamespace(), outcome.Ready.GetPod(), err)
		}
		l.log.Info("stream opened", "pod", outcome.Ready.GetPod(), "pod_uid", outcome.Ready.GetPodUid())
		l.set(linkState{session: session, ready: &pb.Connected{
			PodUid: outcome.Ready.GetPodUid(), GpuIndices: outcome.Ready.GetGpuIndices(),
			Partition: outcome.Ready.GetPartition()}})
		return session, 0, nil
	}
	return nil, 0, errors.New("the burst agent's answer is not understood: is it newer than k8s-burst-gatewayd?")
}

// ask asks the agent, when it is this user's turn.
func (s *Server) ask(k key) (*agentpb.AttachResponse, error) {
	done := s.turn(s.ctx, k.uid)
	if done == nil {
		return nil, errors.New("too many questions of this user are on the way to the burst agent; waiting")
	}
	defer done()
	ctx, cancel := context.WithTimeout(s.ctx, attachTimeout)
	defer cancel()
	return s.cfg.Agent.Attach(ctx, &agentpb.AttachRequest{JobId: k.job, NodeName: k.node, Uid: k.uid})
}

// open executes attach in the pod and makes sure that a supervisor is at the other end.
func (l *link) open(endpoint *agentpb.PodEndpoint) (*yamux.Session, error) {
	ctx, cancel := context.WithTimeout(l.srv.ctx, dialTimeout)
	defer cancel()
	conn, err := l.srv.cfg.DialPod(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	session, err := mux.Client(conn, l.log)
	if err != nil {
		conn.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	if _, err := session.Ping(); err != nil {
		session.Close()
		if said := conn.Said(); said != "" {
			return nil, errors.New(said)
		}
		return nil, fmt.Errorf("its supervisor does not answer: %w", err)
	}
	return session, nil
}
