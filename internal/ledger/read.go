package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A batch of a scan. The server keeps writers of the stream out while it sends
// one, so it is small.
const (
	batchEntries = 256
	batchBytes   = 2 << 20
)

// get is a direct get request: it answers with the bare entry, no base64.
type get struct {
	Sequence uint64     `json:"seq,omitempty"`
	Last     string     `json:"last_by_subj,omitempty"`
	Next     string     `json:"next_by_subj,omitempty"`
	Batch    int        `json:"batch,omitempty"`
	MaxBytes int        `json:"max_bytes,omitempty"`
	Start    *time.Time `json:"start_time,omitempty"`
}

func (l *Ledger) request(g get) *nats.Msg {
	body, err := json.Marshal(g)
	if err != nil {
		panic("ledger: encode a get: " + err.Error()) // strings and numbers only
	}
	return &nats.Msg{Subject: "$JS.API.DIRECT.GET." + l.stream, Data: body}
}

func (l *Ledger) one(ctx context.Context, what string, g get) (Entry, bool, error) {
	ctx, cancel := l.srv.ReadContext(ctx)
	defer cancel()
	reply, err := l.srv.Conn().RequestMsgWithContext(ctx, l.request(g))
	if err != nil {
		return Entry{}, false, l.failed(ctx, what, err)
	}
	switch status := reply.Header.Get("Status"); status {
	case "":
		e, err := entry(reply)
		return e, err == nil, err
	case "404":
		return Entry{}, false, nil
	default:
		return Entry{}, false, fmt.Errorf("%s: status %s %s", what, status, reply.Header.Get("Description"))
	}
}

// Last is the newest entry of subject, and whether there is one.
func (l *Ledger) Last(ctx context.Context, subject string) (Entry, bool, error) {
	return l.one(ctx, "read newest of "+subject, get{Last: subject})
}

// Get is the entry with that sequence, and whether it is there.
func (l *Ledger) Get(ctx context.Context, sequence uint64) (Entry, bool, error) {
	return l.one(ctx, "read entry "+strconv.FormatUint(sequence, 10), get{Sequence: sequence})
}

// Since is the sequence of the first entry stored at or after that time, of any
// subject, and whether there is one.
func (l *Ledger) Since(ctx context.Context, t time.Time) (uint64, bool, error) {
	t = t.UTC()
	all, _, err := l.batch(ctx, get{Start: &t, Batch: 1})
	if err != nil || len(all) == 0 {
		return 0, false, err
	}
	return all[0].Sequence, true, nil
}

// Scan hands over the entries of subject, which may have wildcards, with
// sequences in [from, to], ascending, until fn fails. Entries stored meanwhile
// may come too. Entries are not kept from being purged: what is gone is passed.
func (l *Ledger) Scan(ctx context.Context, subject string, from, to uint64, fn func(Entry) error) error {
	for from <= to {
		all, pending, err := l.batch(ctx, get{Sequence: max(from, 1), Next: subject, Batch: batchEntries, MaxBytes: batchBytes})
		if err != nil {
			return err
		}
		for _, e := range all {
			if e.Sequence > to {
				return nil
			}
			if err := fn(e); err != nil {
				return err
			}
			from = e.Sequence + 1
		}
		if pending == 0 || len(all) == 0 {
			return nil
		}
	}
	return nil
}

// batch sends one request and returns what it brings, and how many entries
// there are behind those.
func (l *Ledger) batch(ctx context.Context, g get) (all []Entry, pending uint64, err error) {
	what := "scan " + l.stream + " " + g.Next
	ctx, cancel := l.srv.ReadContext(ctx)
	defer cancel()
	conn := l.srv.Conn()
	msg := l.request(g)
	msg.Reply = conn.NewRespInbox()
	sub, err := conn.SubscribeSync(msg.Reply)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	defer sub.Unsubscribe()
	if err := conn.PublishMsg(msg); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	for {
		reply, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, l.failed(ctx, what, err)
		}
		switch status := reply.Header.Get("Status"); status {
		case "":
			e, err := entry(reply)
			if err != nil {
				return nil, 0, err
			}
			all = append(all, e)
		case "404":
			return nil, 0, nil
		case "204":
			pending, err := strconv.ParseUint(reply.Header.Get("Nats-Num-Pending"), 10, 64)
			return all, pending, err
		case "503":
			return nil, 0, l.failed(ctx, what, nats.ErrNoResponders)
		default:
			return nil, 0, fmt.Errorf("%s: status %s %s", what, status, reply.Header.Get("Description"))
		}
	}
}

// entry reads an answer to a direct get.
func entry(m *nats.Msg) (Entry, error) {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return Entry{}, fmt.Errorf("direct get: sequence %q: %w", m.Header.Get(jetstream.SequenceHeader), err)
	}
	stored, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return Entry{}, fmt.Errorf("direct get: time stamp: %w", err)
	}
	return Entry{Sequence: seq, Subject: m.Header.Get(jetstream.SubjectHeader), Stored: stored, Data: m.Data}, nil
}
