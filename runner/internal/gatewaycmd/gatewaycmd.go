// Package gatewaycmd is the command line of k8s-burst-gatewayd.
package gatewaycmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"k8s-burst/runner/internal/gateway"
	"k8s-burst/runner/internal/names"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
	"k8s-burst/runner/internal/peer"
	"k8s-burst/runner/internal/podexec"
	"k8s-burst/runner/internal/version"
)

// helloTimeout is generous: a launcher says Hello as the first thing it does.
const helloTimeout = 10 * time.Second

type options struct {
	listen, agent, ca, cert, key string
	perUser                      int
	idle                         time.Duration
	debug                        bool
}

// Run is main without its exit. args are without the program's name.
func Run(args []string) int {
	var o options
	flags := flag.NewFlagSet("k8s-burst-gatewayd", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", names.GatewaySocket, "unix socket for launchers")
	flags.StringVar(&o.agent, "agent", names.AgentTarget, "the burst agent: unix:///PATH, or HOST:PORT with TLS")
	flags.StringVar(&o.ca, "tls-ca", "", "PEM file of the authority that signed the agent's certificate")
	flags.StringVar(&o.cert, "tls-cert", "", "PEM file of this gateway's certificate")
	flags.StringVar(&o.key, "tls-key", "", "PEM file of this gateway's key")
	flags.IntVar(&o.perUser, "max-connections-per-user", 4096, "launchers of one user at the same time")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long a pod's stream stays without a launcher")
	flags.BoolVar(&o.debug, "debug", false, "log more")
	showVersion := flags.Bool("version", false, "print the version")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *showVersion:
		fmt.Println("k8s-burst-gatewayd", version.Version)
		return 0
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "k8s-burst-gatewayd: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := serve(o); err != nil {
		fmt.Fprintf(os.Stderr, "k8s-burst-gatewayd: %v\n", err)
		return 1
	}
	return 0
}

func serve(o options) error {
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	creds, err := credentialsFor(o)
	if err != nil {
		return err
	}
	agent, err := gateway.NewGRPCAgent(o.agent, creds)
	if err != nil {
		return err
	}
	defer agent.Close()
	listener, err := gateway.Listen(o.listen)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log.Info("ready", "version", version.Version, "listen", o.listen, "agent", o.agent)
	server := gateway.New(gateway.Config{
		Agent: agent,
		DialPod: func(ctx context.Context, endpoint *agentpb.PodEndpoint) (gateway.PodConn, error) {
			conn, err := podexec.Dial(ctx, endpoint, log)
			if err != nil {
				return nil, err // not conn: a nil pointer in an interface is not nil
			}
			return conn, nil
		},
		Peer:    peer.Of,
		IsTask:  func(pid int32, job uint32) bool { return gateway.IsTask("/proc", pid, job) },
		PerUser: perUser(o.perUser, log),
		Hello:   helloTimeout,
		Idle:    o.idle,
		Log:     log,
	})
	err = server.Serve(ctx, listener)
	log.Info("ended")
	return err
}

// perUser is what one user may have of the connections: never so many that no file descriptor is left for others.
func perUser(asked int, log *slog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		log.Warn("the limit of open files is not known", "error", err)
		return asked
	}
	if quarter := int(min(files.Cur/4, 1<<30)); asked > quarter {
		log.Warn("fewer launchers for each user, as this process may have few open files",
			"launchers", quarter, "asked", asked, "open_files", files.Cur)
		return quarter
	}
	return asked
}

// credentialsFor wants mutual TLS for every agent that is not on a unix socket.
func credentialsFor(o options) (credentials.TransportCredentials, error) {
	if strings.HasPrefix(o.agent, "unix:") {
		return nil, nil
	}
	if o.ca == "" || o.cert == "" || o.key == "" {
		return nil, fmt.Errorf("agent %s is not on a unix socket: --tls-ca, --tls-cert and --tls-key are needed", o.agent)
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-ca: %s holds no certificate", o.ca)
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}), nil
}
