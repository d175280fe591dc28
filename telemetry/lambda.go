package telemetry

import (
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// Feed has the numbers go into series too. To be called before anything is measured.
func (t *Telemetry) Feed(s *Series) { t.lambda = &lambda{series: s, running: map[string]int{}} }

// lambda puts what is measured under AWS's names, with AWS's dimensions. A nil lambda does
// nothing.
type lambda struct {
	series *Series

	mu      sync.Mutex
	running map[string]int // invocations by function
	all     int
}

const (
	lambdaNamespace  = "AWS/Lambda"
	kinesisNamespace = "AWS/Kinesis"
)

// Metrics of an invocation, by their place.
const (
	invocations = iota
	errorCount
	throttles
	duration
	concurrent
	iteratorAge
)

var invocationMetrics = []tallied{{"Invocations", "Count"}, {"Errors", "Count"}, {"Throttles", "Count"}, {"Duration", "Milliseconds"}, {"ConcurrentExecutions", "Count"}, {"IteratorAge", "Milliseconds"}}

// Metrics of a mapping.
const (
	polled = iota
	filtered
	invoked
	failed
	dropped
	destinationTold
	destinationFailed
	mappingAge
)

var mappingMetrics = []tallied{{"PolledEventCount", "Count"}, {"FilteredOutEventCount", "Count"}, {"InvokedEventCount", "Count"}, {"FailedInvokeEventCount", "Count"},
	{"DroppedEventCount", "Count"}, {"OnFailureDestinationDeliveredEventCount", "Count"}, {"DestinationDeliveryFailures", "Count"}, {"IteratorAge", "Milliseconds"}}

// Metrics of a stream.
const (
	incomingRecords = iota
	incomingBytes
	gotRecords
	gotBytes
	gotAge
)

var streamMetrics = []tallied{{"IncomingRecords", "Count"}, {"IncomingBytes", "Bytes"}, {"GetRecords.Records", "Count"}, {"GetRecords.Bytes", "Bytes"}, {"GetRecords.IteratorAgeMilliseconds", "Milliseconds"}}

// function adds to the metrics of a function: as a whole, and by the name it was called by,
// with the version that ran if that is an alias.
func (l *lambda) function(now time.Time, function, qualifier, version string, samples ...sample) {
	if qualifier == version || qualifier == "" {
		version = ""
	}
	key := tallyKey{"function", function, qualifier, version}
	l.series.add(key, func() *tally {
		name := Dimension{"FunctionName", function}
		resource := Dimension{"Resource", function}
		if qualifier != "" {
			resource.Value += ":" + qualifier
		}
		t := &tally{namespace: lambdaNamespace, metrics: invocationMetrics, sets: [][]Dimension{{name}, {name, resource}}}
		if version != "" {
			t.sets = append(t.sets, []Dimension{name, resource, {"ExecutedVersion", version}})
		}
		return t
	}, now, samples...)
}

// whole adds to the metrics of all functions together.
func (l *lambda) whole(now time.Time, samples ...sample) {
	l.series.add(tallyKey{kind: "functions"}, func() *tally {
		return &tally{namespace: lambdaNamespace, metrics: invocationMetrics, sets: [][]Dimension{nil}}
	}, now, samples...)
}

func (l *lambda) started(inv *runtime.Invocation, v functions.Version) {
	if l == nil || v.Function == "" {
		return
	}
	l.mu.Lock()
	l.running[v.Function]++
	l.all++
	now, n, all := time.Now(), float64(l.running[v.Function]), float64(l.all)
	l.mu.Unlock()
	l.function(now, v.Function, inv.Qualifier, v.Version, sample{concurrent, n, 1})
	l.whole(now, sample{concurrent, all, 1})
}

func (l *lambda) ended(inv *runtime.Invocation, res *runtime.Result) {
	v := res.Version
	if l == nil || v.Function == "" {
		return
	}
	l.mu.Lock()
	l.all--
	if l.running[v.Function]--; l.running[v.Function] <= 0 {
		delete(l.running, v.Function)
	}
	l.mu.Unlock()
	var samples []sample
	switch res.Outcome {
	case runtime.Infrastructure:
		return
	case runtime.Throttled:
		samples = []sample{{throttles, 1, 1}}
	default:
		failed := 0.0
		if res.Outcome == runtime.FunctionError || res.Outcome == runtime.Timeout {
			failed = 1
		}
		samples = []sample{{invocations, 1, 1}, {errorCount, failed, 1}, {throttles, 0, 1}, {duration, milliseconds(res.Duration), 1}}
	}
	now := time.Now()
	l.function(now, v.Function, inv.Qualifier, v.Version, samples...)
	l.whole(now, samples...)
}

func (l *lambda) mapping(id string, metric int, n float64) {
	if l == nil || id == "" {
		return
	}
	l.series.add(tallyKey{kind: "mapping", name: id}, func() *tally {
		return &tally{namespace: lambdaNamespace, metrics: mappingMetrics, sets: [][]Dimension{{{"EventSourceMappingUUID", id}}}}
	}, time.Now(), sample{metric, n, 1})
}

func (l *lambda) iterator(m triggers.Mapping, age time.Duration) {
	if l == nil {
		return
	}
	l.mapping(m.ID, mappingAge, milliseconds(age))
	l.function(time.Now(), m.Config.Function, m.Config.Qualifier, "", sample{iteratorAge, milliseconds(age), 1})
}

func (l *lambda) stream(name string, samples ...sample) {
	l.series.add(tallyKey{kind: "stream", name: name}, func() *tally {
		return &tally{namespace: kinesisNamespace, metrics: streamMetrics, sets: [][]Dimension{{{"StreamName", name}}}}
	}, time.Now(), samples...)
}

func (l *lambda) put(stream string, records, bytes int) {
	if l != nil {
		l.stream(stream, sample{incomingRecords, float64(records), 1}, sample{incomingBytes, float64(bytes), 1})
	}
}

func (l *lambda) got(stream string, records, bytes int, age time.Duration) {
	if l != nil {
		l.stream(stream, sample{gotRecords, float64(records), 1}, sample{gotBytes, float64(bytes), 1}, sample{gotAge, milliseconds(age), 1})
	}
}
