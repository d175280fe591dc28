package lambda

import (
	"context"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

// refusal is a kind of operations that functions here have no use for.
type refusal struct {
	text string // what to do instead
	ops  string // a line each: name, method, path
}

var refusals = []refusal{
	{"there are no queues yet that would keep the event. Use Invoke, or put records into a stream that a trigger reads.", `
InvokeAsync POST /2014-11-13/functions/{FunctionName}/invoke-async`},
	{"functions answer as a whole. Use Invoke.", `
InvokeWithResponseStream POST /2021-11-15/functions/{FunctionName}/response-streaming-invocations`},
	{"there are no layers: put what a function needs into its module.", `
PublishLayerVersion POST /2018-10-31/layers/{LayerName}/versions
ListLayerVersions GET /2018-10-31/layers/{LayerName}/versions
GetLayerVersion GET /2018-10-31/layers/{LayerName}/versions/{VersionNumber}
DeleteLayerVersion DELETE /2018-10-31/layers/{LayerName}/versions/{VersionNumber}
GetLayerVersionByArn GET /2018-10-31/layers?find=LayerVersion
GetLayerVersionPolicy GET /2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy
AddLayerVersionPermission POST /2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy
RemoveLayerVersionPermission DELETE /2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}`},
	{"functions have no URLs of their own: use Invoke.", `
CreateFunctionUrlConfig POST /2021-10-31/functions/{FunctionName}/url
UpdateFunctionUrlConfig PUT /2021-10-31/functions/{FunctionName}/url
DeleteFunctionUrlConfig DELETE /2021-10-31/functions/{FunctionName}/url`},
	{"code is not signed.", `
CreateCodeSigningConfig POST /2020-04-22/code-signing-configs
GetCodeSigningConfig GET /2020-04-22/code-signing-configs/{CodeSigningConfigArn}
UpdateCodeSigningConfig PUT /2020-04-22/code-signing-configs/{CodeSigningConfigArn}
DeleteCodeSigningConfig DELETE /2020-04-22/code-signing-configs/{CodeSigningConfigArn}
ListFunctionsByCodeSigningConfig GET /2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions
PutFunctionCodeSigningConfig PUT /2020-06-30/functions/{FunctionName}/code-signing-config
DeleteFunctionCodeSigningConfig DELETE /2020-06-30/functions/{FunctionName}/code-signing-config`},
	{"environments start in a few milliseconds, and none is kept ready for that.", `
PutProvisionedConcurrencyConfig PUT /2019-09-30/functions/{FunctionName}/provisioned-concurrency
DeleteProvisionedConcurrencyConfig DELETE /2019-09-30/functions/{FunctionName}/provisioned-concurrency`},
	{"a function's runtime is its module, which nothing updates.", `
PutRuntimeManagementConfig PUT /2021-07-20/functions/{FunctionName}/runtime-management-config`},
	{"there are no capacity providers.", `
CreateCapacityProvider POST /2025-11-30/capacity-providers
ListCapacityProviders GET /2025-11-30/capacity-providers
GetCapacityProvider GET /2025-11-30/capacity-providers/{CapacityProviderName}
UpdateCapacityProvider PUT /2025-11-30/capacity-providers/{CapacityProviderName}
DeleteCapacityProvider DELETE /2025-11-30/capacity-providers/{CapacityProviderName}
ListFunctionVersionsByCapacityProvider GET /2025-11-30/capacity-providers/{CapacityProviderName}/function-versions
GetFunctionScalingConfig GET /2025-11-30/functions/{FunctionName}/function-scaling-config
PutFunctionScalingConfig PUT /2025-11-30/functions/{FunctionName}/function-scaling-config`},
	{"there are no durable functions.", `
CheckpointDurableExecution POST /2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint
GetDurableExecution GET /2025-12-01/durable-executions/{DurableExecutionArn}
GetDurableExecutionHistory GET /2025-12-01/durable-executions/{DurableExecutionArn}/history
GetDurableExecutionState GET /2025-12-01/durable-executions/{DurableExecutionArn}/state
ListDurableExecutionsByFunction GET /2025-12-01/functions/{FunctionName}/durable-executions
SendDurableExecutionCallbackFailure POST /2025-12-01/durable-execution-callbacks/{CallbackId}/fail
SendDurableExecutionCallbackHeartbeat POST /2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat
SendDurableExecutionCallbackSuccess POST /2025-12-01/durable-execution-callbacks/{CallbackId}/succeed
StopDurableExecution POST /2025-12-01/durable-executions/{DurableExecutionArn}/stop`},
}

// refusedOps are known by name, so that who calls them is told what to do instead.
func refusedOps() []*wire.Operation {
	var out []*wire.Operation
	for _, kind := range refusals {
		for line := range strings.Lines(strings.TrimSpace(kind.ops)) {
			f := strings.Fields(line)
			out = append(out, &wire.Operation{Name: f[0], Method: f[1], Path: f[2], Do: func(_ context.Context, c *wire.Call) (any, error) {
				return nil, invalid("wasmill does not have %s: %s", c.Operation.Name, kind.text)
			}})
		}
	}
	return out
}
