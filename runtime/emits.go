package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/functions"
)

// Limits of what one invocation may emit. Ours, but for the key's, which is
// Kinesis's; how large a record may be is its stream's to say.
const (
	// MaxEmits is the most records of one invocation.
	MaxEmits = 10_000
	// MaxPartitionKey is the most characters of a partition key.
	MaxPartitionKey = 256
)

const wantedEmit = `{"stream":"<name>","partitionKey":"<1 to 256 characters>","data":"<base64>","itemIdentifier":"<sequence number of a record of the batch, may be left out>"}`

// takeEmits moves what r's reply names under "emit" to r.Emits, unless the
// environment had it there already, and checks it: see docs/abi.md. Without
// allowed streams, "emit" is ours only if it is a list of records to emit that
// has some, for these must not get lost unseen. The response is JSON.
func takeEmits(b *Batch, allowed []string, r *Result) error {
	if len(r.Response) > 0 {
		emits, rest, err := parseEmits(r.Response, b)
		switch {
		case r.Emits != nil: // they came beside it, and win
			r.Response = rest
		case err != nil && len(allowed) > 0:
			return err
		case err == nil:
			r.Emits, r.Response = emits, rest
		}
	}
	if len(r.Emits) == 0 {
		r.Emits = nil
		return nil
	}
	return checkEmits(r.Emits, b, allowed, r.Version.Function)
}

// checkEmits says what is wrong with the first record that is. Of a nil batch
// items are not known.
func checkEmits(emits []Emit, b *Batch, allowed []string, function string) error {
	if function == "" {
		function = "NAME"
	}
	if len(emits) > MaxEmits {
		return fmt.Errorf("the function emitted more than %d records in one invocation: want smaller batches, or fewer records of each", MaxEmits)
	}
	for i := range emits {
		e := &emits[i]
		if (i == 0 || e.Stream != emits[i-1].Stream) && !slices.Contains(allowed, e.Stream) {
			return fmt.Errorf("emit %d is to stream %.130q, which the function may not emit to; allow it with: wasmill fn update %s%s",
				i, e.Stream, function, emitFlags(allowed, emits))
		}
		switch n := utf8.RuneCountInString(e.PartitionKey); {
		case n == 0:
			return fmt.Errorf("emit %d, to stream %s, has an empty partitionKey: want 1 to %d characters; the records of one key stay in order", i, e.Stream, MaxPartitionKey)
		case n > MaxPartitionKey:
			return fmt.Errorf("emit %d, to stream %s, has a partitionKey of %d characters: want 1 to %d", i, e.Stream, n, MaxPartitionKey)
		case !utf8.ValidString(e.PartitionKey):
			return fmt.Errorf("emit %d, to stream %s, has a partitionKey that is not UTF-8", i, e.Stream)
		case b != nil && e.Item >= len(b.Records):
			return fmt.Errorf("emit %d, to stream %s, names record %d: want the place of one of the batch's %d records, counted from 0", i, e.Stream, e.Item, len(b.Records))
		}
	}
	return nil
}

// emitFlags are the flags that allow what is allowed and what was emitted, as far
// as it can be a stream: somebody may paste them into a shell.
func emitFlags(allowed []string, emits []Emit) string {
	const most = 8
	all := slices.Clone(allowed)
	for _, e := range emits {
		if len(all) < most+len(allowed) && !slices.Contains(all, e.Stream) && functions.ValidStreamName(e.Stream) {
			all = append(all, e.Stream)
		}
	}
	var out strings.Builder
	for _, s := range all {
		out.WriteString(" --emit " + s)
	}
	return out.String()
}

// needItems says that a reply which names failed records must say of every
// emitted one where it comes from: else nobody knows which of them will be
// emitted again.
func needItems(emits []Emit) error {
	for i, e := range emits {
		if e.Item < 0 {
			return fmt.Errorf("emit %d, to stream %s, has no itemIdentifier: in a reply with batchItemFailures each emit must name the record it comes from by its sequence number, for those from the lowest failed record on run again", i, e.Stream)
		}
	}
	return nil
}

// parseEmits reads "emit" from a reply in valid JSON: what it lists, and the
// reply without it. What has no such member, or null, lists nothing. The shape
// is checked here, and whether items are of the batch, unless that is nil;
// values are for checkEmits.
func parseEmits(response []byte, b *Batch) (emits []Emit, rest []byte, err error) {
	rest = response
	var list []byte
	there := false
	for key, value := range members(response) {
		if key == "emit" {
			list, there = value, true // the last one counts, as everywhere in JSON
		}
	}
	if !there {
		return nil, rest, nil
	}
	rest = without(response, "emit")
	switch {
	case string(list) == "null":
		return nil, rest, nil
	case list[0] != '[':
		return nil, rest, fmt.Errorf("emit is %s: want a list of %s", kindOf(list), wantedEmit)
	}
	for value := range elements(list) {
		e, err := parseEmit(value, b)
		if err != nil {
			return nil, rest, fmt.Errorf("emit %d %w", len(emits), err)
		}
		if len(emits) > 0 && e.Stream == emits[0].Stream {
			e.Stream = emits[0].Stream // one string for all
		}
		if emits = append(emits, e); len(emits) > MaxEmits {
			break // too many, whatever else follows
		}
	}
	return emits, rest, nil
}

func parseEmit(value []byte, b *Batch) (Emit, error) {
	e := Emit{Item: -1}
	if value[0] != '{' {
		return e, fmt.Errorf("is %s: want %s", kindOf(value), wantedEmit)
	}
	var stream, key, data, item []byte
	var other []string
	for k, v := range members(value) {
		switch k {
		case "stream":
			stream = v
		case "partitionKey":
			key = v
		case "data":
			data = v
		case "itemIdentifier":
			item = v
		default:
			other = append(other, k)
		}
	}
	text := func(name string, raw []byte) (string, error) {
		if raw == nil {
			for _, k := range other {
				if strings.EqualFold(k, name) {
					return "", fmt.Errorf("has %q: want %q, keys are matched with their case", k, name)
				}
			}
			return "", fmt.Errorf("has no %q: want %s", name, wantedEmit)
		}
		s, ok := unquote(raw)
		if !ok {
			return "", fmt.Errorf("has %s as %q: want a string", kindOf(raw), name)
		}
		return s, nil
	}
	var err error
	if e.Stream, err = text("stream", stream); err != nil {
		return e, err
	}
	if e.PartitionKey, err = text("partitionKey", key); err != nil {
		return e, err
	}
	e.Data = []byte{}
	if string(data) != "null" { // what encoding/json makes of a nil []byte
		s, err := text("data", data)
		if err != nil {
			return e, err
		}
		if e.Data, err = base64.StdEncoding.DecodeString(s); err != nil {
			return e, fmt.Errorf("has data that is not base64 (the standard alphabet, with padding): %.60q", s)
		}
	}
	if item == nil || string(item) == "null" || string(item) == `""` {
		return e, nil
	}
	id, err := text("itemIdentifier", item)
	if err != nil || b == nil {
		return e, err
	}
	if e.Item = find(b.Records, id); e.Item < 0 {
		return e, fmt.Errorf("names item %.60q, which the batch has not: want the sequence number of one of its records", id)
	}
	return e, nil
}

// PreviewEmits says what a function's reply to a caller would emit, had a
// trigger called it; an error says how the batch would have failed. The payload
// tells the batch if it is a Kinesis event, else identifiers are taken on trust.
func PreviewEmits(function string, payload, response []byte, allowed []string) ([]Emit, error) {
	if !json.Valid(response) || len(allowed) == 0 && !bytes.Contains(response, []byte(`"emit"`)) {
		return nil, nil
	}
	r := Result{Response: response, Version: functions.Version{Function: function}}
	err := takeEmits(batchOf(payload), allowed, &r)
	return r.Emits, err
}

// batchOf is the batch that a payload stands for, with sequence numbers alone,
// or nil if it is no Kinesis event.
func batchOf(payload []byte) *Batch {
	var event struct {
		Records []struct {
			Kinesis *struct{ SequenceNumber string }
		}
	}
	if json.Unmarshal(payload, &event) != nil || len(event.Records) == 0 {
		return nil
	}
	b := &Batch{}
	for _, r := range event.Records {
		if r.Kinesis == nil {
			return nil
		}
		b.Records = append(b.Records, Record{Sequence: r.Kinesis.SequenceNumber})
	}
	return b
}

// UnreadFailures counts the records of the batch that a reply names as failed
// though its trigger does not read that.
func UnreadFailures(inv *Invocation, r *Result) int {
	if r.Outcome != Done || inv.Batch == nil || inv.PartialReplies || !bytes.Contains(r.Response, []byte(`"itemIdentifier"`)) {
		return 0
	}
	failures, valid := ParseReply(r.Response)
	if _, known := LowestFailed(inv.Batch, failures); !valid || !known {
		return 0
	}
	return len(failures)
}
