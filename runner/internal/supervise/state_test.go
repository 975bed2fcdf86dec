package supervise

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// alone is a state whose channels nobody uses.
func alone() *state {
	return newState(channel.NewHub(channel.Supervisor, &sync.Mutex{}, func() {}), func([]byte) int { return 0 })
}

// sends is what the supervisor would send now, by name.
func sends(s *state) string {
	var names []string
	for f := s.next(time.Now()); f != nil; f = s.next(time.Now()) {
		name := strings.TrimPrefix(fmt.Sprintf("%T", f.GetFrame()), "*burstv1.FromPod_")
		if o := f.GetOutput(); o != nil {
			name = fmt.Sprintf("%s%d+%d", o.GetStream(), o.GetOffset(), len(o.GetData()))
			name = strings.TrimPrefix(name, "OUTPUT_STREAM_")
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func toPod(frame any) *pb.ToPod {
	switch f := frame.(type) {
	case *pb.Input:
		return &pb.ToPod{Frame: &pb.ToPod_Input{Input: f}}
	case *pb.Ack:
		return &pb.ToPod{Frame: &pb.ToPod_Ack{Ack: f}}
	case *pb.Signal:
		return &pb.ToPod{Frame: &pb.ToPod_Signal{Signal: f}}
	case *pb.ExitAck:
		return &pb.ToPod{Frame: &pb.ToPod_ExitAck{ExitAck: f}}
	case *pb.Open:
		return &pb.ToPod{Frame: &pb.ToPod_Open{Open: f}}
	case *pb.Channel:
		return &pb.ToPod{Frame: &pb.ToPod_Channel{Channel: f}}
	}
	panic("unknown frame")
}

func TestExitGoesAfterAllOutput(t *testing.T) {
	s := alone()
	if err := s.resume(&pb.Open{}, false); err != nil {
		t.Fatal(err)
	}
	s.out.Append([]byte("12345"))
	s.err.Append([]byte("123"))
	s.exit = &pb.Exit{StdoutEnd: 5, StderrEnd: 3}
	if got := sends(s); got != "Opened STDERR0+3 STDOUT0+5 Exit" {
		t.Errorf("sent %s", got)
	}
	// After a cut all of it goes again that the launcher does not have.
	if err := s.resume(&pb.Open{StdoutOffset: 2, StderrOffset: 3}, true); err != nil {
		t.Fatal(err)
	}
	if got := sends(s); got != "Opened STDOUT2+3 Exit" {
		t.Errorf("sent %s", got)
	}
}

func TestAcknowledgedOutputCannotBeAskedForAgain(t *testing.T) {
	s := alone()
	s.out.Append([]byte("12345"))
	if err := s.resume(&pb.Open{}, false); err != nil {
		t.Fatal(err)
	}
	sends(s)
	if _, err := s.receive(toPod(&pb.Ack{StdoutOffset: 3})); err != nil {
		t.Fatal(err)
	}
	for offset, ok := range map[uint64]bool{2: false, 3: true, 5: true, 6: false} {
		if err := s.resume(&pb.Open{StdoutOffset: offset}, true); (err == nil) != ok {
			t.Errorf("resumed at %d: %v", offset, err)
		}
	}
}

func TestASignalIsDeliveredOnce(t *testing.T) {
	s := alone()
	var got []uint32
	for _, sequence := range []uint64{1, 2, 2, 1, 3} {
		what, err := s.receive(toPod(&pb.Signal{Number: uint32(10 + sequence), Sequence: sequence}))
		if err != nil {
			t.Fatal(err)
		}
		if what.signal != nil {
			got = append(got, what.signal.GetNumber())
		}
	}
	if !slices.Equal(got, []uint32{11, 12, 13}) {
		t.Errorf("delivered %v", got)
	}
}

func TestProtocolErrors(t *testing.T) {
	for _, frame := range []any{
		&pb.Open{Task: "batch"}, &pb.ExitAck{}, &pb.Ack{StdoutOffset: 1}, &pb.Ack{StderrOffset: 1}, &pb.Ack{StdoutWindow: 1}, &pb.Ack{StderrWindow: frame.MostWindow + 1},
		&pb.Input{Offset: 1}, &pb.Input{Data: make([]byte, frame.MostWindow+1)},
	} {
		if _, err := alone().receive(toPod(frame)); err == nil {
			t.Errorf("%T %v was taken", frame, frame)
		}
	}
}
