package supervise

import (
	"fmt"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/flow"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// state is the supervisor's side of one task's conversation. It is pure: resume begins a stream, receive takes a frame
// and says what to do, next gives the frame to send now or nil. What survives a cut is above the line.
type state struct {
	in         *flow.Inbox
	out        *flow.Outbox
	err        *flow.Outbox
	lastSignal uint64
	exit       *pb.Exit // set once all output is in the outboxes
	further    *channel.Hub
	pace       *flow.Pace
	pass       func([]byte) int // writes the beginning of input to the task, as much as goes without waiting

	opened    *pb.Opened // to be sent first on this stream
	ackedIn   uint64
	exitSent  bool
	turn      bool // whose output goes next: neither starves the other
	collected bool // the launcher has the exit
}

// todo is what a frame asks of the operating system.
type todo struct {
	signal  *pb.Signal
	resize  *pb.WindowSize
	arrived *channel.Conn // opened by the launcher
}

func newState(further *channel.Hub, pass func([]byte) int) *state {
	return &state{
		in:  flow.NewInbox(frame.MostWindow),
		out: flow.NewOutbox(frame.OutputWindow),
		err: flow.NewOutbox(frame.OutputWindow),

		further: further, pass: pass,
		pace: flow.NewPace(frame.InputWindow, frame.MostWindow),
	}
}

// resume begins a new stream.
func (s *state) resume(open *pb.Open, resumed bool) error {
	if err := s.out.Resume(open.GetStdoutOffset()); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if err := s.err.Resume(open.GetStderrOffset()); err != nil {
		return fmt.Errorf("standard error: %w", err)
	}
	s.opened = &pb.Opened{Resumed: resumed, InputOffset: s.in.Received(), SignalSequence: s.lastSignal,
		Channels: s.further.Positions()}
	if err := s.further.Resume(open.GetChannels()); err != nil {
		return err
	}
	s.ackedIn, s.exitSent = 0, false
	s.pace.Restart()
	return nil
}

// receive takes a frame of the launcher. An error means that the stream is of no use.
func (s *state) receive(f *pb.ToPod) (todo, error) {
	switch body := f.GetFrame().(type) {
	case *pb.ToPod_Open:
		return todo{}, fmt.Errorf("a second open on one stream, for task %q", body.Open.GetTask())
	case *pb.ToPod_Input:
		if err := s.in.PutThrough(body.Input.GetOffset(), body.Input.GetData(), body.Input.GetEof(), s.pass); err != nil {
			return todo{}, fmt.Errorf("standard input: %w", err)
		}
	case *pb.ToPod_Ack:
		if err := acknowledged(s.out, body.Ack.GetStdoutOffset(), body.Ack.GetStdoutWindow()); err != nil {
			return todo{}, fmt.Errorf("standard output: %w", err)
		}
		if err := acknowledged(s.err, body.Ack.GetStderrOffset(), body.Ack.GetStderrWindow()); err != nil {
			return todo{}, fmt.Errorf("standard error: %w", err)
		}
	case *pb.ToPod_Signal:
		if body.Signal.GetSequence() > s.lastSignal {
			s.lastSignal = body.Signal.GetSequence()
			return todo{signal: body.Signal}, nil
		}
	case *pb.ToPod_WindowSize:
		return todo{resize: body.WindowSize}, nil
	case *pb.ToPod_Channel:
		opened, err := s.further.Receive(body.Channel)
		return todo{arrived: opened}, err
	case *pb.ToPod_ExitAck:
		if s.exit == nil {
			return todo{}, fmt.Errorf("the exit was acknowledged before it was sent")
		}
		s.collected = true
	}
	return todo{}, nil // also a frame of a newer launcher
}

func acknowledged(box *flow.Outbox, offset uint64, granted uint32) error {
	window, err := frame.Window(granted, frame.OutputWindow)
	if err != nil {
		return err
	}
	box.SetWindow(window)
	return box.Acknowledged(offset)
}

// next is the frame to send now; nil where there is none. The exit goes last.
func (s *state) next(now time.Time) *pb.FromPod {
	if s.opened != nil {
		opened := s.opened
		s.opened = nil
		return &pb.FromPod{Frame: &pb.FromPod_Opened{Opened: opened}}
	}
	if s.ackDue() {
		s.ackedIn = s.in.Passed()
		return &pb.FromPod{Frame: &pb.FromPod_InputAck{InputAck: &pb.InputAck{
			Offset: s.ackedIn, Window: uint32(s.pace.Window(s.ackedIn, now))}}}
	}
	if s.exitSent {
		return nil // nothing follows the exit
	}
	if f := s.further.Next(); f != nil {
		return &pb.FromPod{Frame: &pb.FromPod_Channel{Channel: f}}
	}
	if f := s.nextOutput(); f != nil {
		return f
	}
	if s.exit != nil {
		s.exitSent = true
		return &pb.FromPod{Frame: &pb.FromPod_Exit{Exit: s.exit}}
	}
	return nil
}

func (s *state) ackDue() bool { return s.pace.Due(s.in.Passed(), s.ackedIn) }

func (s *state) nextOutput() *pb.FromPod {
	s.turn = !s.turn
	for range 2 {
		box, name := s.out, pb.OutputStream_OUTPUT_STREAM_STDOUT
		if s.turn {
			box, name = s.err, pb.OutputStream_OUTPUT_STREAM_STDERR
		}
		if offset, data := box.Next(frame.Chunk); len(data) > 0 {
			return &pb.FromPod{Frame: &pb.FromPod_Output{Output: &pb.Output{Stream: name, Offset: offset, Data: data}}}
		}
		s.turn = !s.turn
	}
	return nil
}
