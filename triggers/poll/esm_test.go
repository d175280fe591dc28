package poll

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// recorder is a function that writes down how it is invoked, in one line each, and in tumbling
// windows adds up what it sees: its state is {"seen": […]}, and the final invocation emits that to
// the stream out, if emit is set.
type recorder struct {
	mu    sync.Mutex
	lines []string
	fail  func(data []string, final bool, n int) runtime.Outcome // n: invocations before; nil: all is well
	takes time.Duration
	emit  bool
}

func (c *recorder) handle(inv *runtime.Invocation) runtime.Result {
	var data []string
	for i := range inv.Batch.Records {
		data = append(data, string(inv.Batch.Records[i].Data))
	}
	line, w := fmt.Sprint(data), inv.Batch.Window
	if w != nil {
		line += fmt.Sprintf(" in %s-%s", w.Start.Format("04:05"), w.End.Format("04:05"))
		if len(w.State) > 0 && len(w.State) < 1000 {
			line += " " + string(w.State)
		}
		if w.Final {
			line = strings.Replace(line, "[]", "final", 1)
		}
		if w.TerminatedEarly {
			line += " early"
		}
	}
	c.mu.Lock()
	n := len(c.lines)
	c.lines = append(c.lines, line)
	c.mu.Unlock()
	time.Sleep(c.takes)
	res := runtime.Result{Outcome: runtime.Done}
	if c.fail != nil {
		res.Outcome = c.fail(data, w != nil && w.Final, n)
	}
	failed := -1
	switch res.Outcome {
	case runtime.Done:
	case runtime.Partial:
		for i := range data {
			if strings.HasPrefix(data[i], "bad") && failed < 0 {
				failed = i
				res.Failures = []string{inv.Batch.Records[i].Sequence}
			}
		}
		res.ErrorType = runtime.TypeItemFailures
	default:
		res.ErrorType, res.ErrorMessage = "Oops", "no"
		return res
	}
	if w == nil {
		return res
	}
	var state struct {
		Seen []string `json:"seen"`
		Pad  string   `json:"pad,omitempty"`
	}
	if len(w.State) > 0 {
		if err := json.Unmarshal(w.State, &state); err != nil {
			panic(err)
		}
	}
	if failed >= 0 {
		data = data[:failed]
	}
	state.Seen = append(state.Seen, data...)
	if slices.Contains(data, "large") {
		state.Pad = strings.Repeat("x", triggers.MaxState)
	}
	if !w.Final {
		res.State, _ = json.Marshal(state)
	} else if c.emit {
		sum, _ := json.Marshal(state)
		res.Emits = []runtime.Emit{{Stream: "out", PartitionKey: "k", Data: sum, Item: -1}}
	}
	return res
}

func (c *recorder) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines)
}

func failsOn(outcome runtime.Outcome, what ...string) func([]string, bool, int) runtime.Outcome {
	return func(data []string, final bool, _ int) runtime.Outcome {
		for _, w := range what {
			if slices.Contains(data, w) || w == "final" && final {
				return outcome
			}
		}
		return runtime.Done
	}
}

// aged puts records that arrived so long ago. They must be the first of their shard.
func (r *rig) aged(by time.Duration, data ...string) {
	r.t.Helper()
	desc := r.describe()
	sh, err := r.streams.Shard(r.t.Context(), desc.ID, desc.Shards[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	recs := make([]log.Record, len(data))
	for i, d := range data {
		recs[i] = log.Record{Key: "k", Data: []byte(d), Arrival: time.Now().Add(-by).UnixMilli()}
	}
	if _, err := sh.Log().Append(r.t.Context(), recs); err != nil {
		r.t.Fatal(err)
	}
}

// told is a notice, as far as the rules of esm.md 6 say what it is.
func told(n triggers.Notice) string {
	var body struct {
		RequestContext struct {
			Condition string `json:"condition"`
			Count     int    `json:"approximateInvokeCount"`
		} `json:"requestContext"`
		ResponseContext *struct {
			FunctionError *string `json:"functionError"`
		} `json:"responseContext"`
		Info struct {
			Size  int    `json:"batchSize"`
			First string `json:"startSequenceNumber"`
			Last  string `json:"endSequenceNumber"`
		} `json:"KinesisBatchInfo"`
	}
	if err := json.Unmarshal(n.Body, &body); err != nil {
		return err.Error()
	}
	response := "no response"
	if c := body.ResponseContext; c != nil && c.FunctionError != nil {
		response = *c.FunctionError
	} else if c != nil {
		response = "null"
	}
	one := ""
	if body.Info.First == body.Info.Last {
		one = ", one"
	}
	return fmt.Sprintf("%s: %d invocations, %s, batch of %d%s", body.RequestContext.Condition, body.RequestContext.Count, response, body.Info.Size, one)
}

// TestMappingsRunAsOnAWS has a row for each rule of esm.md, sections 3.5, 4, 5 and 6, of which the
// whole way decides: records stored, the machine, the journal, the relay. Those of how replies are read
// are package runtime's.
func TestMappingsRunAsOnAWS(t *testing.T) {
	second := time.Second
	windows := triggers.Config{BatchSize: 2, Tumbling: time.Minute}
	with := func(c triggers.Config, change func(*triggers.Config)) triggers.Config {
		change(&c)
		return c
	}
	tests := []struct {
		rule   string
		config triggers.Config
		fail   func([]string, bool, int) runtime.Outcome
		takes  time.Duration
		before func(r *rig) // the mapping is made; nil: r0 to r3 are put
		after  func(r *rig) // it is
		want   string       // the invocations
		told   string       // the destination, if there is one
	}{
		// 3.5 tumbling windows
		{rule: "3.5 windows are aligned to their length; the first invocation has an empty state, each has what the one before has returned, the final one no records",
			config: windows, after: func(*rig) { time.Sleep(62 * second) },
			want: `[r0 r1] in 00:00-01:00; [r2 r3] in 00:00-01:00 {"seen":["r0","r1"]}; final in 00:00-01:00 {"seen":["r0","r1","r2","r3"]}`},
		{rule: "3.5 an invocation never has records of two windows; the next window starts with an empty state",
			config: with(windows, func(c *triggers.Config) { c.BatchSize = 10 }), before: func(r *rig) {
				r.put("k", "a")
				time.Sleep(60 * second)
				r.put("k", "b", "c")
			}, after: func(*rig) { time.Sleep(62 * second) },
			want: `[a] in 00:00-01:00; final in 00:00-01:00 {"seen":["a"]}; [b c] in 01:00-02:00; final in 01:00-02:00 {"seen":["b","c"]}`},
		{rule: "3.5 a failing final invocation blocks the shard until it succeeds; neither MaximumRetryAttempts nor MaximumRecordAge give it up",
			config: with(windows, func(c *triggers.Config) { c.Retries, c.RecordAge = ptr(0), time.Minute }),
			fail: func(_ []string, final bool, n int) runtime.Outcome {
				if final && n < 5 {
					return runtime.FunctionError
				}
				return runtime.Done
			},
			before: func(r *rig) { r.put("k", "a") },
			after:  func(r *rig) { time.Sleep(62 * second); r.put("k", "b"); time.Sleep(5 * second) },
			want:   `[a] in 00:00-01:00; ` + strings.Repeat(`final in 00:00-01:00 {"seen":["a"]}; `, 5) + `[b] in 01:00-02:00`},
		{rule: "3.5 a state of more than 1 MB closes the window early",
			config: with(windows, func(c *triggers.Config) { c.BatchSize = 1 }), before: func(r *rig) { r.put("k", "a", "large", "b") },
			want: `[a] in 00:00-01:00; [large] in 00:00-01:00 {"seen":["a"]}; final in 00:00-01:00 early; [b] in 00:00-01:00`},
		{rule: "3.5 the end of the shard closes the window; child shards start fresh",
			config: windows, before: func(r *rig) { r.put("k", "a"); r.split(0); r.put("k", "b") },
			want: `[a] in 00:00-01:00; final in 00:00-01:00 {"seen":["a"]} early; [b] in 00:00-01:00`},
		{rule: "3.5 a reply may have state and batchItemFailures: what is before the failure counts, the state is taken",
			config: with(windows, func(c *triggers.Config) { c.BatchSize, c.PartialReplies, c.Retries = 4, true, ptr(0) }), fail: failsOn(runtime.Partial, "bad"),
			before: func(r *rig) { r.put("k", "a", "bad", "b") },
			want:   `[a bad b] in 00:00-01:00; [bad b] in 00:00-01:00 {"seen":["a"]}`},
		{rule: "3.5 MaximumRetryAttempts applies to the invocations with records; what is given up leaves no state",
			config: with(windows, func(c *triggers.Config) { c.BatchSize, c.Retries = 1, ptr(1) }), fail: failsOn(runtime.FunctionError, "bad"),
			before: func(r *rig) { r.put("k", "a", "bad", "b") },
			want:   `[a] in 00:00-01:00; [bad] in 00:00-01:00 {"seen":["a"]}; [bad] in 00:00-01:00 {"seen":["a"]}; [b] in 00:00-01:00 {"seen":["a"]}`},
		{rule: "3.5 bisect within a window: each half has the state that the one before has left",
			config: with(windows, func(c *triggers.Config) { c.BatchSize, c.Retries, c.Bisect = 4, ptr(0), true }), fail: failsOn(runtime.FunctionError, "bad"),
			before: func(r *rig) { r.put("k", "a", "b", "bad", "c") },
			want: `[a b bad c] in 00:00-01:00; [a b] in 00:00-01:00; [bad c] in 00:00-01:00 {"seen":["a","b"]}; [bad] in 00:00-01:00 {"seen":["a","b"]}; ` +
				`[c] in 00:00-01:00 {"seen":["a","b"]}`},
		{rule: "3.5 a window outlives a restart", config: windows, before: func(r *rig) { r.put("k", "a", "b") },
			after: func(r *rig) { r.drain(); r.stop(); r.start(); r.put("k", "c"); time.Sleep(62 * second) },
			want:  `[a b] in 00:00-01:00; [c] in 00:00-01:00 {"seen":["a","b"]}; final in 00:00-01:00 {"seen":["a","b","c"]}`},
		{rule: "3.5 ours: windows of another length begin when the one under way is closed, early",
			config: windows, before: func(r *rig) { r.put("k", "a") }, after: func(r *rig) {
				r.drain()
				if _, err := r.m.Update(r.t.Context(), "t", func(c *triggers.Config) { c.Tumbling = 30 * second }); err != nil {
					r.t.Fatal(err)
				}
				r.put("k", "b")
			},
			want: `[a] in 00:00-01:00; final in 00:00-01:00 {"seen":["a"]} early; [b] in 00:00-00:30`},

		// 4 batching
		{rule: "4 one shard, one batch at a time: the second starts when the first has ended", config: triggers.Config{BatchSize: 2}, takes: 5 * second,
			after: func(r *rig) {
				time.Sleep(4 * second)
				if n := len(r.fn.seen()); n != 1 {
					r.t.Errorf("%d batches after 4 s", n)
				}
			}, want: "[r0 r1]; [r2 r3]"},
		{rule: "4 a batch goes when it has BatchSize records", config: triggers.Config{BatchSize: 3, Window: 300 * second},
			after: func(*rig) { time.Sleep(299 * second) }, want: "[r0 r1 r2]"},
		{rule: "4 or when the batching window is over", config: triggers.Config{BatchSize: 3, Window: 300 * second},
			after: func(*rig) { time.Sleep(301 * second) }, want: "[r0 r1 r2]; [r3]"},
		{rule: "4 filters run before a record is counted into the batch", config: triggers.Config{BatchSize: 2, Filters: []string{`{"data":{"a":[1]}}`}},
			before: func(r *rig) { r.put("k", `{"a":1}`, `{"a":2}`, "x", `{"a":1,"b":2}`, `{"a":2}`, `{"a":1}`) }, want: `[{"a":1} {"a":1,"b":2}]; [{"a":1}]`},
		{rule: "4 a poll of filtered records only: no invocation, and the checkpoint moves on", config: triggers.Config{Filters: []string{`{"data":{"a":[1]}}`}},
			after: func(r *rig) { r.drain() }},

		// 5 what counts as success
		{rule: "5 without ReportBatchItemFailures a reply that names failed items is success", config: triggers.Config{BatchSize: 4}, fail: failsOn(runtime.Partial, "r1"),
			want: "[r0 r1 r2 r3]"},
		{rule: "5 with it the lowest sequence number is where the rest begins, also of those that succeeded behind it",
			config: triggers.Config{BatchSize: 4, PartialReplies: true, Retries: ptr(0)}, fail: failsOn(runtime.Partial, "bad"),
			before: func(r *rig) { r.put("k", "a", "b", "bad", "c") }, want: "[a b bad c]; [bad c]"},
		{rule: "5 an error fails the whole batch", config: triggers.Config{BatchSize: 4, PartialReplies: true, Retries: ptr(1)}, fail: failsOn(runtime.FunctionError, "r2"),
			want: "[r0 r1 r2 r3]; [r0 r1 r2 r3]"},
		{rule: "5 so does a timeout", config: triggers.Config{BatchSize: 4, Retries: ptr(1)}, fail: failsOn(runtime.Timeout, "r2"), want: "[r0 r1 r2 r3]; [r0 r1 r2 r3]"},
		{rule: "5 a partial failure is no function error: functionError null", config: triggers.Config{BatchSize: 1, PartialReplies: true, Retries: ptr(0), OnFailure: "x"},
			fail: failsOn(runtime.Partial, "bad"), before: func(r *rig) { r.put("k", "bad") }, want: "[bad]",
			told: "RetryAttemptsExhausted: 1 invocations, null, batch of 1, one"},
		{rule: "5 a thrown error is: functionError Unhandled", config: triggers.Config{BatchSize: 1, Retries: ptr(0), OnFailure: "x"},
			fail: failsOn(runtime.FunctionError, "bad"), before: func(r *rig) { r.put("k", "bad") }, want: "[bad]",
			told: "RetryAttemptsExhausted: 1 invocations, Unhandled, batch of 1, one"},

		// 6.1 counting
		{rule: "6.1.1 recorded: 1 retry, approximateInvokeCount 2", config: triggers.Config{BatchSize: 3, Retries: ptr(1), OnFailure: "x"}, fail: failsOn(runtime.FunctionError, "r0"),
			before: func(r *rig) { r.put("k", "r0", "r1", "r2") }, want: "[r0 r1 r2]; [r0 r1 r2]", told: "RetryAttemptsExhausted: 2 invocations, Unhandled, batch of 3"},
		{rule: "6.1.1 recorded: 2 retries, 3", config: triggers.Config{BatchSize: 1, Retries: ptr(2), OnFailure: "x"}, fail: failsOn(runtime.FunctionError, "a"),
			before: func(r *rig) { r.put("k", "a") }, want: "[a]; [a]; [a]", told: "RetryAttemptsExhausted: 3 invocations, Unhandled, batch of 1, one"},
		{rule: "6.1.2 throttles retry without counting", config: triggers.Config{BatchSize: 1, Retries: ptr(1), OnFailure: "x"},
			fail: func(data []string, _ bool, n int) runtime.Outcome {
				return []runtime.Outcome{runtime.Throttled, runtime.FunctionError, runtime.Throttled, runtime.Infrastructure, runtime.FunctionError}[n]
			}, before: func(r *rig) { r.put("k", "a") }, want: "[a]; [a]; [a]; [a]; [a]", told: "RetryAttemptsExhausted: 5 invocations, Unhandled, batch of 1, one"},
		{rule: "6.1.3 recorded: progress resets the quota; record 6 is delivered five times, approximateInvokeCount 4, batchSize 1",
			config: triggers.Config{BatchSize: 3, Retries: ptr(3), PartialReplies: true, OnFailure: "x"}, fail: failsOn(runtime.Partial, "bad6"),
			before: func(r *rig) { r.put("k", "1", "2", "3", "4", "5", "bad6") }, want: "[1 2 3]; [4 5 bad6]; [bad6]; [bad6]; [bad6]; [bad6]",
			told: "RetryAttemptsExhausted: 4 invocations, null, batch of 1, one"},
		{rule: "6.1.4 the first record named is no progress", config: triggers.Config{BatchSize: 2, Retries: ptr(1), PartialReplies: true, OnFailure: "x"},
			fail: failsOn(runtime.Partial, "bad"), before: func(r *rig) { r.put("k", "bad", "b") }, want: "[bad b]; [bad b]",
			told: "RetryAttemptsExhausted: 2 invocations, null, batch of 2"},
		{rule: "6.1.5 a discarded batch is told of and passed", config: triggers.Config{BatchSize: 2, Retries: ptr(0), OnFailure: "x"}, fail: failsOn(runtime.FunctionError, "r0"),
			want: "[r0 r1]; [r2 r3]", told: "RetryAttemptsExhausted: 1 invocations, Unhandled, batch of 2"},
		{rule: "6.1.6 while a batch is retried nothing else of the shard is delivered", config: triggers.Config{BatchSize: 2, Retries: ptr(2)}, fail: failsOn(runtime.FunctionError, "r0"),
			want: "[r0 r1]; [r0 r1]; [r0 r1]; [r2 r3]"},

		// 6.2 age
		{rule: "6.2 recorded: one record of 80 s and five fresh ones, limit 60 s: one is told of with batchSize 1 and no responseContext, five go in one batch",
			config: triggers.Config{BatchSize: 10, RecordAge: time.Minute, Retries: ptr(0), OnFailure: "x"},
			before: func(r *rig) { r.aged(80*second, "old"); r.put("k", "1", "2", "3", "4", "5") }, want: "[1 2 3 4 5]",
			told: "RecordAgeExceeded: 1 invocations, no response, batch of 1, one"},
		{rule: "6.2 it is looked at before each invocation: retrying for ever ends with the record's age", config: triggers.Config{BatchSize: 1, RecordAge: time.Minute, Backoff: 25 * second, OnFailure: "x"},
			fail: failsOn(runtime.FunctionError, "a"), before: func(r *rig) { r.put("k", "a") }, after: func(r *rig) {
				time.Sleep(50 * second)
				r.put("k", "b")
				time.Sleep(50 * second)
			},
			want: "[a]; [a]; [b]", told: "RecordAgeExceeded: 2 invocations, no response, batch of 1, one"},

		// 6.4 bisect
		{rule: "6.4 eight records, the sixth is poison, one retry", config: triggers.Config{BatchSize: 8, Retries: ptr(1), Bisect: true, OnFailure: "x"}, fail: failsOn(runtime.FunctionError, "6"),
			before: func(r *rig) { r.put("k", "1", "2", "3", "4", "5", "6", "7", "8") },
			want:   "[1 2 3 4 5 6 7 8]; [1 2 3 4]; [5 6 7 8]; [5 6]; [5]; [6]; [6]; [7 8]", told: "RetryAttemptsExhausted: 2 invocations, Unhandled, batch of 1, one"},
		{rule: "6.4 without retries halves are still tried, once each", config: triggers.Config{BatchSize: 4, Retries: ptr(0), Bisect: true}, fail: failsOn(runtime.FunctionError, "r1"),
			want: "[r0 r1 r2 r3]; [r0 r1]; [r0]; [r1]; [r2 r3]"},
		{rule: "6.4 with both features on a partial reply splits at the sequence number reported, and the rest is not halved",
			config: triggers.Config{BatchSize: 8, Retries: ptr(0), Bisect: true, PartialReplies: true}, fail: func(data []string, _ bool, n int) runtime.Outcome {
				if n == 0 {
					return runtime.Partial
				}
				return runtime.Done
			}, before: func(r *rig) { r.put("k", "1", "bad", "3", "4", "5", "6", "7", "8") }, want: "[1 bad 3 4 5 6 7 8]; [bad 3 4 5 6 7 8]"},
		{rule: "6.4 an exception halves, with both on too", config: triggers.Config{BatchSize: 4, Retries: ptr(0), Bisect: true, PartialReplies: true}, fail: failsOn(runtime.FunctionError, "r3"),
			want: "[r0 r1 r2 r3]; [r0 r1]; [r2 r3]; [r2]; [r3]"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1)
				defer r.close()
				c := &recorder{fail: tt.fail, takes: tt.takes}
				r.fn.handler = c.handle
				if tt.before == nil {
					r.put("k", "r0", "r1", "r2", "r3")
				} else {
					tt.before(r)
				}
				backoff := tt.config.Backoff
				config := from(tt.config)
				if backoff > 0 {
					config.Backoff = backoff
				}
				if config.OnFailure != "" {
					config.OnFailure = stream.Local("told").ARN()
				}
				if _, err := r.m.Create(t.Context(), "t", config, true); err != nil {
					t.Fatal(err)
				}
				if tt.after != nil {
					tt.after(r)
				}
				if tt.config.Window == 0 {
					r.drain()
				}
				synctest.Wait()
				if got := strings.Join(c.all(), "; "); got != tt.want {
					t.Errorf("invoked\n%s\nwant\n%s", got, tt.want)
				}
				var notices []string
				for _, n := range r.told.all() {
					notices = append(notices, told(n))
				}
				if got := strings.Join(notices, "; "); got != tt.told {
					t.Errorf("told\n%s\nwant\n%s", got, tt.told)
				}
			})
		})
	}
}
