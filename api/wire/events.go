package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/http"
	"time"
)

// Events is an open event stream. One goroutine sends at a time.
type Events struct {
	ctx    context.Context // of the operation
	w      http.ResponseWriter
	ctl    *http.ResponseController
	format Format
	buf    []byte // of the last message
	body   []byte // of its payload
}

const (
	// eventTime is how long a client may leave an event unread: AWS bears clients that push
	// back for as long as a subscription lasts, which is the longest of all streams.
	eventTime = 5 * time.Minute
	// lastTime is how long it may once the stream's context has ended.
	lastTime = time.Second
)

// Send sends an event with its payload, a struct with json tags, at once. An error means
// that the client is gone.
func (e *Events) Send(event string, payload any) error {
	if size := sizeOf(payload); size > cap(e.body) {
		recycle(e.body)
		e.body = buffer(size)
	}
	b, err := appendAnswer(e.body[:0], e.format, payload)
	if err != nil {
		return err
	}
	e.body = b
	return e.write([]header{{":event-type", event}, {":content-type", e.format.ContentType()}, {":message-type", "event"}}, b)
}

// Exception sends an error, which is the last that a client reads.
func (e *Events) Exception(err *Error) error {
	b, failed := err.append(nil, e.format)
	if failed != nil {
		return failed
	}
	return e.write([]header{{":exception-type", err.Code}, {":content-type", e.format.ContentType()}, {":message-type", "exception"}}, b)
}

func (e *Events) write(headers []header, payload []byte) error {
	e.buf = appendMessage(e.buf[:0], headers, payload)
	_ = e.ctl.SetWriteDeadline(time.Now().Add(eventTime))
	ended := make(chan struct{})
	stop := context.AfterFunc(e.ctx, func() {
		defer close(ended)
		_ = e.ctl.SetWriteDeadline(time.Now().Add(lastTime))
	})
	_, err := e.w.Write(e.buf)
	if err == nil {
		err = e.ctl.Flush()
	}
	if err != nil {
		e.buf = nil // HTTP/2 may be about to write it yet: it is not used again
	}
	if stop() {
		_ = e.ctl.SetWriteDeadline(time.Time{})
	} else {
		<-ended // nobody may touch the connection once the operation has returned
	}
	return err
}

// header is a header of a message. All that AWS's answers have are strings.
type header struct{ name, value string }

// appendMessage writes a message of an event stream (application/vnd.amazon.eventstream):
// total length, length of the headers, CRC of these, headers, payload, CRC of all.
func appendMessage(b []byte, headers []header, payload []byte) []byte {
	from := len(b)
	size := 0
	for _, h := range headers {
		size += 1 + len(h.name) + 1 + 2 + len(h.value)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(12+size+len(payload)+4))
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
	for _, h := range headers {
		b = append(append(b, byte(len(h.name))), h.name...)
		b = binary.BigEndian.AppendUint16(append(b, 7), uint16(len(h.value))) // 7: a string
		b = append(b, h.value...)
	}
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
}

// stream serves an operation that answers with events.
func (x *exchange) stream(c *Call) error {
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	if closing := x.h.opts.Closing; closing != nil {
		go func() {
			select {
			case <-closing:
				cancel(errors.New("the server is closing"))
			case <-ctx.Done():
			}
		}()
	}
	var events *Events
	open := func() (*Events, error) {
		if events != nil {
			return nil, errors.New("wire: an event stream is opened once")
		}
		x.begun = true
		events = &Events{ctx: ctx, w: x.w, ctl: http.NewResponseController(x.w), format: x.format}
		x.w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		if x.format == RPCv2CBOR {
			x.w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		}
		x.w.WriteHeader(http.StatusOK)
		return events, events.Send("initial-response", struct{}{})
	}
	err := x.to.operation.Stream(ctx, c, open)
	if events != nil {
		defer func() {
			recycle(events.body)
			recycle(events.buf)
		}()
	}
	switch {
	case events == nil && err == nil:
		x.fail(x.known(errors.New("wire: the stream ended before it began")))
	case events == nil:
		x.fail(x.known(err))
	case err != nil && ctx.Err() == nil:
		_ = events.Exception(x.known(err))
	}
	return err
}
