package supervise

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"k8s-burst/runner/internal/channel"
	pb "k8s-burst/runner/internal/pb/burst/v1"
	"k8s-burst/runner/internal/pmi"
)

// port is one of 127.0.0.1 that the supervisor listens at, in place of slurmstepd, for the tasks of one step.
type port struct {
	number   uint32
	listener *net.TCPListener
	tasks    []*task // guarded by Supervisor.mu
	serving  sync.WaitGroup
}

// wire makes what a task's Start says of PMI: what it inherits, by descriptor, and the ports to listen at. Call unwire.
func (t *task) wire(start *pb.Start) (inherited map[uint32]*os.File, err error) {
	inherited, t.wires = map[uint32]*os.File{}, map[string]*net.UnixConn{}
	for _, fd := range start.GetSockets() {
		if fd < pmi.FirstDescriptor || fd > pmi.LastDescriptor || inherited[fd] != nil {
			return inherited, fmt.Errorf("a socket can't be inherited at descriptor %d", fd)
		}
		ours, theirs, err := pmi.Pair()
		if err != nil {
			return inherited, err
		}
		inherited[fd], t.wires[pmi.SocketPurpose(fd)] = theirs, ours
	}
	for _, number := range start.GetPorts() {
		if err := t.sup.listen(t, number); err != nil {
			return inherited, err
		}
	}
	return inherited, nil
}

func closeAll(inherited map[uint32]*os.File) {
	for _, file := range inherited {
		file.Close()
	}
}

// listen makes a port for a task, or lets it share that of its step's other tasks.
func (s *Supervisor) listen(t *task, number uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ports[number]
	if p == nil {
		if number == 0 || number > 65535 {
			return fmt.Errorf("%d is no port", number)
		}
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(number)})
		if err != nil {
			return err
		}
		p = &port{number: number, listener: listener}
		s.ports[number] = p
		s.conns.Go(func() { s.accepting(p) })
	}
	p.tasks = append(p.tasks, t)
	return nil
}

// unwire ends a task's use of sockets and ports. A port is closed with the last task that has it.
func (t *task) unwire() {
	t.mu.Lock()
	wires := t.wires
	t.wires = nil
	t.mu.Unlock()
	for _, conn := range wires {
		conn.Close()
	}
	t.sup.mu.Lock()
	defer t.sup.mu.Unlock()
	for number, p := range t.sup.ports {
		p.tasks = slices.DeleteFunc(p.tasks, func(other *task) bool { return other == t })
		if len(p.tasks) == 0 {
			p.listener.Close()
			delete(t.sup.ports, number)
		}
	}
}

// serveWire joins a channel that the launcher has opened to the socket that the task has inherited, if it is for one.
func (t *task) serveWire(conn *channel.Conn) bool {
	t.mu.Lock()
	socket := t.wires[conn.Purpose()]
	delete(t.wires, conn.Purpose())
	t.mu.Unlock()
	if socket == nil {
		return false
	}
	t.loops.Go(func() { pmi.Join(socket, conn) })
	return true
}

// accepting serves a port until it is closed.
func (s *Supervisor) accepting(p *port) {
	for {
		conn, err := p.listener.AcceptTCP()
		if err != nil {
			break
		}
		p.serving.Go(func() { s.serveConnection(p, conn) })
	}
	p.serving.Wait()
}

// serveConnection joins a connection to the port's twin on the gateway, through the launcher of the task that has made it:
// another task's may end before.
func (s *Supervisor) serveConnection(p *port, conn *net.TCPConn) {
	s.mu.Lock()
	tasks := slices.Clone(p.tasks)
	s.mu.Unlock()
	t := ownerOf(tasks, conn)
	if t == nil {
		s.log.Warn("a connection from none of the step's tasks is refused", "port", p.number)
		conn.Close()
		return
	}
	ch, err := t.st.further.Open(pmi.PortPurpose(p.number))
	if err != nil {
		t.log.Warn("a connection is refused", "port", p.number, "error", err)
		conn.Close()
		return
	}
	pmi.Join(conn, ch)
}

// ownerOf finds the task whose process has the other end of a connection within the pod; nil where none has.
func ownerOf(tasks []*task, conn *net.TCPConn) *task {
	inode := inodeOf("/proc/self/net/tcp", conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr))
	if inode == "" {
		return nil
	}
	all := below("/proc", os.Getpid())
	for _, t := range tasks {
		<-t.started
		if t.failure != nil {
			continue
		}
		for _, pid := range members(all, t.name, t.proc.Pid) {
			if hasSocket("/proc", pid, inode) {
				return t
			}
		}
	}
	return nil
}

// inodeOf finds a socket of IPv4 by its two addresses in the kernel's table; empty where it is not there.
func inodeOf(table string, local, remote *net.TCPAddr) string {
	text, err := os.ReadFile(filepath.Clean(table))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
		fields := bytes.Fields(line)
		if len(fields) > 9 && string(fields[1]) == tableAddress(local) && string(fields[2]) == tableAddress(remote) {
			return string(fields[9])
		}
	}
	return ""
}

// tableAddress writes an address as the kernel's table does: the four bytes as one number of this machine, which is
// little-endian on amd64 and arm64.
func tableAddress(a *net.TCPAddr) string {
	ip := a.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
}

func hasSocket(root string, pid int, inode string) bool {
	dir := filepath.Join(root, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	wanted := "socket:[" + inode + "]"
	buffer := make([]byte, len(wanted)+1)
	for _, entry := range entries {
		n, err := unix.Readlink(filepath.Join(dir, entry.Name()), buffer)
		if err == nil && string(buffer[:n]) == wanted {
			return true
		}
	}
	return false
}
