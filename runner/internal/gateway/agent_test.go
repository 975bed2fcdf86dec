package gateway

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

type service struct {
	agentpb.UnimplementedGatewayServiceServer
	answer error
}

func (s *service) Attach(context.Context, *agentpb.AttachRequest) (*agentpb.AttachResponse, error) {
	if s.answer != nil {
		return nil, s.answer
	}
	return &agentpb.AttachResponse{Outcome: &agentpb.AttachResponse_Pending{Pending: &agentpb.Pending{Message: "m"}}}, nil
}

func TestAgentsAnswersInOurWords(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server, impl := grpc.NewServer(), &service{}
	agentpb.RegisterGatewayServiceServer(server, impl)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	agent, err := NewGRPCAgent("unix://"+socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		_, err := agent.Attach(ctx, &agentpb.AttachRequest{JobId: 7})
		return err
	}
	if err := ask(); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	for _, c := range []struct {
		code  codes.Code
		never bool
		says  string
	}{
		{codes.PermissionDenied, true, "why"},
		{codes.NotFound, true, "why"},
		{codes.Unavailable, false, "the burst agent can't help at the moment: why"},
		{codes.Internal, false, "the burst agent can't help at the moment: why"},
		{codes.DeadlineExceeded, false, "the burst agent does not answer; waiting"},
	} {
		impl.answer = status.Error(c.code, "why")
		err := ask()
		var refused *RefusedError
		if errors.As(err, &refused) != c.never || err.Error() != c.says {
			t.Errorf("%v: %v", c.code, err)
		}
	}
	server.Stop()
	<-done
	if err := ask(); err == nil || err.Error() != "the burst agent does not answer; waiting" {
		t.Errorf("an agent that is away: %v", err)
	}
}
