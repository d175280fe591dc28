package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers/filter"
)

// patterns reads what --filter was given: patterns, @FILE for one in a file, and AWS's
// whole FilterCriteria in place of a pattern.
func patterns(given []string) ([]string, error) {
	out := []string{}
	for _, p := range given {
		if name, file := strings.CutPrefix(p, "@"); file {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			p = strings.TrimSpace(string(b))
		}
		var criteria struct{ Filters []struct{ Pattern *string } }
		dec := json.NewDecoder(strings.NewReader(p))
		dec.DisallowUnknownFields()
		if dec.Decode(&criteria) != nil || criteria.Filters == nil || len(criteria.Filters) > 0 && criteria.Filters[0].Pattern == nil {
			out = append(out, p)
			continue
		}
		for _, f := range criteria.Filters {
			if f.Pattern != nil {
				out = append(out, *f.Pattern)
			}
		}
	}
	return out, nil
}

// soundFilter says what is wrong with a pattern for records of a stream.
func soundFilter(pattern string, strict bool) error {
	_, err := filter.Compile([]string{pattern}, filter.Options{Strict: strict})
	if e, ok := errors.AsType[*filter.Error](err); ok {
		return fmt.Errorf("%s, at byte %d: …%s", strings.TrimSuffix(e.Reason, "."), e.Offset+1, cut(oneLine([]byte(pattern[e.Offset:])), 40))
	}
	return err
}

// compile makes filters ready, and shows where one is wrong.
func (c *cli) compile(given []string, o filter.Options) (*filter.Set, error) {
	set, err := filter.Compile(given, o)
	e, ok := errors.AsType[*filter.Error](err)
	if !ok {
		return set, err
	}
	pattern := given[e.Pattern]
	which := "the filter"
	if len(given) > 1 {
		which = fmt.Sprintf("filter %d", e.Pattern+1)
	}
	c.after = "\n" + pointAt(pattern, e.Offset)
	return nil, admin.NewError(admin.CodeTriggerInvalid, "%s is not sound: %s", which, strings.TrimSuffix(e.Reason, ".")).
		With("field", "filters").With("filter", e.Pattern).With("offset", e.Offset).With("reason", e.Reason)
}

// never says which of n filters no record of their source can match.
func never(set *filter.Set, n int) (lines []string) {
	for _, v := range set.Never() {
		which := "the filter"
		if n > 1 {
			which = fmt.Sprintf("filter %d", v.Pattern+1)
		}
		lines = append(lines, which+" asks for "+v.Reason)
	}
	return lines
}

// pointAt shows the line of text that a byte of it is in, with a caret below.
func pointAt(text string, offset int) string {
	begin := strings.LastIndexByte(text[:offset], '\n') + 1
	before, after := []rune(text[begin:offset]), text[offset:]
	after, _, _ = strings.Cut(after, "\n")
	const most = 60 // characters to each side
	head := string(before)
	if len(before) > most {
		head = "…" + string(before[len(before)-most:])
	}
	plain := func(s string) string { return oneLine([]byte(s)) }
	return fmt.Sprintf("  %s%s\n  %s^\n", plain(head), plain(cut(after, most)), strings.Repeat(" ", utf8.RuneCountInString(head)))
}

// judged is what filters say of one record.
type judged struct {
	Record  int             `json:"record"` // from 1
	Match   bool            `json:"match"`
	Filters []judgedPattern `json:"filters"`
}

type judgedPattern struct {
	Filter int           `json:"filter"` // from 1
	Match  bool          `json:"match"`
	Reason string        `json:"reason,omitempty"` // about the record as a whole
	Failed []judgedField `json:"failed,omitempty"`
}

type judgedField struct {
	Path  string          `json:"path"`
	Want  json.RawMessage `json:"want"`
	Have  json.RawMessage `json:"have,omitempty"` // none: it is missing
	Array bool            `json:"array,omitempty"`
}

func (c *cli) triggerTestFilter() *cobra.Command {
	var given, data []string
	var trigger, file, event, key string
	var strict bool
	cmd := &cobra.Command{
		Use: "test-filter", Short: "Say which records filters let through, and why not", Args: takes(),
		Long: help("Says of each record whether one of the filters matches it, and which keys fail if none does. It needs no",
			"server, unless --trigger names a trigger whose filters are meant.",
			"",
			"Records are --data, or the lines of a file or of standard input, as with `wasmill stream put`; or those of",
			"an --event that a function gets (Kinesis, SQS or DynamoDB; see `wasmill event gen`), with their metadata.",
			"Exit status 1 when no record is let through."),
		Example: help("  wasmill trigger test-filter --filter '{\"data\": {\"type\": [\"order\"]}}' --data '{\"type\": \"refund\"}'",
			"  wasmill event gen kinesis --data '{\"n\": 5}' | wasmill trigger test-filter --filter @big.json --event -",
			"  wasmill trigger test-filter --trigger enrich -f records.jsonl"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(given) == 0) == (trigger == "") {
				return usage(cmd, "which filters? want --filter, or --trigger")
			}
			if trigger != "" {
				t, err := c.server().Trigger(cmd.Context(), trigger)
				if err != nil {
					return err
				}
				if len(t.Filters) == 0 {
					return usage(cmd, "trigger %s has no filters: all records go to its function", trigger)
				}
				given, strict = t.Filters, t.StrictFilters
			} else {
				var err error
				if given, err = patterns(given); err != nil {
					return err
				}
			}
			kind, records, err := c.filtered(data, file, event, key)
			if err != nil {
				return err
			}
			set, err := c.compile(given, filter.Options{Kind: kind, Strict: strict})
			if err != nil {
				return err
			}
			c.warnAll(never(set, len(given)))
			all, passed := make([]judged, len(records)), 0
			for i := range records {
				all[i] = judge(set, i, &records[i])
				if all[i].Match {
					passed++
				}
			}
			if err := c.done(map[string]any{"matched": passed, "records": all}, func(w io.Writer) { showJudged(w, all, len(given), passed) }); err != nil {
				return err
			}
			if passed == 0 {
				return exitStatus(1)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&given, "filter", nil, "`pattern`, or @FILE that holds one; repeatable")
	f.StringVar(&trigger, "trigger", "", "the `trigger` whose filters are meant")
	f.StringArrayVar(&data, "data", nil, "a record's `data`; repeatable")
	f.StringVarP(&file, "file", "f", "", "a `file` of one record a line; - is standard input, the default")
	f.StringVar(&event, "event", "", "a `file` with an event of records; - is standard input")
	f.StringVar(&key, "key", "", "partition `key` of the records")
	f.BoolVar(&strict, "strict-filters", false, "refuse what AWS does not support in event source mappings")
	cmd.MarkFlagsMutuallyExclusive("data", "file", "event")
	cmd.MarkFlagsMutuallyExclusive("key", "event")
	cmd.MarkFlagsMutuallyExclusive("filter", "trigger")
	cmd.MarkFlagsMutuallyExclusive("strict-filters", "trigger")
	cmd.RegisterFlagCompletionFunc("trigger", c.flagNames(triggerNames))
	return cmd
}

// filtered reads the records that filters are tried on.
func (c *cli) filtered(data []string, file, event, key string) (kind runtime.Kind, out []filter.Record, err error) {
	meta := func(string) ([]byte, bool) { return nil, false }
	if key != "" {
		text, _ := json.Marshal(key)
		meta = func(name string) ([]byte, bool) { return text, name == "partitionKey" }
	}
	for _, d := range data {
		out = append(out, filter.Record{Data: []byte(d), Meta: meta})
	}
	if out != nil {
		return runtime.KindKinesis, out, nil
	}
	name := file
	if event != "" {
		name = event
	}
	var b []byte
	if name == "" || name == "-" {
		b, err = io.ReadAll(c.in)
	} else {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return 0, nil, err
	}
	if event != "" {
		return eventRecords(b)
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			out = append(out, filter.Record{Data: line, Meta: meta})
		}
	}
	if out == nil {
		return 0, nil, admin.NewError(admin.CodeInput, "there is no record to try the filters on")
	}
	return runtime.KindKinesis, out, nil
}

// eventRecords takes an event apart.
func eventRecords(b []byte) (kind runtime.Kind, out []filter.Record, err error) {
	bad := func(format string, args ...any) (runtime.Kind, []filter.Record, error) {
		return 0, nil, admin.NewError(admin.CodeInput, "the event: "+format, args...)
	}
	var event struct {
		Records []map[string]json.RawMessage
	}
	if err := json.Unmarshal(b, &event); err != nil {
		return bad("%v", err)
	}
	if len(event.Records) == 0 {
		return bad(`there are no "Records" in it`)
	}
	for i, members := range event.Records {
		var source string
		_ = json.Unmarshal(members["eventSource"], &source)
		r, of := filter.Record{}, runtime.KindKinesis
		switch source {
		case "aws:kinesis":
			var record struct{ Data *string }
			if err := json.Unmarshal(members["kinesis"], &record); err != nil || record.Data == nil {
				return bad("record %d has no kinesis.data", i+1)
			}
			if r.Data, err = base64.StdEncoding.DecodeString(*record.Data); err != nil {
				return bad("record %d: data: %v", i+1, err)
			}
			_ = json.Unmarshal(members["kinesis"], &members) // beside the others
		case "aws:sqs":
			var body string
			if err := json.Unmarshal(members["body"], &body); err != nil {
				return bad("record %d has no body", i+1)
			}
			r.Data, of = []byte(body), runtime.KindSQS
		case "aws:dynamodb":
			r.Data, of = members["dynamodb"], runtime.KindDynamoDB
		default:
			return bad("record %d has eventSource %q: want aws:kinesis, aws:sqs or aws:dynamodb", i+1, source)
		}
		if i > 0 && of != kind {
			return bad("its records are of several sources")
		}
		kind = of
		r.Meta = func(name string) ([]byte, bool) {
			v, ok := members[name]
			return v, ok
		}
		out = append(out, r)
	}
	return kind, out, nil
}

func judge(set *filter.Set, i int, r *filter.Record) judged {
	j := judged{Record: i + 1, Match: set.Match(r)}
	for _, v := range set.Explain(r) {
		p := judgedPattern{Filter: v.Pattern + 1, Match: v.Match, Reason: v.Reason}
		for _, f := range v.Failed {
			p.Failed = append(p.Failed, judgedField{f.Path, json.RawMessage(f.Want), json.RawMessage(f.Have), f.Array})
		}
		j.Filters = append(j.Filters, p)
	}
	return j
}

func showJudged(w io.Writer, all []judged, filters, passed int) {
	for _, j := range all {
		if j.Match {
			which := ""
			if filters > 1 {
				for _, p := range j.Filters {
					if p.Match {
						which += fmt.Sprintf(", filter %d", p.Filter)
					}
				}
			}
			fmt.Fprintf(w, "record %d matches%s\n", j.Record, which)
			continue
		}
		fmt.Fprintf(w, "record %d does not match\n", j.Record)
		for _, p := range j.Filters {
			indent := "  "
			if filters > 1 {
				fmt.Fprintf(w, "  filter %d\n", p.Filter)
				indent = "    "
			}
			for _, line := range p.lines() {
				fmt.Fprintln(w, indent+line)
			}
		}
	}
	if len(all) > 1 {
		fmt.Fprintf(w, "%d of %s match\n", passed, plural(len(all), "record"))
	}
}

// lines say why a record does not match.
func (p judgedPattern) lines() (out []string) {
	if p.Reason != "" {
		return []string{p.Reason}
	}
	for _, f := range p.Failed {
		want := "wanted: " + cut(oneLine(f.Want), 100)
		switch {
		case f.Array:
			out = append(out, fmt.Sprintf("%s: no element of its array meets all conditions, %s", f.Path, want))
		case len(f.Have) == 0:
			out = append(out, fmt.Sprintf("%s is missing, %s", f.Path, want))
		default:
			out = append(out, fmt.Sprintf("%s is %s, %s", f.Path, cut(oneLine(f.Have), 60), want))
		}
	}
	return out
}
