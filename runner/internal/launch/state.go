package launch

import (
	"fmt"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/flow"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// keptSignals bounds the signals kept for a stream that is cut.
const keptSignals = 256

// state is the launcher's side of one task's conversation. It is pure: open gives a new stream's first frame, receive
// takes a frame, next gives the frame to send now or nil. What survives a cut is above the line.
type state struct {
	task    string
	input   *flow.Outbox // standard input
	out     *flow.Inbox
	err     *flow.Inbox
	signals []*pb.Signal // not known to be delivered, by sequence
	lastSeq uint64
	window  *pb.WindowSize
	started bool // the supervisor has said that the task runs
	exit    *pb.Exit
	failure *pb.Failure
	further *channel.Hub
	arrived []*channel.Conn // opened by the supervisor, and not yet taken
	outPace *flow.Pace
	errPace *flow.Pace

	opened     bool // on this stream
	signalsOut int  // of signals, how many were sent
	windowOut  bool
	ackedOut   uint64
	ackedErr   uint64
	exitAcked  bool
}

func newState(task string, further *channel.Hub) *state {
	return &state{
		task:  task,
		input: flow.NewOutbox(frame.InputWindow),
		out:   flow.NewInbox(frame.MostWindow),
		err:   flow.NewInbox(frame.MostWindow),

		further: further,
		outPace: flow.NewPace(frame.OutputWindow, frame.MostWindow),
		errPace: flow.NewPace(frame.OutputWindow, frame.MostWindow),
	}
}

// open begins a new stream.
func (s *state) open(start *pb.Start) *pb.ToPod {
	s.opened, s.windowOut, s.exitAcked = false, false, false
	s.signalsOut, s.ackedOut, s.ackedErr = 0, 0, 0
	s.outPace.Restart()
	s.errPace.Restart()
	open := &pb.Open{Task: s.task, StdoutOffset: s.out.Received(), StderrOffset: s.err.Received(),
		Channels: s.further.Positions()}
	if !s.started {
		open.Start = start
	}
	return &pb.ToPod{Frame: &pb.ToPod_Open{Open: open}}
}

// receive takes a frame of the supervisor. An error means that the stream is of no use.
func (s *state) receive(f *pb.FromPod) error {
	if opened := f.GetOpened(); opened != nil {
		return s.receiveOpened(opened)
	}
	if failure := f.GetFailure(); failure != nil {
		s.failure = failure
		return nil
	}
	if !s.opened {
		return fmt.Errorf("the supervisor sent %T before it opened task %s", f.GetFrame(), s.task)
	}
	switch body := f.GetFrame().(type) {
	case *pb.FromPod_Output:
		return s.receiveOutput(body.Output)
	case *pb.FromPod_InputAck:
		return s.receiveInputAck(body.InputAck)
	case *pb.FromPod_Exit:
		return s.receiveExit(body.Exit)
	case *pb.FromPod_Channel:
		return s.receiveChannel(body.Channel)
	}
	return nil // a frame of a newer supervisor
}

func (s *state) receiveOpened(opened *pb.Opened) error {
	if s.opened {
		return fmt.Errorf("the supervisor opened task %s twice", s.task)
	}
	if err := s.input.Resume(opened.GetInputOffset()); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	if err := s.further.Resume(opened.GetChannels()); err != nil {
		return err
	}
	for len(s.signals) > 0 && s.signals[0].GetSequence() <= opened.GetSignalSequence() {
		s.signals = s.signals[1:]
	}
	s.opened, s.started = true, true
	return nil
}

func (s *state) receiveOutput(o *pb.Output) error {
	inbox := s.out
	if o.GetStream() == pb.OutputStream_OUTPUT_STREAM_STDERR {
		inbox = s.err
	}
	if s.exit != nil {
		return fmt.Errorf("output after the exit of task %s", s.task)
	}
	if err := inbox.Put(o.GetOffset(), o.GetData(), false); err != nil {
		return fmt.Errorf("output %v: %w", o.GetStream(), err)
	}
	return nil
}

func (s *state) receiveInputAck(ack *pb.InputAck) error {
	window, err := frame.Window(ack.GetWindow(), frame.InputWindow)
	if err != nil {
		return err
	}
	s.input.SetWindow(window)
	return s.input.Acknowledged(ack.GetOffset())
}

func (s *state) receiveExit(exit *pb.Exit) error {
	if exit.GetStdoutEnd() != s.out.Received() || exit.GetStderrEnd() != s.err.Received() {
		return fmt.Errorf("exit of task %s before all output: %d and %d bytes came of %d and %d", s.task,
			s.out.Received(), s.err.Received(), exit.GetStdoutEnd(), exit.GetStderrEnd())
	}
	s.exit = exit
	return nil
}

// receiveChannel takes a frame of a further stream.
func (s *state) receiveChannel(f *pb.Channel) error {
	opened, err := s.further.Receive(f)
	if opened != nil {
		s.arrived = append(s.arrived, opened)
	}
	return err
}

// signal queues a signal for the task.
func (s *state) signal(number uint32, scope pb.SignalScope) {
	s.lastSeq++
	s.signals = append(s.signals, &pb.Signal{Number: number, Scope: scope, Sequence: s.lastSeq})
	if excess := len(s.signals) - keptSignals; excess > 0 {
		s.signals = s.signals[excess:]
		s.signalsOut = max(0, s.signalsOut-excess)
	}
}

// resize notes the terminal's size.
func (s *state) resize(size *pb.WindowSize) {
	s.window, s.windowOut = size, false
}

// next is the frame to send now; nil where there is none. Signals go before everything else.
func (s *state) next(now time.Time) *pb.ToPod {
	if !s.opened || s.failure != nil {
		return nil
	}
	if s.signalsOut < len(s.signals) {
		s.signalsOut++
		return &pb.ToPod{Frame: &pb.ToPod_Signal{Signal: s.signals[s.signalsOut-1]}}
	}
	if s.window != nil && !s.windowOut {
		s.windowOut = true
		return &pb.ToPod{Frame: &pb.ToPod_WindowSize{WindowSize: s.window}}
	}
	if s.ackDue() {
		s.ackedOut, s.ackedErr = s.out.Passed(), s.err.Passed()
		return &pb.ToPod{Frame: &pb.ToPod_Ack{Ack: &pb.Ack{
			StdoutOffset: s.ackedOut, StdoutWindow: uint32(s.outPace.Window(s.ackedOut, now)),
			StderrOffset: s.ackedErr, StderrWindow: uint32(s.errPace.Window(s.ackedErr, now)),
		}}}
	}
	if s.allPassed() {
		if s.exitAcked {
			return nil
		}
		s.exitAcked = true
		return &pb.ToPod{Frame: &pb.ToPod_ExitAck{ExitAck: &pb.ExitAck{}}}
	}
	if f := s.further.Next(); f != nil {
		return &pb.ToPod{Frame: &pb.ToPod_Channel{Channel: f}}
	}
	return s.nextInput()
}

func (s *state) nextInput() *pb.ToPod {
	offset, data := s.input.Next(frame.Chunk)
	eof := s.input.NextEOF()
	if len(data) == 0 && !eof {
		return nil
	}
	return &pb.ToPod{Frame: &pb.ToPod_Input{Input: &pb.Input{Offset: offset, Data: data, Eof: eof}}}
}

func (s *state) ackDue() bool {
	return s.outPace.Due(s.out.Passed(), s.ackedOut) || s.errPace.Due(s.err.Passed(), s.ackedErr)
}

// allPassed says that the task has ended and every byte of its output was passed on.
func (s *state) allPassed() bool { return s.exit != nil && s.out.Empty() && s.err.Empty() }
