package kinesis

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/wasmill/wasmill/stream"
)

// put puts one record and returns its shard and number.
func (e *emulator) put(name, key, data string) (shard, number string) {
	e.t.Helper()
	out, err := e.PutRecord(e.t.Context(), &sdk.PutRecordInput{StreamName: &name, PartitionKey: &key, Data: []byte(data)})
	e.check(err)
	return *out.ShardId, *out.SequenceNumber
}

// iterator is that of a type that needs nothing else.
func (e *emulator) iterator(name string, shard int, kind types.ShardIteratorType) *string {
	e.t.Helper()
	return e.iteratorOf(&sdk.GetShardIteratorInput{StreamName: &name, ShardId: aws.String(stream.ShardID(shard)), ShardIteratorType: kind})
}

func (e *emulator) iteratorOf(in *sdk.GetShardIteratorInput) *string {
	e.t.Helper()
	out, err := e.GetShardIterator(e.t.Context(), in)
	e.check(err)
	return out.ShardIterator
}

func (e *emulator) get(it *string, limit int32) *sdk.GetRecordsOutput {
	e.t.Helper()
	in := &sdk.GetRecordsInput{ShardIterator: it}
	if limit > 0 {
		in.Limit = &limit
	}
	out, err := e.GetRecords(e.t.Context(), in)
	e.check(err)
	return out
}

func datas(records []types.Record) (all []string) {
	for _, r := range records {
		all = append(all, string(r.Data))
	}
	return all
}

func wantStrings(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestRecordsComeBackAsTheyWerePut(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("orders", 1)
	before := time.Now().Truncate(time.Millisecond)
	in := &sdk.PutRecordsInput{StreamName: aws.String("orders")}
	for i, data := range []string{"", "a", "\x00\xff", strings.Repeat("x", 1000), `{"Data":"<&>"}`} {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{Data: []byte(data), PartitionKey: aws.String("kéy\"\\\n\u2028" + fmt.Sprint(i))})
	}
	out, err := e.PutRecords(t.Context(), in)
	e.check(err)
	if *out.FailedRecordCount != 0 || len(out.Records) != len(in.Records) {
		t.Fatalf("PutRecords: %d failed of %d", *out.FailedRecordCount, len(out.Records))
	}
	_, last := e.put("orders", "single", "last")

	page := e.get(e.iterator("orders", 0, types.ShardIteratorTypeTrimHorizon), 0)
	if len(page.Records) != len(in.Records)+1 || *page.MillisBehindLatest != 0 {
		t.Fatalf("%d records, %d ms behind", len(page.Records), *page.MillisBehindLatest)
	}
	for i, want := range in.Records {
		got := page.Records[i]
		if !bytes.Equal(got.Data, want.Data) || *got.PartitionKey != *want.PartitionKey || *got.SequenceNumber != *out.Records[i].SequenceNumber {
			t.Errorf("record %d: %q %q at %s; want %q %q at %s", i, got.Data, *got.PartitionKey, *got.SequenceNumber, want.Data, *want.PartitionKey, *out.Records[i].SequenceNumber)
		}
		if at := *got.ApproximateArrivalTimestamp; at.Before(before) || at.After(time.Now()) {
			t.Errorf("record %d arrived at %s", i, at)
		}
		if got.EncryptionType != "" {
			t.Errorf("record %d is encrypted with %s", i, got.EncryptionType)
		}
	}
	if got := *page.Records[len(in.Records)].SequenceNumber; got != last {
		t.Errorf("the last record has number %s, PutRecord said %s", got, last)
	}
	empty := e.get(page.NextShardIterator, 0)
	if len(empty.Records) != 0 || empty.NextShardIterator == nil {
		t.Errorf("behind the last record: %d records, next iterator %v", len(empty.Records), empty.NextShardIterator)
	}
	e.put("orders", "k", "later")
	wantStrings(t, "an iterator of before", datas(e.get(empty.NextShardIterator, 0).Records), "later")
}

func TestAnExplicitHashKeyChoosesTheShard(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("two", 2)
	for hash, want := range map[string]string{"0": stream.ShardID(0), "170141183460469231731687303715884105728": stream.ShardID(1), "340282366920938463463374607431768211455": stream.ShardID(1)} {
		out, err := e.PutRecord(t.Context(), &sdk.PutRecordInput{StreamName: aws.String("two"), PartitionKey: aws.String("same"), Data: []byte("x"), ExplicitHashKey: &hash})
		e.check(err)
		many, err := e.PutRecords(t.Context(), &sdk.PutRecordsInput{StreamName: aws.String("two"), Records: []types.PutRecordsRequestEntry{{PartitionKey: aws.String("same"), Data: []byte("x"), ExplicitHashKey: &hash}}})
		e.check(err)
		if *out.ShardId != want || *many.Records[0].ShardId != want {
			t.Errorf("hash key %s: %s and %s, want %s", hash, *out.ShardId, *many.Records[0].ShardId, want)
		}
	}
}

func TestEachIteratorTypeStartsWhereItSays(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("log", 1)
	name, shard := aws.String("log"), aws.String(stream.ShardID(0))
	latest := e.iterator("log", 0, types.ShardIteratorTypeLatest)
	var numbers []string
	for i := range 5 {
		_, n := e.put("log", "k", fmt.Sprint(i))
		numbers = append(numbers, n)
		time.Sleep(2 * time.Millisecond) // arrivals have milliseconds
	}
	third := e.get(e.iteratorOf(&sdk.GetShardIteratorInput{StreamName: name, ShardId: shard, ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: &numbers[2]}), 1)
	arrival := third.Records[0].ApproximateArrivalTimestamp
	starting, _ := d.Shards[0].Starting().MarshalText()
	tests := []struct {
		name string
		in   sdk.GetShardIteratorInput
		want []string
	}{
		{"trim horizon", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}, []string{"0", "1", "2", "3", "4"}},
		{"latest", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeLatest}, nil},
		{"at a number", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: &numbers[2]}, []string{"2", "3", "4"}},
		{"after a number", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: &numbers[2]}, []string{"3", "4"}},
		{"after the last number", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: &numbers[4]}, nil},
		{"at the shard's first number", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: aws.String(string(starting))}, []string{"0", "1", "2", "3", "4"}},
		{"after the shard's first number", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: aws.String(string(starting))}, []string{"0", "1", "2", "3", "4"}},
		{"at an arrival", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: arrival}, []string{"2", "3", "4"}},
		{"at a time before all", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Unix(1, 0))}, []string{"0", "1", "2", "3", "4"}},
		{"at a time behind all", sdk.GetShardIteratorInput{StreamName: name, ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Now().Add(-time.Millisecond))}, nil},
		{"by ARN", sdk.GetShardIteratorInput{StreamARN: aws.String(d.ARN()), ShardIteratorType: types.ShardIteratorTypeTrimHorizon}, []string{"0", "1", "2", "3", "4"}},
	}
	for _, tt := range tests {
		tt.in.ShardId = shard
		it := e.iteratorOf(&tt.in)
		var got []string
		for range 6 { // one record a page
			page := e.get(it, 1)
			got = append(got, datas(page.Records)...)
			it = page.NextShardIterator
		}
		wantStrings(t, tt.name, got, tt.want...)
	}
	wantStrings(t, "the latest of before", datas(e.get(latest, 0).Records), "0", "1", "2", "3", "4")
}

func TestPagesTellHowFarBehindTheyAre(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("log", 1)
	e.put("log", "k", "first")
	time.Sleep(20 * time.Millisecond)
	e.put("log", "k", "second")
	page := e.get(e.iterator("log", 0, types.ShardIteratorTypeTrimHorizon), 1)
	if *page.MillisBehindLatest < 20 {
		t.Errorf("with a record ahead: %d ms behind, want 20 at least", *page.MillisBehindLatest)
	}
	if page = e.get(page.NextShardIterator, 1); *page.MillisBehindLatest != 0 {
		t.Errorf("at the tip: %d ms behind", *page.MillisBehindLatest)
	}
}

func TestAClosedShardEndsWithItsChildren(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("tree", 1)
	e.put("tree", "k", "before")
	_, err := e.store.Split(t.Context(), stream.Local("tree"), stream.ShardID(0), stream.HashKey{Hi: 1 << 63})
	e.check(err)
	var got []string
	it := e.iterator("tree", 0, types.ShardIteratorTypeTrimHorizon)
	var page *sdk.GetRecordsOutput
	for it != nil {
		page = e.get(it, 0)
		got = append(got, datas(page.Records)...)
		it = page.NextShardIterator
	}
	wantStrings(t, "the parent", got, "before")
	var children []string
	for _, c := range page.ChildShards {
		children = append(children, fmt.Sprintf("%s %s %s %s", *c.ShardId, c.ParentShards, *c.HashKeyRange.StartingHashKey, *c.HashKeyRange.EndingHashKey))
	}
	wantStrings(t, "children", children,
		"shardId-000000000001 [shardId-000000000000] 0 170141183460469231731687303715884105727",
		"shardId-000000000002 [shardId-000000000000] 170141183460469231731687303715884105728 340282366920938463463374607431768211455")
	shard, _ := e.put("tree", "k", "behind")
	wantStrings(t, "the child", datas(e.get(e.iteratorOf(&sdk.GetShardIteratorInput{StreamName: aws.String("tree"), ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}), 0).Records), "behind")
}

// codeOf is the code and text of a client's error.
func codeOf(err error) (code, message string) {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode(), e.ErrorMessage()
	}
	return fmt.Sprint(err), ""
}

func TestAnIteratorIsWorthNothingInALaterStream(t *testing.T) {
	e := emulate(t, 0, nil)
	for _, kind := range []types.ShardIteratorType{types.ShardIteratorTypeTrimHorizon, types.ShardIteratorTypeLatest} {
		e.create("again", 1)
		it := e.iterator("again", 0, kind)
		e.check(e.store.Delete(t.Context(), stream.Local("again")))
		for _, when := range []string{"deleted", "made again"} {
			_, err := e.GetRecords(t.Context(), &sdk.GetRecordsInput{ShardIterator: it})
			code, text := codeOf(err)
			if code != codeNotFound || text != "Shard shardId-000000000000 in stream again under account 000000000000 does not exist" {
				t.Errorf("%s, %s: %s %s", kind, when, code, text)
			}
			if when == "deleted" {
				e.create("again", 1)
			}
		}
		e.check(e.store.Delete(t.Context(), stream.Local("again")))
	}
}

func TestAnIteratorExpires(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("log", 1)
	// The service's own seal: it was made up, and iterators by it cannot be made here.
	s := &service{Deps: Deps{Streams: e.store}, seal: newSealer([32]byte{1})}
	issued := time.Now().Add(-iteratorLife - time.Second)
	it := iterator{d.Ref, 0, stream.Position{Kind: stream.At, Sequence: d.Shards[0].Starting()}, issued.UnixMilli()}
	_, err := s.getRecords(t.Context(), callOf(s.seal.seal(it)))
	code, text := wireError(err)
	now := time.Now()
	want := func(now time.Time) string {
		return "Iterator expired. The iterator was created at time " + issued.UTC().Format("Mon Jan 02 15:04:05 UTC 2006") + " while right now it is " + now.UTC().Format("Mon Jan 02 15:04:05 UTC 2006") + " which is further in the future than the tolerated delay of 300000 milliseconds."
	}
	if code != "ExpiredIteratorException" || text != want(now) && text != want(now.Add(-time.Second)) {
		t.Errorf("%s %q, want %q", code, text, want(now))
	}
	it.issued = time.Now().Add(-iteratorLife + 10*time.Second).UnixMilli()
	if _, err := s.getRecords(t.Context(), callOf(s.seal.seal(it))); err != nil {
		t.Errorf("before it expires: %v", err)
	}
	it.issued = time.Now().Add(clockStep / 2).UnixMilli()
	if _, err := s.getRecords(t.Context(), callOf(s.seal.seal(it))); err != nil {
		t.Errorf("after the clock was set back a little: %v", err)
	}
	it.issued = time.Now().Add(time.Minute).UnixMilli()
	if _, err := s.getRecords(t.Context(), callOf(s.seal.seal(it))); err == nil || err.Error() != "InvalidArgumentException: Invalid ShardIterator." {
		t.Errorf("of the future: %v", err)
	}
}

// Whatever is changed in an iterator, it is one no more.
func TestAnIteratorCannotBeForged(t *testing.T) {
	seal := newSealer([32]byte{1})
	ref := stream.Ref{Account: "123456789012", Region: strings.Repeat("r", 64), Name: strings.Repeat("n", 128)}
	it := iterator{ref, 1<<32 - 1, stream.Position{Kind: stream.After, Number: 1<<64 - 1, Sequence: stream.SequenceNumber{Epoch: 1<<32 - 1, Shard: 15, Frame: 1<<48 - 1, Index: 1<<16 - 1, Time: 1<<32 - 1}}, 1<<62 - 1}
	text := seal.seal(it)
	if raw, err := base64.StdEncoding.DecodeString(text); err != nil || len(text) > maxIterator || !bytes.HasPrefix(raw, tokenHead) {
		t.Errorf("%d characters: %s", len(text), text)
	}
	if got, ok := seal.open(text); !ok || got != it {
		t.Errorf("it comes back as %+v, %v", got, ok)
	}
	if _, ok := newSealer([32]byte{2}).open(text); ok {
		t.Error("another secret opens it")
	}
	for i := range text {
		for _, c := range []byte("A/") {
			forged := []byte(text)
			if forged[i] == c {
				continue
			}
			forged[i] = c
			if _, ok := seal.open(string(forged)); ok {
				t.Errorf("with another character at %d it opens", i)
			}
		}
		if _, ok := seal.open(text[:i]); ok {
			t.Errorf("%d characters of it open", i)
		}
	}
	if seal.seal(it) == text {
		t.Error("two iterators of a place are the same text")
	}
}

func TestHTTP2ServesTheSame(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("log", 1)
	client, stop := http2Client(t, e)
	defer stop()
	_, err := client.PutRecord(t.Context(), &sdk.PutRecordInput{StreamName: aws.String("log"), PartitionKey: aws.String("k"), Data: bytes.Repeat([]byte("x"), 1<<20-1)})
	e.check(err)
	page, err := client.GetRecords(t.Context(), &sdk.GetRecordsInput{ShardIterator: e.iterator("log", 0, types.ShardIteratorTypeTrimHorizon)})
	e.check(err)
	if len(page.Records) != 1 || len(page.Records[0].Data) != 1<<20-1 {
		t.Errorf("%d records", len(page.Records))
	}
}
