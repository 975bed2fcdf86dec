// Package podexec opens an exec stream to a container through the API server: a WebSocket of its own, because kubectl
// costs 50 MB for each pod and client-go a third of that. It is the only room that knows of WebSockets.
package podexec

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"k8s-burst/runner/internal/mux"
	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
	"k8s-burst/runner/internal/rawio"
)

// protocol is the newest of Kubernetes' exec subprotocols, and the first that can close one channel.
const protocol = "v5.channel.k8s.io"

// Channels: the first byte of each message.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelStatus = 3
	channelClose  = 255
)

// MessageData is the most data in one message: whole pieces, which with their headers fit four TLS records.
const MessageData = mux.PieceSize

// tlsRecord is the most data in one.
const tlsRecord = 16 << 10

// writeBuffers are what messages are put together in, masked and sent: one for each connection that is sending.
var writeBuffers sync.Pool

// readLimit is above the largest message that kubelets send.
const readLimit = 1 << 20

const connectTimeout = 10 * time.Second

// StatusError is a refusal by the API server.
type StatusError struct {
	Code    int
	Message string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the Kubernetes API server answers %d: %s", e.Code, e.Message)
}

// Dial executes the endpoint's command in its container. ctx bounds the opening only.
func Dial(ctx context.Context, endpoint *agentpb.PodEndpoint, log *slog.Logger) (*Conn, error) {
	address, err := execURL(endpoint)
	if err != nil {
		return nil, err
	}
	config, err := tlsFor(endpoint)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Authorization": {"Bearer " + endpoint.GetToken()}}
	dialer := websocket.Dialer{
		Proxy:           http.ProxyFromEnvironment,
		NetDialContext:  dialTCP,
		TLSClientConfig: config,
		Subprotocols:    []string{protocol},
		ReadBufferSize:  tlsRecord,
		WriteBufferSize: 1 + MessageData,
		WriteBufferPool: &writeBuffers,
	}
	ws, response, err := dialer.DialContext(ctx, address, header)
	if err != nil {
		return nil, refusal(response, err)
	}
	if ws.Subprotocol() != protocol {
		ws.Close()
		return nil, fmt.Errorf("the Kubernetes API server does not speak %s (Kubernetes 1.30 or newer is needed)", protocol)
	}
	ws.SetReadLimit(readLimit)
	return newConn(ws, log.With("pod", endpoint.GetPod())), nil
}

func dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return rawio.NewConn(conn.(*net.TCPConn)) // network is "tcp"
}

func execURL(endpoint *agentpb.PodEndpoint) (string, error) {
	base, err := url.Parse(endpoint.GetApiServer())
	if err != nil {
		return "", fmt.Errorf("the agent's API server address: %w", err)
	}
	if base.Scheme != "https" || base.Host == "" {
		return "", fmt.Errorf("the agent's API server address %q is not https", endpoint.GetApiServer())
	}
	query := url.Values{
		"container": {endpoint.GetContainer()},
		"command":   endpoint.GetCommand(),
		"stdin":     {"true"}, "stdout": {"true"}, "stderr": {"true"},
	}
	path := base.JoinPath("api", "v1", "namespaces", url.PathEscape(endpoint.GetNamespace()),
		"pods", url.PathEscape(endpoint.GetPod()), "exec")
	path.Scheme, path.RawQuery = "wss", query.Encode()
	return path.String(), nil
}

func tlsFor(endpoint *agentpb.PodEndpoint) (*tls.Config, error) {
	config := &tls.Config{ServerName: endpoint.GetTlsServerName(), MinVersion: tls.VersionTLS12}
	if pem := endpoint.GetCertificateAuthorityPem(); len(pem) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("the agent's certificate authority for the API server holds no certificate")
		}
	}
	return config, nil
}

// refusal finds the API server's own words.
func refusal(response *http.Response, err error) error {
	if response == nil || response.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("the Kubernetes API server does not answer: %w", err)
	}
	text := response.Status
	if response.Body != nil {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 16<<10)) // what came of it
		var status struct{ Message string }
		if json.Unmarshal(body, &status) == nil && status.Message != "" {
			text = status.Message
		}
	}
	return &StatusError{Code: response.StatusCode, Message: strings.TrimSpace(text)}
}
