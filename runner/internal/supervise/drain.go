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
	last *int       // how many more bytes may have been there when the task ended; nil before the pipe's deadline
}

// ttyHolds is more than a terminal holds.
const ttyHolds = 128 << 10

// read waits for bytes, reads them into space, which is the outbox's tail, and commits them. Once the pipe's deadline has
// passed it takes what is there, and returns io.EOF where there is nothing, or after as much as the pipe can hold: one who
// goes on writing does not keep it.
func (d *drain) read(space []byte) error {
	raw, err := d.from.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	take := func(fd uintptr) bool {
		_, result = d.take(fd, space)
		return !errors.Is(result, syscall.EAGAIN)
	}
	err = raw.Read(take)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = raw.Control(func(fd uintptr) { result = d.takeLast(fd, space) })
	}
	return errors.Join(err, result)
}

// takeLast reads what was there when the task ended.
func (d *drain) takeLast(fd uintptr, space []byte) error {
	if d.last == nil {
		holds, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		if err != nil {
			holds = ttyHolds
		}
		d.last = &holds
	}
	if *d.last == 0 {
		return io.EOF
	}
	n, err := d.take(fd, space[:min(len(space), *d.last)])
	*d.last -= n
	if errors.Is(err, syscall.EAGAIN) {
		return io.EOF
	}
	return err
}

// take reads without waiting.
func (d *drain) take(fd uintptr, space []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := rawio.Read(fd, space)
	if err != nil {
		return 0, err
	}
	d.task.mu.Lock()
	d.to.Commit(n)
	d.task.wake.send.Signal()
	d.task.mu.Unlock()
	return n, nil
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
