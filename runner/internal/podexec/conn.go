package podexec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/coder/websocket"
)

// Conn is the standard input and output of the executed command. Read and Write are for one goroutine each; Close ends
// both.
type Conn struct {
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger

	message io.Reader // rest of the current message of standard output
	out     []byte    // channel byte and data, in one frame

	mu   sync.Mutex
	said string // last of standard error, or else the reason of the end
}

func newConn(ws *websocket.Conn, log *slog.Logger) *Conn {
	ctx, cancel := context.WithCancel(context.Background())
	return &Conn{ws: ws, ctx: ctx, cancel: cancel, log: log}
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
	_, r, err := c.ws.Reader(c.ctx)
	if err != nil {
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure || c.ctx.Err() != nil {
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

// Write sends p to standard input as one message.
func (c *Conn) Write(p []byte) (int, error) {
	c.out = append(append(c.out[:0], channelStdin), p...)
	if err := c.ws.Write(c.ctx, websocket.MessageBinary, c.out); err != nil {
		return 0, fmt.Errorf("exec stream: %w", err)
	}
	return len(p), nil
}

// Close cuts the stream.
func (c *Conn) Close() error {
	c.cancel()
	return c.ws.CloseNow()
}
