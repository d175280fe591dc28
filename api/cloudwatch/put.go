package cloudwatch

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/telemetry"
)

var putInput = wire.Structure(
	must("Namespace", namespaceShape),
	may("MetricData", wire.List(datumShape, 0, 0)),
	may("EntityMetricData", wire.List(wire.Structure(may("MetricData", wire.List(datumShape, 0, 0))).Printed("com.amazonaws.cloudwatch.EntityMetricData"), 0, 0)),
	may("StrictEntityValidation", wire.Boolean()),
)

var datumShape = wire.Structure(
	must("MetricName", nameShape),
	dimensions,
	may("Timestamp", wire.Timestamp()),
	may("Value", wire.Double()),
	may("StatisticValues", wire.Structure(must("SampleCount", wire.Double()), must("Sum", wire.Double()), must("Minimum", wire.Double()), must("Maximum", wire.Double()))),
	may("Values", wire.List(wire.Double(), 0, 0)),
	may("Counts", wire.List(wire.Double(), 0, 0)),
	may("Unit", unitShape),
	may("StorageResolution", wire.Integer(1)),
).Printed("com.amazonaws.cloudwatch.MetricDatum")

const (
	maxData   = 1000 // metrics in a request
	maxValues = 150  // different values in one of them
	// A timestamp may be so far away.
	maxPast   = 14 * 24 * time.Hour
	maxFuture = 2 * time.Hour
)

// put puts all of a request or, if something is wrong with it, nothing.
func (s *service) put(_ context.Context, c *wire.Call) (any, error) {
	namespace := c.In.String("Namespace")
	if strings.HasPrefix(namespace, "AWS/") {
		return nil, invalid("The value AWS/ for parameter Namespace is invalid.")
	}
	list := []place{{"MetricData", c.In.List("MetricData")}}
	for i, e := range c.In.List("EntityMetricData") {
		v, _ := e.(wire.Values)
		list = append(list, place{"EntityMetricData.member." + strconv.Itoa(i+1) + ".MetricData", v.List("MetricData")})
	}
	var all []telemetry.Datum
	now := time.Now()
	for _, p := range list {
		for i, e := range p.data {
			v, _ := e.(wire.Values)
			d, err := readDatum(p.name+".member."+strconv.Itoa(i+1), v, now)
			if err != nil {
				return nil, err
			}
			d.Metric.Namespace = namespace
			all = append(all, d)
		}
	}
	switch {
	case len(all) == 0:
		return nil, missing("The parameter MetricData is required.")
	case len(all) > maxData:
		return nil, combination("The collection MetricData must not have a size greater than %d.", maxData)
	}
	err := s.Series.Put(all...)
	if errors.Is(err, telemetry.ErrTooManySeries) {
		err = &wire.Error{Code: "LimitExceededException", Query: "LimitExceeded", Message: "There are as many metrics as this server keeps. Metrics that nobody has put for a day make room."}
	}
	return nil, err
}

type place struct {
	name string
	data []any
}

// readDatum reads one metric; path is how errors name it.
func readDatum(path string, v wire.Values, now time.Time) (d telemetry.Datum, err error) {
	d.Unit, d.At = cmp.Or(v.String("Unit"), "None"), now
	if d.Metric, err = metricOf(v); err != nil {
		return d, err
	}
	if v.Has("Timestamp") {
		d.At = v.Time("Timestamp")
		if d.At.Before(now.Add(-maxPast)) || d.At.After(now.Add(maxFuture)) {
			return d, invalid("The parameter %s.Timestamp must specify a time no more than two weeks in the past or two hours in the future.", path)
		}
	}
	if r := v.Int("StorageResolution"); v.Has("StorageResolution") && r != 1 && r != 60 {
		return d, invalid("The parameter %s.StorageResolution must be 1 or 60.", path)
	}
	stats := v.Map("StatisticValues")
	given := 0
	for _, name := range []string{"Value", "Values", "StatisticValues"} {
		if v.Has(name) {
			given++
		}
	}
	if given > 1 {
		return d, combination("The parameters %[1]s.Value, %[1]s.Values and %[1]s.StatisticValues are mutually exclusive and you have specified more than one.", path)
	}
	switch {
	case v.Has("Value"):
		d.Value.Values = []float64{v.Float("Value")}
	case v.Has("Values"):
		err = readValues(&d.Value, path, v)
	case stats != nil:
		b := telemetry.Bucket{Count: stats.Float("SampleCount"), Sum: stats.Float("Sum"), Min: stats.Float("Minimum"), Max: stats.Float("Maximum")}
		switch {
		case !finite(b.Count) || b.Count <= 0:
			err = invalid("The value %v for parameter %s.StatisticValues.SampleCount is invalid.", b.Count, path)
		case !finite(b.Sum) || !finite(b.Min) || !finite(b.Max):
			err = invalid("The parameter %s.StatisticValues has a value that is no finite number from -2^360 to 2^360.", path)
		case b.Min > b.Max:
			err = combination("The parameter %[1]s.StatisticValues.Maximum must be greater than %[1]s.StatisticValues.Minimum.", path)
		}
		d.Value.Statistics = &b
	default:
		err = missing("The parameter %[1]s.Value, %[1]s.Values or %[1]s.StatisticValues is required.", path)
	}
	for _, value := range d.Value.Values {
		if !finite(value) && err == nil {
			err = invalid("The value %v for parameter %s.Value is invalid.", value, path)
		}
	}
	return d, err
}

func readValues(to *telemetry.Value, path string, v wire.Values) error {
	values, counts := floats(v.List("Values")), floats(v.List("Counts"))
	switch {
	case len(values) == 0:
		return missing("The parameter %s.Values is required.", path)
	case len(values) > maxValues:
		return invalid("The collection %s.Values must not have a size greater than %d.", path, maxValues)
	case v.Has("Counts") && len(counts) != len(values):
		return invalid("The parameters %[1]s.Values and %[1]s.Counts must be of the same size.", path)
	}
	for _, n := range counts {
		if !finite(n) || n <= 0 {
			return invalid("The value %v for parameter %s.Counts is invalid.", n, path)
		}
	}
	to.Values = values
	if v.Has("Counts") {
		to.Counts = counts
	}
	return nil
}

func floats(list []any) []float64 {
	out := make([]float64, len(list))
	for i, e := range list {
		out[i], _ = e.(float64)
	}
	return out
}
