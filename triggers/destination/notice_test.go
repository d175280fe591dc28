package destination

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

const (
	mappingID = "1f0c1d2e-0000-4000-8000-000000000001"
	shard0    = "shardId-000000000000"
	streamARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
)

var source0 = triggers.Source{Mapping: mappingID, Generation: 1, Shard: shard0}

func mappingTo(destination string) triggers.Mapping {
	return triggers.Mapping{
		ID: mappingID, Name: "orders", StreamARN: streamARN, FunctionARN: "arn:aws:lambda:us-east-1:123456789012:function:charge",
		Config: triggers.Config{Function: "charge", OnFailure: destination},
	}
}

// discarded is a batch of records whose numbers are from to to.
func discarded(reason dlq.Reason, from, to int) Discard {
	b := &runtime.Batch{Shard: shard0, ARN: streamARN, Region: "us-east-1", Identity: "arn:aws:iam::123456789012:role/r"}
	for n := from; n <= to; n++ {
		b.Records = append(b.Records, runtime.Record{
			Sequence: fmt.Sprintf("4959%d", n), PartitionKey: "k\"\\\u2028<>", Data: fmt.Appendf(nil, "data %d", n), Arrival: 1573691883000 + int64(n),
		})
	}
	return Discard{
		Reason: reason, Batch: b, RequestID: "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5", Invocations: 4, Version: "$LATEST", FunctionError: true,
		At: time.Date(2019, 11, 14, 0, 38, 6, 21_999_999, time.UTC),
	}
}

// The expectations are esm.md's, section 6.5, which are recorded on AWS.
func TestBodyIsAsOnAWS(t *testing.T) {
	const (
		context = `{"requestContext":{"requestId":"c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5","functionArn":"arn:aws:lambda:us-east-1:123456789012:function:charge",`
		rest    = `"version":"1.0","timestamp":"2019-11-14T00:38:06.021Z",` +
			`"KinesisBatchInfo":{"shardId":"shardId-000000000000","startSequenceNumber":"49591","endSequenceNumber":"49593",` +
			`"approximateArrivalOfFirstRecord":"2019-11-14T00:38:03.001Z","approximateArrivalOfLastRecord":"2019-11-14T00:38:03.003Z",` +
			`"batchSize":3,"streamArn":"` + streamARN + `"}}`
	)
	for _, tt := range []struct {
		name   string
		change func(*triggers.Mapping, *Discard)
		want   string
	}{
		{"the function failed", func(*triggers.Mapping, *Discard) {},
			context + `"condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` + rest},
		{"it returned, naming items that failed", func(_ *triggers.Mapping, d *Discard) { d.FunctionError, d.Version = false, "7" },
			context + `"condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"responseContext":{"statusCode":200,"executedVersion":"7","functionError":null},` + rest},
		{"too old: no responseContext, and 1 invocation even if there was none", func(_ *triggers.Mapping, d *Discard) { d.Reason, d.Invocations = dlq.RecordAgeExceeded, 0 },
			context + `"condition":"RecordAgeExceeded","approximateInvokeCount":1},` + rest},
		{"too large (ours): as AWS says it of Kafka", func(_ *triggers.Mapping, d *Discard) { d.Reason, d.Invocations = dlq.PayloadTooLarge, 0 },
			context + `"condition":"MaximumPayloadSizeExceeded","approximateInvokeCount":1},"responseContext":null,` + rest},
		{"no version known", func(_ *triggers.Mapping, d *Discard) { d.Version = "" },
			context + `"condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` + rest},
		{"functions of the command line have an ARN too", func(m *triggers.Mapping, _ *Discard) { m.FunctionARN, m.Config.Qualifier = "", "live" },
			strings.Replace(context, `charge"`, `charge:live"`, 1) + `"condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` + rest},
		{"several that were packed into one are one", func(_ *triggers.Mapping, d *Discard) {
			all := d.Batch.Records
			second := all[0]
			all[0].Aggregated, second.Aggregated, second.SubSequence = true, true, 1
			d.Batch.Records = append([]runtime.Record{all[0], second}, all[1:]...)
		}, context + `"condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` + rest},
		{"changes of a table: arrivals in whole seconds", func(_ *triggers.Mapping, d *Discard) { d.Batch.Kind = runtime.KindDynamoDB },
			context + `"condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` +
				strings.NewReplacer("KinesisBatchInfo", "DDBStreamBatchInfo", "03.001Z", "03Z", "03.003Z", "03Z").Replace(rest)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, d := mappingTo(""), discarded(dlq.RetryAttemptsExhausted, 1, 3)
			tt.change(&m, &d)
			if got := string(Body(m, d)); got != tt.want {
				t.Errorf("body\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

func TestObjectHasTheWholeEventAsAString(t *testing.T) {
	d := discarded(dlq.RetryAttemptsExhausted, 1, 3)
	d.Batch.Records[1].PartitionKey = "\x01\x1f\x7f" + string([]byte{0xff}) // no text
	n := Notice(mappingTo("arn:aws:s3:::dead"), source0, d)
	object := Object(n)
	if !bytes.HasPrefix(object, n.Body[:len(n.Body)-1]) {
		t.Errorf("object = %s, want it to begin as the body", object)
	}
	var got struct{ Payload string }
	if err := json.Unmarshal(object, &got); err != nil {
		t.Fatal(err)
	}
	event := runtime.AppendJSON(nil, d.Batch)
	if got.Payload != string(event) || !json.Valid(event) {
		t.Errorf("payload = %s, want %s", got.Payload, event)
	}
	var order []string
	dec := json.NewDecoder(bytes.NewReader(object))
	for depth := 0; ; {
		token, err := dec.Token()
		if err != nil {
			break
		}
		switch v := token.(type) {
		case json.Delim:
			depth += map[json.Delim]int{'{': 1, '[': 1, '}': -1, ']': -1}[v]
		case string:
			if depth == 1 {
				order = append(order, v)
			}
		}
	}
	if got := strings.Join(order[:3], " ") + " … " + order[len(order)-2]; got != "requestContext responseContext version … payload" {
		t.Errorf("members: %s", got)
	}
}

func TestOnlyDestinationsThatKeepItGetThePayload(t *testing.T) {
	for destination, want := range map[string]bool{
		"arn:aws:s3:::dead": true, "file:///var/dead": true, "arn:aws:kinesis:us-east-1:123456789012:stream/dead": false,
	} {
		if n := Notice(mappingTo(destination), source0, discarded(dlq.RetryAttemptsExhausted, 1, 3)); (len(n.Payload) > 0) != want {
			t.Errorf("%s: payload of %d bytes", destination, len(n.Payload))
		}
	}
}

func TestKeyIsAsOnAWSAndTheSameForTheSameBatch(t *testing.T) {
	m := mappingTo("arn:aws:s3:::dead")
	first := Notice(m, source0, discarded(dlq.RetryAttemptsExhausted, 1, 3))
	uuid := `[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	if want := regexp.MustCompile(`^aws/lambda/` + mappingID + `/` + shard0 + `/2019/11/14/2019-11-14T00\.38\.06-` + uuid + `$`); !want.MatchString(Key(first)) {
		t.Errorf("key = %s, want %s", Key(first), want)
	}
	if n := Notice(m, source0, discarded(dlq.RetryAttemptsExhausted, 1, 3)); n.ID != first.ID || Key(n) != Key(first) {
		t.Errorf("again: %s, want %s", Key(n), Key(first))
	}
	later := first
	later.At = first.At.Add(30 * time.Minute).In(time.FixedZone("", 3600))
	if !strings.Contains(Key(later), "/2019/11/14/2019-11-14T01.08.06-") {
		t.Errorf("key = %s, want it in UTC", Key(later))
	}
	seen := map[string]string{first.ID: "first"}
	for name, other := range map[string]func() triggers.Notice{
		"other records": func() triggers.Notice { return Notice(m, source0, discarded(dlq.RetryAttemptsExhausted, 1, 2)) },
		"other shard": func() triggers.Notice {
			d := discarded(dlq.RetryAttemptsExhausted, 1, 3)
			d.Batch.Shard = "shardId-000000000001"
			return Notice(m, source0, d)
		},
		"next generation": func() triggers.Notice {
			src := source0
			src.Generation++
			return Notice(m, src, discarded(dlq.RetryAttemptsExhausted, 1, 3))
		},
		"redriven, and buried again": func() triggers.Notice {
			d := discarded(dlq.RetryAttemptsExhausted, 1, 3)
			d.Burial = 2
			return Notice(m, source0, d)
		},
	} {
		if n := other(); seen[n.ID] != "" {
			t.Errorf("%s has the id of %s", name, seen[n.ID])
		} else {
			seen[n.ID] = name
		}
	}
}

func TestANoticeSaysWhatTheMappingWants(t *testing.T) {
	m := mappingTo("arn:aws:s3:::dead")
	n := Notice(m, source0, discarded(dlq.RecordAgeExceeded, 1, 3))
	if n.Destination != "arn:aws:s3:::dead" || n.Drop || n.Mapping != mappingID || n.Shard != shard0 || n.Records != 3 || !n.At.Equal(time.Date(2019, 11, 14, 0, 38, 6, 21e6, time.UTC)) {
		t.Errorf("notice = %+v", n)
	}
	m.Config.OnDestinationFailure = triggers.Drop
	d := discarded(dlq.RecordAgeExceeded, 1, 3)
	d.RequestID = ""
	if n = Notice(m, source0, d); !n.Drop {
		t.Error("it is not to be dropped")
	}
	var body struct{ RequestContext struct{ RequestID string } }
	if err := json.Unmarshal(n.Body, &body); err != nil || len(body.RequestContext.RequestID) != 36 {
		t.Errorf("request id %q, %v; want one that is made up", body.RequestContext.RequestID, err)
	}
}

func BenchmarkObjectOf6MB(b *testing.B) {
	d := discarded(dlq.RetryAttemptsExhausted, 1, 1)
	d.Batch.Records[0].Data = make([]byte, 4<<20)
	n := Notice(mappingTo("arn:aws:s3:::dead"), source0, d)
	b.SetBytes(int64(len(n.Payload)))
	for b.Loop() {
		Object(n)
	}
}
