package channel

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"k8s-burst/runner/internal/frame"
)

// side is one end of a task's stream: a hub with its owner's lock, and a goroutine that carries what it sends.
type side struct {
	mu   sync.Mutex
	send *sync.Cond
	hub  *Hub
	over bool
}

func newSide(first uint32) *side {
	s := &side{}
	s.send = sync.NewCond(&s.mu)
	s.hub = NewHub(first, &s.mu, s.send.Signal)
	return s
}

// carry moves frames to the other side until the end; each channel that they open goes to opened.
func (s *side) carry(t *testing.T, to *side, opened chan<- *Conn) {
	for {
		s.mu.Lock()
		f := s.hub.Next()
		for ; f == nil && !s.over; f = s.hub.Next() {
			s.send.Wait()
		}
		s.mu.Unlock()
		if f == nil {
			return
		}
		to.mu.Lock()
		conn, err := to.hub.Receive(proto.CloneOf(f))
		to.mu.Unlock()
		if err != nil {
			t.Error(err)
			return
		}
		if conn != nil {
			opened <- conn
		}
	}
}

func (s *side) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.hub.End()
	s.send.Broadcast()
}

// pair is two sides that carry to each other until the test ends.
func pair(t *testing.T) (a, b *side, opened chan *Conn) {
	a, b, opened = newSide(Launcher), newSide(Supervisor), make(chan *Conn, Most)
	var carriers sync.WaitGroup
	carriers.Go(func() { a.carry(t, b, opened) })
	carriers.Go(func() { b.carry(t, a, opened) })
	t.Cleanup(func() {
		a.end()
		b.end()
		carriers.Wait()
	})
	return a, b, opened
}

// More than the window goes both ways at once, on several channels, and each ends in good form.
func TestConnsCarryMoreThanTheWindow(t *testing.T) {
	a, b, opened := pair(t)
	var users sync.WaitGroup
	text := bytes.Repeat([]byte("0123456789abcdef"), frame.ChannelWindow/4)
	users.Go(func() {
		for range 6 {
			conn := <-opened
			users.Go(func() { // an echo
				defer conn.Close()
				if _, err := io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}); err != nil {
					t.Error(err)
				}
			})
		}
	})
	for i := range 6 {
		hub := []*Hub{a.hub, b.hub}[i%2]
		users.Go(func() {
			conn, err := hub.Open("echo")
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			users.Go(func() {
				if _, err := conn.Write(text); err != nil {
					t.Error(err)
				}
				conn.CloseWrite()
			})
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes came back of %d: %v", len(got), len(text), err)
			}
		})
	}
	users.Wait()
	for _, s := range []*side{a, b} {
		s.mu.Lock()
		if len(s.hub.conns) > 0 {
			t.Errorf("%d channels are left", len(s.hub.conns))
		}
		s.mu.Unlock()
	}
}

// Who waits for a channel hears when it is closed here, when the other side closes it, and when the task is over.
func TestWaitersHearOfTheEnd(t *testing.T) {
	a, _, opened := pair(t)
	for _, c := range []struct {
		name string
		end  func(ours, theirs *Conn)
		read error
	}{
		{"closed here", func(ours, _ *Conn) { ours.Close() }, os.ErrClosed},
		{"closed there", func(_, theirs *Conn) { theirs.Close() }, io.EOF},
		{"over", func(*Conn, *Conn) { a.end() }, os.ErrClosed},
	} {
		ours, err := a.hub.Open("x")
		if err != nil {
			t.Fatal(err)
		}
		theirs := <-opened
		read := make(chan error)
		go func() {
			_, err := ours.Read(make([]byte, 1))
			read <- err
		}()
		c.end(ours, theirs)
		if err := <-read; !errors.Is(err, c.read) {
			t.Errorf("%s: read ended with %v", c.name, err)
		}
		ours.Close()
		theirs.Close()
	}
	if _, err := a.hub.Open("late"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("opened after the end: %v", err)
	}
}
