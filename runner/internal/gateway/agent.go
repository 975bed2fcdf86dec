package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

// RefusedError is the answer never.
type RefusedError struct {
	Message string
	// Lost says that the job's pod is gone.
	Lost bool
}

func (e *RefusedError) Error() string { return e.Message }

// GRPCAgent asks the burst agent over gRPC.
type GRPCAgent struct {
	conn   *grpc.ClientConn
	client agentpb.GatewayServiceClient
}

// NewGRPCAgent makes a client; it connects at the first question. creds nil is for a unix socket only.
func NewGRPCAgent(target string, creds credentials.TransportCredentials) (*GRPCAgent, error) {
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		// gRPC's own most is two minutes: an agent that is back should be found at once.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", target, err)
	}
	return &GRPCAgent{conn, agentpb.NewGatewayServiceClient(conn)}, nil
}

// Close ends the connection.
func (a *GRPCAgent) Close() error { return a.conn.Close() }

// Attach implements Agent.
func (a *GRPCAgent) Attach(ctx context.Context, request *agentpb.AttachRequest) (*agentpb.AttachResponse, error) {
	var header, trailer metadata.MD
	response, err := a.client.Attach(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return nil, inOurWords(err, header, trailer)
	}
	return response, nil
}

// Report implements Agent.
func (a *GRPCAgent) Report(ctx context.Context, request *agentpb.ReportRequest) error {
	var header, trailer metadata.MD
	_, err := a.client.Report(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return inOurWords(err, header, trailer)
	}
	return nil
}

func inOurWords(err error, header, trailer metadata.MD) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.NotFound, codes.InvalidArgument, codes.FailedPrecondition:
		return &RefusedError{Message: status.Convert(err).Message()}
	}
	// Both are empty where the connection failed and not the agent; gRPC has one code for the two.
	if len(header)+len(trailer) == 0 || status.Code(err) == codes.DeadlineExceeded {
		return errors.New("the burst agent does not answer; waiting")
	}
	return fmt.Errorf("the burst agent can't help at the moment: %s", status.Convert(err).Message())
}
