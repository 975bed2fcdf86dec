package mux

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
)

// slow takes one write at a time, each when it is allowed to.
type slow struct {
	allow  chan error
	mu     sync.Mutex
	writes [][]byte
	once   sync.Once
	closed chan struct{}
}

func newSlow() *slow { return &slow{allow: make(chan error), closed: make(chan struct{})} }

func (s *slow) Write(p []byte) (int, error) {
	select {
	case err := <-s.allow:
		if err != nil {
			return 0, err
		}
	case <-s.closed:
		return 0, io.ErrClosedPipe
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, bytes.Clone(p))
	return len(p), nil
}

func (s *slow) Read([]byte) (int, error) { return 0, io.EOF }

func (s *slow) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func TestSmallWritesGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newSlow()
		b := newBatch(conn)
		for _, word := range []string{"a", "b", "c"} {
			if _, err := b.Write([]byte(word)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		conn.allow <- nil
		conn.allow <- nil
		synctest.Wait()
		if len(conn.writes) != 2 || string(conn.writes[0]) != "a" || string(conn.writes[1]) != "bc" {
			t.Errorf("got %q", conn.writes)
		}
		b.Close()
	})
}

func TestWriterWaitsWhileTooMuchIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newSlow()
		b := newBatch(conn)
		done := 0
		var writer sync.WaitGroup
		writer.Go(func() {
			for range 10 {
				if _, err := b.Write(make([]byte, batchSize)); err != nil {
					return
				}
				done++
			}
		})
		synctest.Wait()
		if done > 2 {
			t.Errorf("%d writes went through while none was allowed", done)
		}
		b.Close()
		writer.Wait()
	})
}

func TestErrorsReachTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newSlow()
		b := newBatch(conn)
		if _, err := b.Write([]byte("a")); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		conn.allow <- broken
		synctest.Wait()
		if _, err := b.Write([]byte("b")); err != broken {
			t.Errorf("got %v", err)
		}
		b.Close()
	})
}
