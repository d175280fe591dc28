package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// maxLinks bounds the links of a batch's span; a span with ten thousand is of no use.
const maxLinks = 128

func named(key, value string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String(key, value))
}

// Put counts records that a stream has acknowledged.
func (t *Telemetry) Put(stream string, records, bytes int) {
	by := named("StreamName", stream)
	t.incomingRecords.Add(context.Background(), int64(records), by)
	t.incomingBytes.Add(context.Background(), int64(bytes), by)
	t.lambda.put(stream, records, bytes)
}

// Got tells of records that a client has read: how long ago the last of them was put.
func (t *Telemetry) Got(stream string, records, bytes int, age time.Duration) {
	t.lambda.got(stream, records, bytes, age)
}

// Started counts an invocation that begins; Ended is to follow.
func (t *Telemetry) Started(inv *runtime.Invocation, v functions.Version) {
	t.concurrent.Add(context.Background(), 1, named("FunctionName", v.Function))
	t.lambda.started(inv, v)
}

// Ended counts an invocation by its outcome. What never reached the function
// is no invocation.
func (t *Telemetry) Ended(inv *runtime.Invocation, res *runtime.Result) {
	ctx, by := context.Background(), named("FunctionName", res.Version.Function)
	t.concurrent.Add(ctx, -1, by)
	t.lambda.ended(inv, res)
	switch res.Outcome {
	case runtime.Throttled:
		t.throttles.Add(ctx, 1, by)
		return
	case runtime.Infrastructure:
		return
	case runtime.FunctionError, runtime.Timeout:
		t.errors.Add(ctx, 1, by)
	}
	t.invocations.Add(ctx, 1, by)
	t.duration.Record(ctx, milliseconds(res.Duration), by)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func trigger(m triggers.Mapping) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("EventSourceMapping", m.Name), attribute.String("FunctionName", m.Config.Function))
}

func (t *Telemetry) mapping(c metric.Int64Counter, of int, m triggers.Mapping, n int) {
	c.Add(context.Background(), int64(n), trigger(m))
	t.lambda.mapping(m.ID, of, float64(n))
}

// Polled counts records that a trigger has read; 0: there was nothing to read.
func (t *Telemetry) Polled(m triggers.Mapping, records int) { t.mapping(t.polled, polled, m, records) }

// Filtered counts records that were read and that no filter let through.
func (t *Telemetry) Filtered(m triggers.Mapping, records int) {
	t.mapping(t.filtered, filtered, m, records)
}

// Delivered counts records that were handed to the function.
func (t *Telemetry) Delivered(m triggers.Mapping, records int) {
	t.mapping(t.invoked, invoked, m, records)
}

// Failed counts records whose invocation failed.
func (t *Telemetry) Failed(m triggers.Mapping, records int) { t.mapping(t.failed, failed, m, records) }

// Dropped counts records that were given up and of which no destination is told.
func (t *Telemetry) Dropped(m triggers.Mapping, records int) {
	t.mapping(t.dropped, dropped, m, records)
}

// Buried counts records that became dead letters.
func (t *Telemetry) Buried(m triggers.Mapping, records int) {
	t.buried.Add(context.Background(), int64(records), trigger(m))
}

// Noticed tells how an attempt came out to tell the destination of a mapping, by its ID, of
// records that were given up. Failed, it may be tried again, unless given up too.
func (t *Telemetry) Noticed(mapping string, records int, delivered, givenUp bool) {
	ctx, by := context.Background(), named("EventSourceMappingUUID", mapping)
	switch {
	case delivered:
		t.delivered.Add(ctx, int64(records), by)
		t.lambda.mapping(mapping, destinationTold, float64(records))
	case givenUp:
		t.dropped.Add(ctx, int64(records), by)
		t.lambda.mapping(mapping, dropped, float64(records))
		fallthrough
	default:
		t.undelivered.Add(ctx, 1, by)
		t.lambda.mapping(mapping, destinationFailed, 1)
	}
}

// Lost counts records that retention or damage took before they were read.
func (t *Telemetry) Lost(m triggers.Mapping, records uint64, reason string) {
	t.lost.Add(context.Background(), int64(records), trigger(m), metric.WithAttributes(attribute.String("Reason", reason)))
}

// Iterator records the age of the last record of a batch.
func (t *Telemetry) Iterator(m triggers.Mapping, age time.Duration) {
	t.iteratorAge.Record(context.Background(), milliseconds(age), trigger(m))
	t.lambda.iterator(m, age)
}

// Batch starts the span of a batch, linked to the spans of the puts that made
// its records. The func it returns ends it.
func (t *Telemetry) Batch(ctx context.Context, m triggers.Mapping, inv *runtime.Invocation) (context.Context, func(runtime.Result)) {
	var links []trace.Link
	for i := range inv.Batch.Records {
		parent := inv.Batch.Records[i].TraceParent
		if parent == "" || len(links) == maxLinks {
			continue
		}
		put := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent})
		if span := trace.SpanContextFromContext(put); span.IsValid() {
			links = append(links, trace.Link{SpanContext: span})
		}
	}
	ctx, span := t.tracer.Start(ctx, "batch "+m.Name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		trace.WithAttributes(
			attribute.String("wasmill.trigger", m.Name), attribute.String("faas.name", m.Config.Function), attribute.String("faas.invocation_id", inv.ID),
			attribute.String("messaging.destination.name", m.Config.Stream), attribute.String("messaging.destination.partition.id", inv.Batch.Shard),
			attribute.Int("messaging.batch.message_count", len(inv.Batch.Records))))
	return ctx, func(res runtime.Result) {
		span.SetAttributes(attribute.String("wasmill.outcome", res.Outcome.String()))
		if res.Outcome != runtime.Done {
			span.SetStatus(codes.Error, res.ErrorType+": "+res.ErrorMessage)
		}
		span.End()
	}
}

// Room is how much something keeps and may keep, in bytes. Stream is empty for
// the server as a whole. Limit 0 is none.
type Room struct {
	Stream      string
	Used, Limit int64
}

// Watch shows how much is kept, asking read whenever metrics are read.
func (t *Telemetry) Watch(read func() []Room) error {
	used, err := t.meter.Int64ObservableGauge("wasmill.UsedBytes", metric.WithDescription("bytes kept, of the server or of a stream that has a quota"), metric.WithUnit("By"))
	if err != nil {
		return err
	}
	limit, err := t.meter.Int64ObservableGauge("wasmill.LimitBytes", metric.WithDescription("bytes that may be kept, where there is a limit"), metric.WithUnit("By"))
	if err != nil {
		return err
	}
	_, err = t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, r := range read() {
			by := metric.WithAttributes()
			if r.Stream != "" {
				by = metric.WithAttributes(attribute.String("StreamName", r.Stream))
			}
			o.ObserveInt64(used, r.Used, by)
			if r.Limit > 0 {
				o.ObserveInt64(limit, r.Limit, by)
			}
		}
		return nil
	}, used, limit)
	return err
}
