package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
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

// WantedEmit is what a record to emit looks like in a reply, for people.
const WantedEmit = `{"stream":"<name>","partitionKey":"<1 to 256 characters>","data":"<base64>","itemIdentifier":"<sequence number of a record of the batch, may be left out>"}`

// ErrEmit means that a function has emitted what cannot be taken. The text says
// which record and what to do; nothing of the invocation is emitted.
var ErrEmit = errors.New("emit")

// CheckTargets looks for the first record whose stream does not exist, or takes
// no record of its size: an error that wraps [ErrEmit]. limit says how many bytes
// of data and key a record of a stream may have, 0 if there is no such stream; it
// is asked once for each, and its errors are returned as they are.
func CheckTargets(emits []Emit, limit func(stream string) (int, error)) error {
	limits := map[string]int{}
	for i := range emits {
		e := &emits[i]
		most, known := limits[e.Stream]
		if !known {
			var err error
			if most, err = limit(e.Stream); err != nil {
				return err
			}
			limits[e.Stream] = most
		}
		n := len(e.Data) + len(e.PartitionKey)
		switch {
		case most <= 0:
			return fmt.Errorf("%w %d goes to stream %s, which does not exist; create it with: wasmill stream create %s", ErrEmit, i, e.Stream, e.Stream)
		case n > most:
			return fmt.Errorf("%w %d has %d bytes of data and key; stream %s takes records of at most %d", ErrEmit, i, n, e.Stream, most)
		}
	}
	return nil
}

// takeEmits moves what r's reply names under "emit" to r.Emits, unless the
// environment had it there already, and checks it: see docs/abi.md. Without
// allowed streams, "emit" is ours only if it has what looks like a record to
// emit, for these must not get lost unseen. The response is JSON.
func takeEmits(b *Batch, allowed []string, r *Result) error {
	if len(r.Response) > 0 {
		emits, rest, err := parseEmits(r.Response, b)
		switch {
		case r.Emits != nil: // they came beside it, and win
			r.Response = rest
		case err != nil && (len(allowed) > 0 || meantAsEmits(r.Response)):
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
			return fmt.Errorf("emit %d is to stream %.130q, which the function may not emit to; allow it with: wasmill fn update %s%s (if a wasmill.toml deploys the function, in its emits, or the next deploy takes it back)",
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
	there, other := false, ""
	for key, value := range members(response) {
		switch {
		case key == "emit":
			list, there = value, true // the last one counts, as everywhere in JSON
		case strings.EqualFold(key, "emit") && looksLikeEmits(value):
			other = key
		}
	}
	switch {
	case !there && other != "":
		return nil, rest, fmt.Errorf("the reply %w", wrongCase(other, "emit"))
	case !there:
		return nil, rest, nil
	}
	rest = without(response, "emit")
	switch {
	case string(list) == "null":
		return nil, rest, nil
	case list[0] != '[':
		return nil, rest, fmt.Errorf("emit is %s: want a list of %s", kindOf(list), WantedEmit)
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

// wrongCase says that a key is nearly one of ours, as encoding/json makes it of a
// Go struct without tags.
func wrongCase(key, want string) error {
	return fmt.Errorf("has %q: want %q, keys are matched with their case; in Go, tag the field `json:%q`", key, want, want)
}

// meantAsEmits says whether a reply of a function that may emit nothing has
// records under "emit" all the same, well made or not.
func meantAsEmits(response []byte) bool {
	for key, value := range members(response) {
		if strings.EqualFold(key, "emit") && looksLikeEmits(value) {
			return true
		}
	}
	return false
}

// looksLikeEmits says whether a value is, or lists, an object with the keys of a
// record to emit, in any case: nothing else has these by chance.
func looksLikeEmits(value []byte) bool {
	if value[0] == '[' {
		for e := range elements(value) {
			if e[0] == '{' && looksLikeEmits(e) {
				return true
			}
		}
		return false
	}
	var found [3]bool
	for key := range members(value) {
		for i, name := range []string{"stream", "partitionKey", "data"} {
			found[i] = found[i] || strings.EqualFold(key, name)
		}
	}
	return found == [3]bool{true, true, true}
}

// mentionsEmit says whether a reply may have a member "emit", in the cases that
// people write it in.
func mentionsEmit(response []byte) bool {
	for _, key := range []string{`"emit"`, `"Emit"`, `"EMIT"`} {
		if bytes.Contains(response, []byte(key)) {
			return true
		}
	}
	return false
}

// IgnoredEmits counts what a batch's reply, as [Classify] has left it, lists under
// "emit" and what is emitted by nobody: another thing of that name, most likely,
// or records that the function made so that nobody knows them.
func IgnoredEmits(inv *Invocation, r *Result) (n int) {
	if inv.Batch == nil || r.Outcome != Done && r.Outcome != Partial || !mentionsEmit(r.Response) || !json.Valid(r.Response) {
		return 0
	}
	for key, value := range members(r.Response) {
		if strings.EqualFold(key, "emit") && value[0] == '[' {
			for range elements(value) {
				n++
			}
		}
	}
	return n
}

func parseEmit(value []byte, b *Batch) (Emit, error) {
	e := Emit{Item: -1}
	if value[0] != '{' {
		return e, fmt.Errorf("is %s: want %s", kindOf(value), WantedEmit)
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
					return "", wrongCase(k, name)
				}
			}
			return "", fmt.Errorf("has no %q: want %s", name, WantedEmit)
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
	if !json.Valid(response) || len(allowed) == 0 && !mentionsEmit(response) {
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
