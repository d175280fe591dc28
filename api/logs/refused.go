package logs

import (
	"context"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

// refusals are operations that there are not here, by what there is instead.
var refusals = map[string]string{
	"there are no queries of CloudWatch Logs Insights: use FilterLogEvents.": `StartQuery StopQuery GetQueryResults DescribeQueries GetLogRecord GetLogGroupFields
		PutQueryDefinition DescribeQueryDefinitions DeleteQueryDefinition GetLogFields ListAggregateLogGroupSummaries`,
	"there are no metric filters: put metrics with PutMetricData.":                                       `PutMetricFilter DescribeMetricFilters DeleteMetricFilter TestMetricFilter`,
	"logs go nowhere by themselves: read them with FilterLogEvents or GetLogEvents.":                     `PutSubscriptionFilter DescribeSubscriptionFilters DeleteSubscriptionFilter PutDestination PutDestinationPolicy DescribeDestinations DeleteDestination CreateExportTask CancelExportTask DescribeExportTasks CreateDelivery DescribeDeliveries`,
	"policies and keys of CloudWatch Logs are not kept: nothing here would heed them.":                   `PutResourcePolicy DescribeResourcePolicies DeleteResourcePolicy AssociateKmsKey DisassociateKmsKey PutDataProtectionPolicy GetDataProtectionPolicy DeleteDataProtectionPolicy PutAccountPolicy DescribeAccountPolicies DeleteAccountPolicy`,
	"index policies, anomaly detectors, transformers and deletion protection are not there.":             `PutIndexPolicy DescribeIndexPolicies DeleteIndexPolicy DescribeFieldIndexes CreateLogAnomalyDetector ListLogAnomalyDetectors GetLogAnomalyDetector DeleteLogAnomalyDetector UpdateLogAnomalyDetector ListAnomalies PutTransformer GetTransformer DeleteTransformer TestTransformer PutLogGroupDeletionProtection`,
	"live tails are not there: `aws logs tail --follow` (FilterLogEvents) and `wasmill fn logs -f` are.": `StartLiveTail`,
}

func refusedOps() []*wire.Operation {
	var ops []*wire.Operation
	for text, names := range refusals {
		for _, name := range strings.Fields(names) {
			ops = append(ops, &wire.Operation{Name: name, Do: func(_ context.Context, c *wire.Call) (any, error) {
				return nil, wire.Errorf(codeUnsupported, "%s is not supported: %s", c.Operation.Name, text)
			}})
		}
	}
	return ops
}

const codeUnsupported = "UnsupportedOperationException"
