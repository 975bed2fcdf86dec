// Package mux is how gatewayd and a pod's supervisor share one exec stream: yamux, with the same settings on both sides.
package mux

import (
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// keepAlive is far below the idle time-outs on the way: the kubelet's 4 h, and load balancers' minutes.
	keepAlive = 15 * time.Second
	// writeTimeout ends a session whose other side takes nothing, or answers no ping, for so long. A supervisor under a
	// small CPU limit is slow, not dead.
	writeTimeout = 30 * time.Second
	// openTimeout is how long the other side may take to accept a stream.
	openTimeout = 60 * time.Second
	// closeTimeout is how long a stream may stay half closed.
	closeTimeout = time.Minute
	// window is what one stream may have on the way: as much as the conversation's own windows allow, which are what
	// keeps slow launchers cheap. It bounds what a pod that keeps to no window costs gatewayd.
	window = 8 << 20
)

// Config is what both sides give yamux. Its log lines go to log.
func Config(log *slog.Logger) *yamux.Config {
	return &yamux.Config{
		AcceptBacklog:          256,
		EnableKeepAlive:        true,
		KeepAliveInterval:      keepAlive,
		ConnectionWriteTimeout: writeTimeout,
		MaxStreamWindowSize:    window,
		StreamOpenTimeout:      openTimeout,
		StreamCloseTimeout:     closeTimeout,
		LogOutput:              &lines{log},
	}
}

// Server is the supervisor's side of conn.
func Server(conn io.ReadWriteCloser, log *slog.Logger) (*yamux.Session, error) {
	return yamux.Server(newBatch(conn), Config(log))
}

// Client is gatewayd's side of conn.
func Client(conn io.ReadWriteCloser, log *slog.Logger) (*yamux.Session, error) {
	return yamux.Client(newBatch(conn), Config(log))
}

// lines hands yamux's log to slog: it has no levels of its own, and most of it tells of a cut.
type lines struct{ log *slog.Logger }

func (l *lines) Write(p []byte) (int, error) {
	l.log.Debug("yamux", "says", strings.TrimSpace(string(p)))
	return len(p), nil
}
