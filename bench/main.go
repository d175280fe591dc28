// Command bench measures wasmill against a raw limit in the same run.
//
// Every line of its output is one JSON object: bench, value, unit, and where
// there is a raw limit to compare with, raw and ratio. A figure is the median
// of five runs or more; where there is a raw limit they alternate with runs of
// it, so that a noisy machine disturbs both alike.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/sandbox"
)

// pairs is how often each side is measured.
const pairs = 5

// bench is one figure.
type bench struct {
	name, unit string
	// run measures; it may add figures of its own by more.
	run func(ctx context.Context, h *host) ([]result, error)
}

// result is one line.
type result struct {
	Bench string  `json:"bench"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Raw   float64 `json:"raw,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	Goal  string  `json:"goal,omitempty"`
}

func main() {
	if sandbox.Child(os.Args) {
		return
	}
	if kind := os.Getenv(serveVar); kind != "" {
		if err := serveKinesis(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run())
}

func run() int {
	only := flag.String("only", "", "run the benchmarks whose name begins with this `prefix`")
	seconds := flag.Float64("seconds", 2, "how long one measurement of a rate lasts")
	profile := flag.String("cpuprofile", "", "write a CPU profile of ours and raw to this `file`")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer f.Close()
		defer pprof.StopCPUProfile()
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	benches := []bench{
		{"put.500x1KB", "records/s", putMany},
		{"put.single.64callers", "records/s", putSingle},
		{"read.1KB", "records/s", readStored},
		{"pipeline.go.noop", "records/s", pipeline},
		{"pipeline.go.emit", "records/s", emit},
		{"runtime", "", runtimes},
		{"latency.idle", "ms", latency},
		{"start", "ms", start},
		{"kinesis", "", kinesisWire},
		{"filter", "", filters},
		{"invoke", "ms", invokeWire},
	}
	out, failed, ran := json.NewEncoder(os.Stdout), 0, 0
	out.SetEscapeHTML(false)
	for _, b := range benches {
		if !strings.HasPrefix(b.name, *only) && !strings.HasPrefix(*only, b.name) {
			continue
		}
		ran++
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s …\n", b.name)
		err := func() error {
			h, err := newHost(time.Duration(*seconds * float64(time.Second)))
			if err != nil {
				return err
			}
			defer h.close()
			results, err := b.run(ctx, h)
			for _, r := range results {
				if err := out.Encode(r); err != nil {
					return err
				}
			}
			return err
		}()
		if err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "%s: %v\n", b.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f s\n", b.name, time.Since(began).Seconds())
	}
	if ran == 0 {
		fmt.Fprintf(os.Stderr, "no benchmark begins with %q\n", *only)
		return 2
	}
	return min(failed, 1)
}

// compare runs ours and raw in turn, five times and until ours has run for
// least in all, and gives the medians.
func compare(name, unit, goal string, least time.Duration, ours, raw func() (float64, error)) (result, error) {
	var a, b []float64
	for ran := time.Duration(0); len(a) < pairs || ran < least; {
		began := time.Now()
		v, err := ours()
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", name, err)
		}
		ran += time.Since(began)
		w, err := raw()
		if err != nil {
			return result{}, fmt.Errorf("%s: raw: %w", name, err)
		}
		a, b = append(a, v), append(b, w)
		fmt.Fprintf(os.Stderr, "  %.0f against %.0f\n", v, w)
	}
	v, w := median(a), median(b)
	return result{Bench: name, Value: round(v), Unit: unit, Raw: round(w), Ratio: round(v / w), Goal: goal}, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// quantile of sorted values, 0 to 1.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// round keeps three significant digits or so, for people.
func round(v float64) float64 {
	switch {
	case v >= 100:
		return float64(int64(v + .5))
	default:
		return float64(int64(v*1000+.5)) / 1000
	}
}
