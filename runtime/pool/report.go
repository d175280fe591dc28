package pool

import (
	"fmt"
	"math"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// start and end write the lines that Lambda writes around an invocation.

func (r *recorder) start(inv *runtime.Invocation) {
	r.write(inv.ID, "START RequestId: "+inv.ID+" Version: "+r.version)
}

func (r *recorder) end(inv *runtime.Invocation, v functions.Version, res *runtime.Result) {
	switch res.Outcome {
	case runtime.Timeout:
		r.write(inv.ID, fmt.Sprintf("%s %s Task timed out after %.2f seconds", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), inv.ID, v.Config.Timeout.Seconds()))
	case runtime.FunctionError, runtime.Infrastructure:
		r.write(inv.ID, fmt.Sprintf("%s: %s", res.ErrorType, res.ErrorMessage))
	case runtime.Partial:
		r.write(inv.ID, "[wasmill: "+res.ErrorMessage+"]")
	}
	r.write(inv.ID, "END RequestId: "+inv.ID)
	r.write(inv.ID, report(inv.ID, v, res))
}

// report is Lambda's REPORT line, tabs and all.
func report(id string, v functions.Version, res *runtime.Result) string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b := fmt.Appendf(nil, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %.0f ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		id, ms(res.Duration), math.Ceil(ms(res.Duration+res.Init)), v.Config.Memory, (res.MaxMemory+1<<20-1)>>20)
	if res.Init > 0 {
		b = fmt.Appendf(b, "Init Duration: %.2f ms\t", ms(res.Init))
	}
	switch res.Outcome {
	case runtime.Timeout:
		b = append(b, "Status: timeout\t"...)
	case runtime.FunctionError:
		b = fmt.Appendf(b, "Status: error\tError Type: %s\t", res.ErrorType)
	}
	return string(b)
}
