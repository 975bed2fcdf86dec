package podexec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// Conn is the standard input and output of the executed command. Read and Write are for one goroutine each; Close ends
// both.
type Conn struct {
	ws     *websocket.Conn
	closed atomic.Bool
	log    *slog.Logger

	message io.Reader // rest of the current message of standard output

	mu   sync.Mutex
	said string // last of standard error, or else the reason of the end
}

func newConn(ws *websocket.Conn, log *slog.Logger) *Conn {
	return &Conn{ws: ws, log: log}
}

// Read returns standard output, and io.EOF once the command has ended.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		if c.message != nil {
			n, err := c.message.Read(p)
			if err == io.EOF {
				c.message, err = nil, nil
			}
			if n > 0 || err != nil {
				return n, err
			}
			continue
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
}

// next takes messages up to the next one of standard output.
func (c *Conn) next() error {
	_, r, err := c.ws.NextReader()
	if err != nil {
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) || c.closed.Load() {
			return io.EOF
		}
		return fmt.Errorf("exec stream: %w", err)
	}
	var channel [1]byte
	if _, err := io.ReadFull(r, channel[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // an empty message
		}
		return fmt.Errorf("exec stream: %w", err)
	}
	if channel[0] == channelStdout {
		c.message = r
		return nil
	}
	rest, err := io.ReadAll(r) // at most readLimit
	if err != nil {
		return fmt.Errorf("exec stream: %w", err)
	}
	switch channel[0] {
	case channelStderr:
		c.note(string(bytes.TrimSpace(rest)), true)
	case channelStatus:
		c.note(statusText(rest), false) // "exit code 1": what the command said itself is better
		return io.EOF
	}
	return nil
}

func statusText(body []byte) string {
	var status struct{ Status, Message string }
	if err := json.Unmarshal(body, &status); err != nil {
		return string(bytes.TrimSpace(body))
	}
	if status.Status == "Success" {
		return ""
	}
	return status.Message
}

func (c *Conn) note(text string, better bool) {
	if text == "" {
		return
	}
	c.log.Info("exec stream", "says", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if better || c.said == "" {
		c.said = text
	}
}

// Said is the last thing that the command wrote to standard error, or the reason of its end; may be empty.
func (c *Conn) Said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said
}

// Write sends p to standard input, in messages of at most MessageData bytes.
func (c *Conn) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		data := p[sent:min(len(p), sent+MessageData)]
		if err := c.send(data); err != nil {
			return sent, fmt.Errorf("exec stream: %w", err)
		}
		sent += len(data)
	}
	return sent, nil
}

func (c *Conn) send(data []byte) error {
	message, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	_, err = message.Write([]byte{channelStdin})
	if err == nil {
		_, err = message.Write(data)
	}
	return errors.Join(err, message.Close())
}

// Close cuts the stream.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.ws.Close()
}
