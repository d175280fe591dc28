package cloudwatch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/wasmill/wasmill/telemetry"
)

func stat(id, name, stat string, period int32) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Metric: &types.Metric{Namespace: ptr("app"), MetricName: &name, Dimensions: []types.Dimension{{Name: ptr("b"), Value: ptr("2")}, {Name: ptr("a"), Value: ptr("1")}}},
		Period: &period, Stat: &stat}}
}

var dims = []types.Dimension{{Name: ptr("a"), Value: ptr("1")}, {Name: ptr("b"), Value: ptr("2")}}

func TestClientPutsAndGetsMetrics(t *testing.T) {
	e, ctx := emulate(t, "", false), t.Context()
	minute := time.Now().Truncate(time.Minute).Add(-10 * time.Minute)
	put := func(at time.Time, d types.MetricDatum) {
		t.Helper()
		d.MetricName, d.Timestamp, d.Dimensions, d.Unit = ptr("latency"), &at, dims, types.StandardUnitMilliseconds
		_, err := e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{d}})
		e.check(err)
	}
	put(minute, types.MetricDatum{Value: ptr(10.0)})
	put(minute.Add(59*time.Second), types.MetricDatum{Values: []float64{20, 30}, Counts: []float64{2, 1}})
	put(minute.Add(time.Minute), types.MetricDatum{StatisticValues: &types.StatisticSet{SampleCount: ptr(4.0), Sum: ptr(100.0), Minimum: ptr(1.0), Maximum: ptr(50.0)}})
	put(minute.Add(7*time.Minute), types.MetricDatum{Value: ptr(-1.5)})

	get := func(period int32, by types.ScanBy, stats ...string) map[string][]float64 {
		t.Helper()
		var queries []types.MetricDataQuery
		for i, s := range stats {
			queries = append(queries, stat(fmt.Sprintf("q%d", i), "latency", s, period))
		}
		out, err := e.GetMetricData(ctx, &sdk.GetMetricDataInput{MetricDataQueries: queries, StartTime: &minute, EndTime: ptr(minute.Add(10 * time.Minute)), ScanBy: by})
		e.check(err)
		values := map[string][]float64{}
		for i, r := range out.MetricDataResults {
			values[stats[i]] = r.Values
			if *r.Label != "latency" || r.StatusCode != types.StatusCodeComplete || len(r.Timestamps) != len(r.Values) {
				t.Errorf("%+v", r)
			}
			if by == types.ScanByTimestampAscending && !r.Timestamps[0].Equal(minute) {
				t.Errorf("first datapoint at %v, want %v", r.Timestamps[0], minute)
			}
		}
		return values
	}
	want := map[string][]float64{"Sum": {80, 100, -1.5}, "Average": {20, 25, -1.5}, "Minimum": {10, 1, -1.5}, "Maximum": {30, 50, -1.5}, "SampleCount": {4, 4, 1}}
	got := get(60, types.ScanByTimestampAscending, "Sum", "Average", "Minimum", "Maximum", "SampleCount")
	for s, values := range want {
		if !slices.Equal(got[s], values) {
			t.Errorf("%s by minutes = %v, want %v", s, got[s], values)
		}
	}
	if got := get(60, types.ScanByTimestampDescending, "Sum")["Sum"]; !slices.Equal(got, []float64{-1.5, 100, 80}) {
		t.Errorf("latest first: %v", got)
	}
	if got := get(60, "", "p50", "p100", "p99.9"); len(got["p50"]) != 2 || got["p100"][0] != -1.5 || math.Abs(got["p50"][1]-20) > .21 || math.Abs(got["p99.9"][1]-30) > .31 {
		t.Errorf("percentiles, of which nobody knows those of statistics: %v", got)
	}
	if got := get(3600, "", "Sum", "SampleCount", "Minimum", "Maximum"); got["Sum"][0] != 178.5 || got["SampleCount"][0] != 9 || got["Minimum"][0] != -1.5 || got["Maximum"][0] != 50 {
		t.Errorf("of an hour: %v", got)
	}

	out, err := e.GetMetricStatistics(ctx, &sdk.GetMetricStatisticsInput{Namespace: ptr("app"), MetricName: ptr("latency"), Dimensions: dims, StartTime: &minute, EndTime: ptr(minute.Add(time.Minute)),
		Period: ptr(int32(60)), Statistics: []types.Statistic{types.StatisticSum, types.StatisticAverage}, ExtendedStatistics: []string{"p100"}})
	e.check(err)
	if len(out.Datapoints) != 1 {
		t.Fatalf("%+v", out.Datapoints)
	}
	if d := out.Datapoints[0]; *d.Sum != 80 || *d.Average != 20 || d.Maximum != nil || d.Unit != types.StandardUnitMilliseconds || !d.Timestamp.Equal(minute) || d.ExtendedStatistics["p100"] != 30 || *out.Label != "latency" {
		t.Errorf("%+v", d)
	}
	none, err := e.GetMetricData(ctx, &sdk.GetMetricDataInput{MetricDataQueries: []types.MetricDataQuery{stat("q", "unknown", "Sum", 60)}, StartTime: &minute, EndTime: ptr(minute.Add(time.Hour))})
	e.check(err)
	if r := none.MetricDataResults[0]; len(r.Values) != 0 || *r.Id != "q" || r.StatusCode != types.StatusCodeComplete {
		t.Errorf("of what nobody has put: %+v", r)
	}
}

func TestSecondsOfTheLastMinutesAreKeptApart(t *testing.T) {
	e, ctx := emulate(t, "", false), t.Context()
	// Before the process began there are no seconds, so they lie ahead.
	at := time.Now().Truncate(time.Minute).Add(2 * time.Minute)
	for i := range 10 {
		_, err := e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{{
			MetricName: ptr("latency"), Dimensions: dims, Value: ptr(float64(i)), Timestamp: ptr(at.Add(time.Duration(i) * time.Second)), StorageResolution: ptr(int32(1))}}})
		e.check(err)
	}
	for period, want := range map[int32][]float64{1: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 5: {10, 35}, 30: {45}, 60: {45}} {
		out, err := e.GetMetricData(ctx, &sdk.GetMetricDataInput{MetricDataQueries: []types.MetricDataQuery{stat("q", "latency", "Sum", period)},
			StartTime: &at, EndTime: ptr(at.Add(time.Minute)), ScanBy: types.ScanByTimestampAscending})
		e.check(err)
		if got := out.MetricDataResults[0].Values; !slices.Equal(got, want) {
			t.Errorf("by %d s: %v, want %v", period, got, want)
		}
	}
}

func TestAnswersGoOnWithATokenUntilAllDatapointsAreThere(t *testing.T) {
	e, ctx := emulate(t, "", false), t.Context()
	from := time.Now().Truncate(time.Minute).Add(-30 * time.Minute)
	for i := range 10 {
		for _, name := range []string{"x", "y"} {
			_, err := e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{{MetricName: &name, Dimensions: dims, Value: ptr(float64(i)), Timestamp: ptr(from.Add(time.Duration(i) * time.Minute))}}})
			e.check(err)
		}
	}
	got, pages := map[string][]float64{}, 0
	p := sdk.NewGetMetricDataPaginator(e.Client, &sdk.GetMetricDataInput{MetricDataQueries: []types.MetricDataQuery{stat("x", "x", "Sum", 60), stat("y", "y", "Sum", 60)},
		StartTime: &from, EndTime: ptr(time.Now()), ScanBy: types.ScanByTimestampAscending, MaxDatapoints: ptr(int32(3))})
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		e.check(err)
		n := 0
		for _, r := range out.MetricDataResults {
			got[*r.Id] = append(got[*r.Id], r.Values...)
			n += len(r.Values)
		}
		if pages++; n > 3 {
			t.Errorf("page %d has %d datapoints", pages, n)
		}
	}
	want := []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	if pages != 7 || !slices.Equal(got["x"], want) || !slices.Equal(got["y"], want) {
		t.Errorf("%d pages: %v", pages, got)
	}
}

func TestMetricsAreListedByNameNamespaceAndDimensions(t *testing.T) {
	e, ctx := emulate(t, "", false), t.Context()
	for i := range 1200 {
		_, err := e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("many"), MetricData: []types.MetricDatum{{MetricName: ptr(fmt.Sprintf("m%04d", i)), Value: ptr(1.0)}}})
		e.check(err)
	}
	old := time.Now().Add(-4 * time.Hour)
	for _, d := range [][]types.Dimension{nil, dims[:1], dims} {
		_, err := e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{{MetricName: ptr("latency"), Dimensions: d, Value: ptr(1.0), Timestamp: &old}}})
		e.check(err)
	}
	list := func(in sdk.ListMetricsInput) (names []string, pages int) {
		t.Helper()
		p := sdk.NewListMetricsPaginator(e.Client, &in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			e.check(err)
			for _, m := range out.Metrics {
				name := *m.Namespace + "/" + *m.MetricName
				for _, d := range m.Dimensions {
					name += " " + *d.Name + "=" + *d.Value
				}
				names = append(names, name)
			}
			pages++
		}
		return names, pages
	}
	for _, tt := range []struct {
		name  string
		in    sdk.ListMetricsInput
		want  int
		first string
		pages int
	}{
		{"all", sdk.ListMetricsInput{}, 1203, "app/latency", 3},
		{"by namespace", sdk.ListMetricsInput{Namespace: ptr("many")}, 1200, "many/m0000", 3},
		{"by name", sdk.ListMetricsInput{MetricName: ptr("latency")}, 3, "app/latency", 1},
		{"by dimension", sdk.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: ptr("a")}}}, 2, "app/latency a=1", 1},
		{"by dimension and value", sdk.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: ptr("b"), Value: ptr("2")}}}, 1, "app/latency a=1 b=2", 1},
		{"by another value", sdk.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: ptr("b"), Value: ptr("3")}}}, 0, "", 1},
		{"recently active", sdk.ListMetricsInput{Namespace: ptr("app"), RecentlyActive: types.RecentlyActivePt3h}, 0, "", 1},
	} {
		names, pages := list(tt.in)
		if len(names) != tt.want || pages != tt.pages || tt.want > 0 && names[0] != tt.first || !slices.IsSorted(names) {
			t.Errorf("%s: %d metrics on %d pages, first %v", tt.name, len(names), pages, names[:min(1, len(names))])
		}
	}
}

func TestMetricsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	from := time.Now().Truncate(time.Minute).Add(-5 * time.Minute)
	t.Run("before", func(t *testing.T) {
		e := emulate(t, dir, false)
		_, err := e.PutMetricData(t.Context(), &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{{MetricName: ptr("latency"), Dimensions: dims, Values: []float64{1, 2, 3}, Timestamp: &from}}})
		e.check(err)
	})
	e := emulate(t, dir, false)
	out, err := e.GetMetricData(t.Context(), &sdk.GetMetricDataInput{MetricDataQueries: []types.MetricDataQuery{stat("s", "latency", "Sum", 60), stat("p", "latency", "p90", 60)}, StartTime: &from, EndTime: ptr(time.Now())})
	e.check(err)
	if s, p := out.MetricDataResults[0].Values, out.MetricDataResults[1].Values; len(s) != 1 || s[0] != 6 || len(p) != 1 || math.Abs(p[0]-3) > .04 {
		t.Errorf("sum %v, p90 %v", s, p)
	}
}

func TestOtherProtocolsAreSpoken(t *testing.T) {
	e := emulate(t, "", false)
	at := time.Now().Truncate(time.Minute).Add(-3 * time.Minute).UTC()
	status, body := e.post("application/x-amz-json-1.0", "GraniteServiceVersion20100801.PutMetricData", fmt.Sprintf(`{"Namespace":"app","MetricData":[{"MetricName":"n","Value":1.5,"Timestamp":%d,"Unit":"Count"}]}`, at.Unix()))
	if status != 200 {
		t.Errorf("JSON: %d %s", status, body)
	}
	const form = "application/x-www-form-urlencoded; charset=utf-8"
	status, body = e.post(form, "", "Action=PutMetricData&Version=2010-08-01&Namespace=app&MetricData.member.1.MetricName=n&MetricData.member.1.Values.member.1=2&MetricData.member.1.Values.member.2=3.5&MetricData.member.1.Counts.member.1=1&MetricData.member.1.Counts.member.2=1&MetricData.member.1.Unit=Count&MetricData.member.1.Timestamp="+at.Format(time.RFC3339))
	if status != 200 || !strings.Contains(body, "<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">") {
		t.Errorf("Query: %d %s", status, body)
	}
	span := "&StartTime=" + at.Format(time.RFC3339) + "&EndTime=" + at.Add(time.Minute).Format(time.RFC3339)
	status, body = e.post(form, "", "Action=GetMetricStatistics&Version=2010-08-01&Namespace=app&MetricName=n&Period=60&Statistics.member.1=Sum&ExtendedStatistics.member.1=p100"+span)
	for _, want := range []string{"<GetMetricStatisticsResult>", "<Label>n</Label>", "<Datapoints><member>", "<Sum>7", "<Timestamp>" + at.Format("2006-01-02T15:04:05Z"), "<ExtendedStatistics><entry><key>p100</key><value>3.5</value></entry></ExtendedStatistics>"} {
		if !strings.Contains(body, want) {
			t.Errorf("Query: %d, no %s in %s", status, want, body)
		}
	}
	status, body = e.post("application/x-amz-json-1.0", "GraniteServiceVersion20100801.GetMetricData", fmt.Sprintf(`{"MetricDataQueries":[{"Id":"a","MetricStat":{"Metric":{"Namespace":"app","MetricName":"n"},"Period":60,"Stat":"Maximum"}}],"StartTime":%d,"EndTime":%d}`, at.Unix(), at.Unix()+60))
	if status != 200 || !strings.Contains(body, `"Values":[3.5]`) {
		t.Errorf("JSON: %d %s", status, body)
	}
	status, body = e.post(form, "", "Action=GetMetricStatistics&Version=2010-08-01&Namespace=app&MetricName=n&Period=7&Statistics.member.1=Sum"+span)
	if status != 400 || !strings.Contains(body, "<Code>InvalidParameterValue</Code>") {
		t.Errorf("Query's errors have other codes: %d %s", status, body)
	}
}

func TestWhatIsWrongIsSaidAsAWSDoes(t *testing.T) {
	e, ctx := emulate(t, "", false), t.Context()
	now := time.Now()
	datum := func(change func(*types.MetricDatum)) *sdk.PutMetricDataInput {
		d := types.MetricDatum{MetricName: ptr("n"), Value: ptr(1.0)}
		change(&d)
		return &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{d}}
	}
	for _, tt := range []struct {
		name       string
		in         *sdk.PutMetricDataInput
		code, text string
	}{
		{"a namespace of AWS", &sdk.PutMetricDataInput{Namespace: ptr("AWS/Lambda"), MetricData: []types.MetricDatum{{MetricName: ptr("n"), Value: ptr(1.0)}}}, "InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid."},
		{"no data", &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{}}, "MissingParameter", "The parameter MetricData is required."},
		{"no value", datum(func(d *types.MetricDatum) { d.Value = nil }), "MissingParameter", "MetricData.member.1.Value"},
		{"not a number", datum(func(d *types.MetricDatum) { d.Value = ptr(math.NaN()) }), "InvalidParameterValue", "MetricData.member.1.Value"},
		{"infinity", datum(func(d *types.MetricDatum) { d.Value = ptr(math.Inf(1)) }), "InvalidParameterValue", "MetricData.member.1.Value"},
		{"too large", datum(func(d *types.MetricDatum) { d.Value = ptr(math.Ldexp(1.1, 360)) }), "InvalidParameterValue", "MetricData.member.1.Value"},
		{"value and values", datum(func(d *types.MetricDatum) { d.Values = []float64{1} }), "InvalidParameterCombination", "mutually exclusive"},
		{"counts of another number", datum(func(d *types.MetricDatum) { d.Value, d.Values, d.Counts = nil, []float64{1, 2}, []float64{1} }), "InvalidParameterValue", "must be of the same size"},
		{"counts of zero", datum(func(d *types.MetricDatum) { d.Value, d.Values, d.Counts = nil, []float64{1}, []float64{0} }), "InvalidParameterValue", "Counts"},
		{"151 values", datum(func(d *types.MetricDatum) { d.Value, d.Values = nil, make([]float64, 151) }), "InvalidParameterValue", "150"},
		{"minimum over maximum", datum(func(d *types.MetricDatum) {
			d.Value, d.StatisticValues = nil, &types.StatisticSet{SampleCount: ptr(1.0), Sum: ptr(1.0), Minimum: ptr(2.0), Maximum: ptr(1.0)}
		}), "InvalidParameterCombination", "Maximum must be greater"},
		{"statistics of nothing", datum(func(d *types.MetricDatum) {
			d.Value, d.StatisticValues = nil, &types.StatisticSet{SampleCount: ptr(0.0), Sum: ptr(1.0), Minimum: ptr(2.0), Maximum: ptr(3.0)}
		}), "InvalidParameterValue", "SampleCount"},
		{"too old", datum(func(d *types.MetricDatum) { d.Timestamp = ptr(now.Add(-15 * 24 * time.Hour)) }), "InvalidParameterValue", "two weeks"},
		{"too new", datum(func(d *types.MetricDatum) { d.Timestamp = ptr(now.Add(3 * time.Hour)) }), "InvalidParameterValue", "two hours"},
		{"a resolution that is none", datum(func(d *types.MetricDatum) { d.StorageResolution = ptr(int32(5)) }), "InvalidParameterValue", "1 or 60"},
		{"a dimension twice", datum(func(d *types.MetricDatum) { d.Dimensions = []types.Dimension{dims[0], dims[0]} }), "InvalidParameterValue", "more than once"},
		{"an unknown unit", datum(func(d *types.MetricDatum) { d.Unit = "Furlongs" }), "ValidationError", "Member must satisfy enum value set"},
		{"31 dimensions", datum(func(d *types.MetricDatum) {
			for i := range 31 {
				d.Dimensions = append(d.Dimensions, types.Dimension{Name: ptr(fmt.Sprint(i)), Value: ptr("v")})
			}
		}), "ValidationError", "less than or equal to 30"},
		{"1001 metrics", &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: slices.Repeat([]types.MetricDatum{{MetricName: ptr("n"), Value: ptr(1.0)}}, 1001)}, "InvalidParameterCombination", "1000"},
	} {
		_, err := e.PutMetricData(ctx, tt.in)
		if code, text := refused(err); code != tt.code || !strings.Contains(text, tt.text) {
			t.Errorf("%s: %s: %s", tt.name, code, text)
		}
	}
	if list := e.series.List(nil); len(list) != 0 {
		t.Errorf("something was put: %v", list)
	}
	query := func(change func(*types.MetricDataQuery)) []types.MetricDataQuery {
		q := stat("q", "n", "Sum", 60)
		change(&q)
		return []types.MetricDataQuery{q}
	}
	for _, tt := range []struct {
		name       string
		queries    []types.MetricDataQuery
		code, text string
	}{
		{"an expression", []types.MetricDataQuery{{Id: ptr("e"), Expression: ptr("m1/m2")}}, "InvalidParameterValue", "Expression is not supported here"},
		{"an id in capitals", query(func(q *types.MetricDataQuery) { q.Id = ptr("Q") }), "InvalidParameterValue", "^[a-z][a-zA-Z0-9_]*$"},
		{"an id twice", append(query(func(*types.MetricDataQuery) {}), stat("q", "n", "Sum", 60)), "InvalidParameterValue", "not unique"},
		{"a trimmed mean", query(func(q *types.MetricDataQuery) { q.MetricStat.Stat = ptr("tm99") }), "InvalidParameterValue", "tm99"},
		{"a percentile over 100", query(func(q *types.MetricDataQuery) { q.MetricStat.Stat = ptr("p100.1") }), "InvalidParameterValue", "p100.1"},
		{"90 seconds", query(func(q *types.MetricDataQuery) { q.MetricStat.Period = ptr(int32(90)) }), "InvalidParameterValue", "multiple of 60"},
		{"two days", query(func(q *types.MetricDataQuery) { q.MetricStat.Period = ptr(int32(2 * 86400)) }), "InvalidParameterValue", "86400"},
		{"neither", []types.MetricDataQuery{{Id: ptr("e")}}, "MissingParameter", "MetricStat"},
		{"none", []types.MetricDataQuery{}, "MissingParameter", "MetricDataQueries"},
	} {
		_, err := e.GetMetricData(ctx, &sdk.GetMetricDataInput{MetricDataQueries: tt.queries, StartTime: ptr(now.Add(-time.Hour)), EndTime: &now})
		if code, text := refused(err); code != tt.code || !strings.Contains(text, tt.text) {
			t.Errorf("%s: %s: %s", tt.name, code, text)
		}
	}
	_, err := e.GetMetricStatistics(ctx, &sdk.GetMetricStatisticsInput{Namespace: ptr("app"), MetricName: ptr("n"), StartTime: ptr(now.Add(-24 * time.Hour)), EndTime: &now, Period: ptr(int32(1)), Statistics: []types.Statistic{types.StatisticSum}})
	if code, text := refused(err); code != "InvalidParameterCombination" || text != "You have requested up to 86400 datapoints, which exceeds the limit of 1440. You may reduce the datapoints requested by increasing Period, or decreasing the time range." {
		t.Errorf("%s: %s", code, text)
	}
	_, err = e.PutMetricAlarm(ctx, &sdk.PutMetricAlarmInput{AlarmName: ptr("a"), ComparisonOperator: types.ComparisonOperatorGreaterThanThreshold, EvaluationPeriods: ptr(int32(1))})
	if code, text := refused(err); code != "InvalidParameterValue" || !strings.HasPrefix(text, "PutMetricAlarm is not supported: there are no alarms") {
		t.Errorf("%s: %s", code, text)
	}
}

func TestFunctionsMayOnlyPutMetrics(t *testing.T) {
	e, ctx := emulate(t, "", true), t.Context()
	_, err := e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: []types.MetricDatum{{MetricName: ptr("n"), Value: ptr(1.0)}}})
	e.check(err)
	_, err = e.ListMetrics(ctx, &sdk.ListMetricsInput{})
	if code, text := refused(err); !strings.HasPrefix(code, "AccessDenied") || !strings.Contains(text, "PutMetricData") {
		t.Errorf("%s: %s", code, text)
	}
}

func TestARequestThatIsRefusedHasPutNothing(t *testing.T) {
	e, ctx := emulate(t, "", false), t.Context()
	var err error
	for i := 0; err == nil; i++ { // as many as there may be
		err = e.series.Put(telemetry.Datum{Metric: telemetry.Metric{Namespace: "app", Name: fmt.Sprint(i)}, Unit: "None", At: time.Now(), Value: telemetry.Value{Values: []float64{1}}})
	}
	data := []types.MetricDatum{{MetricName: ptr("0"), Value: ptr(1.0)}, {MetricName: ptr("new"), Value: ptr(1.0)}}
	_, err = e.PutMetricData(ctx, &sdk.PutMetricDataInput{Namespace: ptr("app"), MetricData: data})
	if code, _ := refused(err); code != "LimitExceeded" && code != "LimitExceededException" {
		t.Errorf("%v", err)
	}
	got, err := e.GetMetricStatistics(ctx, &sdk.GetMetricStatisticsInput{Namespace: ptr("app"), MetricName: ptr("0"), Unit: types.StandardUnitNone,
		StartTime: ptr(time.Now().Add(-time.Hour)), EndTime: ptr(time.Now().Add(time.Hour)), Period: ptr(int32(7200)), Statistics: []types.Statistic{types.StatisticSampleCount}})
	e.check(err)
	if len(got.Datapoints) != 1 || *got.Datapoints[0].SampleCount != 1 {
		t.Errorf("%v, want what there was before", got.Datapoints)
	}
}
