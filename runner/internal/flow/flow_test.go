package flow

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func pattern(from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((from + i) % 251)
	}
	return p
}

func TestBufferKeepsBytesByOffset(t *testing.T) {
	for _, n := range []int{1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var b Buffer
			b.Append(pattern(0, n))
			for _, offset := range []int{0, 1, n / 2, n - 1} {
				var got []byte
				for len(got) < n-offset {
					piece := b.At(uint64(offset+len(got)), 1000)
					if len(piece) == 0 || len(piece) > 1000 {
						t.Fatalf("a piece of %d bytes at %d", len(piece), offset+len(got))
					}
					got = append(got, piece...)
				}
				if !bytes.Equal(got, pattern(offset, n-offset)) {
					t.Fatalf("from %d on other bytes came", offset)
				}
			}
			if got := b.At(uint64(n), 10); len(got) != 0 {
				t.Errorf("%d bytes beyond the end", len(got))
			}
			b.Discard(uint64(n))
			if b.Len() != 0 || b.Start() != uint64(n) || len(b.chunks) > 1 {
				t.Errorf("after all was discarded: %d bytes, start %d, %d chunks", b.Len(), b.Start(), len(b.chunks))
			}
		})
	}
}

func TestDiscardIsIdempotentAndStaysInside(t *testing.T) {
	var b Buffer
	b.Append(pattern(0, 100))
	for _, offset := range []uint64{40, 40, 10, 101} {
		b.Discard(offset)
	}
	if b.Start() != 40 || !bytes.Equal(b.At(40, 100), pattern(40, 60)) {
		t.Errorf("start %d", b.Start())
	}
	if b.At(39, 10) != nil {
		t.Error("a discarded byte is still there")
	}
}

// A window's worth at the most is held, and goes on where it is told to.
func TestOutboxSendsWithinItsWindow(t *testing.T) {
	o := NewOutbox(100)
	if n := o.Append(pattern(0, 150)); n != 100 || o.Room() != 0 || o.Tail() != nil {
		t.Fatalf("took %d, room %d", n, o.Room())
	}
	offset, data := o.Next(60)
	if offset != 0 || len(data) != 60 {
		t.Fatalf("next: %d, %d bytes", offset, len(data))
	}
	if err := o.Acknowledged(61); err == nil {
		t.Error("an acknowledgement of what was not sent is no error")
	}
	if err := o.Acknowledged(50); err != nil || o.Room() != 50 {
		t.Errorf("%v, room %d", err, o.Room())
	}
	for _, bad := range []uint64{49, 101} {
		if o.Resume(bad) == nil {
			t.Errorf("resumed at %d", bad)
		}
	}
	if err := o.Resume(55); err != nil {
		t.Fatal(err)
	}
	if offset, data := o.Next(1000); offset != 55 || !bytes.Equal(data, pattern(55, 45)) {
		t.Errorf("resumed with %d, %d bytes", offset, len(data))
	}
}

func TestOutboxSaysItsEndOncePerStream(t *testing.T) {
	o := NewOutbox(10)
	o.Append([]byte("ab"))
	o.CloseWrite()
	if o.NextEOF() {
		t.Error("the end came before the bytes")
	}
	o.Next(10)
	if !o.NextEOF() || o.NextEOF() {
		t.Error("the end is said once")
	}
	if err := o.Resume(2); err != nil || !o.NextEOF() {
		t.Error("a new stream hears the end as well")
	}
}

func TestInboxTakesOnlyWhatIsDue(t *testing.T) {
	for _, c := range []struct {
		name   string
		offset uint64
		n      int
		ok     bool
	}{
		{"next", 10, 5, true}, {"nothing", 10, 0, true}, {"gap", 11, 5, false}, {"repetition", 9, 5, false},
		{"window", 10, 90, true}, {"window + 1", 10, 91, false},
	} {
		i := NewInbox(100)
		if err := i.Put(0, pattern(0, 10), false); err != nil {
			t.Fatal(err)
		}
		if err := i.Put(c.offset, pattern(10, c.n), false); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestInboxPassesOnInOrder(t *testing.T) {
	i := NewInbox(100)
	if err := i.Put(0, pattern(0, 100), true); err != nil {
		t.Fatal(err)
	}
	if i.Put(100, []byte("x"), false) == nil {
		t.Error("bytes after the end were taken")
	}
	if got := i.Next(30); !bytes.Equal(got, pattern(0, 30)) {
		t.Error("other bytes came")
	}
	i.Done(20)
	if i.Passed() != 20 || i.Received() != 100 || i.AtEOF() {
		t.Errorf("passed %d, received %d", i.Passed(), i.Received())
	}
	i.Done(80)
	if !i.AtEOF() || !i.Empty() {
		t.Error("the end is not seen")
	}
}

// The window is what was passed on in a quarter of a second, within its bounds.
func TestPace(t *testing.T) {
	p := NewPace(1000, 4000)
	now, passed := time.Unix(100, 0), uint64(0)
	for _, c := range []struct {
		bytes uint64
		span  time.Duration
		want  int
	}{
		{500, time.Millisecond, 1000}, // the first: nothing to compare with
		{500, time.Second, 1000},
		{500, 50 * time.Millisecond, 2500},
		{500, 10 * time.Millisecond, 4000},
		{500, 0, 4000},
		{0, time.Second, 1000},
	} {
		now, passed = now.Add(c.span), passed+c.bytes
		if got := p.Window(passed, now); got != c.want {
			t.Errorf("%d bytes in %v: %d, want %d", c.bytes, c.span, got, c.want)
		}
	}
}

// What a sender may have on the way is never more than what makes an acknowledgement due, also where the last grant was
// lost with its stream.
func TestAnAcknowledgementIsDueAfterAQuarterOfTheWindow(t *testing.T) {
	p := NewPace(1000, 4000)
	now := time.Unix(100, 0)
	p.Window(0, now)
	if p.Due(249, 0) || !p.Due(250, 0) {
		t.Error("not a quarter of the first window")
	}
	if p.Window(5000, now.Add(time.Millisecond)) != 4000 || p.Due(5999, 5000) || !p.Due(6000, 5000) {
		t.Error("not a quarter of a larger window")
	}
	p.Restart()
	if !p.Due(5250, 5000) {
		t.Error("a new stream waits for more than its sender may send")
	}
}

// What is passed on at once is not held, counts as received and passed on, and goes before nothing that waits.
func TestInboxPassesOnAtOnce(t *testing.T) {
	i := NewInbox(100)
	var passed []byte
	put := func(n, most int, eof bool) error {
		at := int(i.Received())
		return i.PutThrough(i.Received(), pattern(at, n), eof, func(p []byte) int {
			p = p[:min(len(p), most)]
			passed = append(passed, p...)
			return len(p)
		})
	}
	for _, c := range []struct {
		n, most, received, passed int
	}{{10, 10, 10, 10}, {10, 4, 20, 14}, {10, 10, 30, 14}, {0, 10, 30, 14}} {
		if err := put(c.n, c.most, false); err != nil {
			t.Fatal(err)
		}
		if int(i.Received()) != c.received || int(i.Passed()) != c.passed {
			t.Errorf("%v: %d received, %d passed on", c, i.Received(), i.Passed())
		}
	}
	for !i.Empty() {
		data := i.Next(7)
		passed = append(passed, data...)
		i.Done(len(data))
	}
	if err := put(20, 20, true); err != nil || !i.AtEOF() || !bytes.Equal(passed, pattern(0, 50)) {
		t.Errorf("%v, %d bytes", err, len(passed))
	}
	if err := put(1, 1, false); err == nil || len(passed) != 50 {
		t.Error("a byte after the end was passed on")
	}
}

func TestASmallerWindowKeepsWhatIsHeld(t *testing.T) {
	o := NewOutbox(10)
	o.SetWindow(100)
	o.Append(pattern(0, 80))
	o.SetWindow(10)
	if o.Room() != 0 || o.Tail() != nil || o.Append([]byte("x")) != 0 {
		t.Error("more was taken than the window allows")
	}
	if _, data := o.Next(1000); !bytes.Equal(data, pattern(0, 80)) {
		t.Error("what was held is gone")
	}
}

// FuzzTransfer moves bytes from an outbox to an inbox over a stream that is cut wherever the fuzzer likes: all arrive,
// in order.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 0, 0, 1, 1, 3, 2, 2, 4})
	f.Fuzz(func(t *testing.T, steps []byte) {
		const window = 1000
		out, in := NewOutbox(window), NewInbox(window)
		var sent, got []byte
		for _, step := range steps {
			size := int(step>>3)*37 + 1
			switch step & 7 {
			case 0, 1:
				data := pattern(len(sent), size)
				sent = append(sent, data[:out.Append(data)]...)
			case 2:
				if offset, data := out.Next(size); len(data) > 0 {
					pass := func(p []byte) int {
						n := min(len(p), 70)
						got = append(got, p[:n]...)
						return n
					}
					if err := in.PutThrough(offset, data, false, pass); err != nil {
						t.Fatal(err)
					}
				}
			case 3: // lost on the way
				out.Next(size)
				if err := out.Resume(in.Received()); err != nil {
					t.Fatal(err)
				}
			case 4:
				data := in.Next(size)
				got = append(got, data...)
				in.Done(len(data))
			case 5:
				if err := out.Acknowledged(in.Passed()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !bytes.Equal(got, sent[:len(got)]) {
			t.Fatal("the bytes differ")
		}
		if held := out.End() - in.Passed(); held > 2*window {
			t.Fatalf("%d bytes are on the way", held)
		}
	})
}
