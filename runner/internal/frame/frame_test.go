package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/rawio"
)

func output(n int) *pb.FromPod {
	return &pb.FromPod{Frame: &pb.FromPod_Output{Output: &pb.Output{
		Stream: pb.OutputStream_OUTPUT_STREAM_STDOUT, Offset: 9, Data: bytes.Repeat([]byte{'x'}, n)}}}
}

func TestFramesComeAsTheyWent(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, Chunk - 1, Chunk, Chunk + 1, MaxFromPod - 32} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var wire bytes.Buffer
			w := NewWriter(&wire, MaxFromPod)
			for range 3 {
				if err := w.Write(output(n)); err != nil {
					t.Fatal(err)
				}
			}
			r := NewReader(iotest.OneByteReader(&wire), MaxFromPod)
			for range 3 {
				var got pb.FromPod
				if err := r.Read(&got); err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(&got, output(n)) {
					t.Fatal("another frame came")
				}
			}
			if err := r.Read(&pb.FromPod{}); err != io.EOF {
				t.Errorf("after the last frame: %v", err)
			}
		})
	}
}

// On a unix socket the data goes without a copy, and comes as it went.
func TestInputComesAsItWentThroughASocket(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		if ends[i], err = rawio.NewConn(conn.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
		defer ends[i].Close()
		file.Close()
	}
	all := []*pb.Input{
		{Data: []byte("x")}, {Offset: 1, Data: bytes.Repeat([]byte("y"), Chunk)}, {Offset: 1 << 40, Data: []byte("z"), Eof: true},
		{Offset: 1 << 40, Data: bytes.Repeat([]byte("w"), 5*Chunk)}, {Offset: 7}, {Offset: 8, Eof: true}, {},
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		w := NewWriter(ends[0], MaxToPod)
		for _, input := range all {
			if err := w.Write(&pb.ToPod{Frame: &pb.ToPod_Input{Input: input}}); err != nil {
				t.Error(err)
			}
		}
	})
	r := NewReader(ends[1], MaxToPod)
	for _, want := range all {
		var got pb.ToPod
		if err := r.Read(&got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got.GetInput(), want) {
			t.Errorf("%d bytes at %d became %d at %d", len(want.Data), want.Offset, len(got.GetInput().GetData()), got.GetInput().GetOffset())
		}
	}
	writing.Wait()
}

// What is taken apart without a copy is what protobuf would have made of it, whatever a peer sends.
// The end of a stream is told from a frame that ends too early within itself.
func TestClosed(t *testing.T) {
	for wire, want := range map[string]bool{
		"":                  true,
		"\x80":              true,
		"\x04\x12":          true,
		"\x02\x12\x05":      false, // an Input of five bytes, of which none is in the frame
		"\x81\x80\x80\x80x": false,
	} {
		err := NewReader(bytes.NewReader([]byte(wire)), MaxToPod).Read(&pb.ToPod{})
		if err == nil || Closed(err) != want {
			t.Errorf("%q: %v", wire, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, m := range []proto.Message{output(3), output(0), &pb.ToPod{Frame: &pb.ToPod_Input{Input: &pb.Input{Offset: 1 << 50, Data: []byte("x"), Eof: true}}}} {
		wire, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
		f.Add(append(wire, wire...))
		f.Add(append(wire, 0x78, 1))
	}
	f.Add([]byte{0x12, 2, 0x18, 0x80})
	f.Add([]byte{0x12, 3, 0x18, 0x80, 1})
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, pair := range [][2]proto.Message{{&pb.ToPod{}, &pb.ToPod{}}, {&pb.FromPod{}, &pb.FromPod{}}} {
			ours, theirs := unmarshal(wire, pair[0]), proto.Unmarshal(wire, pair[1])
			if (ours == nil) != (theirs == nil) || ours == nil && !proto.Equal(pair[0], pair[1]) {
				t.Fatalf("%x: %v (%v) and %v (%v)", wire, pair[0], ours, pair[1], theirs)
			}
		}
	})
}

func TestCaps(t *testing.T) {
	const most = 1000
	exact := 0
	for n := range most { // the largest that fits
		if proto.Size(output(n)) <= most {
			exact = n
		}
	}
	for _, c := range []struct {
		n  int
		ok bool
	}{{exact - 1, true}, {exact, true}, {exact + 1, false}} {
		var wire bytes.Buffer
		err := NewWriter(&wire, most).Write(output(c.n))
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("write %d: %v", c.n, err)
		}
		if !c.ok && wire.Len() > 0 {
			t.Errorf("write %d: a part of it was sent", c.n)
		}
		wire.Reset()
		if err := NewWriter(&wire, MaxFromPod).Write(output(c.n)); err != nil {
			t.Fatal(err)
		}
		err = NewReader(&wire, most).Read(&pb.FromPod{})
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("read %d: %v", c.n, err)
		}
	}
}

func TestTruncatedFrameIsNoEnd(t *testing.T) {
	var wire bytes.Buffer
	if err := NewWriter(&wire, MaxFromPod).Write(output(300)); err != nil {
		t.Fatal(err)
	}
	whole := wire.Bytes()
	for n := 1; n < len(whole); n++ {
		err := NewReader(bytes.NewReader(whole[:n]), MaxFromPod).Read(&pb.FromPod{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestErrorsStay(t *testing.T) {
	r := NewReader(bytes.NewReader([]byte{200, 1, 0}), MaxFromPod)
	first := r.Read(&pb.FromPod{})
	if again := r.Read(&pb.FromPod{}); first == nil || again != first {
		t.Errorf("read: %v, then %v", first, again)
	}
	w := NewWriter(&failing{}, MaxFromPod)
	first = w.Write(output(1))
	if again := w.Write(output(1)); first == nil || again != first {
		t.Errorf("write: %v, then %v", first, again)
	}
}

type failing struct{ calls int }

func (f *failing) Write([]byte) (int, error) {
	f.calls++
	return 0, fmt.Errorf("failure %d", f.calls)
}

// A size alone costs no memory: a peer must send what it wants to be kept.
func TestSizeAloneAllocatesNothing(t *testing.T) {
	wire := binary.AppendUvarint(nil, MaxToPod)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := NewReader(bytes.NewReader(wire), MaxToPod).Read(&pb.ToPod{})
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}

// What a reader takes, a writer makes, and a reader takes as the same again.
func FuzzReader(f *testing.F) {
	var wire bytes.Buffer
	w := NewWriter(&wire, MaxToPod)
	for _, m := range []*pb.ToPod{
		{Frame: &pb.ToPod_Open{Open: &pb.Open{Task: "batch", Start: &pb.Start{Argv: [][]byte{{0xff}}, Script: []byte("#!/bin/sh\n")}}}},
		{Frame: &pb.ToPod_Signal{Signal: &pb.Signal{Number: 15, Sequence: 1}}},
		{Frame: &pb.ToPod_Input{Input: &pb.Input{Data: []byte("x"), Eof: true}}},
	} {
		if err := w.Write(m); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(wire.Bytes())
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data), 1<<16)
		for {
			var m, again pb.ToPod
			if r.Read(&m) != nil {
				return
			}
			var wire bytes.Buffer
			if err := NewWriter(&wire, MaxToPod).Write(&m); err != nil {
				t.Fatal(err)
			}
			if err := NewReader(&wire, MaxToPod).Read(&again); err != nil || !proto.Equal(&m, &again) {
				t.Fatalf("%v became %v: %v", &m, &again, err)
			}
		}
	})
}
