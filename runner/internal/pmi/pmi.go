// Package pmi carries the wires by which an MPI program talks to Slurm into the pod.
//
// With --mpi=pmi2 a task inherits a socket, whose number is in PMI_FD. With --mpi=pmix it is told in PMIX_SERVER_URI* of
// a port of 127.0.0.1 at which slurmstepd listens. Both are on the gateway: the launcher inherits the socket and may
// connect to the port. In the pod the task inherits one end of a socket pair, and the supervisor listens at the same port;
// a channel joins either end to its twin, byte by byte. What is said on the wires is nobody's business here.
package pmi

import (
	"io"
	"strconv"
	"strings"
	"sync"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/frame"
)

// Descriptors that a task may inherit a socket at: those below are in use until its program runs.
const (
	FirstDescriptor = 5
	LastDescriptor  = 1023
)

// Purposes of channels: this and a number.
const (
	socketPurpose = "socket "
	portPurpose   = "port "
)

// SocketPurpose is that of the channel for the socket which the task inherits at a descriptor.
func SocketPurpose(fd uint32) string { return socketPurpose + strconv.FormatUint(uint64(fd), 10) }

// PortPurpose is that of the channel for one connection to a port.
func PortPurpose(port uint32) string { return portPurpose + strconv.FormatUint(uint64(port), 10) }

// PortOf reads what PortPurpose wrote.
func PortOf(purpose string) (port uint32, ok bool) {
	word, ok := strings.CutPrefix(purpose, portPurpose)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(word, 10, 16)
	return uint32(n), err == nil
}

// Socket is a connection whose two directions end by themselves.
type Socket interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Join copies between a socket and a channel until both directions have ended, or one has failed, and closes both. The end
// of one direction is passed on, and the other goes on. What is read at once is written at once, so that it makes no
// difference to the programs at the ends: what one has written with one call, at most frame.Chunk of it, the other never
// finds a part of.
func Join(socket Socket, conn *channel.Conn) {
	ended := func(err error, end func() error) {
		if err == nil {
			err = end()
		}
		if err != nil {
			socket.Close()
			conn.Close()
		}
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, err := conn.WriteTo(socket)
		ended(err, socket.CloseWrite)
	})
	// The wrappers keep io.CopyBuffer from going round the buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{socket}, make([]byte, frame.Chunk))
	ended(err, conn.CloseWrite)
	back.Wait()
	socket.Close()
	conn.Close()
}
