package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/natsd"
)

const (
	streamPrefix = "L_"
	metaEpoch    = "wasmill-epoch"
	dedupWindow  = 100 * time.Millisecond // the server's least; we send no message ids

	codeStreamNotFound = 10059
	codeNoMessage      = 10037
	codeWrongLast      = 10071
	codeWrongLastConst = 10164 // of a server that does not tell the sequence
)

func streamName(id string) string  { return streamPrefix + id }
func dataSubject(id string) string { return "L." + id + ".d" }

// fromSubject is where the frames of a source are, apart from all others, so that
// JetStream knows the newest. With source ">" it is all sources.
func fromSubject(id, source string) string { return "L." + id + ".r." + source }

var (
	// errRefused means the expected sequence is not the next one.
	errRefused = errors.New("wrong last sequence")
	// errNoMessage means nothing is stored at the sequence.
	errNoMessage = errors.New("no message")
)

// storeError is JetStream's answer that it did not store a frame. An answer
// comes after those to all that was sent before it on the connection: with it
// the fate of earlier copies of the frame is sealed too.
type storeError struct {
	code int
	text string
}

func (e *storeError) Error() string { return fmt.Sprintf("JetStream: %s (%d)", e.text, e.code) }

// fence is what a frame of a source carries besides: the sequence of the frame of
// that source which must be its newest, 0 for none. The zero value is no fence.
type fence struct {
	source string
	mark   Mark
	after  uint64
}

func (f fence) subject(id string) string {
	if f.source == "" {
		return dataSubject(id)
	}
	return fromSubject(id, f.source)
}

// wire is what the appender needs of JetStream. It is an interface so that tests
// can lose messages and answers.
type wire interface {
	// publish sends a frame with its fence and waits for the answer: nil,
	// errRefused, ErrNotFound, *storeError, or anything else for an unknown fate.
	publish(ctx context.Context, id string, data []byte, last uint64, from fence) error
	// stored reads a message as the stream's leader has it: errNoMessage,
	// ErrNotFound, or anything else when there was no answer.
	stored(ctx context.Context, id string, seq uint64) ([]byte, error)
}

// natsWire talks to the embedded server.
type natsWire struct {
	srv  *natsd.Server
	put  requester // frames
	read requester // direct gets
}

func newWire(srv *natsd.Server) *natsWire {
	w := &natsWire{srv: srv}
	w.put = requester{srv: srv, name: "log-write"}
	w.read = requester{srv: srv, name: "log-read"}
	return w
}

func (w *natsWire) close() {
	w.put.close()
	w.read.close()
}

type apiError struct {
	Code    int    `json:"code"`
	ErrCode int    `json:"err_code"`
	Text    string `json:"description"`
}

func (e *apiError) err() error {
	switch {
	case e == nil:
		return nil
	case e.ErrCode == codeStreamNotFound:
		return ErrNotFound
	case e.ErrCode == codeNoMessage:
		return errNoMessage
	case e.ErrCode == codeWrongLast || e.ErrCode == codeWrongLastConst:
		return errRefused
	}
	return &storeError{e.ErrCode, e.Text}
}

func (w *natsWire) publish(ctx context.Context, id string, data []byte, last uint64, from fence) error {
	msg := &nats.Msg{
		Subject: from.subject(id),
		Header:  nats.Header{jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(last, 10)}},
		Data:    data,
	}
	if from.source != "" {
		msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(from.after, 10)}
	}
	answer, err := w.put.request(ctx, msg, false)
	if err != nil {
		return err // no responders too: JetStream may be starting, or the stream is gone
	}
	var ack struct {
		Error *apiError `json:"error"`
		Seq   uint64    `json:"seq"`
	}
	if err := json.Unmarshal(answer[0], &ack); err != nil {
		return fmt.Errorf("answer to a publish: %w", err)
	}
	if err := ack.Error.err(); err != nil {
		return err
	}
	if ack.Seq != last+1 {
		return fmt.Errorf("stored as %d, want %d", ack.Seq, last+1)
	}
	return nil
}

// api makes a request of JetStream's API.
func (w *natsWire) api(ctx context.Context, subject string, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := w.srv.Conn().RequestWithContext(ctx, "$JS.API."+subject, body)
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &failed); err != nil {
		return err
	}
	if err := failed.Error.err(); err != nil {
		return err
	}
	return json.Unmarshal(answer.Data, response)
}

func (w *natsWire) stored(ctx context.Context, id string, seq uint64) ([]byte, error) {
	var response struct {
		Message struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err := w.api(ctx, "STREAM.MSG.GET."+streamName(id), map[string]uint64{"seq": seq}, &response)
	return response.Message.Data, err
}

// info is what a stream's state tells of a log.
type info struct {
	epoch       uint32
	first, last uint64 // sequences; last is 0 when nothing was ever written
	deleted     []uint64
}

func (w *natsWire) info(ctx context.Context, id string) (info, error) {
	var response struct {
		Config struct {
			Metadata map[string]string `json:"metadata"`
		} `json:"config"`
		State struct {
			First   uint64   `json:"first_seq"`
			Last    uint64   `json:"last_seq"`
			Deleted []uint64 `json:"deleted"`
		} `json:"state"`
	}
	request := map[string]bool{"deleted_details": true}
	if err := w.api(ctx, "STREAM.INFO."+streamName(id), request, &response); err != nil {
		return info{}, err
	}
	epoch, err := strconv.ParseUint(response.Config.Metadata[metaEpoch], 10, 32)
	if err != nil {
		return info{}, fmt.Errorf("log %s: epoch in its stream's metadata: %w", id, err)
	}
	st := response.State
	return info{uint32(epoch), max(st.First, 1), st.Last, st.Deleted}, nil
}

// purge removes all frames before seq.
func (w *natsWire) purge(ctx context.Context, id string, seq uint64) error {
	var response struct{}
	return w.api(ctx, "STREAM.PURGE."+streamName(id), map[string]uint64{"seq": seq}, &response)
}

func streamConfig(id string, epoch uint32, storage jetstream.StorageType) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamName(id),
		// d are frames of many callers, r.<source> those of one source.
		Subjects:    []string{"L." + id + ".>"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     storage,
		Replicas:    1,
		Duplicates:  dedupWindow,
		AllowDirect: true,
		Metadata:    map[string]string{metaEpoch: strconv.FormatUint(uint64(epoch), 10)},
	}
}

// newest is the newest frame of a source: errNoMessage if there is none, or it
// cannot be read.
func (w *natsWire) newest(ctx context.Context, id, source string) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"last_by_subj": fromSubject(id, source), "no_hdr": true})
	if err != nil {
		return nil, err
	}
	answer, err := w.read.request(ctx, &nats.Msg{Subject: "$JS.API.DIRECT.GET." + streamName(id), Data: body}, false)
	if err != nil {
		return nil, err
	}
	return answer[0], nil
}

// sources lists those that match: a source, or ">" for all.
func (w *natsWire) sources(ctx context.Context, id, match string) ([]string, error) {
	var list []string
	for {
		var response struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		request := map[string]any{"subjects_filter": fromSubject(id, match), "offset": len(list)}
		if err := w.api(ctx, "STREAM.INFO."+streamName(id), request, &response); err != nil {
			return nil, err
		}
		for subject := range response.State.Subjects {
			list = append(list, subject[len(fromSubject(id, "")):])
		}
		// More than 100,000 come in pages.
		if len(response.State.Subjects) == 0 || len(list) >= response.Total {
			return list, nil
		}
	}
}

// fetch reads up to batch messages from seq on by JetStream's direct get, in order
// and without gaps being shown, until they exceed maxBytes. With batch 0 it reads
// exactly seq. Nothing stored there (and, with a batch, behind it): errNoMessage.
func (w *natsWire) fetch(ctx context.Context, id string, seq uint64, batch, maxBytes int) ([][]byte, error) {
	body, err := json.Marshal(struct {
		Seq       uint64 `json:"seq"`
		Batch     int    `json:"batch,omitempty"`
		MaxBytes  int    `json:"max_bytes,omitempty"`
		NoHeaders bool   `json:"no_hdr"` // else the server makes six for each
	}{seq, batch, maxBytes, true})
	if err != nil {
		return nil, err
	}
	return w.read.request(ctx, &nats.Msg{Subject: "$JS.API.DIRECT.GET." + streamName(id), Data: body}, batch > 0)
}
