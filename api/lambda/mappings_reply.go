package lambda

import (
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// mappingReply is a mapping of a stream as AWS shows it: its members as recorded, in the
// order of botocore's model.
type mappingReply struct {
	UUID                           string
	StartingPosition               stream.PositionKind
	StartingPositionTimestamp      wire.Time `json:",omitzero"` // with AT_TIMESTAMP
	BatchSize                      int
	MaximumBatchingWindowInSeconds int
	ParallelizationFactor          int
	EventSourceArn                 string
	FilterCriteria                 *filterCriteria `json:",omitempty"` // with one filter at least
	FunctionArn                    string
	LastModified                   wire.Time
	LastProcessingResult           string
	State                          triggers.State
	StateTransitionReason          string
	DestinationConfig              destinationConfig
	MaximumRecordAgeInSeconds      int
	BisectBatchOnFunctionError     bool
	MaximumRetryAttempts           int
	TumblingWindowInSeconds        int
	FunctionResponseTypes          []string
	KMSKeyArn                      string `json:",omitempty"`
	EventSourceMappingArn          string
	MetricsConfig                  *metricsConfig `json:",omitempty"`
}

type (
	filterCriteria struct{ Filters []filterPattern }
	filterPattern  struct{ Pattern string }
	metricsConfig  struct{ Metrics []string }
	// destinationConfig is {"OnFailure":{}} when there is none.
	destinationConfig struct {
		OnFailure struct {
			Destination string `json:",omitempty"`
		}
	}
)

// reply shows a mapping in the state that c's caller is to see.
func (s *service) reply(c *wire.Call, m triggers.Mapping, state triggers.State) mappingReply {
	cf := m.Config.WithDefaults()
	r := mappingReply{
		UUID: m.ID, StartingPosition: cf.Position.Kind, BatchSize: cf.BatchSize, MaximumBatchingWindowInSeconds: seconds(cf.Window), ParallelizationFactor: cf.Parallel,
		EventSourceArn: sourceARN(m), FunctionArn: ref{cf.Function, cf.Qualifier}.arn(c), LastModified: wire.Time(m.Modified), LastProcessingResult: s.Mappings.LastResult(m),
		State: state, StateTransitionReason: "User action", MaximumRecordAgeInSeconds: triggers.Forever, BisectBatchOnFunctionError: cf.Bisect, MaximumRetryAttempts: *cf.Retries,
		TumblingWindowInSeconds: seconds(cf.Tumbling), FunctionResponseTypes: []string{}, KMSKeyArn: cf.KMSKey, EventSourceMappingArn: mappingARN(c, m.ID),
	}
	if cf.Position.Kind == stream.AtTimestamp {
		r.StartingPositionTimestamp = wire.Time(cf.Position.Time)
	}
	if cf.RecordAge > 0 {
		r.MaximumRecordAgeInSeconds = seconds(cf.RecordAge)
	}
	if cf.PartialReplies {
		r.FunctionResponseTypes = []string{"ReportBatchItemFailures"}
	}
	if len(cf.Filters) > 0 {
		r.FilterCriteria = &filterCriteria{}
		for _, p := range cf.Filters {
			r.FilterCriteria.Filters = append(r.FilterCriteria.Filters, filterPattern{p})
		}
	}
	if len(cf.Metrics) > 0 {
		r.MetricsConfig = &metricsConfig{cf.Metrics}
	}
	r.DestinationConfig.OnFailure.Destination = cf.OnFailure
	return r
}

// seconds are those of a setting; a part of one, which only the command line can set, counts whole.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// sourceARN is what the mapping was told to read: a stream, or a consumer of one.
func sourceARN(m triggers.Mapping) string {
	if m.Config.Consumer != "" {
		return m.Config.Consumer
	}
	return m.StreamARN
}

func mappingARN(c *wire.Call, id string) string {
	return "arn:aws:lambda:" + c.Region + ":" + c.Account + ":event-source-mapping:" + id
}
