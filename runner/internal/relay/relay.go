// Package relay runs Slurm's real commands on the gateway, as the job's user, for the stand-ins in the pod.
//
//	relay.go        Serve: one stand-in from its first frame to its end
//	plan.go         which program, with which words and environment; what is refused, and why
//	srun.go         what becomes of srun's options and files; sbcast.go makes a step of sbcast
//	options.go      Slurm's option tables
//	run.go          the process, its files and its signals
//	files.go        files that Slurm's commands open themselves, where only the pod has them
//
// What may be run is a list of names; where they are is the administrator's. The caller's environment reaches them
// without what says which code is loaded (package carry). They run as the launcher does, as the job's user, so a pod gains
// nothing by them that Slurm does not give its user anyhow.
package relay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Config is what all relayed commands of one launcher share.
type Config struct {
	// Directory has Slurm's commands.
	Directory string
	// SlurmConf is slurm.conf, where it is not in its usual place.
	SlurmConf string
	// Shim is the words of a program that sets resource limits and then runs its further arguments: the limits in
	// base 64, a path, argv.
	Shim []string
	// Stdout and Stderr are the launcher's own.
	Stdout, Stderr *os.File
	// AwaitPassed waits until so many bytes of the task's own output were written to Stdout or Stderr.
	AwaitPassed func(pb.OutputStream, uint64) bool
	// Scratch is where files of a pod that the gateway lacks are put; empty for the usual place.
	Scratch string
}

// session is one stand-in.
type session struct {
	cfg    Config
	frames *frame.Reader

	sending sync.Mutex
	out     *frame.Writer
}

// Serve runs one command for a stand-in, and returns when it has ended. It closes conn.
func Serve(cfg Config, conn io.ReadWriteCloser) {
	defer conn.Close()
	s := &session{cfg: cfg, frames: frame.NewReader(conn, frame.MaxToPod), out: frame.NewWriter(conn, frame.MaxFromPod)}
	var first pb.ToGateway
	if err := s.frames.Read(&first); err != nil || first.GetCommand() == nil {
		return
	}
	exit, err := s.serve(first.GetCommand())
	if err != nil {
		var refused *refusedError
		if !errors.As(err, &refused) {
			refused = refusal(commandName(first.GetCommand()), err.Error())
		}
		_ = s.write(pb.OutputStream_OUTPUT_STREAM_STDERR, []byte(refused.text+"\n"))
		exit = &pb.Exit{Status: &pb.Exit_Code{Code: 1}}
	}
	_ = s.send(&pb.FromGateway{Frame: &pb.FromGateway_Exit{Exit: exit}})
}

// refusedError is what is not done for a pod, as the user is to read it.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

func refusal(name, why string) *refusedError {
	return &refusedError{fmt.Sprintf("%s: error: k8s-burst: %s", name, why)}
}

func (s *session) serve(command *pb.Command) (*pb.Exit, error) {
	plan, err := s.plan(command)
	if err != nil {
		return nil, err
	}
	defer plan.cleanUp()
	return s.run(plan)
}

func (s *session) send(f *pb.FromGateway) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.out.Write(f)
}

func (s *session) write(stream pb.OutputStream, data []byte) error {
	return s.send(&pb.FromGateway{Frame: &pb.FromGateway_Output{
		Output: &pb.CommandOutput{Stream: stream, Data: data}}})
}
