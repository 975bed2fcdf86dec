package supervise

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/flow"
	"k8s-burst/runner/internal/rawio"
)

// drain moves one output of a task from its pipe into its outbox, and can tell how many bytes the task has written.
type drain struct {
	task *task
	from *os.File
	to   *flow.Outbox
	mu   sync.Mutex // held from a read until its bytes are counted in the outbox
}

// read waits for bytes, reads them into space, which is the outbox's tail, and commits them. Once the pipe's deadline has
// passed it takes what is there, and returns io.EOF where there is nothing.
func (d *drain) read(space []byte) error {
	raw, err := d.from.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	take := func(fd uintptr) bool {
		result = d.take(fd, space)
		return !errors.Is(result, syscall.EAGAIN)
	}
	err = raw.Read(take)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = raw.Control(func(fd uintptr) { take(fd) })
		if errors.Is(result, syscall.EAGAIN) {
			result = io.EOF
		}
	}
	return errors.Join(err, result)
}

// take reads without waiting.
func (d *drain) take(fd uintptr, space []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := rawio.Read(fd, space)
	if err != nil {
		return err
	}
	d.task.mu.Lock()
	d.to.Commit(n)
	d.task.wake.send.Signal()
	d.task.mu.Unlock()
	return nil
}

// end is how many bytes the task has written to the pipe since its start.
func (d *drain) end() (uint64, bool) {
	raw, err := d.from.SyscallConn()
	if err != nil {
		return 0, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := 0
	if raw.Control(func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) != nil || err != nil {
		return 0, false
	}
	d.task.mu.Lock()
	defer d.task.mu.Unlock()
	return d.to.End() + uint64(waiting), true
}
