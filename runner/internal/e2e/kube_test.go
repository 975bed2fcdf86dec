package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	agentpb "k8s-burst/runner/internal/pb/burst/v1/agent"
)

const goodToken = "good-token"

// kube is an API server that knows one pod and serves its exec endpoint as kubelets do.
type kube struct {
	t      testing.TB
	server *httptest.Server
	dir    string // of the pod's supervisor
	self   string

	mu      sync.Mutex
	refuse  int // answer so many more requests with 500
	dialled int
	cuts    map[*websocket.Conn]bool
	closed  bool // whoever comes is sent away: execs is waited for
	execs   sync.WaitGroup
}

func newKube(t testing.TB, self, dir string) *kube {
	k := &kube{t: t, dir: dir, self: self, cuts: map[*websocket.Conn]bool{}}
	k.server = httptest.NewTLSServer(k)
	t.Cleanup(func() {
		k.mu.Lock()
		k.closed = true
		k.mu.Unlock()
		k.cut()
		k.execs.Wait()
		k.server.Close()
	})
	return k
}

// endpoint is how to reach the pod.
func (k *kube) endpoint() *agentpb.PodEndpoint {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.server.Certificate().Raw})
	if _, err := x509.ParseCertificate(k.server.Certificate().Raw); err != nil {
		k.t.Fatal(err)
	}
	return &agentpb.PodEndpoint{
		ApiServer: k.server.URL, CertificateAuthorityPem: ca, TlsServerName: "example.com",
		Namespace: "ns", Pod: "pod-1", PodUid: "uid-1", Container: "job",
		Command: []string{"k8s-burst-pod", "attach", "--dir", k.dir}, Token: goodToken, GpuIndices: []uint32{4, 5},
		Partition: "gpu",
	}
}

// cut ends every exec stream as a broken network does.
func (k *kube) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for ws := range k.cuts {
		ws.NetConn().Close()
	}
}

func (k *kube) dials() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dialled
}

func (k *kube) refuseNext(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = n
}

func (k *kube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.dialled++
	refuse := k.refuse > 0 || k.closed
	if k.refuse > 0 {
		k.refuse--
	}
	if !refuse {
		k.execs.Add(1)
		defer k.execs.Done()
	}
	k.mu.Unlock()
	code, message := http.StatusOK, ""
	switch {
	case refuse:
		code, message = http.StatusInternalServerError, "etcdserver: leader changed"
	case r.Header.Get("Authorization") != "Bearer "+goodToken:
		code, message = http.StatusUnauthorized, "Unauthorized"
	case r.URL.Path != "/api/v1/namespaces/ns/pods/pod-1/exec":
		code, message = http.StatusNotFound, "pods not found"
	case r.URL.Query().Get("container") != "job" || r.URL.Query().Get("stdin") != "true":
		code, message = http.StatusBadRequest, "bad query"
	}
	if code != http.StatusOK {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]string{"kind": "Status", "message": message})
		return
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		k.t.Error(err)
		return
	}
	k.exec(ws, r.URL.Query()["command"])
}

// exec runs the command and copies until either side ends.
func (k *kube) exec(ws *websocket.Conn, command []string) {
	k.mu.Lock()
	k.cuts[ws] = true
	if k.closed {
		ws.NetConn().Close() // cut has come before
	}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.cuts, ws)
		k.mu.Unlock()
	}()
	cmd := exec.Command(k.self, command[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		k.t.Error(err)
		return
	}
	var write sync.Mutex
	cmd.Stdout = &channelWriter{ws, &write, 1}
	cmd.Stderr = &channelWriter{ws, &write, 2}
	if err := cmd.Start(); err != nil {
		k.t.Error(err)
		return
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		defer stdin.Close()
		for {
			_, message, err := ws.ReadMessage()
			if err != nil {
				return
			}
			if len(message) > 0 && message[0] == 0 {
				if _, err := stdin.Write(message[1:]); err != nil {
					return
				}
			}
		}
	})
	err = cmd.Wait()
	status := map[string]string{"status": "Success"}
	if err != nil {
		status = map[string]string{"status": "Failure", "message": err.Error()}
	}
	body, _ := json.Marshal(status)
	_, _ = (&channelWriter{ws, &write, 3}).Write(body) // the other side may be gone
	ws.Close()
	reader.Wait()
}

type channelWriter struct {
	ws      *websocket.Conn
	mu      *sync.Mutex
	channel byte
}

func (w *channelWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.ws.WriteMessage(websocket.BinaryMessage, append([]byte{w.channel}, p...))
	if err != nil {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}
