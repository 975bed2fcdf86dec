package pmi

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/channel"
	"k8s-burst/runner/internal/environ"
)

// Wires are a task's, as the launcher has them from slurmstepd.
type Wires struct {
	socket *net.UnixConn // of PMI_FD; nil where there is none
	fd     uint32        // where the task gets its own
	ports  []uint32
	joined sync.WaitGroup
}

// Inherit takes what this process has from slurmstepd: the socket that PMI_FD in env names, if there is one, and the ports
// that the plugin has seen slurmstepd listen at. What the launcher starts does not inherit the socket again.
func Inherit(env []string, ports []uint32) (*Wires, error) {
	w := &Wires{ports: ports}
	number, err := strconv.ParseUint(environ.Get(env, "PMI_FD"), 10, 31)
	if err != nil || number <= 2 || !isUnixSocket(int(number)) {
		return w, nil // a user's variable, or of another step: none of ours
	}
	unix.CloseOnExec(int(number))
	file := os.NewFile(uintptr(number), "PMI_FD")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("the socket of PMI_FD=%d: %w", number, err)
	}
	w.socket = conn.(*net.UnixConn) // what isUnixSocket has seen
	w.fd = FirstDescriptor
	if number >= FirstDescriptor && number <= LastDescriptor {
		w.fd = uint32(number)
	}
	return w, nil
}

func isUnixSocket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}

// Sockets are the descriptors at which the task inherits one.
func (w *Wires) Sockets() []uint32 {
	if w.socket == nil {
		return nil
	}
	return []uint32{w.fd}
}

// Ports are those that the supervisor listens at.
func (w *Wires) Ports() []uint32 { return w.ports }

// Environment is the task's with what is different in the pod.
func (w *Wires) Environment(env []string) []string {
	if w.socket != nil {
		env = set(env, "PMI_FD", strconv.FormatUint(uint64(w.fd), 10))
	}
	if len(w.ports) > 0 {
		// PMIx keeps what it knows in memory shared with its server, unless it is told to keep it for itself.
		env = set(env, "PMIX_MCA_gds", "hash")
	}
	return env
}

// Open opens the channel of the socket. Call Close once it, and every channel given to Serve, has failed or ended.
func (w *Wires) Open(open func(purpose string) (*channel.Conn, error)) error {
	if w.socket == nil {
		return nil
	}
	conn, err := open(SocketPurpose(w.fd))
	if err != nil {
		return fmt.Errorf("PMI: %w", err)
	}
	w.joined.Go(func() { Join(w.socket, conn) })
	return nil
}

// Close waits until the socket's channel has ended.
func (w *Wires) Close() {
	if w.socket != nil {
		w.socket.Close()
	}
	w.joined.Wait()
}

// Serve connects a channel that the supervisor has opened, if it is for one of the ports, and says whether it was; then
// it has closed it. No other port can be reached: on a gateway others' and root's listen as well.
func (w *Wires) Serve(conn *channel.Conn) bool {
	port, ok := PortOf(conn.Purpose())
	if !ok {
		return false
	}
	if !slices.Contains(w.ports, port) {
		conn.Close()
		return true
	}
	server, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		conn.Close() // slurmstepd is gone, or has closed its port: so the task's connection ends as well
		return true
	}
	Join(server.(*net.TCPConn), conn)
	return true
}

// set is a copy of env with one variable changed.
func set(env []string, name, value string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
	return append(out, name+"="+value)
}
