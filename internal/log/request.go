package log

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/internal/natsd"
)

// requester makes requests that several messages may answer: nats.go has no method
// for JetStream's batched direct get.
//
// It has a connection of its own. The server serves direct gets on the goroutine
// that reads the connection: on a shared one a reader of cold data would hold up
// all appenders.
type requester struct {
	srv  *natsd.Server
	name string

	mu      sync.Mutex
	conn    *nats.Conn // dialled at the first request
	inbox   string     // subjects of answers are inbox.number.kind
	number  uint64
	waiting map[string]*answers // by inbox.number
}

// answers to one request. Only the subscription's goroutine touches messages and
// err until done is closed, by it.
type answers struct {
	messages [][]byte
	err      error
	done     chan struct{}
}

// request sends m and returns the data of its answer, or with batch set of all up
// to the end mark.
func (g *requester) request(ctx context.Context, m *nats.Msg, batch bool) ([][]byte, error) {
	conn, reply, r, err := g.register()
	if err != nil {
		return nil, err
	}
	defer g.forget(reply)
	m.Reply = reply + ".1"
	if batch {
		m.Reply = reply + ".b"
	}
	if err := conn.PublishMsg(m); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.messages, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// register dials if need be and makes a place for the answers.
func (g *requester) register() (*nats.Conn, string, *answers, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil {
		if err := g.dial(); err != nil {
			return nil, "", nil, err
		}
	}
	g.number++
	reply := g.inbox + "." + strconv.FormatUint(g.number, 36)
	r := &answers{done: make(chan struct{})}
	g.waiting[reply] = r
	return g.conn, reply, r, nil
}

// dial needs mu.
func (g *requester) dial() error {
	conn, err := g.srv.Dial(g.name)
	if err != nil {
		return err
	}
	inbox := conn.NewInbox()
	sub, err := conn.Subscribe(inbox+".*.*", g.answer)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1) // the requests bound the answers
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	g.conn, g.inbox, g.waiting = conn, inbox, map[string]*answers{}
	return nil
}

func (g *requester) forget(reply string) {
	g.mu.Lock()
	delete(g.waiting, reply)
	g.mu.Unlock()
}

// answer takes one message. Data comes without a header (no_hdr), the end of a
// batch and refusals are a header only.
func (g *requester) answer(m *nats.Msg) {
	at := len(m.Subject) - 2
	reply, single := m.Subject[:at], m.Subject[at:] == ".1"
	g.mu.Lock()
	r := g.waiting[reply]
	g.mu.Unlock()
	if r == nil {
		return // the caller has gone
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		r.messages = append(r.messages, m.Data)
		if !single {
			return
		}
	case "204": // end of batch
	case "404":
		r.err = errNoMessage
	case "503":
		r.err = nats.ErrNoResponders
	default:
		r.err = fmt.Errorf("JetStream: %s %s", status, m.Header.Get("Description"))
	}
	g.forget(reply)
	close(r.done)
}

func (g *requester) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn != nil {
		g.conn.Close()
	}
}
