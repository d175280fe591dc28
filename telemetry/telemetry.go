// Package telemetry measures what wasmill does, under the names that AWS gives
// the same things.
//
// Metrics are OpenTelemetry instruments. They can be scraped in Prometheus'
// format from [Telemetry.Handler], and are pushed by OTLP when
// OTEL_EXPORTER_OTLP_ENDPOINT says where to. Traces exist only then: one span
// a batch, linked to the spans of the puts whose producers sent a traceparent.
//
// The same numbers go into [Series], which keeps them over time as CloudWatch does.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Telemetry holds the instruments. Build it with [New].
type Telemetry struct {
	handler  http.Handler
	tracer   trace.Tracer
	meter    metric.Meter
	shutdown []func(context.Context) error
	lambda   *lambda // what goes into series; nil: nothing does

	// AWS/Lambda, by FunctionName
	invocations, errors, throttles metric.Int64Counter
	concurrent                     metric.Int64UpDownCounter
	duration                       metric.Float64Histogram
	// event source mappings, by EventSourceMapping (the trigger's name)
	polled, filtered, invoked, failed, dropped, delivered, undelivered, buried, lost metric.Int64Counter
	iteratorAge                                                                      metric.Float64Histogram
	// AWS/Kinesis, by StreamName
	incomingRecords, incomingBytes metric.Int64Counter
}

// New builds the instruments and exporters; version is wasmill's own.
func New(ctx context.Context, version string) (*Telemetry, error) {
	t := &Telemetry{tracer: noop.NewTracerProvider().Tracer("wasmill")}
	res := resource.NewSchemaless(attribute.String("service.name", "wasmill"), attribute.String("service.version", version))
	registry := prometheus.NewRegistry()
	scrape, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("telemetry: prometheus: %w", err)
	}
	metrics := []sdkmetric.Option{sdkmetric.WithReader(scrape), sdkmetric.WithResource(res)}
	pushes := func(signal string) bool {
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
	}
	if pushes("METRICS") {
		push, err := otlpmetrichttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("telemetry: OTLP metrics: %w", err)
		}
		metrics = append(metrics, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(push)))
	}
	if pushes("TRACES") {
		push, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("telemetry: OTLP traces: %w", err)
		}
		traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(push), sdktrace.WithResource(res))
		t.tracer = traces.Tracer("wasmill")
		t.shutdown = append(t.shutdown, traces.Shutdown)
	}
	provider := sdkmetric.NewMeterProvider(metrics...)
	t.shutdown = append(t.shutdown, provider.Shutdown)
	t.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	t.meter = provider.Meter("wasmill")
	return t, t.instruments(t.meter)
}

func (t *Telemetry) instruments(m metric.Meter) error {
	var errs []error
	counter := func(name, help string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithDescription(help))
		errs = append(errs, err)
		return c
	}
	millis := func(name, help string) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithDescription(help), metric.WithUnit("ms"),
			metric.WithExplicitBucketBoundaries(.25, .5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000, 300_000, 3_600_000))
		errs = append(errs, err)
		return h
	}
	t.invocations = counter("aws.lambda.Invocations", "invocations that reached the function")
	t.errors = counter("aws.lambda.Errors", "invocations that ended in a function error or timeout")
	t.throttles = counter("aws.lambda.Throttles", "invocations refused because no environment was free")
	t.duration = millis("aws.lambda.Duration", "time the function ran")
	var err error
	t.concurrent, err = m.Int64UpDownCounter("aws.lambda.ConcurrentExecutions", metric.WithDescription("invocations running now"))
	errs = append(errs, err)
	t.iteratorAge = millis("aws.lambda.IteratorAge", "age of the last record of a batch when its invocation ended")
	t.polled = counter("aws.lambda.PolledEventCount", "records read by a trigger")
	t.invoked = counter("aws.lambda.InvokedEventCount", "records handed to the function, retries counted again")
	t.failed = counter("aws.lambda.FailedInvokeEventCount", "records in invocations that failed")
	t.filtered = counter("aws.lambda.FilteredOutEventCount", "records that no filter of the trigger let through")
	t.dropped = counter("aws.lambda.DroppedEventCount", "records that were given up and that no destination was told of")
	t.delivered = counter("aws.lambda.OnFailureDestinationDeliveredEventCount", "records that were given up and whose destination was told")
	t.undelivered = counter("aws.lambda.DestinationDeliveryFailures", "notices that a destination did not take")
	t.buried = counter("wasmill.DeadLetterCount", "records that became dead letters")
	t.lost = counter("wasmill.LostEventCount", "records lost to retention or damage before the trigger read them")
	t.incomingRecords = counter("aws.kinesis.IncomingRecords", "records put")
	t.incomingBytes = counter("aws.kinesis.IncomingBytes", "bytes put, data and keys")
	return errors.Join(errs...)
}

// Handler serves the metrics in Prometheus' text format.
func (t *Telemetry) Handler() http.Handler { return t.handler }

// Shutdown pushes what is left.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, f := range t.shutdown {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}
