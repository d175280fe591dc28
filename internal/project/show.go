package project

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Mark is how a step begins where people read it: +, ~ or -.
func (s Step) Mark() string {
	switch s.Action {
	case Create:
		return "+"
	case Delete:
		return "-"
	}
	return "~"
}

// Line says what a step does, in one line: "~ trigger quakes: batch-size 100 -> 500".
func (s Step) Line() string {
	line := fmt.Sprintf("%s %s %s", s.Mark(), s.Kind, s.Name)
	var parts []string
	for _, c := range s.Changes {
		parts = append(parts, c.String())
	}
	switch {
	case s.Action == Pause, s.Action == Resume:
		parts = append(parts, string(s.Action))
	case s.Why != "":
		parts = append(parts, s.Why)
	}
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	return line
}

func (c Change) String() string {
	switch {
	case c.How != "":
		return c.Setting + " " + c.How
	case c.From == "":
		return c.Setting + " " + c.To
	case c.To == "":
		return c.Setting + " " + c.From + " -> none"
	}
	return c.Setting + " " + c.From + " -> " + c.To
}

func short(digest string) string { return digest[:min(12, len(digest))] }

// span writes a duration as people do: 24h rather than 24h0m0s.
func span(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func fromText(p stream.Position) string {
	if p.Kind == stream.AtTimestamp {
		return p.Time.UTC().Format(time.RFC3339)
	}
	return strings.ToLower(strings.ReplaceAll(string(p.Kind), "_", "-"))
}

func list(names []string) string {
	return strings.Join(slices.Sorted(slices.Values(names)), " ")
}

// differences are the settings in which two of a kind differ.
type differences []Change

func (d *differences) add(setting, from, to string) {
	if from != to {
		*d = append(*d, Change{Setting: setting, From: from, To: to})
	}
}

func shards(n int) string {
	if n == 1 {
		return "1 shard"
	}
	return strconv.Itoa(n) + " shards"
}

// bytes writes a size so that it can be read back: in the largest unit it is a
// whole number of.
func bytes(n int64) string {
	unit := 0
	for n != 0 && n%1024 == 0 && unit < 4 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + []string{"B", "KB", "MB", "GB", "TB"}[unit]
}

// limit of bytes; 0 is none.
func limit(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return bytes(n)
}

// modeText is a mode as files have it.
func modeText(m stream.Mode) string {
	if m == stream.OnDemand {
		return "on-demand"
	}
	return "provisioned"
}

// createdStream tells its shards, and what else the file says.
func createdStream(s *Stream) []Change {
	least := 1
	if s.Mode == stream.OnDemand {
		least = stream.OnDemandShards
	}
	changes := []Change{{Setting: "shards", To: strconv.Itoa(cmp.Or(s.Shards, least))}}
	if s.Mode == stream.OnDemand {
		changes = append(changes, Change{Setting: "mode", To: modeText(s.Mode)})
	}
	if s.Retention > 0 {
		changes = append(changes, Change{Setting: "retention", To: span(s.Retention)})
	}
	if s.MaxBytes != nil && *s.MaxBytes > 0 {
		changes = append(changes, Change{Setting: "max-bytes", To: bytes(*s.MaxBytes)})
	}
	if s.RecordBytes > 0 {
		changes = append(changes, Change{Setting: "record-size", To: bytes(int64(s.RecordBytes))})
	}
	return changes
}

// streamChanges are those that an update can make.
func streamChanges(have, want Stream) []Change {
	var d differences
	if want.Mode != "" {
		d.add("mode", modeText(have.Mode), modeText(want.Mode))
	}
	if want.Retention > 0 {
		d.add("retention", span(have.Retention), span(want.Retention))
	}
	if want.MaxBytes != nil {
		var most int64
		if have.MaxBytes != nil {
			most = *have.MaxBytes
		}
		d.add("max-bytes", limit(most), limit(*want.MaxBytes))
	}
	return d
}

// FunctionChanges tells in what two configurations of a function differ.
func FunctionChanges(from, to functions.Config) []Change {
	var d differences
	d.add("memory", strconv.Itoa(from.Memory)+"MB", strconv.Itoa(to.Memory)+"MB")
	d.add("timeout", span(from.Timeout), span(to.Timeout))
	d.add("description", quoted(from.Description), quoted(to.Description))
	d.add("emits", list(from.Emits), list(to.Emits))
	d.add("allow", list(from.Allow), list(to.Allow))
	d.add("isolation", isolation(from), isolation(to))
	d.add("concurrency", concurrency(from), concurrency(to))
	return append(d, environmentChanges(from.Environment, to.Environment)...)
}

func isolation(c functions.Config) string {
	return string(cmp.Or(c.Isolation, functions.IsolationEnvironment))
}

func concurrency(c functions.Config) string {
	if c.Concurrency == nil {
		return ""
	}
	return strconv.Itoa(*c.Concurrency)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

func createdFunction(f *Function) []Change {
	changes := []Change{{Setting: "code", To: short(f.Digest)}, {Setting: "memory", To: strconv.Itoa(f.Config.Memory) + "MB"}, {Setting: "timeout", To: span(f.Config.Timeout)}}
	if e := list(f.Config.Emits); e != "" {
		changes = append(changes, Change{Setting: "emits", To: e})
	}
	if a := list(f.Config.Allow); a != "" {
		changes = append(changes, Change{Setting: "allow", To: a})
	}
	if i := isolation(f.Config); i != string(functions.IsolationEnvironment) {
		changes = append(changes, Change{Setting: "isolation", To: i})
	}
	if n := concurrency(f.Config); n != "" {
		changes = append(changes, Change{Setting: "concurrency", To: n})
	}
	return append(changes, environmentChanges(nil, f.Config.Environment)...)
}

func triggerChanges(from, to triggers.Config) []Change {
	var d differences
	d.add("function", target(from), target(to))
	d.add("batch-size", strconv.Itoa(from.BatchSize), strconv.Itoa(to.BatchSize))
	d.add("window", span(from.Window), span(to.Window))
	d.add("parallel", strconv.Itoa(from.Parallel), strconv.Itoa(to.Parallel))
	d.add("retries", retries(from), retries(to))
	d.add("record-age", span(from.RecordAge), span(to.RecordAge))
	d.add("bisect", strconv.FormatBool(from.Bisect), strconv.FormatBool(to.Bisect))
	d.add("partial-replies", strconv.FormatBool(from.PartialReplies), strconv.FormatBool(to.PartialReplies))
	d.add("backoff", span(from.Backoff), span(to.Backoff))
	d.add("deaggregate", strconv.FormatBool(from.Deaggregate), strconv.FormatBool(to.Deaggregate))
	d.add("skip-corrupt", strconv.FormatBool(from.SkipCorrupt), strconv.FormatBool(to.SkipCorrupt))
	d.add("filters", strings.Join(from.Filters, " or "), strings.Join(to.Filters, " or "))
	d.add("strict-filters", strconv.FormatBool(from.StrictFilters), strconv.FormatBool(to.StrictFilters))
	d.add("tumbling-window", span(from.Tumbling), span(to.Tumbling))
	d.add("on-failure", from.OnFailure, to.OnFailure)
	d.add("on-destination-failure", cmp.Or(from.OnDestinationFailure, "retry"), cmp.Or(to.OnDestinationFailure, "retry"))
	return d
}

func target(c triggers.Config) string {
	if c.Qualifier == "" {
		return c.Function
	}
	return c.Function + ":" + c.Qualifier
}

func retries(c triggers.Config) string {
	if c.Retries == nil || *c.Retries < 0 {
		return "for ever"
	}
	return strconv.Itoa(*c.Retries)
}

// createdTrigger tells where it begins, and what is not the default.
func createdTrigger(t *Trigger) []Change {
	changes := []Change{{Setting: "stream", To: t.Config.Stream}, {Setting: "from", To: t.From}}
	standard := triggers.Config{Function: t.Config.Function}.WithDefaults()
	for _, c := range triggerChanges(standard, t.Config) {
		if c.To == "true" {
			changes = append(changes, Change{Setting: c.Setting, How: "on"})
			continue
		}
		changes = append(changes, Change{Setting: c.Setting, To: c.To})
	}
	if t.Paused != nil && *t.Paused {
		changes = append(changes, Change{Setting: "paused", How: "at first"})
	}
	return changes
}
