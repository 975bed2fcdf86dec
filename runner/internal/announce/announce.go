// Package announce tells the burst agent of a submission that is about to be made, and the user what the agent thinks of
// it. Whatever goes wrong, the submission itself goes on: it costs one line and at most the deadline.
package announce

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

// Config is what to announce to whom.
type Config struct {
	// Agent is HOST:PORT; the certificate must be HOST's.
	Agent string
	// CA is a PEM file: who signs the agent's certificate.
	CA string
	// Deadline is for everything together.
	Deadline   time.Duration
	Submission *agentpb.Submission
	// Munge are the places of MUNGE's program, the first that is there is used. Never PATH: it is the user's.
	Munge []string
}

// MungePrograms are where distributions put it.
var MungePrograms = []string{"/usr/bin/munge", "/usr/local/bin/munge"}

// Run announces. line is for the user, answered says whether the agent had its say.
func Run(ctx context.Context, cfg Config) (line string, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Deadline)
	defer cancel()
	message, err := ask(ctx, cfg)
	var refusal *refusalError
	switch {
	case err == nil:
		return oneLine(message), true
	case errors.As(err, &refusal):
		return oneLine(refusal.message), true
	case ctx.Err() != nil || errors.Is(err, errLate):
		err = fmt.Errorf("no answer within %v", cfg.Deadline)
	}
	return oneLine(fmt.Sprintf("agent at %s does not answer (%v): the job is queued all the same and bursts once the agent is back",
		cfg.Agent, err)), false
}

// errLate says that the deadline has passed, for the agent at least: its clock for the call may be a moment ahead.
var errLate = errors.New("deadline")

// refusalError is the agent's own no.
type refusalError struct{ message string }

func (e *refusalError) Error() string { return e.message }

func ask(ctx context.Context, cfg Config) (string, error) {
	submission, err := proto.Marshal(cfg.Submission)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(submission)
	credential, err := munge(ctx, cfg.Munge, hex.EncodeToString(digest[:]))
	if err != nil {
		return "", err
	}
	creds, err := tlsFor(cfg)
	if err != nil {
		return "", err
	}
	var dialer recorder
	conn, err := grpc.NewClient("passthrough:///"+cfg.Agent,
		grpc.WithTransportCredentials(creds), grpc.WithContextDialer(dialer.dial), grpc.WithNoProxy())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var header, trailer metadata.MD
	answer, err := agentpb.NewSubmitServiceClient(conn).Announce(ctx,
		&agentpb.AnnounceRequest{MungeCredential: credential, Submission: submission},
		grpc.Header(&header), grpc.Trailer(&trailer))
	if err == nil {
		return answer.GetMessage(), nil
	}
	if code := status.Code(err); code == codes.DeadlineExceeded || code == codes.Canceled {
		return "", errLate
	}
	// Both are empty where the connection failed and not the agent; gRPC has one code for the two.
	if len(header)+len(trailer) > 0 {
		return "", &refusalError{status.Convert(err).Message()}
	}
	return "", dialer.explain(err)
}

// munge makes a credential with MUNGE's own program, as this user.
func munge(ctx context.Context, programs []string, payload string) (string, error) {
	for _, program := range programs {
		if _, err := os.Stat(program); err != nil {
			continue
		}
		cmd := exec.CommandContext(ctx, program)
		cmd.Env = []string{}
		cmd.WaitDelay = 50 * time.Millisecond // the deadline is the deadline, whoever still has its output open
		cmd.Stdin = strings.NewReader(payload)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(complaint.String()))
		}
		return strings.TrimSpace(out.String()), nil
	}
	return "", fmt.Errorf("MUNGE is not installed here: none of %s", strings.Join(programs, ", "))
}

func tlsFor(cfg Config) (credentials.TransportCredentials, error) {
	host, _, err := net.SplitHostPort(cfg.Agent)
	if err != nil {
		return nil, fmt.Errorf("agent address: %w", err)
	}
	pem, err := os.ReadFile(cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authority: %s holds no certificate", cfg.CA)
	}
	return credentials.NewTLS(&tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS13}), nil
}

// recorder remembers why dialling failed: gRPC wraps that into a sentence for programmers.
type recorder struct {
	mu  sync.Mutex
	err error
}

func (r *recorder) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	return conn, err
}

func (r *recorder) explain(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	return errors.New(status.Convert(err).Message())
}

// oneLine keeps a message from another machine from doing more to a terminal than being read.
func oneLine(text string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	return strings.TrimSpace(clean)
}

// Words makes a command line fit for protobuf, which takes no bytes that are not UTF-8: it is for reading only.
func Words(line []string) []string {
	out := make([]string, len(line))
	for i, word := range line {
		out[i] = strings.ToValidUTF8(word, "\uFFFD")
	}
	return out
}
