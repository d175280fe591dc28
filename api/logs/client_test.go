package logs

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/wasmill/wasmill/functions/logs"
)

const arn = "arn:aws:logs:us-east-1:000000000000:log-group:"

func TestGroupsAreMadeDescribedAndDeleted(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	before := time.Now().UnixMilli()
	for i := range 60 {
		_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr(fmt.Sprintf("app/%02d", i))})
		e.check(err)
	}
	_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("zoo"), Tags: map[string]string{"team": "geo"}, KmsKeyId: ptr("alias/k"), LogGroupClass: types.LogGroupClassInfrequentAccess})
	e.check(err)
	_, err = e.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: ptr("zoo"), RetentionInDays: ptr(int32(14))})
	e.check(err)
	out, err := e.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{LogGroupNamePrefix: ptr("zo")})
	e.check(err)
	g := out.LogGroups[0]
	if len(out.LogGroups) != 1 || *g.LogGroupName != "zoo" || *g.Arn != arn+"zoo:*" || *g.LogGroupArn != arn+"zoo" || *g.RetentionInDays != 14 || *g.KmsKeyId != "alias/k" || *g.StoredBytes != 0 ||
		*g.MetricFilterCount != 0 || g.LogGroupClass != types.LogGroupClassInfrequentAccess || *g.CreationTime < before || *g.CreationTime > time.Now().UnixMilli() {
		t.Errorf("%+v", g)
	}
	_, err = e.DeleteRetentionPolicy(ctx, &sdk.DeleteRetentionPolicyInput{LogGroupName: ptr("zoo")})
	e.check(err)
	out, err = e.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{LogGroupIdentifiers: []string{arn + "zoo"}})
	e.check(err)
	if len(out.LogGroups) != 1 || out.LogGroups[0].RetentionInDays != nil {
		t.Errorf("%+v", out.LogGroups)
	}
	var names []string
	pages := 0
	p := sdk.NewDescribeLogGroupsPaginator(e.Client, &sdk.DescribeLogGroupsInput{LogGroupNamePattern: ptr("APP")})
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		e.check(err)
		for _, g := range out.LogGroups {
			names = append(names, *g.LogGroupName)
		}
		pages++
	}
	if pages != 2 || len(names) != 60 || !slices.IsSorted(names) {
		t.Errorf("%d groups on %d pages", len(names), pages)
	}
	_, err = e.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: ptr("zoo")})
	e.check(err)
	_, err = e.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: ptr("zoo")})
	if code, text := refused(err); code != "ResourceNotFoundException" || text != "The specified log group does not exist." {
		t.Errorf("%s: %s", code, text)
	}
}

func TestTagsOfGroups(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("g"), Tags: map[string]string{"a": "1"}})
	e.check(err)
	_, err = e.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: ptr(arn + "g"), Tags: map[string]string{"b": "2", "c": ""}})
	e.check(err)
	//lint:ignore SA1019 clients still use it
	_, err = e.TagLogGroup(ctx, &sdk.TagLogGroupInput{LogGroupName: ptr("g"), Tags: map[string]string{"d": "4"}})
	e.check(err)
	_, err = e.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: ptr(arn + "g"), TagKeys: []string{"a", "unknown"}})
	e.check(err)
	//lint:ignore SA1019 clients still use it
	_, err = e.UntagLogGroup(ctx, &sdk.UntagLogGroupInput{LogGroupName: ptr("g"), Tags: []string{"d"}})
	e.check(err)
	want := map[string]string{"b": "2", "c": ""}
	out, err := e.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: ptr(arn + "g")})
	e.check(err)
	//lint:ignore SA1019 clients still use it
	old, err := e.ListTagsLogGroup(ctx, &sdk.ListTagsLogGroupInput{LogGroupName: ptr("g")})
	e.check(err)
	if !maps.Equal(out.Tags, want) || !maps.Equal(old.Tags, want) {
		t.Errorf("%v, %v", out.Tags, old.Tags)
	}
	many := map[string]string{}
	for i := range 49 {
		many[fmt.Sprint(i)] = ""
	}
	_, err = e.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: ptr(arn + "g"), Tags: many})
	if code, _ := refused(err); code != "TooManyTagsException" {
		t.Errorf("51 tags: %v", err)
	}
	for _, tags := range []map[string]string{{"aws:x": "1"}} {
		_, err = e.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: ptr(arn + "g"), Tags: tags})
		if code, _ := refused(err); code != "InvalidParameterException" {
			t.Errorf("%v: %v", tags, err)
		}
	}
	for _, id := range []string{"arn:aws:logs:eu-west-1:000000000000:log-group:g", arn + "h"} {
		_, err = e.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: &id})
		if code, _ := refused(err); code != "ResourceNotFoundException" {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func put(at time.Time, texts ...string) (out []types.InputLogEvent) {
	for i, s := range texts {
		out = append(out, types.InputLogEvent{Timestamp: ptr(at.UnixMilli() + int64(i)), Message: &s})
	}
	return out
}

func TestStreamsAreMadeWrittenDescribedAndDeleted(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("g")})
	e.check(err)
	for _, name := range []string{"b", "a", "c"} {
		_, err := e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: ptr("g"), LogStreamName: &name})
		e.check(err)
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	res, err := e.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("a"), LogEvents: put(at, "one", "two", "three")})
	e.check(err)
	if res.NextSequenceToken == nil || res.RejectedLogEventsInfo != nil {
		t.Errorf("%+v", res)
	}
	_, err = e.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("b"), LogEvents: put(at.Add(time.Minute), "four"), SequenceToken: res.NextSequenceToken})
	e.check(err)
	list := func(in sdk.DescribeLogStreamsInput) (names []string) {
		t.Helper()
		in.LogGroupName = ptr("g")
		p := sdk.NewDescribeLogStreamsPaginator(e.Client, &in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			e.check(err)
			for _, s := range out.LogStreams {
				names = append(names, *s.LogStreamName)
				//lint:ignore SA1019 clients still use it
				if *s.Arn != arn+"g:log-stream:"+*s.LogStreamName || *s.StoredBytes != 0 {
					t.Errorf("%+v", s)
				}
				if *s.LogStreamName == "a" && (*s.FirstEventTimestamp != at.UnixMilli() || *s.LastEventTimestamp != at.UnixMilli()+2 || *s.LastIngestionTime < at.Add(59*time.Minute).UnixMilli()) {
					t.Errorf("%+v", s)
				}
			}
		}
		return names
	}
	for _, tt := range []struct {
		name string
		in   sdk.DescribeLogStreamsInput
		want string
	}{
		{"by name", sdk.DescribeLogStreamsInput{}, "a b c"},
		{"from the end", sdk.DescribeLogStreamsInput{Descending: ptr(true), Limit: ptr(int32(1))}, "c b a"},
		{"by prefix", sdk.DescribeLogStreamsInput{LogStreamNamePrefix: ptr("b")}, "b"},
		{"the latest first", sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: ptr(true)}, "b a c"},
		{"the latest first, one by one", sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: ptr(true), Limit: ptr(int32(1))}, "b a c"},
		{"the latest last, one by one", sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Limit: ptr(int32(1))}, "c a b"},
	} {
		if got := strings.Join(list(tt.in), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	_, err = e.DeleteLogStream(ctx, &sdk.DeleteLogStreamInput{LogGroupName: ptr("g"), LogStreamName: ptr("a")})
	e.check(err)
	if got := strings.Join(list(sdk.DescribeLogStreamsInput{}), " "); got != "b c" {
		t.Errorf("left: %s", got)
	}
	all, err := e.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupName: ptr("g")})
	e.check(err)
	if len(all.Events) != 1 || *all.Events[0].Message != "four" {
		t.Errorf("%+v", all.Events)
	}
	_, err = e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: ptr("g"), LogStreamName: ptr("a")})
	e.check(err)
	again, err := e.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("a")})
	e.check(err)
	if len(again.Events) != 0 {
		t.Errorf("a stream made anew has %d events of the one before", len(again.Events))
	}
}

func TestEventsThatAreTooOldOrTooNewAreRejectedAndTheRestKept(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	now := time.Now()
	for _, tt := range []struct {
		name                 string
		retention            int32
		ages                 []time.Duration
		kept                 int
		old, expired, future int // -1: none
	}{
		{"all good", 0, []time.Duration{time.Hour, 0, -time.Hour}, 3, -1, -1, -1},
		{"older than 14 days", 0, []time.Duration{14*24*time.Hour + 2*time.Hour, 14*24*time.Hour - time.Hour}, 1, 1, -1, -1},
		{"more than 2 hours ahead", 0, []time.Duration{0, -2*time.Hour - time.Minute, -3 * time.Hour}, 1, -1, -1, 1},
		{"older than the retention", 1, []time.Duration{25 * time.Hour, 23 * time.Hour}, 1, -1, 1, -1},
	} {
		_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("g")})
		e.check(err)
		_, err = e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: ptr("g"), LogStreamName: ptr("s")})
		e.check(err)
		if tt.retention > 0 {
			_, err := e.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: ptr("g"), RetentionInDays: &tt.retention})
			e.check(err)
		}
		var events []types.InputLogEvent
		for _, age := range tt.ages {
			events = append(events, put(now.Add(-age), "x")...)
		}
		out, err := e.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("s"), LogEvents: events})
		e.check(err)
		index := func(p *int32) int {
			if p == nil {
				return -1
			}
			return int(*p)
		}
		r := out.RejectedLogEventsInfo
		if r == nil {
			r = &types.RejectedLogEventsInfo{}
		}
		if index(r.TooOldLogEventEndIndex) != tt.old || index(r.ExpiredLogEventEndIndex) != tt.expired || index(r.TooNewLogEventStartIndex) != tt.future {
			t.Errorf("%s: %+v", tt.name, r)
		}
		got, err := e.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("s")})
		e.check(err)
		if len(got.Events) != tt.kept {
			t.Errorf("%s: %d are kept, want %d", tt.name, len(got.Events), tt.kept)
		}
		_, err = e.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: ptr("g")})
		e.check(err)
	}
}

func TestGetLogEventsGoesForwardAndBackward(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	var texts []string
	for i := range 10 {
		texts = append(texts, fmt.Sprint(i))
	}
	e.wrote("f", "s", at, texts...)
	e.wrote("f", "other", at, "no")
	get := func(in sdk.GetLogEventsInput) (string, *sdk.GetLogEventsOutput) {
		t.Helper()
		in.LogGroupName, in.LogStreamName = ptr("/aws/lambda/f"), ptr("s")
		out, err := e.GetLogEvents(ctx, &in)
		e.check(err)
		var got []string
		for _, ev := range out.Events {
			got = append(got, strings.TrimSuffix(*ev.Message, "\n"))
		}
		return strings.Join(got, ""), out
	}
	if got, _ := get(sdk.GetLogEventsInput{}); got != "0123456789" {
		t.Errorf("all: %s", got)
	}
	got, last := get(sdk.GetLogEventsInput{Limit: ptr(int32(3))})
	if got != "789" {
		t.Errorf("the last three: %s", got)
	}
	if got, _ := get(sdk.GetLogEventsInput{Limit: ptr(int32(3)), NextToken: last.NextBackwardToken}); got != "456" {
		t.Errorf("before them: %s", got)
	}
	if got, out := get(sdk.GetLogEventsInput{Limit: ptr(int32(3)), NextToken: last.NextForwardToken}); got != "" || *out.NextForwardToken != *last.NextForwardToken {
		t.Errorf("at the end: %s, token %s after %s", got, *out.NextForwardToken, *last.NextForwardToken)
	}
	e.wrote("f", "s", at.Add(time.Minute), "A", "B")
	if got, _ := get(sdk.GetLogEventsInput{NextToken: last.NextForwardToken}); got != "AB" {
		t.Errorf("written since: %s", got)
	}
	got, first := get(sdk.GetLogEventsInput{Limit: ptr(int32(4)), StartFromHead: ptr(true)})
	if got != "0123" {
		t.Errorf("from the head: %s", got)
	}
	if got, _ := get(sdk.GetLogEventsInput{Limit: ptr(int32(4)), StartFromHead: ptr(true), NextToken: first.NextForwardToken}); got != "4567" {
		t.Errorf("further: %s", got)
	}
	if got, _ := get(sdk.GetLogEventsInput{NextToken: first.NextBackwardToken}); got != "" {
		t.Errorf("before the first: %s", got)
	}
	if got, _ := get(sdk.GetLogEventsInput{StartTime: ptr(at.Add(2 * time.Second).UnixMilli()), EndTime: ptr(at.Add(5 * time.Second).UnixMilli())}); got != "234" {
		t.Errorf("the end time is not in it: %s", got)
	}
	if len(*last.NextForwardToken) != len("f/")+56+len("/s") {
		t.Errorf("token %s", *last.NextForwardToken)
	}
}

func TestFilterLogEventsPicksByTimeStreamAndPattern(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	e.wrote("f", "x/1", at, "ERROR bad thing", "INFO fine", "WARN so so", `an "odd" one`)
	e.wrote("f", "x/2", at.Add(500*time.Millisecond), "ERROR worse thing", "INFO ERROR-free")
	e.wrote("f", "y/1", at.Add(time.Minute), "ERROR later")
	filter := func(in sdk.FilterLogEventsInput) string {
		t.Helper()
		in.LogGroupName = ptr("/aws/lambda/f")
		var got []string
		var ids []string
		p := sdk.NewFilterLogEventsPaginator(e.Client, &in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			e.check(err)
			for _, ev := range out.Events {
				got = append(got, strings.TrimSuffix(*ev.Message, "\n"))
				ids = append(ids, *ev.EventId)
				if !strings.HasSuffix(*ev.Message, "\n") { // as Lambda's have it
					t.Errorf("%q", *ev.Message)
				}
				if *ev.IngestionTime != *ev.Timestamp || !strings.Contains(*ev.LogStreamName, "/") {
					t.Errorf("%+v", ev)
				}
			}
		}
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(got) {
			t.Errorf("ids %v", ids)
		}
		return strings.Join(got, "|")
	}
	pattern := func(s string) sdk.FilterLogEventsInput { return sdk.FilterLogEventsInput{FilterPattern: &s} }
	for _, tt := range []struct {
		name string
		in   sdk.FilterLogEventsInput
		want string
	}{
		{"all, interleaved", sdk.FilterLogEventsInput{}, `ERROR bad thing|ERROR worse thing|INFO fine|INFO ERROR-free|WARN so so|an "odd" one|ERROR later`},
		{"in pages", sdk.FilterLogEventsInput{Limit: ptr(int32(2))}, `ERROR bad thing|ERROR worse thing|INFO fine|INFO ERROR-free|WARN so so|an "odd" one|ERROR later`},
		{"a stream", sdk.FilterLogEventsInput{LogStreamNames: []string{"y/1"}}, "ERROR later"},
		{"a prefix", sdk.FilterLogEventsInput{LogStreamNamePrefix: ptr("x/2")}, "ERROR worse thing|INFO ERROR-free"},
		{"the end is in it", sdk.FilterLogEventsInput{StartTime: ptr(at.Add(time.Second).UnixMilli()), EndTime: ptr(at.Add(1500 * time.Millisecond).UnixMilli())}, "INFO fine|INFO ERROR-free"},
		{"by identifier", sdk.FilterLogEventsInput{LogStreamNames: []string{"y/1"}}, "ERROR later"},
		{"a term", pattern("ERROR"), "ERROR bad thing|ERROR worse thing|INFO ERROR-free|ERROR later"},
		{"two terms", pattern("ERROR thing"), "ERROR bad thing|ERROR worse thing"},
		{"a phrase", pattern(`"bad thing"`), "ERROR bad thing"},
		{"a phrase with quotes", pattern(`"an \"odd\""`), `an "odd" one`},
		{"without", pattern("ERROR -thing"), "INFO ERROR-free|ERROR later"},
		{"only without", pattern(`-ERROR -"fine"`), `WARN so so|an "odd" one`},
		{"either", pattern("?fine ?later"), "INFO fine|ERROR later"},
		{"either beside others is ignored", pattern("ERROR ?fine"), "ERROR bad thing|ERROR worse thing|INFO ERROR-free|ERROR later"},
		{"case counts", pattern("error"), ""},
		{"nothing", pattern(""), `ERROR bad thing|ERROR worse thing|INFO fine|INFO ERROR-free|WARN so so|an "odd" one|ERROR later`},
	} {
		if got := filter(tt.in); got != tt.want {
			t.Errorf("%s: %s\nwant %s", tt.name, got, tt.want)
		}
	}
	for _, bad := range []string{`{ $.level = "x" }`, "[a, b]", "%reg.x%", `"open`, "a=b", "-", "?"} {
		_, err := e.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupName: ptr("/aws/lambda/f"), FilterPattern: &bad})
		if code, text := refused(err); code != "InvalidParameterException" || !strings.HasPrefix(text, "Invalid ") {
			t.Errorf("%s: %s: %s", bad, code, text)
		}
	}
}

func TestAnAnswerHasAMegabyteAtMost(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	at := time.Now().Add(-time.Hour)
	for i := range 30 {
		e.wrote("f", "s", at.Add(time.Duration(i)*time.Second), strings.Repeat(string(rune('a'+i%26)), 100_000))
	}
	p := sdk.NewFilterLogEventsPaginator(e.Client, &sdk.FilterLogEventsInput{LogGroupName: ptr("/aws/lambda/f")})
	pages, n := 0, 0
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		e.check(err)
		if pages++; len(out.Events) > 10 {
			t.Errorf("page of %d", len(out.Events))
		}
		n += len(out.Events)
	}
	if pages != 3 || n != 30 {
		t.Errorf("%d events on %d pages", n, pages)
	}
}

func TestWhatIsWrongIsSaidAsAWSDoes(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("g")})
	e.check(err)
	_, err = e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: ptr("g"), LogStreamName: ptr("s")})
	e.check(err)
	now := time.Now()
	do := func(events []types.InputLogEvent) error {
		_, err := e.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("s"), LogEvents: events})
		return err
	}
	for _, tt := range []struct {
		name       string
		do         func() error
		code, text string
	}{
		{"a group that exists", func() error {
			_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("g")})
			return err
		}, "ResourceAlreadyExistsException", "The specified log group already exists"},
		{"a stream that exists", func() error {
			_, err := e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: ptr("g"), LogStreamName: ptr("s")})
			return err
		}, "ResourceAlreadyExistsException", "The specified log stream already exists"},
		{"a name with blanks", func() error {
			_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("a b")})
			return err
		}, "InvalidParameterException", `1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`},
		{"no such stream", func() error {
			_, err := e.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("t")})
			return err
		}, "ResourceNotFoundException", "The specified log stream does not exist."},
		{"no such group", func() error {
			_, err := e.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupName: ptr("h")})
			return err
		}, "ResourceNotFoundException", "The specified log group does not exist."},
		{"two days", func() error {
			_, err := e.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: ptr("g"), RetentionInDays: ptr(int32(2))})
			return err
		}, "InvalidParameterException", "1 validation error detected: Value '2' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [1, 3, 5, 7, 14, 30,"},
		{"51 groups a page", func() error {
			_, err := e.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{Limit: ptr(int32(51))})
			return err
		}, "InvalidParameterException", "1 validation error detected: Value '51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50"},
		{"not in order", func() error { return do(append(put(now, "a"), put(now.Add(-time.Second), "b")...)) }, "InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order."},
		{"over a day", func() error { return do(append(put(now.Add(-25*time.Hour), "a"), put(now, "b")...)) }, "InvalidParameterException", "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."},
		{"an event too large", func() error { return do(put(now, strings.Repeat("x", 1<<20))) }, "InvalidParameterException", "Log event too large: 1048602 bytes exceeds limit of 1048576"},
		{"a batch too large", func() error { return do(put(now, strings.Repeat("x", 1<<19), strings.Repeat("x", 1<<19))) }, "InvalidParameterException", "Upload too large: 1048628 bytes exceeds limit of 1048576"},
		{"a token of nobody's", func() error {
			_, err := e.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: ptr("g"), LogStreamName: ptr("s"), NextToken: ptr("f/1/s")})
			return err
		}, "InvalidParameterException", "The specified nextToken is invalid."},
		{"by time with a prefix", func() error {
			_, err := e.DescribeLogStreams(ctx, &sdk.DescribeLogStreamsInput{LogGroupName: ptr("g"), LogStreamNamePrefix: ptr("s"), OrderBy: types.OrderByLastEventTime})
			return err
		}, "InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix."},
		{"a query of Insights", func() error {
			_, err := e.StartQuery(ctx, &sdk.StartQueryInput{StartTime: ptr(int64(0)), EndTime: ptr(int64(1)), QueryString: ptr("fields @message")})
			return err
		}, "UnsupportedOperationException", "StartQuery is not supported: there are no queries of CloudWatch Logs Insights: use FilterLogEvents."},
	} {
		if code, text := refused(tt.do()); code != tt.code || !strings.HasPrefix(text, tt.text) {
			t.Errorf("%s: %s: %s", tt.name, code, text)
		}
	}
}

func TestFunctionsWriteTheirOwnLogsAndNoMore(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, true), t.Context()
	own, other := "/aws/lambda/f", "/aws/lambda/g"
	e.wrote("g", "s", time.Now(), "REPORT")
	_, err := e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: &own})
	e.check(err)
	_, err = e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: &own, LogStreamName: ptr("s")})
	e.check(err)
	_, err = e.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: &own, LogStreamName: ptr("s"), LogEvents: put(time.Now(), "x")})
	e.check(err)

	denied := func(text string, err error) {
		t.Helper()
		if code, got := refused(err); code != "AccessDeniedException" || !strings.Contains(got, text) {
			t.Errorf("%s: %s", code, got)
		}
	}
	_, err = e.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{})
	denied("PutLogEvents", err)
	_, err = e.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: &other, LogStreamName: ptr("s"), LogEvents: put(time.Now(), "REPORT forged")})
	denied(own, err)
	_, err = e.CreateLogStream(ctx, &sdk.CreateLogStreamInput{LogGroupName: &other, LogStreamName: ptr("flood")})
	denied(own, err)
	_, err = e.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: ptr("another")})
	denied(own, err)
	nobody := sdk.New(e.Options(), func(o *sdk.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
	})
	_, err = nobody.PutLogEvents(ctx, &sdk.PutLogEventsInput{LogGroupName: ptr("/aws/lambda/"), LogStreamName: ptr("s"), LogEvents: put(time.Now(), "x")})
	denied("which function", err)
	if events, _, err := e.store.Find(logs.Query{Group: other, Limit: 10, Bytes: 1 << 20}); err != nil || len(events) != 1 {
		t.Errorf("the other's log is %v, %v", events, err)
	}
}

func TestAFunctionPutsNoMoreThanItMayPrint(t *testing.T) {
	for name, call := range map[string]func(e *emulator, i int) error{
		"events": func(e *emulator, i int) error {
			_, err := e.PutLogEvents(t.Context(), &sdk.PutLogEventsInput{LogGroupName: ptr("/aws/lambda/f"), LogStreamName: ptr("s"), LogEvents: put(time.Now(), strings.Repeat("x", 1_000_000))})
			return err
		},
		"streams": func(e *emulator, i int) error {
			_, err := e.CreateLogStream(t.Context(), &sdk.CreateLogStreamInput{LogGroupName: ptr("/aws/lambda/f"), LogStreamName: ptr(fmt.Sprint(i))})
			return err
		},
	} {
		e := emulate(t, logs.Options{}, true)
		e.wrote("f", "s", time.Now(), "START")
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ { // of 64 KB or more each, and 64 KB a second come back
			err = call(e, n)
		}
		if code, text := refused(err); code != "ThrottlingException" || n <= 4 {
			t.Errorf("%s: call %d: %s: %s", name, n, code, text)
		}
	}
}

func TestTheEndOfTimeIsNoTroubleAndItsBeginningABound(t *testing.T) {
	e, ctx := emulate(t, logs.Options{}, false), t.Context()
	e.wrote("f", "s", time.Now().Add(-time.Minute), "a")
	for _, tt := range []struct{ end, get, filter int64 }{{math.MaxInt64, 1, 1}, {math.MaxInt64 - 1, 1, 1}, {0, 0, 0}} {
		filtered, err := e.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupName: ptr("/aws/lambda/f"), EndTime: &tt.end})
		e.check(err)
		got, err := e.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: ptr("/aws/lambda/f"), LogStreamName: ptr("s"), EndTime: &tt.end})
		e.check(err)
		if len(filtered.Events) != int(tt.filter) || len(got.Events) != int(tt.get) {
			t.Errorf("until %d: %d filtered, %d got", tt.end, len(filtered.Events), len(got.Events))
		}
	}
}
