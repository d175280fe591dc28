package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

func (c *cli) fnInvoke() *cobra.Command {
	var data, file, qualifier, kind string
	var records, keys []string
	var log bool
	cmd := &cobra.Command{
		Use: "invoke NAME", Short: "Call a function once and print what it returns", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		Long: help("Calls a function with a JSON payload and prints what it returns. A function that fails is exit status 1,",
			"one that runs out of time 6; the end of what it wrote is printed then, and with --tail what the server",
			"kept of it always (the last 4 KB), on standard error.",
			"",
			"--record calls it as a trigger would, with a Kinesis event of that record; repeat it for more. Each --key",
			"is the partition key of the record at its place, the last one also of those after it.",
			"",
			"Records that the reply emits go nowhere: they are only shown."),
		Example: help("  wasmill fn invoke enrich --data '{\"id\":1}'", "  wasmill fn invoke enrich --event event.json --tail",
			"  wasmill event gen sqs --data hello | wasmill fn invoke enrich --event -",
			"  wasmill fn invoke enrich --record '{\"id\":1}' --record '{\"id\":2}' --key customer-7"),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := 0
			for _, name := range []string{"data", "payload", "event", "record"} {
				if cmd.Flags().Changed(name) {
					given++
				}
			}
			if given > 1 {
				return usageError{errors.New("--data, --event and --record: want one of them")}
			}
			if len(keys) > max(1, len(records)) || len(keys) > 0 && len(records) == 0 {
				return usageError{errors.New("--key is of a --record: want no more of them than records")}
			}
			payload, err := []byte(data), error(nil)
			switch {
			case file == "-":
				payload, err = readAll(c.in)
			case file != "":
				payload, err = os.ReadFile(file)
			case len(records) > 0:
				payload = kinesisEvent(records, keys, time.Now())
			}
			if err != nil {
				return err
			}
			if len(payload) > 0 && !json.Valid(payload) {
				return admin.NewError(admin.CodeInput, "the payload is not JSON")
			}
			if k := invocationType(kind); k != "requestresponse" {
				return c.notInvoked(cmd, k, args[0], qualifier, payload)
			}
			v, err := c.server().Invoke(cmd.Context(), args[0], qualifier, payload)
			if err != nil {
				return err
			}
			failed := invocationError(v)
			if failed != nil {
				failed.With("invocation", v)
				c.after = logEnd(v)
				return failed
			}
			if log && !c.json {
				fmt.Fprint(c.err, printable(v.Log))
			}
			c.say("%s", c.paint(faint, fmt.Sprintf("%.1f ms, %s of memory, request %s", v.DurationMS, size(v.MaxMemory), v.ID)))
			return c.done(v, func(w io.Writer) {
				switch n := len(v.Response) - maxShown; {
				case n > 0 && c.outTTY: // a program gets it whole
					fmt.Fprintf(w, "%s\n", strings.ToValidUTF8(string(v.Response[:maxShown]), ""))
					c.say("the response goes on for %s; it is whole in a file or pipe, and with --json", size(n))
				case len(v.Response) > 0:
					fmt.Fprintf(w, "%s\n", v.Response)
				}
				c.sayEmits(v)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "the payload, `JSON` (default {})")
	f.StringVar(&file, "event", "", "a `file` with the payload; - is standard input; wasmill event gen writes some")
	f.StringVar(&file, "payload", "", "the same as --event")
	f.StringArrayVar(&records, "record", nil, "`data` of a record, to call it with a Kinesis event; repeatable")
	f.StringArrayVar(&keys, "key", nil, "partition `key` of a --record (default by-hand); repeatable")
	f.StringVar(&qualifier, "version", "", "a published `version` (default $LATEST)")
	f.BoolVar(&log, "tail", false, "print what the function wrote, on standard error")
	f.BoolVar(&log, "log", false, "the same as --tail")
	f.StringVar(&kind, "type", "request-response", "request-response, or dry-run: check all, and call nothing")
	cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"request-response", "dry-run"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// notInvoked serves the types of invocation that call nothing.
func (c *cli) notInvoked(cmd *cobra.Command, kind, name, qualifier string, payload []byte) error {
	switch kind {
	case "dryrun":
		v, err := c.server().Function(cmd.Context(), name, qualifier)
		if err != nil {
			return err
		}
		if len(payload) > triggers.MaxPayload {
			return admin.NewError(admin.CodeTooLarge, "the payload has %s; want at most %s", size(int64(len(payload))), size(triggers.MaxPayload))
		}
		c.say("function %s, version %s, would be called with %s of JSON; nothing was called", v.Name, v.Version, size(int64(max(len(payload), len("{}")))))
		return c.done(map[string]any{"function": v.Name, "version": v.Version, "called": false}, nil)
	case "event":
		e := admin.NewError(admin.CodeInput, "calls of type event, which a queue keeps and repeats, are not built yet; nothing was called")
		e.Actions = []admin.Action{{Text: "call it and wait for what it returns", Command: "wasmill fn invoke " + name},
			{Text: "or put a record into a stream that a trigger reads: those are kept, and repeated until they succeed", Command: "wasmill trigger create NAME --stream STREAM --fn " + name}}
		return e
	}
	return usageError{errors.New("--type: want request-response or dry-run")}
}

// invocationType takes AWS's spelling, as DryRun, and ours.
func invocationType(kind string) string { return strings.ToLower(strings.ReplaceAll(kind, "-", "")) }

// What of a record's key and data is shown where records are listed, and of a
// response on a terminal.
const (
	mostKey  = 64
	mostData = 200 // characters
	maxShown = 16 << 10
)

// sayEmits tells what a trigger's batch would have emitted.
func (c *cli) sayEmits(v admin.Invocation) {
	const most = 10
	if v.EmitProblem != "" {
		c.warn("a trigger's batch would have failed with this reply: " + v.EmitProblem)
		return
	}
	if v.EmitIgnored > 0 {
		c.warn(fmt.Sprintf(`from a trigger the reply's "emit" would be ignored: it lists %d, none of which looks like a record to emit: %s`, v.EmitIgnored, runtime.WantedEmit))
	}
	if len(v.Emits) == 0 {
		return
	}
	c.say("from a trigger this would emit %s (an invocation emits nothing):", plural(len(v.Emits), "record"))
	for _, e := range v.Emits[:min(most, len(v.Emits))] {
		c.say("  to %s, key %s: %s", e.Stream, cut(oneLine([]byte(e.PartitionKey)), mostKey), cut(oneLine(e.Data), mostData))
	}
	if n := len(v.Emits) - most; n > 0 {
		c.say("  and %d more", n)
	}
}

// kinesisEvent is the event a trigger would call a function with.
func kinesisEvent(records, keys []string, now time.Time) []byte {
	ref := stream.Local("by-hand")
	b := runtime.Batch{Shard: "shardId-000000000000", ARN: ref.ARN(), Region: ref.Region, Identity: "arn:aws:iam::" + ref.Account + ":role/wasmill"}
	for i, data := range records {
		key := "by-hand"
		if len(keys) > 0 {
			key = keys[min(i, len(keys)-1)]
		}
		seq := stream.SequenceNumber{Frame: 1, Index: uint16(i), Time: uint32(now.Unix())}
		b.Records = append(b.Records, runtime.Record{Sequence: seq.String(), PartitionKey: key, Data: []byte(data), Arrival: now.UnixMilli()})
	}
	return runtime.AppendJSON(nil, &b)
}

// logEnd is the end of what a failed call wrote: a Go program that runs out of
// memory dumps all of its goroutines.
func logEnd(v admin.Invocation) string {
	const most = 20
	lines := strings.Split(strings.TrimRight(printable(v.Log), "\n"), "\n")
	if lines[0] == "" && len(lines) == 1 {
		return ""
	}
	heading := "it wrote:"
	if len(lines) > most {
		lines = lines[len(lines)-most:]
		heading = fmt.Sprintf("the last %d lines it wrote (all of them: wasmill fn logs %s --request %s):", most, v.Function, v.ID)
	}
	return heading + "\n  " + strings.Join(lines, "\n  ") + "\n"
}

// invocationError is the error of an invocation that did not end well.
func invocationError(v admin.Invocation) *admin.Error {
	code := map[string]string{"error": admin.CodeFunctionFailed, "timeout": admin.CodeFunctionTimeout,
		"throttled": admin.CodeThrottled, "infra": admin.CodeRunFailed}[v.Outcome]
	if code == "" {
		return nil
	}
	text := v.ErrorMessage
	if v.ErrorType != "" {
		text = v.ErrorType + ": " + text
	}
	e := admin.NewError(code, "function %s: %s", v.Function, text).Named(v.Function)
	if v.ErrorType == runtime.TypeOutOfMemory {
		e.Do("give it more memory", "wasmill fn update "+v.Function+" --memory 512MB")
	}
	return e
}
