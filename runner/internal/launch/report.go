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
// to end; without its answer the job ends as its exit code says.
func (l *Launcher) report(ctx context.Context, report *pb.Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	conn, err := l.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(reportTimeout)); err != nil {
		return err
	}
	hello := &pb.Hello{JobId: l.cfg.JobID, NodeName: l.cfg.Node, Report: report}
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
