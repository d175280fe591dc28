package wire

import (
	"bytes"
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The Query protocol: a form with Action and Version, whose other names are paths into the
// input: Tags.member.1.Key.

// The codes that the Query protocol has for what the others name otherwise.
const (
	codeQueryValidation = "ValidationError"
	codeQueryInput      = "MalformedInput"
	codeQueryString     = "MalformedQueryString"
	codeQueryAction     = "InvalidAction"
	codeQueryNoAction   = "MissingAction"
)

// queryCode is the error's code in the Query protocol.
func (e *Error) queryCode() string {
	switch e.Code {
	case codeValidation:
		return codeQueryValidation
	case codeSerialization:
		return codeQueryInput
	case codeNoToken, codeIncomplete, codeSignature:
		return strings.TrimSuffix(e.Code, "Exception")
	}
	return cmp.Or(e.Query, e.Code)
}

// byForm gives a request to the service whose version its form names.
func (x *exchange) byForm(body []byte, query url.Values) {
	form, err := formOf(body, query)
	if err != nil || form.Get("Action") == "" {
		return
	}
	for _, s := range x.h.opts.Services {
		if s.Query != "" && s.Query == form.Get("Version") {
			x.to.service, x.form, x.format = s, inFormat, QueryXML
			return
		}
	}
}

// formOf is what the body and the query say together.
func formOf(body []byte, query url.Values) (url.Values, *Error) {
	malformed := &Error{Code: codeQueryString, Status: http.StatusNotFound, Message: "The query string contains a syntax error."}
	if bytes.Count(body, []byte("&")) > maxValues {
		return nil, malformed
	}
	form, err := url.ParseQuery(string(bytes.TrimSpace(body)))
	if err != nil {
		return nil, malformed
	}
	for name, values := range query {
		form[name] = append(form[name], values...)
	}
	return form, nil
}

// answerQuery answers a request whose body has arrived.
func (x *exchange) answerQuery(body []byte, query url.Values, by identity) error {
	s := x.to.service
	form, err := formOf(body, query)
	if err != nil {
		x.fail(err)
		return nil
	}
	x.to.opName = form.Get("Action")
	if x.to.opName == "" {
		x.fail(&Error{Code: codeQueryNoAction, Message: "The request must contain the parameter Action."})
		return nil
	}
	version := form.Get("Version")
	if version == "" || version == s.Query {
		x.to.operation = x.h.ops[s][x.to.opName]
	}
	op := x.to.operation
	if op == nil || op.Do == nil {
		x.to.operation = nil
		x.fail(Errorf(codeQueryAction, "Could not find operation %s for version %s: wasmill's %s does not serve it", printable(x.to.opName), printable(version), s.Name))
		return nil
	}
	if err := authenticate(x.r, query); err != nil {
		if err.Code == codeNoToken {
			err.Message = "Request is missing Authentication Token"
		}
		if err.Code != codeIncomplete {
			err.Status = http.StatusForbidden
		}
		x.fail(err)
		return nil
	}
	c := &Call{Service: s, Operation: op, RequestID: x.id, Format: QueryXML}
	x.h.identify(c, x.r, query, by)
	if c.In, err = readForm(op.Input, form); err == nil {
		err = s.check(op, c.In)
	}
	if err != nil {
		x.fail(err)
		return nil
	}
	return x.perform(c)
}

// branch is what a form says of one name and those below it.
type branch struct {
	text string // "" as well if only those below have values
	next map[string]*branch
}

// deepest is how many names of a form may be within each other.
const deepest = 16

// readForm reads the input that a form is.
func readForm(s *Shape, form url.Values) (Values, *Error) {
	if s == nil {
		return Values{}, nil
	}
	root := &branch{}
	n := 0
	for name, values := range form {
		parts := strings.SplitN(name, ".", deepest+1)
		if len(parts) > deepest {
			continue // no shape is as deep
		}
		if n += len(parts); n > maxValues {
			return nil, serialization("The request has more than %d values", maxValues)
		}
		at := root
		for _, part := range parts {
			if at.next == nil {
				at.next = map[string]*branch{}
			}
			if at.next[part] == nil {
				at.next[part] = &branch{}
			}
			at = at.next[part]
		}
		at.text = values[0]
	}
	v, err := root.value(s)
	if err != nil {
		return nil, err
	}
	return v.(Values), nil
}

// value reads what the shape wants of a branch.
func (b *branch) value(s *Shape) (any, *Error) {
	switch s.Kind {
	case KindStructure:
		out := Values{}
		for i := range s.Members {
			m := &s.Members[i]
			below := b.next[cmp.Or(m.Key, m.Name)]
			if below == nil {
				continue
			}
			v, err := below.value(m.Shape)
			if err != nil {
				return nil, err
			}
			out[m.Name] = v
		}
		return out, nil
	case KindList:
		out := []any{}
		for _, e := range b.numbered("member") {
			v, err := e.value(s.Elem)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case KindMap:
		out := Values{}
		for _, e := range b.numbered("entry") {
			if e.next["key"] == nil || e.next["value"] == nil {
				continue
			}
			v, err := e.next["value"].value(s.Elem)
			if err != nil {
				return nil, err
			}
			out[e.next["key"].text] = v
		}
		return out, nil
	}
	if b.next != nil {
		return nil, errMap
	}
	return fromText(s, b.text)
}

// numbered are the branches that are called by numbers, in their order. Most services put
// a name before the number.
func (b *branch) numbered(name string) []*branch {
	if below := b.next[name]; below != nil {
		b = below
	}
	type place struct {
		at uint64
		of *branch
	}
	var all []place
	for name, below := range b.next {
		if at, err := strconv.ParseUint(name, 10, 64); err == nil && at <= math.MaxInt32 {
			all = append(all, place{at, below})
		}
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	out := make([]*branch, len(all))
	for i, p := range all {
		out[i] = p.of
	}
	return out
}
