package wire

import (
	"cmp"
	"encoding/json"
	"errors"
	"hash/crc32"
	"net/http"
	"strconv"
	"time"
)

// known is an error that can be shown. All others are wasmill's own trouble.
func (x *exchange) known(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = x.internal(err)
	}
	switch {
	case x.r.Context().Err() != nil: // nobody is there to read the answer
	case !ok:
		x.h.opts.Logger.Error("a request failed", "request", x.id, "operation", x.name(), "error", err)
	case e.status() >= http.StatusInternalServerError:
		x.h.opts.Logger.Warn("a request could not be served", "request", x.id, "operation", x.name(), "error", err, "cause", e.Cause)
	case e.Cause != nil:
		x.h.opts.Logger.Debug("a request was refused", "request", x.id, "operation", x.name(), "error", err, "cause", e.Cause)
	}
	return e
}

// internal is the error of trouble that is ours.
func (x *exchange) internal(cause error) *Error {
	code := codeInternal
	if x.format == RESTJSON {
		code = codeService
	}
	return &Error{Code: code, Status: http.StatusInternalServerError, Cause: cause}
}

// succeed sends an answer.
func (x *exchange) succeed(out any) {
	status := cmp.Or(x.to.operation.Status, http.StatusOK)
	switch raw := out.(type) {
	case Raw:
		x.sendRaw(raw, status)
		return
	case *Raw:
		x.sendRaw(*raw, status)
		return
	}
	var b []byte
	if out != nil || x.format == QueryXML {
		size := roomFor(sizeOf(out))
		if !x.h.room.take(size) {
			x.fail(x.known(busy()))
			return
		}
		defer x.h.room.give(size)
		var err error
		if x.format == QueryXML {
			b, err = x.appendXML(buffer(size), out)
		} else {
			b, err = appendAnswer(buffer(size), x.format, out)
		}
		if err != nil {
			x.fail(x.known(err))
			return
		}
	}
	if b != nil || x.format != RESTJSON {
		x.w.Header().Set("Content-Type", x.format.ContentType())
	}
	if x.send(status, b) == nil {
		recycle(b) // else HTTP/2 may be about to write it yet, though its stream is closed
	}
}

// fail sends an error.
func (x *exchange) fail(e *Error) {
	head := x.w.Header()
	for name, values := range e.Header {
		head[name] = values
	}
	var b []byte
	switch {
	case x.form == bareXML:
		b = bareError(e)
		head["Content-Type"] = nil // nor does AWS
	case x.form == oldJSON:
		b, _ = json.Marshal(map[string]any{"Output": map[string]string{"__type": "com.amazon.coral.service#" + e.Code}, "Version": "1.0"})
		head.Set("Content-Type", "application/json")
	case x.format == QueryXML:
		b = x.xmlError(e)
		head.Set("Content-Type", x.format.ContentType())
	default:
		var err error
		if b, err = e.append(nil, x.format); err != nil {
			x.h.opts.Logger.Error("an error could not be written", "request", x.id, "operation", x.name(), "error", err)
			b, _ = (&Error{Code: e.Code, Message: e.Message}).append(nil, x.format)
		}
		head.Set("Content-Type", x.format.ContentType())
		if x.format != RPCv2CBOR {
			head["x-amzn-ErrorType"] = []string{e.Code}
		}
		if s := x.to.service; s != nil && s.Query != "" {
			head["x-amzn-query-error"] = []string{printable(e.queryCode()) + ";" + e.blames("Sender", "Receiver")}
		}
	}
	_ = x.send(e.status(), b)
}

// sendTime is how long a client may take to fetch a large answer, or over HTTP/2 any.
const sendTime = time.Minute

func (x *exchange) send(status int, b []byte) error {
	head := x.w.Header()
	if status != http.StatusNoContent {
		head.Set("Content-Length", strconv.Itoa(len(b)))
	}
	if x.format == RPCv2CBOR && x.form == inFormat {
		head.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	if s := x.to.service; s != nil && s.Checksum {
		head.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(b)), 10))
	}
	x.begun = true
	ctl := http.NewResponseController(x.w)
	if x.r.ProtoMajor >= 2 {
		// The stream's own, and of small answers too: a client that opens no window has
		// hundreds of them wait on a connection, without anything that fills up.
		_ = ctl.SetWriteDeadline(time.Now().Add(sendTime))
	} else if len(b) > firstRead && ctl.SetWriteDeadline(time.Now().Add(sendTime)) == nil {
		defer func() {
			_ = ctl.Flush()                       // what waits in buffers still counts
			_ = ctl.SetWriteDeadline(time.Time{}) // whatever comes next on the connection
		}()
	}
	x.w.WriteHeader(status)
	_, err := x.w.Write(b)
	return err // a client that is gone needs no answer
}
