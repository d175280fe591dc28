package cloudwatch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/telemetry"
)

var getDataInput = wire.Structure(
	must("MetricDataQueries", wire.List(wire.Structure(
		must("Id", wire.String(1, 255, "")),
		may("MetricStat", wire.Structure(
			must("Metric", wire.Structure(may("Namespace", namespaceShape), may("MetricName", nameShape), dimensions)),
			must("Period", wire.Integer(1)),
			must("Stat", wire.String(0, 0, "")),
			may("Unit", unitShape),
		)),
		may("Expression", wire.String(1, 2048, "")),
		may("Label", wire.String(0, 0, "")),
		may("ReturnData", wire.Boolean()),
		may("Period", wire.Integer(1)),
		may("AccountId", wire.String(1, 255, "")),
	).Printed("com.amazonaws.cloudwatch.MetricDataQuery"), 0, 0)),
	must("StartTime", wire.Timestamp()),
	must("EndTime", wire.Timestamp()),
	may("NextToken", wire.String(0, 0, "")),
	may("ScanBy", wire.Enum("TimestampDescending", "TimestampAscending")),
	may("MaxDatapoints", wire.Integer()),
	may("LabelOptions", wire.Structure(may("Timezone", wire.String(0, 0, "")))),
)

const (
	maxQueries    = 500
	maxDatapoints = 100_800 // of an answer of GetMetricData
	maxStatistics = 1_440   // of one of GetMetricStatistics
)

var idPattern = regexp.MustCompile(`^[a-z][a-zA-Z0-9_]*$`)

// query is one query of GetMetricData.
type query struct {
	id, label, unit string
	metric          telemetry.Metric
	period          time.Duration
	of              func(*telemetry.Bucket) (float64, bool)
}

type result struct {
	ID         string `json:"Id"`
	Label      string
	Timestamps []wire.Time
	Values     []float64
	StatusCode string
}

// dataToken is where an answer goes on: behind so many datapoints of a query.
type dataToken struct{ Query, Skip int }

func (s *service) getData(_ context.Context, c *wire.Call) (any, error) {
	queries, err := readQueries(c.In.List("MetricDataQueries"))
	if err != nil {
		return nil, err
	}
	start, end := c.In.Time("StartTime"), c.In.Time("EndTime")
	if !start.Before(end) {
		return nil, invalid("The parameter StartTime must be less than the parameter EndTime.")
	}
	most := maxDatapoints
	if c.In.Has("MaxDatapoints") {
		if most = int(c.In.Int("MaxDatapoints")); most < 1 || most > maxDatapoints {
			return nil, invalid("The value %d for parameter MaxDatapoints is invalid: want 1 to %d.", most, maxDatapoints)
		}
	}
	var from dataToken
	if token := c.In.String("NextToken"); token != "" {
		b, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || json.Unmarshal(b, &from) != nil || from.Query < 0 || from.Query >= len(queries) || from.Skip < 0 {
			return nil, &wire.Error{Code: "InvalidNextToken", Message: "The next token specified is invalid."}
		}
	}
	out := struct {
		MetricDataResults []result
		NextToken         string     `json:",omitempty"`
		Messages          []struct{} // for all of them; there are none
	}{MetricDataResults: []result{}, Messages: []struct{}{}}
	for i, q := range queries {
		if i < from.Query {
			continue
		}
		r := result{ID: q.id, Label: q.label, Timestamps: []wire.Time{}, Values: []float64{}, StatusCode: "Complete"}
		at, values := s.read(q, start, end)
		if c.In.String("ScanBy") != "TimestampAscending" {
			slices.Reverse(at)
			slices.Reverse(values)
		}
		skip := 0
		if i == from.Query {
			skip = min(from.Skip, len(at))
		}
		n := min(most, len(at)-skip)
		for k := skip; k < skip+n; k++ {
			r.Timestamps, r.Values = append(r.Timestamps, wire.Time(at[k])), append(r.Values, values[k])
		}
		most -= n
		if skip+n < len(at) || most == 0 && i+1 < len(queries) {
			next := dataToken{i, skip + n}
			if skip+n == len(at) {
				next = dataToken{i + 1, 0}
			} else {
				r.StatusCode = "PartialData"
			}
			b, _ := json.Marshal(next) // of two numbers
			out.NextToken = base64.RawURLEncoding.EncodeToString(b)
			out.MetricDataResults = append(out.MetricDataResults, r)
			break
		}
		out.MetricDataResults = append(out.MetricDataResults, r)
	}
	return out, nil
}

// readQueries reads the queries whose data is wanted.
func readQueries(list []any) (out []query, err error) {
	if len(list) == 0 {
		return nil, missing("The parameter MetricDataQueries is required.")
	}
	if len(list) > maxQueries {
		return nil, invalid("The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	}
	seen := map[string]bool{}
	for i, e := range list {
		v, _ := e.(wire.Values)
		path := fmt.Sprintf("MetricDataQueries.member.%d", i+1)
		q := query{id: v.String("Id"), label: v.String("Label")}
		stat := v.Map("MetricStat")
		switch {
		case !idPattern.MatchString(q.id):
			return nil, invalid("The value %s for parameter %s.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.", q.id, path)
		case seen[q.id]:
			return nil, invalid("The values for parameter id in MetricDataQueries are not unique.")
		case v.Has("Expression") && stat != nil:
			return nil, invalid("The parameters %[1]s.Expression and %[1]s.MetricStat are mutually exclusive and you have specified both.", path)
		case v.Has("Expression"):
			return nil, invalid("The parameter %s.Expression is not supported here: ask for metrics by MetricStat, and calculate with what you get.", path)
		case stat == nil:
			return nil, missing("The parameter %[1]s.MetricStat or %[1]s.Expression is required.", path)
		}
		seen[q.id] = true
		if q.metric, err = metricOf(stat.Map("Metric")); err != nil {
			return nil, err
		}
		if q.metric.Name == "" || q.metric.Namespace == "" {
			return nil, missing("The parameters %[1]s.MetricStat.Metric.Namespace and %[1]s.MetricStat.Metric.MetricName are required.", path)
		}
		if q.period, err = period(path+".MetricStat.Period", stat.Int("Period")); err != nil {
			return nil, err
		}
		var ok bool
		if q.of, ok = telemetry.ParseStatistic(stat.String("Stat")); !ok {
			return nil, invalid("The value %s for parameter %s.MetricStat.Stat is not supported. %s", stat.String("Stat"), path, wantedStatistics)
		}
		if q.label == "" {
			q.label = q.metric.Name
		}
		q.unit = stat.String("Unit")
		if !v.Has("ReturnData") || v.Bool("ReturnData") {
			out = append(out, q)
		}
	}
	if out == nil {
		return nil, invalid("At least one of MetricDataQueries must have ReturnData true.")
	}
	return out, nil
}

const wantedStatistics = "Known are SampleCount, Average, Sum, Minimum, Maximum and percentiles like p99.9; trimmed means and the like are not."

// maxPeriod is the longest period.
const maxPeriod = 86_400

// period reads one: 1, 5, 10 or 30 seconds, or whole minutes.
func period(path string, seconds int64) (time.Duration, error) {
	if seconds > maxPeriod || seconds%60 != 0 && !slices.Contains([]int64{1, 5, 10, 30}, seconds) {
		return 0, invalid("The parameter %s must be 1, 5, 10, 30 or a multiple of 60, and at most %d.", path, maxPeriod)
	}
	return time.Duration(seconds) * time.Second, nil
}

// begin is where the first period begins: AWS rounds down to whole minutes, or with short
// periods to one of them.
func begin(start time.Time, period time.Duration) time.Time {
	return start.Truncate(min(period, time.Minute))
}

// read gives a metric's datapoints in the order of time. Without a unit all of them count.
func (s *service) read(q query, start, end time.Time) (at []time.Time, values []float64) {
	for _, b := range s.buckets(q.metric, q.unit, start, end, q.period) {
		if v, ok := q.of(&b); ok {
			at, values = append(at, time.Unix(b.At, 0)), append(values, v)
		}
	}
	return at, values
}

// buckets reads a metric in one unit, or in all as if they were one.
func (s *service) buckets(m telemetry.Metric, unit string, start, end time.Time, period time.Duration) []telemetry.Bucket {
	units := []string{unit}
	if unit == "" {
		units = s.Series.Units(m)
	}
	start = begin(start, period)
	var out []telemetry.Bucket
	for i, unit := range units {
		more := s.Series.Read(m, unit, start, end, period)
		if i == 0 {
			out = more
			continue
		}
		for k := range more {
			at, found := slices.BinarySearchFunc(out, more[k].At, func(b telemetry.Bucket, at int64) int { return int(b.At - at) })
			if found {
				out[at].Merge(&more[k])
			} else {
				out = slices.Insert(out, at, more[k])
			}
		}
	}
	return out
}

var getStatisticsInput = wire.Structure(
	must("Namespace", namespaceShape),
	must("MetricName", nameShape),
	dimensions,
	must("StartTime", wire.Timestamp()),
	must("EndTime", wire.Timestamp()),
	must("Period", wire.Integer(1)),
	may("Statistics", wire.List(wire.Enum("SampleCount", "Average", "Sum", "Minimum", "Maximum"), 1, 5)),
	may("ExtendedStatistics", wire.List(wire.String(0, 0, ""), 1, 10)),
	may("Unit", unitShape),
)

type datapoint struct {
	Timestamp          wire.Time
	SampleCount        *float64           `json:",omitempty"`
	Average            *float64           `json:",omitempty"`
	Sum                *float64           `json:",omitempty"`
	Minimum            *float64           `json:",omitempty"`
	Maximum            *float64           `json:",omitempty"`
	Unit               string             `json:",omitempty"`
	ExtendedStatistics map[string]float64 `json:",omitempty"`
}

func (s *service) getStatistics(_ context.Context, c *wire.Call) (any, error) {
	m, err := metricOf(c.In)
	if err != nil {
		return nil, err
	}
	start, end := c.In.Time("StartTime"), c.In.Time("EndTime")
	names := slices.Concat(c.In.Strings("Statistics"), c.In.Strings("ExtendedStatistics"))
	every, err := period("Period", c.In.Int("Period"))
	switch {
	case err != nil:
		return nil, err
	case !start.Before(end):
		return nil, combination("The parameter StartTime must be less than the parameter EndTime.")
	case len(names) == 0:
		return nil, combination("At least one of the parameters Statistics and ExtendedStatistics must be specified.")
	case end.Sub(start) > maxStatistics*every:
		return nil, combination("You have requested up to %d datapoints, which exceeds the limit of %d. You may reduce the datapoints requested by increasing Period, or decreasing the time range.", end.Sub(start)/every, maxStatistics)
	}
	stats := map[string]func(*telemetry.Bucket) (float64, bool){}
	for _, name := range names {
		of, ok := telemetry.ParseStatistic(name)
		if !ok {
			return nil, invalid("The value %s for parameter ExtendedStatistics is not supported. %s", name, wantedStatistics)
		}
		stats[name] = of
	}
	units := []string{c.In.String("Unit")}
	if units[0] == "" {
		units = s.Series.Units(m)
	}
	out := struct {
		Label      string
		Datapoints []datapoint
	}{m.Name, []datapoint{}}
	for _, unit := range units {
		for _, b := range s.Series.Read(m, unit, begin(start, every), end, every) {
			d := datapoint{Timestamp: wire.Time(time.Unix(b.At, 0)), Unit: unit}
			for name, of := range stats {
				v, ok := of(&b)
				if !ok {
					continue
				}
				switch name {
				case "SampleCount":
					d.SampleCount = &v
				case "Average":
					d.Average = &v
				case "Sum":
					d.Sum = &v
				case "Minimum":
					d.Minimum = &v
				case "Maximum":
					d.Maximum = &v
				default:
					if d.ExtendedStatistics == nil {
						d.ExtendedStatistics = map[string]float64{}
					}
					d.ExtendedStatistics[name] = v
				}
			}
			out.Datapoints = append(out.Datapoints, d)
		}
	}
	return out, nil
}

var listInput = wire.Structure(
	may("Namespace", namespaceShape),
	may("MetricName", nameShape),
	may("Dimensions", wire.List(wire.Structure(must("Name", nameShape), may("Value", wire.String(1, 1024, ""))).Printed("com.amazonaws.cloudwatch.DimensionFilter"), 0, 10)),
	may("NextToken", wire.String(0, 0, "")),
	may("RecentlyActive", wire.Enum("PT3H")),
	may("IncludeLinkedAccounts", wire.Boolean()),
	may("OwningAccount", wire.String(1, 255, "")),
)

// listPage is how many metrics an answer has at most.
const listPage = 500

type metricView struct {
	Namespace, MetricName string
	Dimensions            []telemetry.Dimension
}

func (s *service) list(_ context.Context, c *wire.Call) (any, error) {
	filters := c.In.List("Dimensions")
	recent := time.Time{}
	if c.In.Has("RecentlyActive") {
		recent = time.Now().Add(-3 * time.Hour)
	}
	all := s.Series.List(func(m telemetry.Metric) bool {
		return (!c.In.Has("Namespace") || m.Namespace == c.In.String("Namespace")) && (!c.In.Has("MetricName") || m.Name == c.In.String("MetricName")) &&
			!slices.ContainsFunc(filters, func(e any) bool {
				f, _ := e.(wire.Values)
				return !slices.ContainsFunc(m.Dimensions, func(d telemetry.Dimension) bool {
					return d.Name == f.String("Name") && (!f.Has("Value") || d.Value == f.String("Value"))
				})
			})
	})
	out := struct {
		Metrics   []metricView
		NextToken string `json:",omitempty"`
	}{Metrics: []metricView{}}
	after := ""
	if token := c.In.String("NextToken"); token != "" {
		b, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, invalid("The value %s for parameter NextToken is invalid.", token)
		}
		after = string(b)
	}
	last := ""
	for _, l := range all {
		key := listKey(l.Metric)
		if key <= after && after != "" || l.Last.Before(recent) {
			continue
		}
		if len(out.Metrics) == listPage {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		v := metricView{l.Namespace, l.Name, l.Dimensions}
		if v.Dimensions == nil {
			v.Dimensions = []telemetry.Dimension{}
		}
		out.Metrics = append(out.Metrics, v)
		last = key
	}
	return out, nil
}

// listKey orders metrics as [telemetry.Series.List] does.
func listKey(m telemetry.Metric) string {
	parts := []string{m.Namespace, m.Name, ""}
	for _, d := range m.Dimensions {
		parts = append(parts, d.Name, d.Value)
	}
	return strings.Join(parts, "\x00") + "\x00"
}
