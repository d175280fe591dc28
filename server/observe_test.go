package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/wasmill/wasmill/api/admin"
)

// metric is the sum of a metric of AWS/Lambda from then on; none is -1.
func (s *stack) metric(from time.Time, namespace, name string, dims ...string) float64 {
	s.t.Helper()
	client := cloudwatch.New(cloudwatch.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.server.Endpoint()), Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})
	m := &cloudwatchtypes.Metric{Namespace: &namespace, MetricName: &name}
	for i := 0; i < len(dims); i += 2 {
		m.Dimensions = append(m.Dimensions, cloudwatchtypes.Dimension{Name: &dims[i], Value: &dims[i+1]})
	}
	out, err := client.GetMetricData(s.t.Context(), &cloudwatch.GetMetricDataInput{StartTime: &from, EndTime: aws.Time(time.Now().Add(time.Hour)), MetricDataQueries: []cloudwatchtypes.MetricDataQuery{{
		Id: aws.String("q"), MetricStat: &cloudwatchtypes.MetricStat{Metric: m, Period: aws.Int32(86400), Stat: aws.String("Sum")}}}})
	s.check(err)
	if v := out.MetricDataResults[0].Values; len(v) > 0 {
		return v[0]
	}
	return -1
}

// TestLogsAndMetricsAreThereAsOnAWSAndAfterARestart has a function run by a mapping and by a
// caller, and looks at what CloudWatch's clients and `wasmill fn logs` see of it.
func TestLogsAndMetricsAreThereAsOnAWSAndAfterARestart(t *testing.T) {
	dir := t.TempDir()
	from := time.Now().Add(-time.Minute)
	s := newStack(t, Config{Data: dir})
	s.stream("orders")
	s.function("observed", nil)
	mapping, err := s.lambda.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{FunctionName: aws.String("observed"), EventSourceArn: aws.String(arnOf("orders")),
		StartingPosition: types.EventSourcePositionTrimHorizon, FilterCriteria: &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"data":{"kind":["order"]}}`)}}}})
	s.check(err)
	s.put("orders", append(numbered(3), `{"kind":"other"}`)...)
	s.until("three records", func() bool { return strings.Contains(strings.Join(s.seen("observed"), " "), "3") })
	out, err := s.lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("observed"), Payload: []byte(`{"Records":[]}`)})
	s.check(err)
	request := out.ResultMetadata

	group := aws.String("/aws/lambda/observed")
	lines := func(s *stack) (all []string) {
		pages := cloudwatchlogs.NewFilterLogEventsPaginator(s.logs, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: group})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			s.check(err)
			for _, e := range page.Events {
				all = append(all, *e.Message)
			}
		}
		return all
	}
	before := lines(s)
	starts, reports := 0, 0
	for _, l := range before {
		if strings.HasPrefix(l, "START RequestId: ") && strings.HasSuffix(l, " Version: $LATEST\n") {
			starts++
		}
		if strings.HasPrefix(l, "REPORT RequestId: ") && strings.HasSuffix(l, "\t\n") && strings.Contains(l, "\tDuration: ") && strings.Contains(l, "\tMax Memory Used: ") {
			reports++
		}
	}
	if starts < 2 || starts != reports {
		t.Errorf("%d START and %d REPORT lines for %v:\n%s", starts, reports, request, strings.Join(before, ""))
	}
	streams, err := s.logs.DescribeLogStreams(t.Context(), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: group})
	s.check(err)
	for _, st := range streams.LogStreams {
		if !strings.HasPrefix(*st.LogStreamName, time.Now().UTC().Format("2006/01/")) || !strings.Contains(*st.LogStreamName, "/[$LATEST]") {
			t.Errorf("stream %s", *st.LogStreamName)
		}
	}
	check := func(s *stack, when string) {
		t.Helper()
		for _, tt := range []struct {
			name string
			dims []string
			want float64
		}{
			{"Invocations", []string{"FunctionName", "observed"}, float64(starts)},
			{"Invocations", []string{"FunctionName", "observed", "Resource", "observed"}, float64(starts)},
			{"Errors", []string{"FunctionName", "observed"}, 0},
			{"FilteredOutEventCount", []string{"EventSourceMappingUUID", *mapping.UUID}, 1},
			{"PolledEventCount", []string{"EventSourceMappingUUID", *mapping.UUID}, 4},
			{"InvokedEventCount", []string{"EventSourceMappingUUID", *mapping.UUID}, 3},
			{"FailedInvokeEventCount", []string{"EventSourceMappingUUID", *mapping.UUID}, -1},
		} {
			if got := s.metric(from, "AWS/Lambda", tt.name, tt.dims...); got != tt.want {
				t.Errorf("%s: %s %v = %v, want %v", when, tt.name, tt.dims, got, tt.want)
			}
		}
		if got := s.metric(from, "AWS/Kinesis", "IncomingRecords", "StreamName", "orders"); got != 4 {
			t.Errorf("%s: %v records came in, want 4", when, got)
		}
		if got := s.metric(from, "AWS/Lambda", "Duration", "FunctionName", "observed"); got <= 0 {
			t.Errorf("%s: Duration %v", when, got)
		}
	}
	check(s, "at once")
	_, err = s.lambda.DeleteEventSourceMapping(t.Context(), &lambda.DeleteEventSourceMappingInput{UUID: mapping.UUID})
	s.check(err)
	closeIt(t, s.server)

	s = newStack(t, Config{Data: dir})
	if after := lines(s); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%d lines, %d before the restart", len(after), len(before))
	}
	check(s, "after a restart")
	status, body := call(t, "GET", s.server.Endpoint()+admin.Prefix+"/functions/observed/logs?tail=1", "", http.Header{})
	if last := before[len(before)-1]; status != 200 || !strings.Contains(body, strings.Split(last, "\t")[0]) {
		t.Errorf("wasmill fn logs: %d %s, want %s", status, body, last)
	}
}
