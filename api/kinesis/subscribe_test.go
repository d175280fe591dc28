package kinesis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

func (e *emulator) register(name, consumer string) (arn *string) {
	e.t.Helper()
	out, err := e.RegisterStreamConsumer(e.t.Context(), &sdk.RegisterStreamConsumerInput{StreamARN: aws.String(stream.Local(name).ARN()), ConsumerName: &consumer})
	e.check(err)
	return out.Consumer.ConsumerARN
}

func subscribeTo(t testing.TB, client *sdk.Client, arn *string, shard int, from types.StartingPosition) *sdk.SubscribeToShardEventStream {
	t.Helper()
	out, err := client.SubscribeToShard(t.Context(), &sdk.SubscribeToShardInput{ConsumerARN: arn, ShardId: aws.String(stream.ShardID(shard)), StartingPosition: &from})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.GetStream().Close() })
	return out.GetStream()
}

// nextEvent is the next event of a subscription; nil at its end.
func nextEvent(t testing.TB, events *sdk.SubscribeToShardEventStream) *types.SubscribeToShardEvent {
	t.Helper()
	select {
	case event, ok := <-events.Events():
		if !ok {
			return nil
		}
		return &event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
	case <-time.After(30 * time.Second):
		t.Fatal("no event")
		return nil
	}
}

func TestASubscriptionPushesRecordsToTheEndOfTheShard(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(protocol, func(t *testing.T) {
			e := emulate(t, 0, nil)
			e.create("orders", 1)
			client := e.Client
			if protocol == "HTTP/2" {
				var stop func()
				client, stop = http2Client(t, e)
				defer stop()
			}
			e.put("orders", "k", "before")
			arn := e.register("orders", "app")
			events := subscribeTo(t, client, arn, 0, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
			first := nextEvent(t, events)
			if len(first.Records) != 0 || first.ContinuationSequenceNumber == nil || *first.MillisBehindLatest != 0 {
				t.Fatalf("the first event: %d records, continuation %v", len(first.Records), first.ContinuationSequenceNumber)
			}
			var last *types.SubscribeToShardEvent
			for i := range 3 {
				_, number := e.put("orders", "k", fmt.Sprint(i))
				last = nextEvent(t, events)
				if len(last.Records) != 1 || string(last.Records[0].Data) != fmt.Sprint(i) || *last.ContinuationSequenceNumber != number {
					t.Fatalf("record %d comes as %+v", i, last)
				}
			}
			_, err := e.store.Split(t.Context(), stream.Local("orders"), stream.ShardID(0), stream.HashKey{Hi: 1 << 63})
			e.check(err)
			end := nextEvent(t, events)
			if end.ContinuationSequenceNumber != nil || len(end.ChildShards) != 2 || len(end.Records) != 0 {
				t.Errorf("the last event: %+v", end)
			}
			if event := nextEvent(t, events); event != nil || events.Err() != nil {
				t.Errorf("behind the end: %+v, %v", event, events.Err())
			}
			// All of the three numbers that events have shown are places to go on from.
			for i, n := range []*string{first.ContinuationSequenceNumber, last.ContinuationSequenceNumber} {
				for _, kind := range []types.ShardIteratorType{types.ShardIteratorTypeAfterSequenceNumber, types.ShardIteratorTypeAtSequenceNumber} {
					it := e.iteratorOf(&sdk.GetShardIteratorInput{StreamName: aws.String("orders"), ShardId: aws.String(stream.ShardID(0)), ShardIteratorType: kind, StartingSequenceNumber: n})
					want := []string{"0", "1", "2"}
					if i == 1 && kind == types.ShardIteratorTypeAfterSequenceNumber {
						want = nil
					} else if i == 1 {
						want = want[2:]
					}
					wantStrings(t, fmt.Sprintf("from number %d, %s", i, kind), datas(e.get(it, 0).Records), want...)
				}
			}
		})
	}
}

func TestASubscriptionStartsWhereAnIteratorWould(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("log", 1)
	e.put("log", "k", "0")
	_, number := e.put("log", "k", "1")
	e.put("log", "k", "2")
	for i, tt := range []struct {
		from types.StartingPosition
		want []string
	}{
		{types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}, []string{"0", "1", "2"}},
		{types.StartingPosition{Type: types.ShardIteratorTypeAtSequenceNumber, SequenceNumber: &number}, []string{"1", "2"}},
		{types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: &number}, []string{"2"}},
		{types.StartingPosition{Type: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Unix(1, 0))}, []string{"0", "1", "2"}},
	} {
		arn := e.register("log", fmt.Sprint("app", i))
		wantStrings(t, string(tt.from.Type), datas(nextEvent(t, subscribeTo(t, e.another(), arn, 0, tt.from)).Records), tt.want...)
	}
}

func TestASubscriptionEndsWithItsConsumer(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("log", 1)
	arn := e.register("log", "app")
	events := subscribeTo(t, e.another(), arn, 0, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	nextEvent(t, events)
	_, err := e.DeregisterStreamConsumer(t.Context(), &sdk.DeregisterStreamConsumerInput{ConsumerARN: arn})
	e.check(err)
	if event := nextEvent(t, events); event != nil {
		t.Errorf("an event: %+v", event)
	}
	if code, text := codeOf(events.Err()); code != codeNotFound || !strings.Contains(text, *arn) {
		t.Errorf("the end: %s %s", code, text)
	}
	_, err = e.SubscribeToShard(t.Context(), &sdk.SubscribeToShardInput{ConsumerARN: arn, ShardId: aws.String("shardId-000000000000"), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest}})
	if code, _ := codeOf(err); code != codeNotFound {
		t.Errorf("a new subscription: %v", err)
	}
}

func TestASubscriptionEndsWithItsStream(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("log", 1)
	events := subscribeTo(t, e.another(), e.register("log", "app"), 0, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	nextEvent(t, events)
	e.check(e.store.Delete(t.Context(), stream.Local("log")))
	if event := nextEvent(t, events); event != nil {
		t.Errorf("an event: %+v", event)
	}
	if code, _ := codeOf(events.Err()); code != codeNotFound {
		t.Errorf("the end: %v", events.Err())
	}
}

func TestASecondSubscriptionWithinTheGraceIsRefused(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("log", 2)
	arn := e.register("log", "app")
	nextEvent(t, subscribeTo(t, e.another(), arn, 0, types.StartingPosition{Type: types.ShardIteratorTypeLatest}))
	_, err := e.SubscribeToShard(t.Context(), &sdk.SubscribeToShardInput{ConsumerARN: arn, ShardId: aws.String("shardId-000000000000"), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest}})
	if code, text := codeOf(err); code != codeInUse || text != "Another active subscription exists for this consumer: 000000000000:log:shardId-000000000000:app" {
		t.Errorf("to the same shard: %s %s", code, text)
	}
	nextEvent(t, subscribeTo(t, e.another(), arn, 1, types.StartingPosition{Type: types.ShardIteratorTypeLatest}))
	nextEvent(t, subscribeTo(t, e.another(), e.register("log", "other"), 0, types.StartingPosition{Type: types.ShardIteratorTypeLatest}))
}

// quiet is a shard whose records are what its channel has to give.
type quiet struct {
	Streams
	desc  stream.Description
	pages chan natsstream.Page
	wake  chan struct{}
}

func (q *quiet) Peek(stream.Ref) (*stream.Description, error) { return &q.desc, nil }

func (q *quiet) Read(_ context.Context, _ stream.Ref, _ string, at stream.Position, _ int) (natsstream.Page, error) {
	select {
	case page := <-q.pages:
		return page, nil
	default:
		return natsstream.Page{Next: at}, nil
	}
}

func (q *quiet) Wait(context.Context, stream.Ref, string) (<-chan struct{}, func(), error) {
	return q.wake, func() {}, nil
}

func quietSubscription() (*quiet, *subscription) {
	created := time.Now().Truncate(time.Second)
	q := &quiet{pages: make(chan natsstream.Page, 10), wake: make(chan struct{}, 1)}
	q.desc.Ref = stream.Local("log")
	q.desc.Attributes.Consumers = []stream.Consumer{{Name: "app", Created: created}}
	info := consumerInfo{ConsumerName: "app", ConsumerARN: "arn", ConsumerCreationTimestamp: wire.Time(created)}
	at := stream.Position{Kind: stream.At, Sequence: stream.SequenceNumber{Epoch: 1, Frame: 1}}
	return q, &subscription{service: &service{Deps: Deps{Streams: q}}, ref: q.desc.Ref, shard: stream.ShardID(0), consumer: info, at: at}
}

func TestASilentSubscriptionShowsThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, sub := quietSubscription()
		ctx, done, err := sub.service.subs.begin(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		began, next := time.Now(), sub.at
		var at []time.Duration
		go func() { // a record at 7 s: silence is counted from there
			time.Sleep(7 * time.Second)
			q.pages <- natsstream.Page{Records: make([]stream.Record, 1), Next: next}
			q.wake <- struct{}{}
		}()
		err = sub.run(ctx, func(e *shardEvent) error { at = append(at, time.Since(began)); return nil })
		if err != nil || time.Since(began) != subscriptionLife {
			t.Errorf("it ended after %s: %v", time.Since(began), err)
		}
		want := []time.Duration{eventGap, eventGap + 5*time.Second, 7 * time.Second}
		for next := 12 * time.Second; next < subscriptionLife; next += 5 * time.Second {
			want = append(want, next)
		}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("events at %v, want %v", at, want)
		}
	})
}

// Both are what npm's lifion-kinesis 1.3.3 relies on: its parser takes what it reads at once
// for one event, and what it is pushed with the end of a shard it drops.
func TestEventsComeApartAndTheEndAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, sub := quietSubscription()
		for _, page := range []natsstream.Page{
			{Records: make([]stream.Record, eventsPage)}, {Records: make([]stream.Record, 2)}, {Records: make([]stream.Record, 1), Ended: true},
		} {
			page.Next = sub.at
			q.pages <- page
		}
		began := time.Now()
		var got []string
		err := sub.run(t.Context(), func(e *shardEvent) error {
			got = append(got, fmt.Sprintf("%d at %s", len(e.records), time.Since(began)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// A full page is followed at once: there is more to catch up with.
		wantStrings(t, "events", got, "1000 at 20ms", "2 at 20ms", "1 at 40ms", "0 at 60ms")
	})
}

func TestALaterSubscriptionTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, first := quietSubscription()
		subs := &first.service.subs
		ctx, done, err := subs.begin(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			defer done()
			ended <- first.run(ctx, func(*shardEvent) error { return nil })
		}()
		second := func() (func(), error) {
			_, done, err := subs.begin(t.Context(), &subscription{service: first.service, ref: first.ref, shard: first.shard, consumer: first.consumer})
			return done, err
		}
		time.Sleep(subscriptionGrace - time.Millisecond)
		if _, err := second(); err == nil {
			t.Error("within the grace another could begin")
		}
		time.Sleep(time.Millisecond)
		doneSecond, err := second()
		if err != nil {
			t.Fatalf("after the grace: %v", err)
		}
		const taken = "ResourceInUseException: Another active subscription exists for this consumer: 000000000000:log:shardId-000000000000:app"
		if err := <-ended; err == nil || err.Error() != taken {
			t.Errorf("the first ended with %v", err)
		}
		doneSecond()
		if _, err := second(); err == nil {
			t.Error("within the grace of one that has ended another could begin")
		}
		time.Sleep(subscriptionGrace)
		doneThird, err := second()
		if err != nil {
			t.Fatal(err)
		}
		doneThird()
	})
}

func TestASubscriptionEndsQuietlyWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sub := quietSubscription()
		parent, cancel := context.WithCancel(t.Context())
		ctx, done, err := sub.service.subs.begin(parent, sub)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		time.AfterFunc(time.Second, cancel)
		if err := sub.run(ctx, func(*shardEvent) error { return nil }); err != nil {
			t.Error(err)
		}
		// One whose client does not take what it is sent is not read for.
		q, slow := quietSubscription()
		for range 10 {
			q.pages <- natsstream.Page{Records: make([]stream.Record, 1), Next: slow.at}
		}
		if err := slow.run(t.Context(), func(*shardEvent) error { return fmt.Errorf("gone") }); err != nil || len(q.pages) != 9 {
			t.Errorf("%v; %d pages unread, want 9", err, len(q.pages))
		}
	})
}

func TestAnEventHasAMegabyteButAlwaysOneRecord(t *testing.T) {
	_, sub := quietSubscription()
	record := func(frame uint64, size int) stream.Record {
		return stream.Record{Sequence: stream.SequenceNumber{Epoch: 1, Frame: frame}, Data: make([]byte, size), Arrival: time.Now().Add(-time.Minute)}
	}
	page := natsstream.Page{Next: stream.Position{Sequence: stream.SequenceNumber{Epoch: 1, Frame: 9}}}
	for i, size := range []int{eventBytes / 2, eventBytes / 2, 1, eventBytes + 1, 3, 4} {
		page.Records = append(page.Records, record(uint64(i+1), size))
	}
	var got []string
	for _, e := range sub.split(page) {
		got = append(got, fmt.Sprintf("%d to %d, behind %s", len(e.records), e.next.Frame, e.behind.Truncate(time.Minute)))
	}
	wantStrings(t, "events", got, "2 to 2, behind 1m0s", "1 to 3, behind 1m0s", "1 to 4, behind 1m0s", "2 to 9, behind 0s")
}
