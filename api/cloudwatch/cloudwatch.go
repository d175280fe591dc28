// Package cloudwatch answers those operations of AWS's CloudWatch API (2010-08-01) that are
// about metrics, from what is measured here and from what clients put beside it.
//
// Metrics are one set for all accounts and regions, as functions are. What AWS checks before
// it looks at anything stands in a table beside each handler; [wire] reads input by it, in
// whichever of CloudWatch's three protocols it comes. AWS error codes exist here and nowhere
// below.
package cloudwatch

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/telemetry"
)

// Deps are what the service stands on.
type Deps struct {
	Series *telemetry.Series // required
	// Inner is the face that functions see: they may put metrics, no more.
	Inner bool
	// Logger gets what clients are not told. Defaults to slog's default.
	Logger *slog.Logger
}

// service holds what operations share.
type service struct{ Deps }

// New makes the service.
func New(d Deps) *wire.Service {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	s := &service{d}
	return &wire.Service{
		Name: "cloudwatch", Target: "GraniteServiceVersion20100801", Signing: "monitoring",
		Formats: []wire.Format{wire.JSON10, wire.RPCv2CBOR},
		Query:   "2010-08-01", XML: "http://monitoring.amazonaws.com/doc/2010-08-01/",
		Ops: s.guarded(append([]*wire.Operation{
			{Name: "PutMetricData", Input: putInput, Do: s.put},
			{Name: "GetMetricData", Input: getDataInput, Do: s.getData},
			{Name: "GetMetricStatistics", Input: getStatisticsInput, Do: s.getStatistics},
			{Name: "ListMetrics", Input: listInput, Do: s.list},
			{Name: "DescribeAlarms", Do: s.describeAlarms},
			{Name: "ListTagsForResource", Do: s.noTags},
		}, refusedOps()...)),
	}
}

// guarded refuses what functions may not do, if the service is that of functions.
func (s *service) guarded(ops []*wire.Operation) []*wire.Operation {
	if !s.Inner {
		return ops
	}
	for _, op := range ops {
		if op.Name == "PutMetricData" {
			continue
		}
		op.Do = func(_ context.Context, c *wire.Call) (any, error) {
			return nil, &wire.Error{Code: "AccessDeniedException", Query: "AccessDenied", Status: http.StatusForbidden,
				Message: "Functions of this server may not call " + c.Operation.Name + ": of CloudWatch they may call PutMetricData."}
		}
	}
	return ops
}

// refusals are operations that there are not here, by what there is instead.
var refusals = map[string]string{
	"there are no alarms: ask GetMetricData.":                      `PutMetricAlarm PutCompositeAlarm DeleteAlarms DescribeAlarmHistory DescribeAlarmsForMetric SetAlarmState EnableAlarmActions DisableAlarmActions DescribeAlarmContributors`,
	"there are no dashboards: ask GetMetricData.":                  `PutDashboard GetDashboard ListDashboards DeleteDashboards GetMetricWidgetImage`,
	"there are no anomaly detectors.":                              `PutAnomalyDetector DescribeAnomalyDetectors DeleteAnomalyDetector`,
	"there are no insight rules.":                                  `PutInsightRule DescribeInsightRules DeleteInsightRules EnableInsightRules DisableInsightRules GetInsightRuleReport PutManagedInsightRules ListManagedInsightRules`,
	"metrics go out by OTLP, or are scraped at /_wasmill/metrics.": `PutMetricStream GetMetricStream ListMetricStreams DeleteMetricStream StartMetricStreams StopMetricStreams`,
	"nothing here has tags.":                                       `TagResource UntagResource`,
}

func refusedOps() []*wire.Operation {
	var ops []*wire.Operation
	for text, names := range refusals {
		for _, name := range strings.Fields(names) {
			ops = append(ops, &wire.Operation{Name: name, Do: func(_ context.Context, c *wire.Call) (any, error) {
				return nil, invalid("%s is not supported: %s", c.Operation.Name, text)
			}})
		}
	}
	return ops
}

// describeAlarms answers that there are none.
func (s *service) describeAlarms(context.Context, *wire.Call) (any, error) {
	return struct{ CompositeAlarms, MetricAlarms []struct{} }{[]struct{}{}, []struct{}{}}, nil
}

func (s *service) noTags(context.Context, *wire.Call) (any, error) {
	return struct{ Tags []struct{} }{[]struct{}{}}, nil
}

// AWS's errors: each has another code in the Query protocol.

func invalid(format string, args ...any) *wire.Error {
	e := wire.Errorf("InvalidParameterValueException", format, args...)
	e.Query = "InvalidParameterValue"
	return e
}

func combination(format string, args ...any) *wire.Error {
	e := wire.Errorf("InvalidParameterCombinationException", format, args...)
	e.Query = "InvalidParameterCombination"
	return e
}

func missing(format string, args ...any) *wire.Error {
	e := wire.Errorf("MissingRequiredParameterException", format, args...)
	e.Query = "MissingParameter"
	return e
}

func must(name string, s *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: s, Required: true}
}

func may(name string, s *wire.Shape) wire.Member { return wire.Member{Name: name, Shape: s} }

// Shapes that several operations share, as botocore's model 2010-08-01 has them (1.43.11).
var (
	namespaceShape = wire.String(1, 255, `[^:].*`)
	nameShape      = wire.String(1, 255, "")
	dimensionShape = wire.Structure(must("Name", nameShape), must("Value", wire.String(1, 1024, ""))).Printed("com.amazonaws.cloudwatch.Dimension")
	dimensions     = may("Dimensions", wire.List(dimensionShape, 0, maxDimensions))
	unitShape      = wire.Enum("Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits",
		"Percent", "Count", "Bytes/Second", "Kilobytes/Second", "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second",
		"Gigabits/Second", "Terabits/Second", "Count/Second", "None")
)

// maxDimensions is the most dimensions of a metric.
const maxDimensions = 30

// metricOf is the metric that Namespace, MetricName and Dimensions of v name.
func metricOf(v wire.Values) (telemetry.Metric, error) {
	m := telemetry.Metric{Namespace: v.String("Namespace"), Name: v.String("MetricName")}
	for _, e := range v.List("Dimensions") {
		d, _ := e.(wire.Values)
		one := telemetry.Dimension{Name: d.String("Name"), Value: d.String("Value")}
		switch {
		case !ascii(one.Name) || !ascii(one.Value):
			return m, invalid("The value %s for parameter Dimensions contains non-ASCII characters.", one.Name)
		case strings.HasPrefix(one.Name, ":"):
			return m, invalid("The value %s for parameter Dimensions.Name must not begin with a colon.", one.Name)
		case slices.ContainsFunc(m.Dimensions, func(o telemetry.Dimension) bool { return o.Name == one.Name }):
			return m, invalid("The parameter Dimensions has the name %s more than once.", one.Name)
		}
		m.Dimensions = append(m.Dimensions, one)
	}
	return m, nil
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// finite says whether CloudWatch takes a value: -2^360 to 2^360, and nothing special.
func finite(v float64) bool { return math.Abs(v) <= math.Ldexp(1, 360) }
