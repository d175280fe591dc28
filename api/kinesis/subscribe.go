package kinesis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

const (
	// subscriptionLife is how long a subscription lasts; then the client asks again.
	subscriptionLife = 5 * time.Minute
	// subscriptionIdle is how long a subscription is silent at most.
	subscriptionIdle = 5 * time.Second
	// subscriptionGrace is how long after one began no other of the same consumer to
	// the same shard can, whether it still lasts or not.
	subscriptionGrace = 5 * time.Second

	// headDelay is what the answer to a subscription waits for its client to finish asking.
	headDelay = 5 * time.Millisecond

	// eventGap parts events from the one before, but for those of full pages. Clients are not
	// used to events that arrive together: lifion-kinesis takes what it reads at once for one
	// event, whatever it holds. It also saves events where writers put single records.
	eventGap = 20 * time.Millisecond

	// A subscription holds as many records in memory as one page has; an event has no more
	// bytes than this of data and keys, but always one record.
	eventBytes = 1 << 20
	// eventsPage is how many records are read at once.
	eventsPage = 1000
)

var subscribeToShardInput = wire.Structure(
	must("ConsumerARN", consumerARNShape),
	must("ShardId", nameShape),
	must("StartingPosition", wire.Structure(
		must("Type", wire.Enum(iteratorTypes...)),
		may("SequenceNumber", sequenceShape),
		may("Timestamp", wire.Timestamp()),
	)),
	byID,
)

// shardEvent is one event of a subscription.
type shardEvent struct {
	records    []stream.Record
	encryption string
	next       stream.SequenceNumber // what to go on from; zero at the end of a closed shard
	behind     time.Duration
	children   []stream.Shard
}

func (s *service) subscribeToShard(ctx context.Context, c *wire.Call, open func() (*wire.Events, error)) error {
	d, info, err := s.consumer(ctx, c)
	if err != nil {
		return err
	}
	if info.ConsumerStatus != stream.Active {
		return wire.Errorf(codeInUse, "Consumer %s with creation timestamp %d under stream: %s , account %s is not in ACTIVE status.",
			info.ConsumerName, time.Time(info.ConsumerCreationTimestamp).Unix(), d.Name, d.Account)
	}
	id, index, ok := shardID(c.In.String("ShardId"))
	if !ok {
		return noShard(d.Ref, c.In.String("ShardId"))
	}
	sh, err := s.readable(d.Ref, id, index)
	if err != nil {
		return err
	}
	from := c.In.Map("StartingPosition")
	at, err := s.place(ctx, c, d.Ref, sh, start{
		kind: from.String("Type"), number: from.String("SequenceNumber"),
		time: from.Time("Timestamp"), timed: from.Has("Timestamp"),
	})
	if err != nil {
		return err
	}
	sub := &subscription{service: s, ref: d.Ref, shard: sh.ID, consumer: info, at: at}
	ctx, done, err := s.subs.begin(ctx, sub)
	if err != nil {
		return err
	}
	defer done()
	// aws-sdk-go-v2 closes a request's body when the head of the answer arrives. If Go's
	// transport, which has sent the body by then, has not closed it yet itself, it takes that
	// for an error and drops the connection, and with it the subscription.
	select {
	case <-time.After(headDelay):
	case <-ctx.Done():
		return endOf(ctx)
	}
	events, err := open()
	if err != nil {
		return err
	}
	return sub.run(ctx, func(e *shardEvent) error { return events.Send("SubscribeToShardEvent", e) })
}

// subscriptions knows who listens to what: one at a time for each consumer and shard.
type subscriptions struct {
	mu   sync.Mutex
	last map[string]*subscription // by consumer and shard: those that last, or began within the grace
}

// subscription is records of a shard sent to a consumer as they arrive.
type subscription struct {
	service  *service
	ref      stream.Ref
	shard    string
	consumer consumerInfo
	at       stream.Position // where to read on; only run touches it
	sent     bucket          // of the quota; only run touches it
	last     time.Time       // of the event before; only run touches it

	// These belong to subscriptions.
	began time.Time
	ended bool
	end   context.CancelCauseFunc
}

func (sub *subscription) key() string { return sub.consumer.ConsumerARN + "/" + sub.shard }

// begin lets sub begin, and has the one before it end. The context returned ends with sub:
// its cause is a *wire.Error if the client is to be told one. The caller calls done at the
// end.
func (l *subscriptions) begin(ctx context.Context, sub *subscription) (_ context.Context, done func(), err error) {
	inUse := wire.Errorf(codeInUse, "Another active subscription exists for this consumer: %s:%s:%s:%s", sub.ref.Account, sub.ref.Name, sub.shard, sub.consumer.ConsumerName)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.last, func(_ string, s *subscription) bool { return s.ended && now.Sub(s.began) >= subscriptionGrace })
	if before := l.last[sub.key()]; before != nil {
		if now.Sub(before.began) < subscriptionGrace {
			return nil, nil, inUse
		}
		before.end(inUse)
	}
	if l.last == nil {
		l.last = make(map[string]*subscription)
	}
	l.last[sub.key()] = sub
	sub.began = now
	ctx, sub.end = context.WithCancelCause(ctx)
	ctx, cancel := context.WithTimeout(ctx, subscriptionLife)
	return ctx, func() {
		cancel()
		sub.end(nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		sub.ended = true
	}, nil
}

// drop ends the subscriptions of a consumer that is no more.
func (l *subscriptions) drop(ref stream.Ref, consumerARN string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sub := range l.last {
		if sub.consumer.ConsumerARN == consumerARN {
			sub.end(noConsumer(ref, consumerARN))
		}
	}
}

// run sends events until the shard, the subscription or its context ends. A client that does
// not read holds it up: nothing is read ahead for it.
func (sub *subscription) run(ctx context.Context, send func(*shardEvent) error) error {
	s := sub.service
	wake, stop, err := s.Streams.Wait(ctx, sub.ref, sub.shard)
	if err != nil {
		return s.readFault(ctx, sub.ref, sub.shard, stream.Position{}, err)
	}
	defer stop()
	idle := time.NewTimer(0) // the first event needs no record
	defer idle.Stop()
	due, full := true, false
	sub.last = time.Now() // the initial response
	for {
		if !full && !sub.part(ctx) {
			return endOf(ctx)
		}
		if !sub.registered() {
			return noConsumer(sub.ref, sub.consumer.ConsumerARN)
		}
		page, err := s.Streams.Read(ctx, sub.ref, sub.shard, sub.at, eventsPage)
		if ctx.Err() != nil {
			return endOf(ctx)
		}
		if err != nil {
			return s.readFault(ctx, sub.ref, sub.shard, page.Next, err)
		}
		sub.at = page.Next
		full = len(page.Records) == eventsPage && !page.Ended
		if len(page.Records) > 0 || page.Ended || due {
			events := sub.split(page)
			for i := range events {
				if ctx.Err() != nil || i > 0 && !full && !sub.part(ctx) {
					return endOf(ctx)
				}
				if err := send(&events[i]); err != nil {
					return nil // the client is gone
				}
				sub.last = time.Now()
				if wait := s.Limits.pace(time.Now(), &sub.sent, events[i].records); wait > 0 {
					select {
					case <-time.After(wait):
					case <-ctx.Done():
						return endOf(ctx)
					}
				}
			}
			idle.Reset(subscriptionIdle)
			due = false
		}
		if page.Ended {
			return nil
		}
		if len(page.Records) > 0 {
			continue
		}
		select {
		case <-wake:
		case <-idle.C:
			due = true
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
}

// part waits until the next event may go out; false if ctx has ended.
func (sub *subscription) part(ctx context.Context) bool {
	select {
	case <-time.After(time.Until(sub.last.Add(eventGap))):
		return true
	case <-ctx.Done():
		return false
	}
}

// endOf is what a client is told of the end of a subscription: nothing if it is only over, or
// nobody is there, or the server stops.
func endOf(ctx context.Context) error {
	if e, ok := errors.AsType[*wire.Error](context.Cause(ctx)); ok {
		return e
	}
	return nil
}

// registered says whether the consumer is still there.
func (sub *subscription) registered() bool {
	d, err := sub.service.Streams.Peek(sub.ref)
	if err != nil {
		return true // reading will tell
	}
	for _, c := range d.Attributes.Consumers {
		if c.Name == sub.consumer.ConsumerName && c.Created.Equal(time.Time(sub.consumer.ConsumerCreationTimestamp)) {
			return true
		}
	}
	return false
}

// split makes events of a page. At the tip it is one without records.
func (sub *subscription) split(page natsstream.Page) []shardEvent {
	encrypted := ""
	if d, err := sub.service.Streams.Peek(sub.ref); err == nil {
		encrypted = encryption(d)
	}
	var events []shardEvent
	from, bytes := 0, 0
	for i := range page.Records {
		r := &page.Records[i]
		size := len(r.Data) + len(r.PartitionKey)
		if bytes += size; i > from && bytes > eventBytes {
			last := &page.Records[i-1]
			events = append(events, shardEvent{page.Records[from:i], encrypted, last.Sequence, max(time.Since(last.Arrival), 0), nil})
			from, bytes = i, size
		}
	}
	rest := page.Records[from:]
	if !page.Ended {
		return append(events, shardEvent{rest, encrypted, page.Next.Sequence, page.Behind, nil})
	}
	// The end of a shard is an event of its own: lifion-kinesis drops what records it has.
	if len(rest) > 0 {
		events = append(events, shardEvent{rest, encrypted, rest[len(rest)-1].Sequence, page.Behind, nil})
	}
	return append(events, shardEvent{nil, encrypted, stream.SequenceNumber{}, page.Behind, sub.service.children(sub.ref, sub.shard)})
}

// AnswerSize is about what AppendAnswer will append.
func (e *shardEvent) AnswerSize() int { return 256 + recordsSize(e.records) }

// AppendAnswer writes the event.
func (e *shardEvent) AppendAnswer(dst []byte, f wire.Format) ([]byte, bool) {
	w := writerTo(slices.Grow(dst, e.AnswerSize()), f)
	w.object(3)
	w.records(e.records, e.encryption)
	if e.next.IsZero() {
		w.intMember("MillisBehindLatest", e.behind.Milliseconds())
		w.children(e.children)
	} else {
		w.sequenceMember("ContinuationSequenceNumber", e.next)
		w.intMember("MillisBehindLatest", e.behind.Milliseconds())
	}
	w.close('}')
	return w.b, true
}
