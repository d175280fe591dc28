package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// deadlines: how long after its timeout a function that does not return is
// answered for, in milliseconds, and how slow another function becomes meanwhile.
func deadlines(ctx context.Context, h *host, r *runs, _ []byte) (out []result, err error) {
	code, err := h.compile(ctx, "bench/stuck")
	if err != nil {
		return nil, err
	}
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer peer.Close() // connections wait in its queue, and nobody answers
	batch := hundred()
	idle, err := r.p99(ctx, batch, 2*time.Second)
	if err != nil {
		return nil, err
	}
	out = append(out, result{Bench: "runtime.deadline.idle.p99", Value: round(idle), Unit: "ms"})
	for _, mode := range []string{"loop", "calls", "fill", "sleep", "host", "peer"} {
		name := "stuck-" + mode
		if err := r.add(ctx, name, code, functions.Config{Timeout: time.Second, Memory: 512,
			Allow:       []string{peer.Addr().String()},
			Environment: map[string]string{"MODE": mode, "PEER": peer.Addr().String()}}); err != nil {
			return out, err
		}
		var wg sync.WaitGroup
		var late []float64
		var wrong error
		wg.Go(func() {
			for range pairs {
				res := r.Invoke(ctx, name, "", &runtime.Invocation{Batch: batch})
				if res.Outcome != runtime.Timeout {
					wrong = fmt.Errorf("%s: %v %s %s", name, res.Outcome, res.ErrorType, res.ErrorMessage)
					return
				}
				late = append(late, float64(res.Duration-time.Second)/float64(time.Millisecond))
			}
		})
		busy, err := r.p99(ctx, batch, pairs*time.Second)
		wg.Wait()
		if err != nil || wrong != nil {
			return out, fmt.Errorf("%v %v", err, wrong)
		}
		fmt.Fprintf(os.Stderr, "  %s: late by %.1f ms, another's p99 %.2f ms (idle %.2f)\n", mode, late, busy, idle)
		out = append(out, result{Bench: "runtime.deadline." + mode, Value: round(slices.Max(late)), Unit: "ms", Goal: "<= 250"},
			result{Bench: "runtime.deadline." + mode + ".others.p99", Value: round(busy), Unit: "ms", Raw: round(idle), Goal: fmt.Sprintf("<= %.1f", 2*idle+5)})
	}
	return out, nil
}

// p99 calls the noop function for so long and gives the slowest hundredth, in
// milliseconds.
func (r *runs) p99(ctx context.Context, batch *runtime.Batch, last time.Duration) (float64, error) {
	var took []float64
	for began := time.Now(); time.Since(began) < last; time.Sleep(time.Millisecond) {
		d, err := r.invoke(ctx, "noop", &runtime.Invocation{Batch: batch})
		if err != nil {
			return 0, err
		}
		took = append(took, float64(d)/float64(time.Millisecond))
	}
	slices.Sort(took)
	return quantile(took, .99), nil
}
