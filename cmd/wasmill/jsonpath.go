package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// keyPath finds a record's partition key in its JSON: $.a.b, $['a b'][0].
type keyPath struct {
	text  string
	steps []any // string: a field, int: an element
}

// parsePath reads the plain part of JSONPath: fields and elements from the
// root, no wildcards and no filters.
func parsePath(text string) (keyPath, error) {
	p := keyPath{text: text}
	bad := func(at string) (keyPath, error) {
		return p, fmt.Errorf("%q is no path, at %q: want one like $.customer.id, $['customer id'] or $.items[0]", text, at)
	}
	rest, ok := strings.CutPrefix(text, "$")
	if !ok || rest == "" {
		return bad(text)
	}
	for rest != "" {
		switch {
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			name := rest[1 : 1+end]
			if name == "" || name == "*" {
				return bad(rest)
			}
			p.steps, rest = append(p.steps, name), rest[1+end:]
		case strings.HasPrefix(rest, "['"), strings.HasPrefix(rest, `["`):
			quote := rest[1:2]
			end := strings.Index(rest[2:], quote+"]")
			if end < 0 {
				return bad(rest)
			}
			p.steps, rest = append(p.steps, rest[2:2+end]), rest[2+end+2:]
		case rest[0] == '[':
			number, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.Atoi(number)
			if !ok || err != nil || n < 0 {
				return bad(rest)
			}
			p.steps, rest = append(p.steps, n), after
		default:
			return bad(rest)
		}
	}
	return p, nil
}

// find returns what stands at the path: the text of a string, a number or
// boolean as it is written.
func (p keyPath) find(doc []byte) (string, error) {
	at := json.RawMessage(doc)
	for _, step := range p.steps {
		var err error
		var next json.RawMessage
		var there bool
		switch step := step.(type) {
		case string:
			var fields map[string]json.RawMessage
			if err = json.Unmarshal(at, &fields); err == nil {
				next, there = fields[step]
			}
		case int:
			var elements []json.RawMessage
			if err = json.Unmarshal(at, &elements); err == nil && step < len(elements) {
				next, there = elements[step], true
			}
		}
		if err != nil && !json.Valid(doc) {
			return "", fmt.Errorf("is not JSON: %w", err)
		}
		if !there {
			return "", fmt.Errorf("has nothing at %s", p.text)
		}
		at = next
	}
	at = bytes.TrimSpace(at)
	switch {
	case len(at) == 0 || at[0] == '{' || at[0] == '[' || at[0] == 'n':
		return "", fmt.Errorf("has no text, number or boolean at %s", p.text)
	case at[0] == '"':
		var s string
		if err := json.Unmarshal(at, &s); err != nil {
			return "", err
		}
		if s == "" {
			return "", fmt.Errorf("has an empty text at %s", p.text)
		}
		return s, nil
	}
	return string(at), nil
}
