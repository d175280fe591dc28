package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions/archive"
)

// Client talks to a server. Its methods return [*Error] and nothing else;
// contexts bound how long they wait.
type Client struct {
	endpoint string
	http     *http.Client
	none     *Error // what every call returns where there is no server
}

// NoServer returns a client whose every call fails with err, for a caller who
// knows that there is no server to ask.
func NoServer(err *Error) *Client { return &Client{http: &http.Client{}, none: err} }

// NewClient returns a client of the server at endpoint, http://host:port.
func NewClient(endpoint string) *Client {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     30 * time.Second,
		Proxy:               nil, // a proxy of the user's cannot reach this machine's loopback
	}
	return &Client{endpoint: strings.TrimRight(endpoint, "/"), http: &http.Client{Transport: t}}
}

// Endpoint is where the server is.
func (c *Client) Endpoint() string { return c.endpoint }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func path(parts ...string) string {
	var b strings.Builder
	b.WriteString(Prefix)
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

func with(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// open sends a request and returns the body of a good answer.
func (c *Client) open(ctx context.Context, method, path string, header http.Header, body io.Reader) (io.ReadCloser, error) {
	if c.none != nil {
		return nil, c.none
	}
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, body)
	if err != nil || req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "" {
		return nil, newError(CodeUsage, "endpoint %q is no URL: want http://host:port", c.endpoint)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	var e Error
	if json.Unmarshal(b, &e) != nil || e.Code == "" {
		return nil, newError(CodeVersion, "%s answers %s to %s %s with HTTP %d and not as wasmill does", c.endpoint, firstLine(b), method, path, res.StatusCode)
	}
	return nil, &e
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strconv.Quote(line[:min(len(line), 80)])
}

// lost says why no answer came.
func (c *Client) lost(ctx context.Context, err error) *Error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return newError(CodeWaitExpired, "%s did not answer in time", c.endpoint)
	case ctx.Err() != nil:
		return newError(CodeInterrupted, "interrupted")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	text, dialled := reason(err)
	if dialled {
		text = fmt.Sprintf("the connection to %s broke before an answer came: %s", c.endpoint, text)
	} else {
		text = fmt.Sprintf("no server answers at %s: %s", c.endpoint, text)
	}
	e := newError(CodeUnreachable, "%s", text).With("endpoint", c.endpoint)
	e.cause = err // a caller may want to know whether anything was sent
	return e
}

// reason is an error of a connection without the operations and addresses it
// came through, and whether there was a connection at all.
func reason(err error) (text string, dialled bool) {
	dialled = true
	for {
		op, ok := errors.AsType[*net.OpError](err)
		if !ok {
			break
		}
		if op.Op == "dial" {
			dialled = false
		}
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err.Error(), dialled
}

// call sends in as JSON, unless it is nil, and reads the answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	header := http.Header{}
	if in != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(in); err != nil {
			return newError(CodeInternal, "encode request: %v", err)
		}
		body = &b
		header.Set("Content-Type", "application/json")
	}
	answer, err := c.open(ctx, method, path, header, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		io.Copy(io.Discard, answer) // so that the connection can be used again
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return c.garbled(ctx, err)
	}
	io.Copy(io.Discard, answer)
	return nil
}

func (c *Client) garbled(ctx context.Context, err error) error {
	if _, ok := errors.AsType[net.Error](err); ok || ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		e := c.lost(ctx, err)
		if e.Code == CodeUnreachable {
			e.Message = fmt.Sprintf("the connection to %s broke in the middle of an answer: %v", c.endpoint, err)
		}
		return e
	}
	return newError(CodeVersion, "the answer of %s cannot be read: %v", c.endpoint, err)
}

// Lines reads NDJSON into values of L until the body ends or each says to stop.
func readLines[L any](ctx context.Context, c *Client, body io.ReadCloser, each func(L) (more bool, err error)) error {
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var line L
		if err := dec.Decode(&line); err != nil {
			return c.garbled(ctx, err)
		}
		if more, err := each(line); !more || err != nil {
			return err
		}
	}
}

// Info asks who is there.
func (c *Client) Info(ctx context.Context) (v Info, err error) {
	err = c.call(ctx, "GET", path("info"), nil, &v)
	return v, err
}

// Healthy returns nil if the server can serve.
func (c *Client) Healthy(ctx context.Context) error {
	return c.call(ctx, "GET", "/_wasmill/health", nil, nil)
}

// Shutdown asks the server to stop and does not wait for it.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, "POST", path("shutdown"), nil, nil)
}

// Reset deletes everything, where the server allows it.
func (c *Client) Reset(ctx context.Context) error {
	return c.call(ctx, "POST", "/_wasmill/reset", nil, nil)
}

// CreateStream makes a stream.
func (c *Client) CreateStream(ctx context.Context, spec StreamSpec) (v Stream, err error) {
	err = c.call(ctx, "POST", path("streams"), spec, &v)
	return v, err
}

// Streams lists them by name.
func (c *Client) Streams(ctx context.Context) ([]Stream, error) {
	var v struct{ Streams []Stream }
	err := c.call(ctx, "GET", path("streams"), nil, &v)
	return v.Streams, err
}

// Stream describes one, with its shards.
func (c *Client) Stream(ctx context.Context, name string) (v Stream, err error) {
	err = c.call(ctx, "GET", path("streams", name), nil, &v)
	return v, err
}

// UpdateStream changes a stream.
func (c *Client) UpdateStream(ctx context.Context, name string, change StreamChange) (v Stream, err error) {
	err = c.call(ctx, "PATCH", path("streams", name), change, &v)
	return v, err
}

// DeleteStream deletes a stream with its records. One that a trigger reads is
// deleted with force only.
func (c *Client) DeleteStream(ctx context.Context, name string, force bool) error {
	q := url.Values{}
	if force {
		q.Set("force", "true")
	}
	return c.call(ctx, "DELETE", with(path("streams", name), q), nil, nil)
}

// Put stores records, each with a result of its own.
func (c *Client) Put(ctx context.Context, name string, records []Entry) (v PutAnswer, err error) {
	err = c.call(ctx, "POST", path("streams", name, "records"), PutSpec{records}, &v)
	return v, err
}

// TailOptions shape a tail. The zero value reads everything stored.
type TailOptions struct {
	From   string // as [ParseFrom] reads it; empty: trim-horizon, or latest with Follow
	Shard  string // empty: all
	Follow bool
	Limit  int // 0: none
}

// Tail hands over line after line until the tail ends, each returns an error,
// or ctx ends. The last line is the one with End.
func (c *Client) Tail(ctx context.Context, name string, o TailOptions, each func(TailLine) error) error {
	q := url.Values{}
	if o.From != "" {
		q.Set("from", o.From)
	}
	if o.Shard != "" {
		q.Set("shard", o.Shard)
	}
	if o.Follow {
		q.Set("follow", "true")
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	body, err := c.open(ctx, "GET", with(path("streams", name, "records"), q), nil, nil)
	if err != nil {
		return err
	}
	return readLines(ctx, c, body, func(l TailLine) (bool, error) {
		if l.Error != nil {
			return false, l.Error
		}
		return l.End == nil, each(l)
	})
}

// CreateFunction deploys a module; progress may be nil.
func (c *Client) CreateFunction(ctx context.Context, name string, code []byte, spec FunctionSpec, progress func(Progress)) (Function, []string, error) {
	config, err := json.Marshal(spec)
	if err != nil {
		return Function{}, nil, newError(CodeInternal, "encode request: %v", err)
	}
	return c.deploy(ctx, "POST", path("functions", name), http.Header{ConfigHeader: {ascii(config)}}, code, progress)
}

// UpdateCode gives a function a new module; progress may be nil.
func (c *Client) UpdateCode(ctx context.Context, name string, code []byte, progress func(Progress)) (Function, []string, error) {
	return c.deploy(ctx, "PUT", path("functions", name, "code"), http.Header{}, code, progress)
}

func (c *Client) deploy(ctx context.Context, method, path string, header http.Header, code []byte, progress func(Progress)) (fn Function, warnings []string, err error) {
	header.Set("Content-Type", "application/wasm")
	body, err := c.open(ctx, method, path, header, bytes.NewReader(code))
	if err != nil {
		return fn, nil, err
	}
	err = readLines(ctx, c, body, func(l DeployLine) (bool, error) {
		switch {
		case l.Error != nil:
			return false, l.Error
		case l.Function != nil:
			fn, warnings = *l.Function, l.Warnings
			return false, nil
		case l.Progress != nil && progress != nil:
			progress(*l.Progress)
		}
		return true, nil
	})
	return fn, warnings, err
}

// ascii escapes what a header cannot carry; in JSON such characters stand in strings only.
func ascii(b []byte) string {
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case r < 0x7f:
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out.String()
}

// UpdateConfig changes a function's settings.
func (c *Client) UpdateConfig(ctx context.Context, name string, spec FunctionSpec) (Function, []string, error) {
	var l DeployLine
	if err := c.call(ctx, "PATCH", path("functions", name, "config"), spec, &l); err != nil {
		return Function{}, nil, err
	}
	if l.Function == nil {
		return Function{}, nil, newError(CodeVersion, "the answer of %s holds no function", c.endpoint)
	}
	return *l.Function, l.Warnings, nil
}

// Functions lists them by name.
func (c *Client) Functions(ctx context.Context) ([]Function, error) {
	var v struct{ Functions []Function }
	err := c.call(ctx, "GET", path("functions"), nil, &v)
	return v.Functions, err
}

// Function describes a function; an empty qualifier means $LATEST.
func (c *Client) Function(ctx context.Context, name, qualifier string) (v Function, err error) {
	q := url.Values{}
	if qualifier != "" {
		q.Set("qualifier", qualifier)
	}
	err = c.call(ctx, "GET", with(path("functions", name), q), nil, &v)
	return v, err
}

// Code reads the module of a function's version, or alias; an empty one means $LATEST.
func (c *Client) Code(ctx context.Context, name, version string) ([]byte, error) {
	q := url.Values{}
	if version != "" {
		q.Set("version", version)
	}
	body, err := c.open(ctx, "GET", with(path("functions", name, "code"), q), http.Header{}, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	packed, err := io.ReadAll(body)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	module, err := archive.Module(packed)
	if err != nil {
		return nil, newError(CodeVersion, "the answer of %s is no function's code: %v", c.endpoint, err)
	}
	return module, nil
}

// Publish makes an immutable version of a function.
func (c *Client) Publish(ctx context.Context, name, description string) (v Function, err error) {
	err = c.call(ctx, "POST", path("functions", name, "versions"), PublishSpec{description}, &v)
	return v, err
}

// DeleteFunction deletes a function with its versions.
func (c *Client) DeleteFunction(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", path("functions", name), nil, nil)
}

// Invoke runs a function once. That it fails is an outcome, not an error.
func (c *Client) Invoke(ctx context.Context, name, qualifier string, payload []byte) (v Invocation, err error) {
	q := url.Values{}
	if qualifier != "" {
		q.Set("qualifier", qualifier)
	}
	body, err := c.open(ctx, "POST", with(path("functions", name, "invocations"), q), http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(payload))
	if err != nil {
		return v, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return v, c.garbled(ctx, err)
	}
	return v, nil
}

// Logs hands over the last n lines a function wrote, then with follow those it
// writes, until each returns an error or ctx ends.
func (c *Client) Logs(ctx context.Context, name string, n int, follow bool, each func(LogLine) error) error {
	q := url.Values{"tail": {strconv.Itoa(n)}}
	if follow {
		q.Set("follow", "true")
	}
	body, err := c.open(ctx, "GET", with(path("functions", name, "logs"), q), nil, nil)
	if err != nil {
		return err
	}
	return readLines(ctx, c, body, func(l LogStreamLine) (bool, error) {
		switch {
		case l.Error != nil:
			return false, l.Error
		case l.Log != nil:
			return true, each(*l.Log)
		}
		return l.End == nil, nil
	})
}

// CreateTrigger joins a stream and a function.
func (c *Client) CreateTrigger(ctx context.Context, spec TriggerSpec) (v Trigger, err error) {
	err = c.call(ctx, "POST", path("triggers"), spec, &v)
	return v, err
}

// Triggers lists them by name.
func (c *Client) Triggers(ctx context.Context) ([]Trigger, error) {
	var v struct{ Triggers []Trigger }
	err := c.call(ctx, "GET", path("triggers"), nil, &v)
	return v.Triggers, err
}

// Trigger describes one, with where it stands in each shard.
func (c *Client) Trigger(ctx context.Context, name string) (v Trigger, err error) {
	err = c.call(ctx, "GET", path("triggers", name), nil, &v)
	return v, err
}

// CheckDestination says whether triggers may have a destination (TriggerSpec.OnFailure) now.
func (c *Client) CheckDestination(ctx context.Context, name string) error {
	return c.call(ctx, "GET", path("destinations")+"?"+url.Values{"name": {name}}.Encode(), nil, nil)
}

// UpdateTrigger changes a trigger's settings.
func (c *Client) UpdateTrigger(ctx context.Context, name string, spec TriggerSpec) (v Trigger, err error) {
	err = c.call(ctx, "PATCH", path("triggers", name), spec, &v)
	return v, err
}

// PauseTrigger stops a trigger at its checkpoint.
func (c *Client) PauseTrigger(ctx context.Context, name string) (v Trigger, err error) {
	err = c.call(ctx, "POST", path("triggers", name, "pause"), nil, &v)
	return v, err
}

// ResumeTrigger lets it go on there.
func (c *Client) ResumeTrigger(ctx context.Context, name string) (v Trigger, err error) {
	err = c.call(ctx, "POST", path("triggers", name, "resume"), nil, &v)
	return v, err
}

// DeleteTrigger deletes a trigger; its dead letters stay.
func (c *Client) DeleteTrigger(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", path("triggers", name), nil, nil)
}

// WaitDrained waits until every record acknowledged before the call is
// resolved and its dead letters are visible.
func (c *Client) WaitDrained(ctx context.Context, name string, timeout time.Duration) (v Trigger, err error) {
	q := url.Values{"drained": {"true"}, "timeout": {timeout.String()}}
	err = c.call(ctx, "POST", with(path("triggers", name, "wait"), q), nil, &v)
	return v, err
}

func (f LetterFilter) query() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"id": f.ID, "trigger": f.Trigger, "stream": f.Stream, "reason": string(f.Reason), "error": f.Error} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for name, t := range map[string]time.Time{"since": f.Since, "before": f.Before} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// Letters lists dead letters without their data, oldest first, and says
// whether there are older ones than the limit shows.
func (c *Client) Letters(ctx context.Context, f LetterFilter) (letters []Letter, more bool, err error) {
	var v struct {
		DeadLetters []Letter
		More        bool
	}
	err = c.call(ctx, "GET", with(path("dead-letters"), f.query()), nil, &v)
	return v.DeadLetters, v.More, err
}

// Letter returns one with its data.
func (c *Client) Letter(ctx context.Context, id string) (v Letter, err error) {
	err = c.call(ctx, "GET", path("dead-letters", id), nil, &v)
	return v, err
}

// PurgeLetters deletes those the filter picks, or every one with all.
func (c *Client) PurgeLetters(ctx context.Context, f LetterFilter, all bool) (int, error) {
	q := f.query()
	if all {
		q.Set("all", "true")
	}
	var v struct{ Purged int }
	err := c.call(ctx, "DELETE", with(path("dead-letters"), q), nil, &v)
	return v.Purged, err
}
