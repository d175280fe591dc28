package kinesis

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// twoShards is a stream of two, by the first digit of hash keys: 0 is in the first, 9…9 in
// the second.
func twoShards() *stream.Description {
	half := stream.HashKey{Hi: 1 << 63}
	return &stream.Description{Ref: stream.Local("s"), ID: "id", State: stream.Active, Shards: []stream.Shard{
		{ID: stream.ShardID(1), From: half, To: stream.MaxHashKey, State: stream.Active},
		{ID: stream.ShardID(0), To: stream.HashKey{Hi: 1<<63 - 1, Lo: 1<<64 - 1}, State: stream.Active},
		{ID: stream.ShardID(2), To: stream.MaxHashKey, State: stream.Closed},
	}}
}

// entries are n of size bytes each, key and data together, to one shard.
func entries(n, size int, shard int) (all []stream.Entry) {
	key := []string{"0", stream.MaxHashKey.String()}[shard]
	for range n {
		all = append(all, stream.Entry{PartitionKey: "k", ExplicitHashKey: key, Data: make([]byte, size-1)})
	}
	return all
}

// taken is how many of entries are within the quotas, and whether those are the first.
func taken(l *Limits, es []stream.Entry) (n int, first bool) {
	refused := l.write(time.Now(), twoShards(), es)
	first = true
	for i := range es {
		if refused == nil || refused[i] == "" {
			first = first && n == i
			n++
		}
	}
	return n, first
}

func TestAShardTakesAThousandRecordsOrAMegabyteASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limits
		take := func(want, n, size, shard int) {
			t.Helper()
			if got, first := taken(&l, entries(n, size, shard)); got != want || !first {
				t.Errorf("at %s: %d of %d records of %d bytes are taken, want the first %d", time.Now().Format("05.000"), got, n, size, want)
			}
		}
		take(1000, 1200, 10, 0)
		take(0, 1, 10, 0)
		take(1000, 1001, 10, 1) // the other shard has its own
		time.Sleep(100 * time.Millisecond)
		take(100, 500, 10, 0)
		time.Sleep(time.Minute) // nothing is saved up beyond a second's worth
		take(4, 10, 256<<10, 0)
		time.Sleep(250 * time.Millisecond)
		take(1, 10, 256<<10, 0)
		// A record larger than a second's bytes is taken once nothing is missing, and made up
		// for.
		take(0, 1, 5<<20, 0)
		time.Sleep(time.Second)
		take(1, 1, 5<<20, 0)
		time.Sleep(4 * time.Second)
		take(0, 1, 10, 0)
		time.Sleep(time.Second)
		take(1000, 1001, 10, 0)
		// What is behind a refused record of its shard is refused, so that order is kept.
		time.Sleep(time.Minute)
		mixed := append(entries(1, 1<<20, 0), append(entries(1, 900<<10, 0), entries(1, 10, 1)...)...)
		mixed = append(mixed, entries(1, 1, 0)...)
		refused := l.write(time.Now(), twoShards(), mixed)
		if want := []string{"", stream.ShardID(0), "", stream.ShardID(0)}; fmt.Sprint(refused) != fmt.Sprint(want) {
			t.Errorf("refused %q, want %q", refused, want)
		}
		if (*Limits)(nil).write(time.Now(), twoShards(), mixed) != nil {
			t.Error("no limits: refused")
		}
	})
}

func TestAShardIsReadFiveTimesAndTwoMegabytesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limits
		reads := func(bytes int) (n int) {
			for l.read(time.Now(), "id", "shard") {
				n++
				l.gave(time.Now(), "id", "shard", []stream.Record{{Data: make([]byte, bytes)}})
			}
			return n
		}
		if n := reads(10); n != 5 {
			t.Errorf("%d reads at once, want 5", n)
		}
		time.Sleep(200 * time.Millisecond)
		if n := reads(10); n != 1 {
			t.Errorf("%d reads after 200 ms, want 1", n)
		}
		time.Sleep(time.Minute)
		if n := reads(1 << 20); n != 2 {
			t.Errorf("%d reads of 1 MiB at once, want 2", n)
		}
		// After 10 MiB nothing is read for 5 s: GetRecords in AWS's API reference.
		time.Sleep(time.Minute)
		if n := reads(10 << 20); n != 1 {
			t.Errorf("%d reads of 10 MiB at once, want 1", n)
		}
		time.Sleep(5*time.Second - time.Millisecond)
		if n := reads(10); n != 0 {
			t.Errorf("%d reads within 5 s of one of 10 MiB, want none", n)
		}
		time.Sleep(time.Millisecond)
		if n := reads(10); n != 5 {
			t.Errorf("%d reads after them, want 5", n)
		}
		if !l.read(time.Now(), "id", "another") || !l.iterate(time.Now(), "id", "shard") {
			t.Error("another shard, or an iterator: refused")
		}
	})
}

func TestASubscriptionIsSentTwoMegabytesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limits
		var sent bucket
		begun := time.Now()
		for range 20 {
			time.Sleep(l.pace(time.Now(), &sent, []stream.Record{{Data: make([]byte, 1<<20)}}))
		}
		if took := time.Since(begun); took < 9*time.Second-time.Millisecond || took > 9*time.Second+time.Millisecond {
			t.Errorf("20 MiB were sent within %s, want 9 s: a second's worth at once, the rest at 2 MiB/s", took)
		}
		if (*Limits)(nil).pace(time.Now(), &sent, []stream.Record{{Data: make([]byte, 9<<20)}}) != 0 {
			t.Error("no limits: it waits")
		}
	})
}

func TestCallsArePacedByOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{Deps: Deps{Limits: &Limits{}}}
		ran := map[string]int{}
		var ops []*wire.Operation
		for name := range callRates {
			ops = append(ops, &wire.Operation{Name: name, Do: func(context.Context, *wire.Call) (any, error) { ran[name]++; return nil, nil }})
		}
		var last error
		call := func(op *wire.Operation, name string) {
			c := opCall(op.Name)
			c.In = wire.Values{"StreamName": name}
			_, err := op.Do(t.Context(), c)
			if err != nil {
				last = err
			}
		}
		for _, op := range s.limited(ops) {
			rate := callRates[op.Name]
			for range rate.most + 10 {
				call(op, "a")
			}
			if !fails(last, "LimitExceededException", "Rate exceeded for stream a under account 000000000000.") {
				t.Errorf("%s: %v", op.Name, last)
			}
			for range 1 + rate.most {
				call(op, "b")
			}
			want := rate.most
			if rate.perStream {
				want *= 2
			}
			if ran[op.Name] != want {
				t.Errorf("%s was done %d times, want %d", op.Name, ran[op.Name], want)
			}
			time.Sleep(time.Second)
			if call(op, "a"); ran[op.Name] != want+1 {
				t.Errorf("%s a second later was refused", op.Name)
			}
		}
	})
}

func TestForgottenShardsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limits
		for i := range 100_000 {
			l.read(time.Now(), "id", fmt.Sprint(i))
			l.call(time.Now(), fmt.Sprint(i), 5)
			if i%1000 == 0 {
				time.Sleep(time.Second)
			}
		}
		if len(l.shards) > 1<<14 || len(l.rates) > 1<<14 {
			t.Errorf("%d shards and %d calls are remembered", len(l.shards), len(l.rates))
		}
	})
}

// The real client sees AWS's errors, and each record its own.
func TestClientMeetsLimitsAndFaults(t *testing.T) {
	e, ctx := emulate(t, 0, &Limits{}), t.Context()
	e.create("s", 1)
	text := "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000."
	var records []types.PutRecordsRequestEntry
	for range 3 {
		records = append(records, types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: make([]byte, 600<<10)})
	}
	out, err := e.PutRecords(ctx, &sdk.PutRecordsInput{StreamName: aws.String("s"), Records: records})
	e.check(err)
	if *out.FailedRecordCount != 2 || out.Records[0].ErrorCode != nil || aws.ToString(out.Records[1].ErrorCode) != codeThroughput || aws.ToString(out.Records[2].ErrorMessage) != text {
		t.Errorf("%+v", out.Records)
	}
	_, err = e.PutRecord(ctx, &sdk.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: make([]byte, 900<<10)})
	if !fails(err, codeThroughput, text) {
		t.Errorf("PutRecord: %v", err)
	}
	it, err := e.GetShardIterator(ctx, &sdk.GetShardIteratorInput{StreamName: aws.String("s"), ShardId: aws.String(stream.ShardID(0)), ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
	e.check(err)
	got := 0
	for range 6 {
		page, readErr := e.GetRecords(ctx, &sdk.GetRecordsInput{ShardIterator: it.ShardIterator})
		if err = readErr; err == nil {
			got += len(page.Records)
		}
	}
	if !fails(err, codeThroughput, text) || got == 0 {
		t.Errorf("the sixth GetRecords: %v, after %d records", err, got)
	}
}

func TestClientMeetsFaultsOfSingleRecords(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	e.create("s", 2)
	faults, seed := new(wire.Faults), uint64(3)
	h, err := wire.New(wire.Options{Services: []*wire.Service{New(Deps{Streams: e.store, Faults: faults})}, Faults: faults})
	e.check(err)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	client := clientOf(server.URL, "us-east-1", "AKIDEXAMPLE")
	_, err = faults.Add(wire.Fault{Op: "PutRecords", Rate: .3, Error: "ProvisionedThroughputExceededException", Records: true, Seed: &seed})
	e.check(err)
	var records []types.PutRecordsRequestEntry
	for i := range 100 {
		records = append(records, types.PutRecordsRequestEntry{PartitionKey: aws.String(fmt.Sprint(i)), Data: []byte("x")})
	}
	// A producer that puts again what failed gets everything in, each once.
	calls, failed := 0, 0
	for len(records) > 0 {
		out, err := client.PutRecords(ctx, &sdk.PutRecordsInput{StreamName: aws.String("s"), Records: records})
		e.check(err)
		var again []types.PutRecordsRequestEntry
		for i, r := range out.Records {
			if r.ErrorCode != nil {
				again = append(again, records[i])
				if *r.ErrorCode != codeThroughput || !strings.HasPrefix(*r.ErrorMessage, "Injected by fault") || r.SequenceNumber != nil {
					t.Fatalf("%+v", r)
				}
			}
		}
		if len(again) != int(*out.FailedRecordCount) {
			t.Errorf("%d failed, told %d", len(again), *out.FailedRecordCount)
		}
		failed += len(again)
		records = again
		calls++
	}
	stats, err := e.store.Stats(ctx, stream.Local("s"))
	e.check(err)
	if total := stats[0].Records + stats[1].Records; total != 100 || calls < 2 || failed < 15 {
		t.Errorf("%d records after %d calls and %d failures, want 100", total, calls, failed)
	}
	_, err = faults.Add(wire.Fault{Op: "DescribeStream", Rate: 1, Error: "LimitExceededException"})
	e.check(err)
	if _, err := client.DescribeStream(ctx, &sdk.DescribeStreamInput{StreamName: aws.String("s")}); !fails(err, "LimitExceededException", "Injected by fault 2 of wasmill.") {
		t.Errorf("DescribeStream: %v", err)
	}
}
