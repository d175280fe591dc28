package runtime

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// ParseReply reads what a function returned as a reply with batchItemFailures
// (ReportBatchItemFailures, streams). No failures and valid: all succeeded.
// Not valid: the whole batch failed. Whether the identifiers are of the batch
// is for [LowestFailed] to say.
//
// Success: nothing at all, null, "", [], {}, an object without the key, a null
// or empty list. Any identifier that is not a string with something in it, an
// item that is no object or lacks the key itemIdentifier, and any other kind
// of value fail the batch. Keys are matched with their case.
func ParseReply(response []byte) (failures []string, valid bool) {
	response = bytes.TrimSpace(response)
	switch string(response) {
	case "", `null`, `""`, `[]`, `{}`, `{"batchItemFailures":[]}`, `{"batchItemFailures":null}`:
		return nil, true
	}
	switch response[0] {
	case '[':
		var items []json.RawMessage
		return nil, json.Unmarshal(response, &items) == nil && len(items) == 0
	case '{':
	default:
		return nil, false
	}
	var reply map[string]json.RawMessage // a struct would match keys of any case
	if json.Unmarshal(response, &reply) != nil {
		return nil, false
	}
	list, ok := reply["batchItemFailures"]
	if !ok {
		return nil, true
	}
	var items []map[string]json.RawMessage
	if json.Unmarshal(list, &items) != nil {
		return nil, false
	}
	for _, item := range items {
		var id *string
		if json.Unmarshal(item["itemIdentifier"], &id) != nil || id == nil || *id == "" {
			return nil, false
		}
		failures = append(failures, *id)
	}
	return failures, true
}

// LowestFailed is the index in b of the failed record with the lowest sequence
// number, or of the first failed message of a queue, -1 for no failures. It is not
// valid when an identifier names no record of b; the whole batch failed then.
func LowestFailed(b *Batch, failures []string) (index int, valid bool) {
	index = -1
	if b.Kind == KindSQS {
		return firstFailed(b, failures)
	}
	for _, id := range failures {
		i := find(b.Records, id)
		if i < 0 {
			return -1, false
		}
		if index < 0 || compareSequences(id, b.Records[index].Sequence) < 0 {
			index = i
		}
	}
	return index, true
}

// firstFailed is LowestFailed of messages, whose ids have no order.
func firstFailed(b *Batch, failures []string) (index int, valid bool) {
	if len(failures) == 0 {
		return -1, true
	}
	at := make(map[string]int, len(b.Records))
	for i := range b.Records {
		at[b.Records[i].Sequence] = i
	}
	index = len(b.Records)
	for _, id := range failures {
		i, ok := at[id]
		if !ok {
			return -1, false
		}
		index = min(index, i)
	}
	return index, true
}

// find searches records that are in sequence order, as batches are. Records
// in another order are found too, only slower.
func find(records []Record, id string) int {
	i, ok := slices.BinarySearchFunc(records, id, func(r Record, id string) int { return compareSequences(r.Sequence, id) })
	if !ok {
		i = slices.IndexFunc(records, func(r Record) bool { return r.Sequence == id })
	}
	return i
}

// compareSequences orders decimal numbers without leading zeros as the integers they are.
func compareSequences(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
