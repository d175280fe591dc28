package project

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Read reads the text of a file. An error is [Faults], all there are.
func Read(data []byte, w Words) (Project, error) {
	d, err := parse(data)
	if err != nil {
		return Project{}, err
	}
	r := &reader{document: d, words: w}
	p := r.project()
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
		return Project{}, r.faults
	}
	return p, nil
}

// reader turns tables into settings and gathers what is wrong with them.
type reader struct {
	*document
	words  Words
	faults Faults
}

// setting takes the value that stands at a path.
type setting func(at string, v any)

func (r *reader) bad(at, format string, args ...any) {
	p := r.places[at]
	r.faults = append(r.faults, Fault{max(p.line, 1), max(p.column, 1), fmt.Sprintf(format, args...)})
}

// badly is bad for what the words say about a value.
func (r *reader) badly(at string, err error) {
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		for _, sentinel := range []error{functions.ErrInvalid, triggers.ErrInvalid, stream.ErrInvalid} {
			line = strings.TrimPrefix(line, sentinel.Error()+": ")
		}
		r.bad(at, "%s", line)
	}
}

// table hands each value to its setting; what has none is a fault.
func (r *reader) table(base, what string, table map[string]any, settings map[string]setting) {
	known := slices.Sorted(maps.Keys(settings))
	for _, key := range r.ordered(base, table) {
		at := join(base, key)
		if set := settings[key]; set != nil {
			set(at, table[key])
			continue
		}
		text := fmt.Sprintf("%s has no setting %q", what, key)
		if near := r.words.Near(key, known); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, " or ") + "?"
		} else {
			text += ": there are " + strings.Join(known, ", ")
		}
		r.bad(at, "%s", text)
	}
}

// tables is table for each of an array of tables.
func (r *reader) tables(at string, v any, each func(at string, t map[string]any)) {
	list, ok := v.([]any)
	if !ok {
		r.bad(at, "%s: want it as [[%s]], once for each", at, at)
		return
	}
	for i, one := range list {
		here := fmt.Sprintf("%s[%d]", at, i)
		t, ok := one.(map[string]any)
		if !ok {
			r.bad(at, "%s: want it as [[%s]], once for each", at, at)
			return
		}
		each(here, t)
	}
}

// last is the key at the end of a path.
func last(at string) string { return at[strings.LastIndexByte(at, '.')+1:] }

func (r *reader) text(to *string) setting {
	return func(at string, v any) {
		s, ok := v.(string)
		if !ok {
			r.bad(at, "%s: want text in quotes", last(at))
			return
		}
		*to = s
	}
}

func (r *reader) yes(to *bool) setting {
	return func(at string, v any) {
		b, ok := v.(bool)
		if !ok {
			r.bad(at, "%s: want true or false", last(at))
			return
		}
		*to = b
	}
}

// number takes a whole number within bounds.
func (r *reader) number(to *int, least, most int) setting {
	return func(at string, v any) {
		n, ok := v.(int64)
		if !ok || n < int64(least) || n > int64(most) {
			r.bad(at, "%s: want a whole number, %d to %d", last(at), least, most)
			return
		}
		*to = int(n)
	}
}

// duration takes a text like "30s" within bounds. Zero may be allowed besides.
func (r *reader) duration(to *time.Duration, zero bool, least, most time.Duration) setting {
	return func(at string, v any) {
		s, ok := v.(string)
		if !ok {
			r.bad(at, `%s: want a duration in quotes, like "500ms", "30s" or "7d"`, last(at))
			return
		}
		d, err := r.words.Duration(s)
		switch {
		case err != nil:
			r.bad(at, "%s: %v", last(at), err)
		case d == 0 && zero:
			*to = 0
		case d < least || d > most:
			or := ""
			if zero && least > 0 {
				or = ", or 0s for none"
			}
			r.bad(at, "%s %q: want %s to %s%s", last(at), s, span(least), span(most), or)
		default:
			*to = d
		}
	}
}

func (r *reader) project() Project {
	p := Project{Function: Function{Source: "."}}
	f, c := &p.Function, &p.Function.Config
	named := map[string]place{}
	settings := map[string]setting{
		"function": func(at string, v any) {
			if _, tables := v.([]any); tables {
				r.bad(at, "%s holds one function: give each a folder with a file of its own, and its name as function = \"NAME\"", FileName)
				f.Name = "function" // said
				return
			}
			r.text(&f.Name)(at, v)
			if s, ok := v.(string); ok {
				r.badly(at, functions.ValidateName(s))
			}
		},
		"source":      r.source(&f.Source),
		"description": r.text(&c.Description),
		"memory":      r.memory(&c.Memory),
		"timeout":     r.duration(&c.Timeout, false, functions.MinTimeout, functions.MaxTimeout),
		"emits":       r.names(&c.Emits),
		"allow":       r.allow(&c.Allow),
		"isolation":   r.isolation(&c.Isolation),
		"concurrency": func(at string, v any) {
			n := 0
			r.number(&n, 0, maxConcurrency)(at, v)
			c.Concurrency = &n
		},
	}
	top := slices.Sorted(maps.Keys(settings))
	settings["env"] = func(at string, v any) { p.Warnings = append(p.Warnings, r.environment(c, top)(at, v)...) }
	settings["trigger"] = func(at string, v any) {
		r.tables(at, v, func(at string, t map[string]any) {
			p.Triggers = append(p.Triggers, r.trigger(at, t))
		})
	}
	settings["stream"] = func(at string, v any) {
		r.tables(at, v, func(at string, t map[string]any) {
			s := r.stream(at, t)
			if _, twice := named[s.Name]; twice && s.Name != "" {
				r.bad(at, "[[stream]] %s stands twice", s.Name)
				return
			}
			named[s.Name] = r.places[at]
			p.Streams = append(p.Streams, s)
		})
	}
	r.table("", FileName, r.tree, settings)
	if _, said := r.tree["function"]; !said {
		r.bad("", `the function has no name: begin with function = "NAME"`)
	}

	*c = c.WithDefaults()
	warnings, err := c.Validate()
	p.Warnings = append(p.Warnings, warnings...)
	if len(r.faults) == 0 { // what is left concerns several settings together, like the size of the environment
		r.badly("env", err)
	}
	r.complete(&p)
	return p
}

// complete names triggers and gathers streams.
func (r *reader) complete(p *Project) {
	used, taken := map[string]bool{}, map[string]bool{} // streams, and names of triggers
	for i := range p.Triggers {
		t, at := &p.Triggers[i], fmt.Sprintf("trigger[%d]", i)
		t.Config.Function = p.Function.Name
		if t.Name == "" {
			t.Name = p.Function.Name
			if len(p.Triggers) > 1 {
				t.Name += "-" + t.Config.Stream
			}
			if err := triggers.ValidateName(t.Name); err != nil && t.Config.Stream != "" && p.Function.Name != "" {
				r.bad(at, "the trigger of stream %s needs a name of its own: %q cannot be one", t.Config.Stream, t.Name)
			}
		}
		if s := t.Config.Stream; s != "" && used[s] {
			r.bad(at, "two triggers read stream %s: a function can be called once by a stream", s)
		} else if taken[t.Name] {
			r.bad(at, "two triggers are named %s", t.Name)
		}
		used[t.Config.Stream], taken[t.Name] = true, true
	}
	known := map[string]bool{"": true}
	for _, s := range p.Streams {
		known[s.Name] = true
	}
	for _, t := range p.Triggers {
		if !known[t.Config.Stream] {
			p.Streams, known[t.Config.Stream] = append(p.Streams, Stream{Name: t.Config.Stream}), true
		}
	}
	for _, name := range p.Function.Config.Emits {
		if !known[name] {
			p.Streams, known[name] = append(p.Streams, Stream{Name: name}), true
		}
	}
}

// together checks settings of a trigger that depend on each other.
func (r *reader) together(base string, c triggers.Config) {
	for i, pattern := range c.Filters {
		if err := r.words.Filter(pattern, c.StrictFilters); err != nil {
			r.bad(fmt.Sprintf("%s[%d]", join(base, "filters"), i), "filters: %v", err)
		}
	}
	if c.Tumbling%time.Second != 0 {
		r.bad(join(base, "tumbling-window"), "tumbling-window %q: want whole seconds", span(c.Tumbling))
	}
	if c.Tumbling > 0 && c.Parallel > 1 {
		r.bad(join(base, "parallel"), "parallel: a trigger with a tumbling-window has 1")
	}
}

// patterns takes a list of filter patterns.
func (r *reader) patterns(to *[]string) setting {
	return func(at string, v any) {
		list, ok := v.([]any)
		if !ok {
			r.bad(at, `filters: want a list of patterns, like ['{"data": {"type": ["order"]}}']`)
			return
		}
		for i, one := range list {
			pattern, ok := one.(string)
			if !ok {
				r.bad(fmt.Sprintf("%s[%d]", at, i), `filters: want each pattern as text in single quotes, like '{"data": {"type": ["order"]}}'`)
				*to = nil
				return
			}
			*to = append(*to, pattern)
		}
		if n := len(*to); n > triggers.MaxFilters {
			r.bad(at, "filters: %d patterns, want at most %d", n, triggers.MaxFilters)
		}
	}
}

// source takes a folder or a .wasm file.
func (r *reader) source(to *string) setting {
	return func(at string, v any) {
		r.text(to)(at, v)
		if s, ok := v.(string); ok {
			*to = path.Clean(strings.ReplaceAll(s, `\`, "/"))
			if s == "" {
				r.bad(at, `source: want the folder of a project, like ".", or a .wasm file`)
			}
		}
	}
}

// memory takes "256MB", or megabytes as a number.
func (r *reader) memory(to *int) setting {
	return func(at string, v any) {
		mb := 0
		switch v := v.(type) {
		case int64:
			mb = int(v)
		case string:
			var err error
			if mb, err = r.words.Megabytes(v); err != nil {
				r.bad(at, `memory %q: want whole megabytes, like "256MB" or "1GB", or 256 for that many megabytes`, v)
				return
			}
		default:
			r.bad(at, `memory: want a size in quotes, like "256MB"`)
			return
		}
		if mb < functions.MinMemory || mb > functions.MaxMemory {
			r.bad(at, "memory: want %dMB to %dMB", functions.MinMemory, functions.MaxMemory)
			return
		}
		*to = mb
	}
}

// bytes takes "1GB", or bytes as a number.
func (r *reader) bytes(to *int64) setting {
	return func(at string, v any) {
		switch v := v.(type) {
		case int64:
			*to = v
		case string:
			n, err := r.words.Bytes(v)
			if err != nil {
				r.bad(at, "%s: %v", last(at), err)
				return
			}
			*to = n
		default:
			r.bad(at, `%s: want a size in quotes, like "10MB"`, last(at))
		}
	}
}

// names takes a list of streams.
func (r *reader) names(to *[]string) setting {
	return func(at string, v any) {
		list, ok := v.([]any)
		if !ok {
			r.bad(at, `%s: want a list of streams, like ["alerts"]`, last(at))
			return
		}
		for i, one := range list {
			here := fmt.Sprintf("%s[%d]", at, i)
			name, ok := one.(string)
			switch {
			case !ok:
				r.bad(here, "%s: want names of streams in quotes", last(at))
				continue
			case slices.Contains(*to, name):
				r.bad(here, "%s: stream %s stands twice", last(at), name)
				continue
			}
			r.badly(here, stream.Local(name).Validate())
			*to = append(*to, name)
		}
		if n := len(*to); n > functions.MaxEmits {
			r.bad(at, "%s: %d streams, want at most %d", last(at), n, functions.MaxEmits)
		}
	}
}

// maxConcurrency is far more than a server can run at once.
const maxConcurrency = 100_000

// allow takes a list of places to dial.
func (r *reader) allow(to *[]string) setting {
	return func(at string, v any) {
		list, ok := v.([]any)
		if !ok {
			r.bad(at, `allow: want a list of places to dial, like ["opensearch:9200"]`)
			return
		}
		for i, one := range list {
			here := fmt.Sprintf("%s[%d]", at, i)
			pattern, ok := one.(string)
			switch {
			case !ok:
				r.bad(here, `allow: want host:port in quotes, like "opensearch:9200"`)
				continue
			case slices.Contains(*to, pattern):
				r.bad(here, "allow: %s stands twice", pattern)
				continue
			}
			if _, err := functions.ParseAllow(pattern); err != nil {
				r.bad(here, "allow %q: %v", pattern, err)
			}
			*to = append(*to, pattern)
		}
		if n := len(*to); n > functions.MaxAllow {
			r.bad(at, "allow: %d places, want at most %d", n, functions.MaxAllow)
		}
	}
}

func (r *reader) isolation(to *functions.Isolation) setting {
	return func(at string, v any) {
		s, _ := v.(string)
		switch i := functions.Isolation(s); i {
		case functions.IsolationEnvironment, functions.IsolationInvocation:
			*to = i
		default:
			r.bad(at, `isolation: want "%s", where calls of one environment find what earlier ones left, or "%s"`, functions.IsolationEnvironment, functions.IsolationInvocation)
		}
	}
}

// environment takes [env]. It returns warnings: a setting that was meant for
// the top, and stands below [env], would be a variable without anybody noticing.
func (r *reader) environment(c *functions.Config, top []string) func(at string, v any) []string {
	return func(at string, v any) (warnings []string) {
		table, ok := v.(map[string]any)
		if !ok {
			r.bad(at, "env: want a table, [env], with NAME = \"value\" below it")
			return nil
		}
		c.Environment = map[string]string{}
		for _, name := range r.ordered(at, table) {
			here := join(at, name)
			text, ok := table[name].(string)
			misplaced := slices.Contains(top, name)
			switch {
			case !ok && misplaced:
				r.bad(here, "%s stands below [env], which makes it an environment variable: move it above [env]", name)
				continue
			case !ok:
				r.bad(here, "env %s: want text in quotes", name)
				continue
			case misplaced:
				warnings = append(warnings, fmt.Sprintf("%s:%d: %s stands below [env], which makes it an environment variable; if it is the setting, move it above [env]",
					FileName, r.places[here].line, name))
			}
			value, err := expand(text, r.words.Getenv)
			if err != nil {
				r.bad(here, "env %s: %v", name, err)
				continue
			}
			if _, err := (functions.Config{Environment: map[string]string{name: value}}).WithDefaults().Validate(); err != nil && len(name)+len(value) <= functions.MaxEnvironment {
				r.badly(here, err)
				continue
			}
			c.Environment[name] = value
		}
		return warnings
	}
}

// expand replaces ${NAME} by a variable of whoever deploys, so that secrets
// need not stand in the file; $${ is a plain ${. Any other $ is itself.
func expand(text string, getenv func(string) string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), nil
		}
		if plain, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(plain + "${")
			text = after
			continue
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed || !variable(name) {
			return "", errors.New("${ begins a variable: want ${NAME}, or $${ for the characters themselves")
		}
		value := getenv(name)
		if value == "" {
			return "", fmt.Errorf("the variable %s is not set, or empty: set it where you deploy, as in %s=… wasmill deploy", name, name)
		}
		b.WriteString(before + value)
		text = rest
	}
}

func variable(name string) bool {
	for i, c := range name {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func (r *reader) trigger(base string, table map[string]any) Trigger {
	t := Trigger{From: "trim-horizon", Config: triggers.Config{}.WithDefaults()}
	c := &t.Config
	retries, paused := *c.Retries, false
	r.table(base, "a trigger", table, map[string]setting{
		"name": func(at string, v any) {
			r.text(&t.Name)(at, v)
			if s, ok := v.(string); ok {
				r.badly(at, triggers.ValidateName(s))
			}
		},
		"stream":          r.streamName(&c.Stream),
		"from":            r.text(&t.From),
		"batch-size":      r.number(&c.BatchSize, 1, triggers.MaxBatchSize),
		"window":          r.duration(&c.Window, true, 0, triggers.MaxWindow),
		"parallel":        r.number(&c.Parallel, 1, triggers.MaxParallel),
		"retries":         r.number(&retries, triggers.Forever, triggers.MaxRetryAttempts),
		"record-age":      r.duration(&c.RecordAge, true, triggers.MinRecordAge, triggers.MaxRecordAge),
		"bisect":          r.yes(&c.Bisect),
		"partial-replies": r.yes(&c.PartialReplies),
		"backoff":         r.duration(&c.Backoff, false, time.Millisecond, triggers.MaxBackoff),
		"skip-corrupt":    r.yes(&c.SkipCorrupt),
		"deaggregate":     r.yes(&c.Deaggregate),
		"filters":         r.patterns(&c.Filters),
		"strict-filters":  r.yes(&c.StrictFilters),
		"tumbling-window": r.duration(&c.Tumbling, true, 0, triggers.MaxTumbling),
		"on-failure":      r.text(&c.OnFailure),
		"on-destination-failure": func(at string, v any) {
			switch v {
			case "retry":
			case triggers.Drop:
				c.OnDestinationFailure = triggers.Drop
			default:
				r.bad(at, `on-destination-failure: want "retry", for ever, or %q`, triggers.Drop)
			}
		},
		"paused": func(at string, v any) {
			r.yes(&paused)(at, v)
			t.Paused = &paused
		},
	})
	c.Retries = &retries
	r.together(base, *c)
	if _, said := table["stream"]; !said {
		r.bad(base, `a trigger needs a stream: stream = "NAME"`)
	}
	from := join(base, "from")
	position, err := r.words.Place(t.From)
	switch {
	case err != nil:
		r.bad(from, "from: %v", err)
	case position.Kind == stream.At || position.Kind == stream.After:
		r.bad(from, "from %q: want trim-horizon, latest or a time: a sequence number is of one shard", t.From)
	}
	c.Position = position
	return t
}

func (r *reader) streamName(to *string) setting {
	return func(at string, v any) {
		r.text(to)(at, v)
		if s, ok := v.(string); ok {
			r.badly(at, stream.Local(s).Validate())
		}
	}
}

func (r *reader) stream(base string, table map[string]any) Stream {
	var s Stream
	r.table(base, "a stream", table, map[string]setting{
		"name":   r.streamName(&s.Name),
		"shards": r.number(&s.Shards, 1, stream.MaxShards),
		"mode": func(at string, v any) {
			switch v {
			case "on-demand":
				s.Mode = stream.OnDemand
			case "provisioned":
				s.Mode = stream.Provisioned
			default:
				r.bad(at, `mode: want "on-demand" (its shards split and merge by themselves) or "provisioned"`)
			}
		},
		"retention": func(at string, v any) {
			r.duration(&s.Retention, false, stream.MinRetention, stream.MaxRetention)(at, v)
			if s.Retention%time.Hour != 0 {
				r.bad(at, "retention: want whole hours")
			}
		},
		"max-bytes": func(at string, v any) {
			var n int64
			if r.bytes(&n)(at, v); n != 0 && n < stream.DefaultRecordBytes {
				r.bad(at, "max-bytes: want %s or more, or 0 for no limit", bytes(stream.DefaultRecordBytes))
			}
			s.MaxBytes = &n
		},
		"record-size": func(at string, v any) {
			n := int64(stream.DefaultRecordBytes)
			if r.bytes(&n)(at, v); n < stream.DefaultRecordBytes || n > stream.MaxRecordBytes || n%1024 != 0 {
				r.bad(at, "record-size: want %s to %s, in whole KB", bytes(stream.DefaultRecordBytes), bytes(stream.MaxRecordBytes))
			}
			s.RecordBytes = int(n)
		},
	})
	if s.MaxBytes != nil && *s.MaxBytes > 0 && *s.MaxBytes < int64(s.RecordBytes) {
		r.bad(join(base, "max-bytes"), "max-bytes: want room for one record, %s, or 0 for no limit", bytes(int64(s.RecordBytes)))
	}
	if _, said := table["name"]; !said {
		r.bad(base, `a stream needs a name: name = "NAME"`)
	}
	return s
}
