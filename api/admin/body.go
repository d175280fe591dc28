package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// readJSON reads a bounded body into v and refuses fields v does not have.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body := http.MaxBytesReader(w, r.Body, limit)
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return err
		}
		if errors.Is(err, io.EOF) {
			return newError(CodeBadRequest, "the request has no body: want a JSON object")
		}
		text := strings.TrimPrefix(err.Error(), "json: ")
		bad := newError(CodeBadRequest, "the body cannot be read: %s", text)
		if name, ok := strings.CutPrefix(text, "unknown field "); ok {
			name, _ = strconv.Unquote(name)
			bad = newError(CodeBadRequest, "unknown field %q", name).suggest(name, fields(reflect.TypeOf(v))).With("field", name)
		}
		return bad
	}
	if _, err := dec.Token(); err != io.EOF {
		return newError(CodeBadRequest, "the body goes on after its JSON object")
	}
	return nil
}

// fields lists the JSON names of a struct and of those within it.
func fields(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
			names = append(names, fields(f.Type)...)
		}
	}
	return names
}

// query reads parameters and collects what is wrong with them.
type query struct {
	values url.Values
	known  []string
	err    error
}

func parameters(r *http.Request) *query { return &query{values: r.URL.Query()} }

func (q *query) text(name string) string {
	q.known = append(q.known, name)
	return q.values.Get(name)
}

func (q *query) flag(name string) bool {
	s := q.text(name)
	if !q.values.Has(name) {
		return false
	}
	b, err := strconv.ParseBool(s)
	if s == "" { // ?follow
		return true
	}
	if err != nil {
		q.bad(name, s, "want true or false")
	}
	return b
}

func (q *query) number(name string, def, least, most int) int {
	s := q.text(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		q.bad(name, s, fmt.Sprintf("want %d to %d", least, most))
	}
	return n
}

func (q *query) duration(name string, def, most time.Duration) time.Duration {
	s := q.text(name)
	if s == "" {
		return def
	}
	d, err := ParseDuration(s)
	if err != nil || d < 0 || d > most {
		q.bad(name, s, fmt.Sprintf("want a duration up to %s", Duration(most)))
	}
	return d
}

func (q *query) time(name string, now time.Time) time.Time {
	s := q.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := ParseTime(s, now)
	if err != nil {
		q.bad(name, s, "want a time like 2026-01-02T15:04:05Z, -15m or @1767366245")
	}
	return t
}

func (q *query) bad(name, value, want string) {
	if q.err == nil {
		q.err = newError(CodeBadRequest, "parameter %s=%q: %s", name, value, want).With("parameter", name)
	}
}

// done reports what was wrong, parameters nobody asked for included.
func (q *query) done() error {
	if q.err != nil {
		return q.err
	}
	for name := range q.values {
		if !slices.Contains(q.known, name) {
			return newError(CodeBadRequest, "unknown parameter %q", name).suggest(name, q.known).With("parameter", name)
		}
	}
	return nil
}

// lines writes NDJSON, each line at once.
type lines struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	enc   *json.Encoder
	begun bool
}

func newLines(w http.ResponseWriter) *lines {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &lines{w: w, ctl: http.NewResponseController(w), enc: enc}
}

// begin sends the header, so that the caller knows that the call was understood.
func (l *lines) begin() error {
	if l.begun {
		return nil
	}
	l.begun = true
	l.w.Header().Set("Content-Type", "application/x-ndjson")
	l.w.WriteHeader(http.StatusOK)
	return l.ctl.Flush()
}

// write writes a line without sending it.
func (l *lines) write(v any) error {
	if !l.begun {
		if err := l.begin(); err != nil {
			return err
		}
	}
	return l.enc.Encode(v)
}

func (l *lines) send(v any) error {
	if err := l.write(v); err != nil {
		return err
	}
	return l.ctl.Flush()
}
