package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

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
}

// Running counts an invocation that starts (+1) or has ended (-1).
func (t *Telemetry) Running(function string, change int) {
	t.concurrent.Add(context.Background(), int64(change), named("FunctionName", function))
}

// Invoked counts an invocation by its outcome. What never reached the function
// is no invocation.
func (t *Telemetry) Invoked(function string, res runtime.Result) {
	ctx, by := context.Background(), named("FunctionName", function)
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
	t.duration.Record(ctx, float64(res.Duration)/float64(time.Millisecond), by)
}

func trigger(m triggers.Mapping) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("EventSourceMapping", m.Name), attribute.String("FunctionName", m.Config.Function))
}

// Polled counts records that a trigger has read.
func (t *Telemetry) Polled(m triggers.Mapping, records int) {
	t.polled.Add(context.Background(), int64(records), trigger(m))
}

// Delivered counts records that were handed to the function.
func (t *Telemetry) Delivered(m triggers.Mapping, records int) {
	t.invoked.Add(context.Background(), int64(records), trigger(m))
}

// Failed counts records whose invocation failed.
func (t *Telemetry) Failed(m triggers.Mapping, records int) {
	t.failed.Add(context.Background(), int64(records), trigger(m))
}

// Buried counts records that became dead letters.
func (t *Telemetry) Buried(m triggers.Mapping, records int) {
	t.dropped.Add(context.Background(), int64(records), trigger(m))
}

// Lost counts records that retention or damage took before they were read.
func (t *Telemetry) Lost(m triggers.Mapping, records uint64, reason string) {
	t.lost.Add(context.Background(), int64(records), trigger(m), metric.WithAttributes(attribute.String("Reason", reason)))
}

// Iterator records the age of the last record of a batch.
func (t *Telemetry) Iterator(m triggers.Mapping, age time.Duration) {
	t.iteratorAge.Record(context.Background(), float64(age)/float64(time.Millisecond), trigger(m))
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
