package announce

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

// agent answers as the field says, after it has looked at the credential.
type agent struct {
	agentpb.UnimplementedSubmitServiceServer
	t      *testing.T
	answer func(*agentpb.Submission) (*agentpb.AnnounceResponse, error)
}

func (a *agent) Announce(_ context.Context, r *agentpb.AnnounceRequest) (*agentpb.AnnounceResponse, error) {
	digest := sha256.Sum256(r.GetSubmission())
	if want := "MUNGE:" + hex.EncodeToString(digest[:]) + ":"; r.GetMungeCredential() != want {
		return nil, status.Errorf(codes.Unauthenticated, "credential %q, want %q", r.GetMungeCredential(), want)
	}
	var submission agentpb.Submission
	if err := proto.Unmarshal(r.GetSubmission(), &submission); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return a.answer(&submission)
}

// selfSigned is a certificate for host and its PEM.
func selfSigned(t *testing.T, host string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// config is an announcement to a new agent that is reached as localhost.
func config(t *testing.T, answer func(*agentpb.Submission) (*agentpb.AnnounceResponse, error)) Config {
	t.Helper()
	dir := t.TempDir()
	certificate, ca := selfSigned(t, "localhost")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
	agentpb.RegisterSubmitServiceServer(server, &agent{t: t, answer: answer})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return Config{
		Agent:    net.JoinHostPort("localhost", port),
		CA:       write("ca.crt", string(ca), 0o600),
		Deadline: 20 * time.Second,
		Munge:    []string{"/nonexistent/munge", write("munge", "#!/bin/sh\nread x || [ \"$x\" ]; echo \"MUNGE:$x:\"\n", 0o700)},
		Submission: &agentpb.Submission{Cluster: "c", Mode: agentpb.BurstMode_BURST_MODE_NOW, Image: "i",
			CommandLine: []string{"sbatch", "job.sh"}},
	}
}

func good(s *agentpb.Submission) (*agentpb.AnnounceResponse, error) {
	return &agentpb.AnnounceResponse{Message: "bursts now: " + strings.Join(s.GetCommandLine(), " ")}, nil
}

func TestTheAnswerIsPrinted(t *testing.T) {
	line, answered := Run(t.Context(), config(t, good))
	if line != "bursts now: sbatch job.sh" || !answered {
		t.Errorf("%q %v", line, answered)
	}
}

func TestARefusalIsAnAnswer(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.Unauthenticated, codes.Unavailable} {
		line, answered := Run(t.Context(), config(t, func(*agentpb.Submission) (*agentpb.AnnounceResponse, error) {
			return nil, status.Error(code, "because")
		}))
		if line != "because" || !answered {
			t.Errorf("%v: %q %v", code, line, answered)
		}
	}
}

// A message from another machine is one line and no terminal control.
func TestOneLine(t *testing.T) {
	line, _ := Run(t.Context(), config(t, func(*agentpb.Submission) (*agentpb.AnnounceResponse, error) {
		return &agentpb.AnnounceResponse{Message: "a\nb\x1b[31mc\u009b2Jd\n"}, nil
	}))
	if line != "a b [31mc 2Jd" {
		t.Errorf("%q", line)
	}
}

func TestFailuresCostOneLine(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		why    string
	}{
		{"nobody listens", func(c *Config) { c.Agent = "127.0.0.1:1" }, "connection refused"},
		{"no MUNGE", func(c *Config) { c.Munge = c.Munge[:1] }, "MUNGE is not installed here"},
		{"munged is down", func(c *Config) { c.Munge = []string{"/bin/false"} }, "exit status 1"},
		{"no authority", func(c *Config) { c.CA = "/nonexistent" }, "no such file"},
		{"another name", func(c *Config) { c.Agent = strings.Replace(c.Agent, "localhost", "127.0.0.1", 1) }, "certificate"},
		{"another authority", func(c *Config) {
			_, ca := selfSigned(t, "localhost")
			c.CA = filepath.Join(filepath.Dir(c.CA), "other.crt")
			if err := os.WriteFile(c.CA, ca, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "certificate"},
		{"bad address", func(c *Config) { c.Agent = "gateway" }, "missing port"},
	} {
		cfg := config(t, good)
		c.change(&cfg)
		line, answered := Run(t.Context(), cfg)
		if answered || !strings.Contains(line, c.why) || strings.Contains(line, "\n") ||
			!strings.HasPrefix(line, "agent at "+cfg.Agent+" does not answer (") ||
			!strings.HasSuffix(line, "): the job is queued all the same and bursts once the agent is back") {
			t.Errorf("%s: %q %v", c.name, line, answered)
		}
	}
}

// The deadline holds for an agent that says nothing and for a munge that hangs.
func TestDeadline(t *testing.T) {
	release := make(chan struct{})
	cfg := config(t, func(*agentpb.Submission) (*agentpb.AnnounceResponse, error) {
		<-release
		return nil, status.Error(codes.Internal, "late")
	})
	t.Cleanup(func() { close(release) })
	hanging := cfg
	hanging.Munge = []string{filepath.Join(filepath.Dir(cfg.CA), "hang")}
	if err := os.WriteFile(hanging.Munge[0], []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{cfg, hanging} {
		cfg.Deadline = 300 * time.Millisecond
		begin := time.Now()
		line, answered := Run(t.Context(), cfg)
		if answered || !strings.Contains(line, "no answer within 300ms") || time.Since(begin) > 10*time.Second {
			t.Errorf("%q %v after %v", line, answered, time.Since(begin))
		}
	}
}
