// Package attach is what gatewayd executes in the pod: it joins its standard input and output to the supervisor's
// socket, and ends when either side ends. Nothing else is ever written to standard output.
package attach

import (
	"fmt"
	"io"
	"net"
	"os"

	"k8s-burst/runner/internal/names"
)

const bufferSize = 128 << 10

// Run copies until the first end. The process must end then: the other copy may be blocked for ever.
func Run(dir string, in io.Reader, out io.Writer) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: names.SupervisorSocket(dir), Net: "unix"})
	if err != nil {
		return fmt.Errorf("the pod's supervisor does not answer: %w", err)
	}
	defer conn.Close()
	ended := make(chan error, 2)
	go func() { ended <- pump(conn, in) }()
	go func() { ended <- pump(out, conn) }()
	return <-ended
}

// pump is io.Copy without the ways round the buffer: those hold more than the buffer does.
func pump(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, bufferSize))
	if err != nil && !os.IsTimeout(err) {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}
