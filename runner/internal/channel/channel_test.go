package channel

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/frame"
	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// carry moves all frames that there are from one side to the other.
func carry(t *testing.T, from, to *Set) (opened []*Channel) {
	t.Helper()
	for f := from.Next(); f != nil; f = from.Next() {
		c, err := to.Receive(proto.CloneOf(f))
		if err != nil {
			t.Fatal(err)
		}
		if c != nil {
			opened = append(opened, c)
		}
	}
	return opened
}

func cut(t *testing.T, a, b *Set) {
	t.Helper()
	ofA, ofB := a.Positions(), b.Positions()
	if err := a.Resume(ofB); err != nil {
		t.Fatal(err)
	}
	if err := b.Resume(ofA); err != nil {
		t.Fatal(err)
	}
}

func read(c *Channel) string {
	var all []byte
	for data := c.In.Next(1000); len(data) > 0; data = c.In.Next(1000) {
		all = append(all, data...)
		c.In.Done(len(data))
	}
	return string(all)
}

func TestAChannelEndsOnBothSides(t *testing.T) {
	a, b := NewSet(Launcher), NewSet(Supervisor)
	ours, err := a.Open("squeue")
	if err != nil {
		t.Fatal(err)
	}
	opened := carry(t, a, b)
	if len(opened) != 1 || opened[0].Purpose != "squeue" || opened[0].ID != 1 {
		t.Fatalf("opened %v", opened)
	}
	theirs := opened[0]
	ours.Append([]byte("there"))
	theirs.Append([]byte("back"))
	theirs.Out.CloseWrite()
	carry(t, a, b)
	carry(t, b, a)
	if got, want := read(theirs)+read(ours), "thereback"; got != want || !ours.In.AtEOF() || theirs.In.AtEOF() {
		t.Fatalf("got %q", got)
	}
	ours.Out.CloseWrite()
	for range 2 {
		carry(t, a, b)
		carry(t, b, a)
	}
	if len(a.open)+len(b.open) != 0 {
		t.Errorf("left: %d and %d", len(a.open), len(b.open))
	}
	next, err := a.Open("again")
	if err != nil || next.ID != 3 {
		t.Errorf("the next is %v, %v", next, err)
	}
}

func TestARejectedChannelEnds(t *testing.T) {
	a, b := NewSet(Launcher), NewSet(Supervisor)
	ours, err := b.Open("unwanted")
	if err != nil {
		t.Fatal(err)
	}
	for ours.Append(make([]byte, frame.Chunk)) {
	}
	for _, c := range carry(t, b, a) {
		a.Reject(c)
	}
	carry(t, a, b)
	if read(ours) != "" || !ours.In.AtEOF() || ours.Out.Room() == 0 {
		t.Fatalf("the end did not come, or what was sent was not taken: room %d", ours.Out.Room())
	}
	ours.Out.CloseWrite()
	for range 2 {
		carry(t, b, a)
		carry(t, a, b)
	}
	if len(a.open)+len(b.open) != 0 {
		t.Errorf("left: %d and %d", len(a.open), len(b.open))
	}
}

func TestProtocolErrors(t *testing.T) {
	for _, f := range []*pb.Channel{
		{Id: 0}, {Id: 3}, {Id: 2, Offset: 1}, {Id: 2, Data: make([]byte, frame.ChannelWindow+1)}, {Id: 2, Acknowledged: 1},
	} {
		if _, err := NewSet(Launcher).Receive(f); err == nil {
			t.Errorf("taken: channel %d, offset %d", f.GetId(), f.GetOffset())
		}
	}
	s := NewSet(Launcher)
	for id := uint32(2); id <= 2*Most; id += 2 {
		if _, err := s.Receive(&pb.Channel{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Receive(&pb.Channel{Id: 2*Most + 2}); err == nil {
		t.Error("one too many was taken")
	}
	for range Most {
		if _, err := s.Open("x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Open("x"); err == nil {
		t.Error("one too many was opened")
	}
	if err := s.Resume(nil); err == nil {
		t.Error("channels that the other side has opened and does not know")
	}
}

// FuzzChannels lets both sides open, write, end and lose frames as the fuzzer likes; then everything is let through.
// Every byte arrives once, in order, no frame ends within what was written at once, and no channel is left.
func FuzzChannels(f *testing.F) {
	f.Add([]byte{0, 8, 16, 24, 1, 9, 33, 3, 4, 12, 20, 5, 13, 6, 2, 10, 7, 15})
	f.Fuzz(func(t *testing.T, steps []byte) {
		sets := [2]*Set{NewSet(Launcher), NewSet(Supervisor)}
		wrote, got, ends := map[string][]byte{}, map[string][]byte{}, map[string][]int{}
		var live [2][]*Channel
		receive := func(side int, f *pb.Channel) {
			c, err := sets[side].Receive(proto.CloneOf(f))
			if err != nil {
				t.Fatal(err)
			}
			end := int(f.GetOffset()) + len(f.GetData())
			if name := fmt.Sprint(f.GetId(), "to", side); len(f.GetData()) > 0 && !slices.Contains(ends[name], end) {
				t.Fatalf("%s: a frame ends at byte %d, within what was written at once", name, end)
			}
			if c != nil {
				live[side] = append(live[side], c)
			}
		}
		drain := func(side int) {
			for _, c := range live[side] {
				name := fmt.Sprint(c.ID, "to", side)
				got[name] = append(got[name], read(c)...)
			}
		}
		for _, step := range steps {
			side, n := int(step>>3)%2, int(step>>4)
			switch step & 7 {
			case 0:
				if c, err := sets[side].Open("x"); err == nil {
					live[side] = append(live[side], c)
				}
			case 1, 2:
				if len(live[side]) > 0 {
					c := live[side][n%len(live[side])]
					if c.Out.Closed() {
						break
					}
					data := bytes.Repeat([]byte{byte(n)}, 1+n*4096)
					name := fmt.Sprint(c.ID, "to", 1-side)
					if c.Append(data) {
						wrote[name] = append(wrote[name], data...)
						ends[name] = append(ends[name], len(wrote[name]))
					}
				}
			case 3:
				if len(live[side]) > 0 {
					live[side][n%len(live[side])].Out.CloseWrite()
				}
			case 4, 5:
				if f := sets[side].Next(); f != nil {
					receive(1-side, f)
				}
			case 6:
				drain(side)
			case 7: // what is sent now is lost, in one direction or both
				sets[side].Next()
				cut(t, sets[0], sets[1])
			}
		}
		for round := 0; round < 40; round++ {
			for side := range sets {
				for f := sets[side].Next(); f != nil; f = sets[side].Next() {
					receive(1-side, f)
				}
				drain(side)
				for _, c := range live[side] {
					c.Out.CloseWrite()
				}
			}
		}
		for name, want := range wrote {
			if !bytes.Equal(got[name], want) {
				t.Fatalf("%s: %d bytes came of %d", name, len(got[name]), len(want))
			}
		}
		if len(sets[0].open)+len(sets[1].open) > 0 {
			t.Fatalf("left: %d and %d", len(sets[0].open), len(sets[1].open))
		}
	})
}
