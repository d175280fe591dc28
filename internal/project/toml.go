package project

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Fault is one thing wrong with a file. Lines and columns count from 1, columns in bytes.
type Fault struct {
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Text   string `json:"text"`
}

// Faults are all of them, in the file's order.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", FileName, one.Line, one.Column, one.Text)
	}
	return strings.Join(lines, "\n")
}

// place is where something stands in a file.
type place struct{ line, column int }

func (p place) before(q place) int { return cmp.Or(p.line-q.line, p.column-q.column) }

// document is a file's tables, and where each key of them stands: the decoder
// keeps places to itself, so the syntax is walked a second time for them.
type document struct {
	tree   map[string]any
	places map[string]place // by path, as "trigger[0].batch-size" or "emits[1]"
}

// parse reads TOML. Its errors are Faults of syntax: one, since what follows
// the first cannot be told.
func parse(data []byte) (*document, error) {
	d := &document{places: map[string]place{}}
	if err := toml.Unmarshal(data, &d.tree); err != nil {
		e, ok := errors.AsType[*toml.DecodeError](err)
		if !ok {
			return nil, Faults{{1, 1, strings.TrimPrefix(err.Error(), "toml: ")}}
		}
		line, column := e.Position()
		text := strings.TrimPrefix(e.Error(), "toml: ")
		if meant := unquoted(data, line); meant != "" {
			text = "text needs quotes: " + meant
		}
		return nil, Faults{{max(line, 1), max(column, 1), text}}
	}
	d.locate(data)
	return d, nil
}

var (
	bareLine = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*=\s*([A-Za-z0-9_./~\[-][^"'#]*?)\s*(?:#.*)?$`)
	bareWord = regexp.MustCompile(`[^\s,\[\]{}]+`)
)

// unquoted mends a line of the text that only lacks the quotes of its value, or
// returns "". The parser itself would tell of keywords and numbers.
func unquoted(data []byte, line int) string {
	lines := strings.Split(string(data), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	m := bareLine.FindStringSubmatch(lines[line-1])
	if m == nil {
		return ""
	}
	key, value := m[1], m[2]
	mended := strconv.Quote(value)
	if strings.HasPrefix(value, "[") {
		mended = bareWord.ReplaceAllStringFunc(value, strconv.Quote)
	}
	valid := func(value string) bool {
		var into map[string]any
		return toml.Unmarshal([]byte(key+" = "+value), &into) == nil
	}
	if valid(value) || !valid(mended) {
		return ""
	}
	return key + " = " + mended
}

// locate notes where every key stands. The text is known to be valid.
func (d *document) locate(data []byte) {
	var p unstable.Parser
	p.Reset(data)
	last := map[string]int{} // array of tables -> index of the one under way
	base := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			base = ""
			for keys := e.Key(); keys.Next(); {
				k := keys.Node()
				base = join(base, string(k.Data))
				n, array := last[base]
				if e.Kind == unstable.ArrayTable && keys.IsLast() {
					if array {
						n++
					}
					last[base], array = n, true
				}
				d.note(&p, base, k.Raw)
				if array {
					base = fmt.Sprintf("%s[%d]", base, n)
				}
				d.note(&p, base, k.Raw)
			}
		case unstable.KeyValue:
			d.keyValue(&p, base, e)
		}
	}
}

func (d *document) keyValue(p *unstable.Parser, base string, e *unstable.Node) {
	for keys := e.Key(); keys.Next(); {
		k := keys.Node()
		base = join(base, string(k.Data))
		d.note(p, base, k.Raw)
	}
	d.value(p, base, e.Value())
}

func (d *document) value(p *unstable.Parser, at string, v *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for pairs := v.Children(); pairs.Next(); {
			d.keyValue(p, at, pairs.Node())
		}
	case unstable.Array:
		i := 0
		for items := v.Children(); items.Next(); i++ {
			item := fmt.Sprintf("%s[%d]", at, i)
			d.places[item] = d.places[at]
			if r := items.Node().Raw; r.Length > 0 {
				delete(d.places, item)
				d.note(p, item, r)
			}
			d.value(p, item, items.Node())
		}
	}
}

// note keeps the first place of a path: a table that is opened again, by a
// table below it, began where it was first named.
func (d *document) note(p *unstable.Parser, path string, r unstable.Range) {
	if _, known := d.places[path]; !known {
		start := p.Shape(r).Start
		d.places[path] = place{start.Line, start.Column}
	}
}

func join(base, key string) string {
	if base == "" {
		return key
	}
	return base + "." + key
}

// ordered are the keys of a table as they stand in the file.
func (d *document) ordered(base string, table map[string]any) []string {
	keys := make([]string, 0, len(table))
	for k := range table {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(d.places[join(base, a)].before(d.places[join(base, b)]), strings.Compare(a, b))
	})
	return keys
}
