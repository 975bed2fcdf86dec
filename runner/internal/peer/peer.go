// Package peer asks the kernel who is at the other end of a unix socket.
package peer

import (
	"net"

	"golang.org/x/sys/unix"
)

// Of gives pid, uid and gid of the process that connected, as they were then.
func Of(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) {
		peer, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return peer, inner
}
