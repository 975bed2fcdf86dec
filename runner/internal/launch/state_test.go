package launch

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// alone is a state whose channels nobody uses.
func alone(task string) *state {
	return newState(task, channel.NewHub(channel.Launcher, &sync.Mutex{}, func() {}))
}

func opened(o *pb.Opened) *pb.FromPod { return &pb.FromPod{Frame: &pb.FromPod_Opened{Opened: o}} }

// ackAfter is how much output is acknowledged at first.
const ackAfter = frame.OutputWindow / 4

func output(stream pb.OutputStream, offset uint64, data string) *pb.FromPod {
	return &pb.FromPod{Frame: &pb.FromPod_Output{Output: &pb.Output{Stream: stream, Offset: offset, Data: []byte(data)}}}
}

func exit(code uint32, out, err uint64) *pb.FromPod {
	return &pb.FromPod{Frame: &pb.FromPod_Exit{Exit: &pb.Exit{
		Status: &pb.Exit_Code{Code: code}, StdoutEnd: out, StderrEnd: err}}}
}

const (
	stdout = pb.OutputStream_OUTPUT_STREAM_STDOUT
	stderr = pb.OutputStream_OUTPUT_STREAM_STDERR
)

// must takes frames that have to be right.
func must(t *testing.T, s *state, frames ...*pb.FromPod) {
	t.Helper()
	for _, f := range frames {
		if err := s.receive(f); err != nil {
			t.Fatalf("%v: %v", f, err)
		}
	}
}

// sends is what the launcher would send now, by name.
func sends(s *state) string {
	var names []string
	for f := s.next(time.Now()); f != nil; f = s.next(time.Now()) {
		name := strings.TrimPrefix(fmt.Sprintf("%T", f.GetFrame()), "*burstv1.ToPod_")
		switch {
		case f.GetSignal() != nil:
			name += fmt.Sprint(f.GetSignal().GetNumber(), "#", f.GetSignal().GetSequence())
		case f.GetInput() != nil:
			name += fmt.Sprint(f.GetInput().GetOffset(), "+", len(f.GetInput().GetData()))
		case f.GetAck() != nil:
			name += fmt.Sprint(f.GetAck().GetStdoutOffset(), ",", f.GetAck().GetStderrOffset())
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestNothingIsSentBeforeOpened(t *testing.T) {
	s := alone("batch")
	s.input.Append([]byte("in"))
	s.signal(10, pb.SignalScope_SIGNAL_SCOPE_ALL)
	if f := s.open(&pb.Start{}); f.GetOpen().GetStart() == nil || f.GetOpen().GetTask() != "batch" {
		t.Errorf("opens with %v", f)
	}
	if got := sends(s); got != "" {
		t.Errorf("sent %s", got)
	}
	if s.receive(output(stdout, 0, "x")) == nil {
		t.Error("output before opened was taken")
	}
}

func TestSignalsGoFirst(t *testing.T) {
	s := alone("batch")
	s.open(&pb.Start{})
	must(t, s, opened(&pb.Opened{}), output(stdout, 0, "out"))
	s.input.Append([]byte("in"))
	s.resize(&pb.WindowSize{Rows: 1})
	must(t, s, output(stdout, 3, strings.Repeat("x", ackAfter)))
	s.out.Done(ackAfter)
	s.signal(15, pb.SignalScope_SIGNAL_SCOPE_ALL)
	if got := sends(s); got != "Signal15#1 WindowSize Ack262144,0 Input0+2" {
		t.Errorf("sent %s", got)
	}
}

// On a new stream everything that may be lost goes again, and nothing else.
func TestResume(t *testing.T) {
	s := alone("0.0")
	s.open(&pb.Start{})
	must(t, s, opened(&pb.Opened{}), output(stdout, 0, "12345"), output(stderr, 0, "12"))
	s.input.Append([]byte("abcdef"))
	s.resize(&pb.WindowSize{Rows: 1})
	for number := uint32(10); number < 13; number++ {
		s.signal(number, pb.SignalScope_SIGNAL_SCOPE_ALL)
	}
	s.out.Done(5)
	sends(s)
	open := s.open(&pb.Start{}).GetOpen()
	if open.GetStart() != nil || open.GetStdoutOffset() != 5 || open.GetStderrOffset() != 2 {
		t.Errorf("comes back with %v", open)
	}
	must(t, s, opened(&pb.Opened{Resumed: true, InputOffset: 4, SignalSequence: 2}))
	if got := sends(s); got != "Signal12#3 WindowSize Input4+2" {
		t.Errorf("sent %s", got)
	}
}

// The exit is acknowledged when every byte was passed on, not before; and only where every byte has come.
func TestExit(t *testing.T) {
	s := alone("0.0")
	s.open(&pb.Start{})
	must(t, s, opened(&pb.Opened{}), output(stdout, 0, "123"))
	for _, bad := range []*pb.FromPod{exit(0, 4, 0), exit(0, 2, 0), exit(0, 3, 1)} {
		if s.receive(bad) == nil {
			t.Errorf("taken: %v", bad)
		}
	}
	must(t, s, exit(7, 3, 0))
	if s.receive(output(stdout, 3, "more")) == nil {
		t.Error("output after the exit was taken")
	}
	if got := sends(s); got != "" {
		t.Errorf("sent %s before the output was passed on", got)
	}
	s.out.Done(3)
	if got := sends(s); got != "ExitAck" {
		t.Errorf("sent %s", got)
	}
}

// Output is acknowledged a quarter of the window at a time, and after a cut as a whole.
func TestAcknowledgements(t *testing.T) {
	s := alone("0.0")
	s.open(&pb.Start{})
	must(t, s, opened(&pb.Opened{}), output(stderr, 0, strings.Repeat("x", 2*ackAfter)))
	for _, step := range []struct {
		done int
		want string
	}{{ackAfter - 1, ""}, {1, "Ack0,262144"}, {ackAfter - 1, ""}} {
		s.err.Done(step.done)
		if got := sends(s); got != step.want {
			t.Errorf("after %d: sent %q, want %q", step.done, got, step.want)
		}
	}
	s.open(nil)
	must(t, s, opened(&pb.Opened{Resumed: true}))
	if got := sends(s); got != "Ack0,524287" {
		t.Errorf("after a cut: sent %q", got)
	}
}

func TestProtocolErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		f    *pb.FromPod
	}{
		{"opened twice", opened(&pb.Opened{})},
		{"gap", output(stdout, 1, "x")},
		{"too much", output(stderr, 0, strings.Repeat("x", frame.MostWindow+1))},
		{"window too small", &pb.FromPod{Frame: &pb.FromPod_InputAck{InputAck: &pb.InputAck{Window: 1}}}},
		{"window too large", &pb.FromPod{Frame: &pb.FromPod_InputAck{InputAck: &pb.InputAck{Window: frame.MostWindow + 1}}}},
		{"input acknowledged that was never sent", &pb.FromPod{Frame: &pb.FromPod_InputAck{InputAck: &pb.InputAck{Offset: 1}}}},
	} {
		s := alone("0.0")
		s.open(&pb.Start{})
		must(t, s, opened(&pb.Opened{}))
		if s.receive(c.f) == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

func TestKeptSignalsAreBounded(t *testing.T) {
	s := alone("0.0")
	for range keptSignals + 10 {
		s.signal(10, pb.SignalScope_SIGNAL_SCOPE_ALL)
	}
	if len(s.signals) != keptSignals || s.signals[0].GetSequence() != 11 {
		t.Errorf("%d are kept, the first is number %d", len(s.signals), s.signals[0].GetSequence())
	}
}
