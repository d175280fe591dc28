package pool

import (
	"math"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// start and end write the lines that Lambda writes around an invocation.

func (r *recorder) start(now time.Time, inv *runtime.Invocation) {
	r.write(now, inv.ID, "START RequestId: "+inv.ID+" Version: "+r.version)
}

func (r *recorder) end(inv *runtime.Invocation, v functions.Version, res *runtime.Result) {
	switch res.Outcome {
	case runtime.Timeout:
		r.write(res.Finished, inv.ID, res.Finished.UTC().Format("2006-01-02T15:04:05.000Z")+" "+inv.ID+" Task timed out after "+strconv.FormatFloat(v.Config.Timeout.Seconds(), 'f', 2, 64)+" seconds")
	case runtime.FunctionError, runtime.Infrastructure:
		r.write(res.Finished, inv.ID, res.ErrorType+": "+res.ErrorMessage)
	case runtime.Partial:
		r.write(res.Finished, inv.ID, "[wasmill: "+res.ErrorMessage+"]")
	}
	// Both lines are cut from one string: they are written at every invocation.
	b := append(make([]byte, 0, 384), "END RequestId: "...)
	b = append(b, inv.ID...)
	n := len(b)
	lines := string(report(b, inv.ID, v, res))
	r.write(res.Finished, inv.ID, lines[:n], lines[n:])
}

// report appends Lambda's REPORT line, tabs and all, and what only wasmill knows.
func report(b []byte, id string, v functions.Version, res *runtime.Result) []byte {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b = append(append(b, "REPORT RequestId: "...), id...)
	b = strconv.AppendFloat(append(b, "\tDuration: "...), ms(res.Duration), 'f', 2, 64)
	b = strconv.AppendInt(append(b, " ms\tBilled Duration: "...), int64(math.Ceil(ms(res.Duration+res.Init))), 10)
	b = strconv.AppendInt(append(b, " ms\tMemory Size: "...), int64(v.Config.Memory), 10)
	b = strconv.AppendInt(append(b, " MB\tMax Memory Used: "...), (res.MaxMemory+1<<20-1)>>20, 10)
	b = append(b, " MB\t"...)
	if res.Init > 0 {
		b = strconv.AppendFloat(append(b, "Init Duration: "...), ms(res.Init), 'f', 2, 64)
		b = append(b, " ms\t"...)
	}
	if res.Work > 0 {
		b = strconv.AppendUint(append(b, "Work: "...), res.Work, 10)
		b = append(b, " steps\t"...)
	}
	switch res.Outcome {
	case runtime.Timeout:
		b = append(b, "Status: timeout\t"...)
	case runtime.FunctionError:
		b = append(append(append(b, "Status: error\tError Type: "...), res.ErrorType...), '\t')
	}
	return b
}
