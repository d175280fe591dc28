// Package ledger keeps fenced histories: each subject of a JetStream stream is
// a sequence of entries by one writer at a time.
//
// An append names the sequence of the entry it follows ([Ledger.Append]), so
// that of two writers who read the same newest entry only one can go on; the
// other gets [ErrRefused]. Any other error from an append leaves open whether
// the entry is there: [Ledger.Last] tells, since an entry bears what its writer
// needs to know it again. What entries mean is left to package journal and
// package dlq/store.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/natsd"
)

var (
	// ErrRefused means the newest entry of the subject is another than the one
	// named. Read it: it is somebody else's, or one's own of which the
	// acknowledgement was lost. Nothing was stored by this call.
	ErrRefused = errors.New("ledger: refused: another entry is the newest")
	// ErrNoStream means the stream does not exist.
	ErrNoStream = errors.New("ledger: no such stream")
)

// Unfenced as the sequence to follow appends whatever is there.
const Unfenced = ^uint64(0)

// Entry is one message.
type Entry struct {
	Sequence uint64 // in the stream, from 1
	Subject  string
	Stored   time.Time
	Data     []byte
}

// Ledger is one JetStream stream. Safe for concurrent use.
type Ledger struct {
	srv    *natsd.Server
	stream string
}

// At is the ledger in the stream of that name, which may not exist yet.
func At(srv *natsd.Server, stream string) *Ledger { return &Ledger{srv, stream} }

// Create makes the stream if it is not there. subjects is its wildcard.
func (l *Ledger) Create(ctx context.Context, subjects string) error {
	_, err := natsd.Change(ctx, l.srv, func(ctx context.Context) (jetstream.Stream, error) {
		st, err := l.srv.JS().Stream(ctx, l.stream)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return st, err // made before, by an older version of us perhaps
		}
		return l.srv.JS().CreateStream(ctx, jetstream.StreamConfig{
			Name: l.stream, Subjects: []string{subjects}, Storage: l.srv.Storage(),
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
			MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1,
			AllowDirect: true, Replicas: 1,
			Duplicates: 100 * time.Millisecond, // entries bear no message id; the smallest window the server takes
		})
	})
	if err != nil {
		return fmt.Errorf("create stream %s: %w", l.stream, err)
	}
	return nil
}

// Remove deletes the stream with everything in it. Not being there is no error.
func (l *Ledger) Remove(ctx context.Context) error {
	_, err := natsd.Change(ctx, l.srv, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.srv.JS().DeleteStream(ctx, l.stream)
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete stream %s: %w", l.stream, err)
	}
	return nil
}

// Append stores data as the entry of subject that follows sequence last; 0: the
// first, [Unfenced]: anywhere. It returns the entry's sequence when the entry is
// on disk. It fails with ErrRefused or ErrNoStream; after any other error the
// outcome is unknown.
func (l *Ledger) Append(ctx context.Context, subject string, last uint64, data []byte) (uint64, error) {
	msg := &nats.Msg{Subject: subject, Data: data}
	if last != Unfenced {
		msg.Header = nats.Header{jetstream.ExpectedLastSubjSeqHeader: []string{strconv.FormatUint(last, 10)}}
	}
	ctx, cancel := l.srv.WriteContext(ctx)
	defer cancel()
	reply, err := l.srv.Conn().RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, l.failed(ctx, "append to "+subject, err)
	}
	var ack struct {
		Sequence uint64    `json:"seq"`
		Error    *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("append to %s: acknowledgement %q: %w", subject, reply.Data, err)
	}
	switch {
	case ack.Error == nil && ack.Sequence > 0:
		return ack.Sequence, nil
	case ack.Error == nil:
		return 0, fmt.Errorf("append to %s: acknowledgement %q has no sequence", subject, reply.Data)
	case ack.Error.Code == int(jetstream.JSErrCodeStreamWrongLastSequence), ack.Error.Code == wrongLastConstant:
		return 0, fmt.Errorf("append to %s after %d: %w", subject, last, ErrRefused)
	}
	return 0, fmt.Errorf("append to %s: %w", subject, ack.Error)
}

// wrongLastConstant is JSStreamWrongLastSequenceConstantErr of nats-server: the
// same refusal, sent when the newest sequence is not told.
const wrongLastConstant = 10164

// apiError is JetStream's answer that it will not.
type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.Code) }

// failed tells a stream that is gone from a server that is down: both leave the
// request without a responder.
func (l *Ledger) failed(ctx context.Context, what string, err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		// A server that is being closed says of what it has that it does not.
		_, look := natsd.Ask(ctx, l.srv, func(ctx context.Context) (jetstream.Stream, error) {
			return l.srv.JS().Stream(ctx, l.stream)
		})
		if errors.Is(look, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("%s: %w: %s", what, ErrNoStream, l.stream)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// api calls the JetStream API and decodes its answer into out, which may be nil.
func (l *Ledger) api(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := l.srv.WriteContext(ctx)
	defer cancel()
	reply, err := l.srv.Conn().RequestMsgWithContext(ctx, &nats.Msg{Subject: "$JS.API.STREAM." + verb + "." + l.stream, Data: body})
	if err != nil {
		return l.failed(ctx, strings.ToLower(verb), err)
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return fmt.Errorf("%s: answer %q: %w", strings.ToLower(verb), reply.Data, err)
	}
	if answer.Error != nil {
		if answer.Error.Code == int(jetstream.JSErrCodeStreamNotFound) {
			return fmt.Errorf("%s: %w: %s", strings.ToLower(verb), ErrNoStream, l.stream)
		}
		return fmt.Errorf("%s: %w", strings.ToLower(verb), answer.Error)
	}
	if out != nil {
		return json.Unmarshal(reply.Data, out)
	}
	return nil
}

// Purge drops the entries of subject, which may have wildcards, with a sequence
// below that one. Power loss may bring some of them back.
func (l *Ledger) Purge(ctx context.Context, subject string, below uint64) error {
	if below <= 1 {
		return nil // JetStream takes 0 for everything
	}
	return l.api(ctx, "PURGE", struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"`
	}{subject, below}, nil)
}

// Delete drops one entry and says whether it was there.
func (l *Ledger) Delete(ctx context.Context, sequence uint64) (bool, error) {
	err := l.api(ctx, "MSG.DELETE", struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase"`
	}{sequence, true}, nil)
	// There are several codes for not being there, and the same ones for worse.
	if _, refused := errors.AsType[*apiError](err); refused {
		if _, found, look := l.Get(ctx, sequence); look == nil && !found {
			return false, nil
		}
	}
	return err == nil, err
}

// Subjects counts the entries of each subject that matches filter.
func (l *Ledger) Subjects(ctx context.Context, filter string) (map[string]uint64, error) {
	all := map[string]uint64{}
	for {
		var page struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		err := l.api(ctx, "INFO", struct {
			Filter string `json:"subjects_filter"`
			Offset int    `json:"offset"`
		}{filter, len(all)}, &page)
		if err != nil {
			return nil, err
		}
		before := len(all)
		for s, n := range page.State.Subjects {
			all[s] = n
		}
		if len(all) == before || len(all) >= page.Total {
			return all, nil
		}
	}
}

// Streams lists the streams whose subjects lie under that wildcard.
func Streams(ctx context.Context, srv *natsd.Server, subjects string) ([]string, error) {
	names, err := natsd.Ask(ctx, srv, func(ctx context.Context) ([]string, error) {
		var names []string
		list := srv.JS().StreamNames(ctx, jetstream.WithStreamListSubject(subjects))
		for name := range list.Name() {
			names = append(names, name)
		}
		return names, list.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return names, nil
}
