package wire

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// forwarded names the wasmills that a request has come through.
const forwarded = "X-Wasmill-Forwarded"

// forward passes a request to the upstream as it is.
func (h *Handler) forward(x *exchange) {
	if slices.Contains(x.r.Header.Values(forwarded), h.id) {
		x.head()
		x.plainError(&Error{Code: "LoopDetected", Status: http.StatusLoopDetected,
			Message: "the request was forwarded to " + h.opts.Upstream + " and came back: --upstream must not lead to wasmill itself"})
		return
	}
	x.begun = true // the proxy's
	h.upstream.ServeHTTP(x.w, x.r)
}

func (h *Handler) proxy(to *url.URL) *httputil.ReverseProxy {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // an emulator is near
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 64
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			// The signature covers these, and the upstream may tell services by the host.
			p.Out.Host = p.In.Host
			if to.RawQuery == "" {
				p.Out.URL.RawQuery = p.In.URL.RawQuery
			}
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if v := p.In.Header.Values(name); v != nil {
					p.Out.Header[name] = v
				}
			}
			p.Out.Header.Add(forwarded, h.id)
		},
		FlushInterval: -1, // event streams are read as they come
		ErrorLog:      slog.NewLogLogger(h.opts.Logger.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the client has gone
			}
			x := &exchange{h: h, w: w, r: r, id: uuid.NewString()}
			x.head()
			h.opts.Logger.Warn("the upstream did not answer", "upstream", to.String(), "error", err)
			if op, ok := errors.AsType[*url.Error](err); ok {
				err = op.Err
			}
			x.plainError(&Error{Code: "ServiceUnavailable", Status: http.StatusBadGateway,
				Message: fmt.Sprintf("the upstream %s (up --upstream) did not answer: %v", to, err)})
		},
	}
}

// unknownService answers a request for a service that nobody here has.
func (x *exchange) unknownService() {
	what := x.to.foreign
	if target := x.r.Header.Get("X-Amz-Target"); target != "" {
		what = target
	}
	var have []string
	for _, s := range x.h.opts.Services {
		have = append(have, s.Name)
	}
	x.plainError(&Error{Code: codeUnknown, Status: http.StatusNotImplemented,
		Message: fmt.Sprintf("wasmill has no service for %s, only %s: start it with wasmill up --upstream URL to have another emulator answer", printable(what), strings.Join(have, ", "))})
}

// plainError writes an error of wasmill's own for whatever protocol the client speaks.
func (x *exchange) plainError(e *Error) {
	kind := mediaType(x.r)
	x.to.service, x.to.rpc = nil, x.to.rpc || kind == "application/cbor"
	x.form = bareXML
	switch x.detect(); {
	case isForm(x.r): // the query protocol: STS, IAM, old SQS
		var b bytes.Buffer
		b.WriteString("<ErrorResponse><Error><Type>Sender</Type><Code>" + e.Code + "</Code><Message>")
		_ = xml.EscapeText(&b, []byte(e.Message))
		b.WriteString("</Message></Error><RequestId>" + x.id + "</RequestId></ErrorResponse>\n")
		x.w.Header().Set("Content-Type", "text/xml")
		_ = x.send(e.status(), b.Bytes())
		return
	case x.to.foreign == "s3": // which alone speaks XML without being a form
		var b bytes.Buffer
		b.WriteString("<Error><Code>" + e.Code + "</Code><Message>")
		_ = xml.EscapeText(&b, []byte(e.Message))
		b.WriteString("</Message><RequestId>" + x.id + "</RequestId></Error>\n")
		x.w.Header().Set("Content-Type", "application/xml")
		_ = x.send(e.status(), b.Bytes())
		return
	case x.form == inFormat:
	default: // REST: clients read the code from the header, or the body
		x.w.Header()["x-amzn-ErrorType"] = []string{e.Code}
		b, _ := e.append(nil, JSON11)
		x.w.Header().Set("Content-Type", "application/json")
		_ = x.send(e.status(), b)
		return
	}
	x.fail(e)
}

// bareError is what AWS's front door says.
func bareError(e *Error) []byte {
	if e.Message == "" {
		return []byte("<" + e.Code + "/>\n")
	}
	var b bytes.Buffer
	b.WriteString("<" + e.Code + ">\n  <Message>")
	_ = xml.EscapeText(&b, []byte(e.Message))
	b.WriteString("</Message>\n</" + e.Code + ">\n")
	return b.Bytes()
}

// printable is text from outside that is fit for a header or a line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
