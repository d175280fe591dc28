package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// paths finds the REST operations of a service. Each value stands for what of a path has
// been followed so far.
type paths struct {
	next  map[string]*paths    // by a segment that is written out
	label *paths               // by any segment
	rest  *paths               // by all segments that are left
	ops   map[string][]*restOp // that end here, by method
}

// restOp is an operation as paths know it.
type restOp struct {
	*Operation
	labels    []string   // names of the segments that are not written out
	constants url.Values // that the query must have
	body      *Shape     // the members of the body; nil: none
	payload   *Member    // the one that is the body as a whole; nil: none
}

// place is where a request's path leads.
type place struct {
	op      *restOp           // nil: nowhere
	labels  map[string]string // what the path says, by the names of members
	methods []string          // that other operations of this path have
}

// known says whether some operation has that path.
func (p *place) known() bool { return p.op != nil || p.methods != nil }

// pathsOf panics if an operation has no path, or shares it with another.
func pathsOf(s *Service) *paths {
	root := &paths{}
	for _, op := range s.Ops {
		r := &restOp{Operation: op}
		path, query, _ := strings.Cut(op.Path, "?")
		r.constants, _ = url.ParseQuery(query)
		if op.Method == "" || !strings.HasPrefix(path, "/") || op.Stream != nil {
			panic(fmt.Sprintf("wire: operation %s.%s of a REST service: want a method, a path and Do", s.Name, op.Name))
		}
		at := root
		for _, segment := range strings.Split(strings.Trim(path, "/"), "/") {
			at = at.follow(segment, r)
		}
		if slices.ContainsFunc(at.ops[op.Method], func(o *restOp) bool { return maps.EqualFunc(o.constants, r.constants, slices.Equal) }) {
			panic(fmt.Sprintf("wire: operation %s.%s: another has its method and path", s.Name, op.Name))
		}
		if at.ops == nil {
			at.ops = map[string][]*restOp{}
		}
		at.ops[op.Method] = append(at.ops[op.Method], r)
		// What asks for more of the query goes first.
		slices.SortStableFunc(at.ops[op.Method], func(a, b *restOp) int { return cmp.Compare(len(b.constants), len(a.constants)) })
		r.shapes()
	}
	return root
}

// follow adds a segment of an operation's path.
func (p *paths) follow(segment string, r *restOp) *paths {
	name, isLabel := strings.CutPrefix(segment, "{")
	if !isLabel {
		if p.next == nil {
			p.next = map[string]*paths{}
		}
		if p.next[segment] == nil {
			p.next[segment] = &paths{}
		}
		return p.next[segment]
	}
	name, greedy := strings.CutSuffix(strings.TrimSuffix(name, "}"), "+")
	r.labels = append(r.labels, name)
	to := &p.label
	if greedy {
		to = &p.rest
	}
	if *to == nil {
		*to = &paths{}
	}
	return *to
}

// shapes sorts the members by where they travel.
func (r *restOp) shapes() {
	if r.Input == nil {
		return
	}
	for i, m := range r.Input.Members {
		switch m.In {
		case InBody:
			if r.body == nil {
				r.body = Structure()
			}
			r.body.Members = append(r.body.Members, m)
		case InPayload:
			r.payload = &r.Input.Members[i]
		}
	}
}

// find never returns nil but on paths that are nil: of a service that is not REST.
func (p *paths) find(r *http.Request) *place {
	if p == nil {
		return nil
	}
	to := &place{}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/")
	if path = strings.TrimSuffix(path, "/"); !ok || path == "" {
		return to
	}
	p.walk(strings.Split(path, "/"), nil, r, to)
	return to
}

// walk follows the segments, what is written out before what is not, until an operation is
// found.
func (p *paths) walk(segments, values []string, r *http.Request, to *place) (found bool) {
	if len(segments) == 0 {
		return p.choose(values, r, to)
	}
	first, err := url.PathUnescape(segments[0])
	if err != nil {
		first = segments[0]
	}
	if p.next[first] != nil && p.next[first].walk(segments[1:], values, r, to) {
		return true
	}
	if p.label != nil && first != "" && p.label.walk(segments[1:], append(slices.Clip(values), first), r, to) {
		return true
	}
	if p.rest == nil || first == "" {
		return false
	}
	all := strings.Join(segments, "/")
	if plain, err := url.PathUnescape(all); err == nil {
		all = plain
	}
	return p.rest.choose(append(slices.Clip(values), all), r, to)
}

// choose picks the operation for the request's method and query.
func (p *paths) choose(values []string, r *http.Request, to *place) bool {
	query := queryOf(r)
	for _, op := range p.ops[r.Method] {
		fits := true
		for name, want := range op.constants {
			fits = fits && slices.Equal(query[name], want)
		}
		if !fits {
			continue
		}
		to.op, to.labels = op, map[string]string{}
		for i, name := range op.labels {
			to.labels[name] = values[i]
		}
		return true
	}
	to.methods = append(to.methods, slices.Sorted(maps.Keys(p.ops))...)
	return false
}

// unrouted is the error of a request whose path or method no operation of its REST service
// has; nil if one has them. AWS says to nobody what it does not know; people who look for it
// are told here.
func (x *exchange) unrouted() *Error {
	p, name := x.to.path, x.to.service.Name
	if p == nil || !p.known() {
		return &Error{Code: codeUnknown, Status: http.StatusNotFound,
			Message: fmt.Sprintf("wasmill's %s has no operation of the path %s", name, printable(x.r.URL.EscapedPath()))}
	}
	if p.op == nil {
		slices.Sort(p.methods)
		methods := strings.Join(slices.Compact(p.methods), ", ")
		return &Error{Code: codeUnknown, Status: http.StatusMethodNotAllowed, Header: http.Header{"Allow": {methods}},
			Message: fmt.Sprintf("wasmill's %s has no operation %s %s, only %s", name, printable(x.r.Method), printable(x.r.URL.EscapedPath()), methods)}
	}
	return nil
}

// answerREST answers a request whose body has arrived.
func (x *exchange) answerREST(body []byte, query url.Values, by identity) error {
	op := x.to.path.op
	if err := x.signed(query); err != nil {
		x.fail(err)
		return nil
	}
	c := &Call{Service: x.to.service, Operation: op.Operation, RequestID: x.id, Format: RESTJSON}
	x.h.identify(c, x.r, query, by)
	// What is read of a large body counts, too: it is there twice while the operation works.
	if op.payload == nil {
		if !x.h.room.take(len(body)) {
			x.fail(x.known(busy()))
			return nil
		}
		defer x.h.room.give(len(body))
	}
	in, err := x.restInput(body, query)
	if err == nil {
		err = x.to.service.check(op.Operation, in)
	}
	if err != nil {
		x.fail(err)
		return nil
	}
	c.In = in
	return x.perform(c)
}

// signed judges the credentials, if there are any.
func (x *exchange) signed(query url.Values) *Error {
	if x.r.Header.Get("Authorization") == "" && !query.Has("X-Amz-Algorithm") && !query.Has("X-Amz-Credential") {
		return nil
	}
	err := authenticate(x.r, query)
	if err != nil {
		err.Status = http.StatusForbidden
	}
	return err
}

// restInput gathers the members of the input.
func (x *exchange) restInput(body []byte, query url.Values) (Values, *Error) {
	op := x.to.path.op
	in := Values{}
	if op.body != nil && len(bytes.TrimSpace(body)) > 0 {
		if !x.wellFormed(body) {
			return nil, serialization("%s", jsonTrouble(body))
		}
		var err *Error
		if in, err = read(RESTJSON, op.body, body); err != nil {
			return nil, err
		}
	}
	if op.payload != nil && len(body) > 0 {
		in[op.payload.Name] = body
	}
	if op.Input == nil {
		return in, nil
	}
	for i := range op.Input.Members {
		m := &op.Input.Members[i]
		key := cmp.Or(m.Key, m.Name)
		var texts []string
		switch m.In {
		case InPath:
			if text, ok := x.to.path.labels[key]; ok {
				texts = []string{text}
			}
		case InQuery:
			texts = query[key]
		case InHeader:
			if text := x.r.Header.Get(key); text != "" {
				texts = []string{text}
			}
		}
		if len(texts) == 0 {
			continue
		}
		v, err := fromTexts(m.Shape, texts)
		if err != nil {
			return nil, err
		}
		in[m.Name] = v
	}
	return in, nil
}

// jsonTrouble says what is wrong with a body.
func jsonTrouble(body []byte) string {
	var v json.RawMessage
	if err := json.Unmarshal(body, &v); err != nil {
		return "Could not parse request body into json: " + err.Error()
	}
	return "Could not parse request body into json: it is no object"
}

// sendRaw sends an answer byte for byte.
func (x *exchange) sendRaw(raw Raw, status int) {
	// It is in memory whether there is room for it or not: others have less.
	x.h.room.held.Add(weight(len(raw.Body)))
	defer x.h.room.give(len(raw.Body))
	head := x.w.Header()
	for name, values := range raw.Header {
		head[name] = values
	}
	if head["Content-Type"] == nil && len(raw.Body) > 0 {
		head.Set("Content-Type", RESTJSON.ContentType())
	}
	_ = x.send(cmp.Or(raw.Status, status), raw.Body)
}
