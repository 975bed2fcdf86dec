package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// reportTimeout is how long a task's end may be held up by telling the agent about it.
const reportTimeout = 10 * time.Second

// report tells the agent, over gatewayd, what the exit code can't tell slurmctld. The agent ends the job then, as it is
// to end, and slurmctld may kill this process before the answer comes; without an answer the job ends as its exit code
// says.
func (r Request) report(report *pb.Report) error {
	ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
	defer cancel()
	conn, err := r.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(reportTimeout)); err != nil {
		return err
	}
	hello := &pb.Hello{JobId: r.Job, NodeName: r.Node, Report: report}
	if err := frame.NewWriter(conn, frame.MaxHello).Write(hello); err != nil {
		return err
	}
	var reply pb.HelloReply
	if err := frame.NewReader(conn, frame.MaxHelloReply).Read(&reply); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if reply.GetReported() == nil {
		return errors.New(reply.GetRefused().GetMessage())
	}
	return nil
}
