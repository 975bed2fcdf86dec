package podexec

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	netwebsocket "golang.org/x/net/websocket"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

// apiServer answers with handle, and the endpoint leads to it.
func apiServer(t *testing.T, handle http.HandlerFunc) *agentpb.PodEndpoint {
	t.Helper()
	server := httptest.NewTLSServer(handle)
	t.Cleanup(server.Close)
	return &agentpb.PodEndpoint{
		ApiServer:               server.URL,
		CertificateAuthorityPem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		Namespace:               "ns", Pod: "pod-1", Container: "job", Command: []string{"a", "b c"}, Token: "secret",
	}
}

func dial(t *testing.T, endpoint *agentpb.PodEndpoint) (*Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := Dial(ctx, endpoint, slog.New(slog.DiscardHandler))
	if conn != nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// exec accepts and hands the connection over.
func exec(t *testing.T, serve func(*websocket.Conn)) *agentpb.PodEndpoint {
	return apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{Subprotocols: []string{protocol}}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		serve(ws)
	})
}

func TestRequest(t *testing.T) {
	seen := make(chan *http.Request, 1)
	endpoint := apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.WriteHeader(http.StatusForbidden)
	})
	if _, err := dial(t, endpoint); err == nil {
		t.Fatal("no error")
	}
	r := <-seen
	if r.URL.Path != "/api/v1/namespaces/ns/pods/pod-1/exec" {
		t.Error(r.URL.Path)
	}
	if got, want := r.URL.RawQuery, "command=a&command=b+c&container=job&stderr=true&stdin=true&stdout=true"; got != want {
		t.Error(got)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer secret" {
		t.Error(got)
	}
}

func TestRefusalsAreInTheAPIServersWords(t *testing.T) {
	for _, code := range []int{401, 403, 404, 500, 503} {
		endpoint := apiServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"kind":"Status","message":"pods \"pod-1\" is what it is"}`)
		})
		_, err := dial(t, endpoint)
		var status *StatusError
		if !errors.As(err, &status) || status.Code != code || !strings.Contains(status.Message, "is what it is") {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// The token goes to the address that the agent gave, over TLS, and nowhere else.
func TestTokenGoesNowhereElse(t *testing.T) {
	other := apiServer(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	endpoint := apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.GetApiServer()+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
	if _, err := dial(t, endpoint); err == nil {
		t.Error("no error")
	}
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked without TLS") }))
	t.Cleanup(plain.Close)
	endpoint.ApiServer = plain.URL
	if _, err := dial(t, endpoint); err == nil || !strings.Contains(err.Error(), "is not https") {
		t.Errorf("got %v", err)
	}
	unknown := apiServer(t, func(http.ResponseWriter, *http.Request) { t.Error("asked with an unknown authority") })
	unknown.CertificateAuthorityPem = nil
	if _, err := dial(t, unknown); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

func TestSubprotocolIsDemanded(t *testing.T) {
	endpoint := apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		var upgrader websocket.Upgrader
		ws, err := upgrader.Upgrade(w, r, nil)
		if err == nil {
			ws.Close()
		}
	})
	if _, err := dial(t, endpoint); err == nil || !strings.Contains(err.Error(), protocol) {
		t.Errorf("got %v", err)
	}
}

// Standard output comes as a stream whatever its messages' sizes, and everything else stays out of it.
func TestOutputIsAStream(t *testing.T) {
	large := strings.Repeat("y", 300<<10)
	endpoint := exec(t, func(ws *websocket.Conn) {
		for _, message := range []string{"\x01ab", "", "\x01", "\x02noise\n", "\xff\x00", "\x01c", "\x01" + large,
			"\x03" + `{"status":"Failure","message":"command terminated with exit code 1"}`} {
			if err := ws.WriteMessage(websocket.BinaryMessage, []byte(message)); err != nil {
				t.Error(err)
			}
		}
		_, _, _ = ws.ReadMessage()
	})
	conn, err := dial(t, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "abc"+large {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if conn.Said() != "noise" {
		t.Errorf("said %q", conn.Said())
	}
}

// The API server takes each frame for a message of its own, so that none may go in several.
func TestInputGoesInMessagesOfOneFrame(t *testing.T) {
	sizes := map[int][]int{1: {1}, MessageData: {MessageData}, 2*MessageData + 5: {MessageData, MessageData, 5}}
	for size, messages := range sizes {
		got := make(chan []byte, len(messages))
		endpoint := apiServer(t, func(w http.ResponseWriter, r *http.Request) { takeFrames(t, w, r, len(messages), got) })
		conn, err := dial(t, endpoint)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{7}, size)
		if n, err := conn.Write(want); n != len(want) || err != nil {
			t.Fatal(n, err)
		}
		for _, want := range messages {
			frame := <-got
			if len(frame) != 1+want || frame[0] != 0 || !bytes.Equal(frame[1:], bytes.Repeat([]byte{7}, want)) {
				t.Errorf("another frame of %d bytes", len(frame))
			}
		}
	}
}

// takeFrames gives the first frames that come, as the API server's WebSocket does.
func takeFrames(t *testing.T, w http.ResponseWriter, r *http.Request, count int, got chan<- []byte) {
	server := netwebsocket.Server{
		Handshake: func(config *netwebsocket.Config, _ *http.Request) error {
			config.Protocol = []string{protocol}
			return nil
		},
		Handler: func(ws *netwebsocket.Conn) {
			for range count {
				var frame []byte
				if err := netwebsocket.Message.Receive(ws, &frame); err != nil {
					t.Error(err)
				}
				got <- frame
			}
		},
	}
	server.ServeHTTP(w, r)
}

func TestCloseEndsABlockedRead(t *testing.T) {
	endpoint := exec(t, func(ws *websocket.Conn) { _, _, _ = ws.ReadMessage() })
	conn, err := dial(t, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	conn.Close()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}
