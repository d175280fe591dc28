package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
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
			payload, from, err := []byte(data), "--data", error(nil)
			switch {
			case file == "-":
				from = "standard input"
				payload, err = readAll(c.in)
			case file != "":
				from = file
				payload, err = os.ReadFile(file)
			case len(records) > 0:
				payload = kinesisEvent(records, keys, time.Now())
			}
			if err != nil {
				return err
			}
			if given > 0 {
				if err := isEvent(payload, from, args[0]); err != nil {
					return err
				}
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
				c.remedy(cmd.Context(), failed, v)
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

// isEvent says what is wrong with a payload that somebody gave.
func isEvent(payload []byte, from, function string) error {
	var raw json.RawMessage
	err := json.Unmarshal(payload, &raw)
	if err == nil {
		return nil
	}
	e := admin.NewError(admin.CodeInput, "%s is not JSON: %v", from, err)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		e.Message += fmt.Sprintf(", at byte %d of %d", syntax.Offset, len(payload))
		e.With("offset", syntax.Offset)
	}
	if len(bytes.TrimSpace(payload)) == 0 {
		e.Message = from + " is empty; want an event in JSON, {} at the least"
	}
	e.Actions = []admin.Action{{Text: "call it with a stream's event of any data", Command: "wasmill fn invoke " + function + " --record TEXT"},
		{Text: "or write an event, and change what is to be other", Command: "wasmill event gen kinesis --data TEXT -o event.json"}}
	return e
}

// allowHint finds what the door says would have to be allowed.
var allowHint = regexp.MustCompile(`fn update --allow (\S+)`)

func placeToAllow(message string) string {
	if hint := allowHint.FindStringSubmatch(message); hint != nil {
		return strings.TrimRight(hint[1], `"'),.;`)
	}
	return ""
}

// remedy puts commands into the error of a call that can be pasted as they are.
func (c *cli) remedy(ctx context.Context, e *admin.Error, v admin.Invocation) {
	place := placeToAllow(v.ErrorMessage)
	if place == "" && v.Outcome != runtime.Throttled.String() {
		return
	}
	fn, err := c.server().Function(ctx, v.Function, "")
	if err != nil {
		return // there is an error to tell of already
	}
	if place != "" {
		e.Actions = slices.Insert(e.Actions, 0, allowActions(fn, place)...)
		return
	}
	if fn.Concurrency != nil {
		more := strconv.Itoa(2 * *fn.Concurrency)
		text := fmt.Sprintf("let more than %s run at once", plural(*fn.Concurrency, "call"))
		if *fn.Concurrency == 0 {
			more, text = "none", "its concurrency is 0, so that no call runs; let calls run again"
			e.Actions = nil // calling again is in vain
		}
		e.Do(text, "wasmill fn update "+fn.Name+" --concurrency "+more)
	}
}

// allowActions say how a place comes onto the list of what a function may dial.
func allowActions(fn admin.Function, place string) []admin.Action {
	all := slices.Clone(fn.Allow)
	if !slices.Contains(all, place) {
		all = append(all, place)
	}
	command, items := "wasmill fn update "+fn.Name, make([]string, len(all))
	for i, pattern := range all {
		command += " --allow " + quoteAll([]string{pattern})[0]
		items[i] = strconv.Quote(pattern)
	}
	text := "allow it"
	if len(fn.Allow) > 0 {
		text += ", beside what is allowed already"
	}
	return []admin.Action{{Text: text, Command: command},
		{Text: fmt.Sprintf("or, where wasmill.toml says it, put this above its first [[trigger]] and deploy: allow = [%s]", strings.Join(items, ", "))}}
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
		if v.Concurrency != nil && *v.Concurrency == 0 {
			c.say("function %s, version %s, would be throttled: its concurrency is 0, so that no call runs; nothing was called", v.Name, v.Version)
			c.say("  next: wasmill fn update %s --concurrency none", v.Name)
			return c.done(map[string]any{"function": v.Name, "version": v.Version, "called": false, "throttled": true}, nil)
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
// memory dumps all of its goroutines. What was said of the failure itself, in
// Lambda's form and in ours, is told already but for its stack.
func logEnd(v admin.Invocation) string {
	const most = 20
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(printable(v.Log), "\n"), "\n") {
		if stack, is := ofFailure(line, v); is {
			lines = append(lines, stack...)
			continue
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return ""
	}
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

// ofFailure says whether a line of a call's log is what the runtime of its language,
// or the server, tells of its failure, and gives the stack in it.
func ofFailure(line string, v admin.Invocation) (stack []string, is bool) {
	whole := v.ErrorType + ": " + v.ErrorMessage
	if line == printable(whole) {
		return nil, true
	}
	at := strings.IndexByte(line, '{')
	if at < 0 {
		return nil, false
	}
	var told struct {
		ErrorType, ErrorMessage string
		Stack                   []string          // of JavaScript
		StackTrace              []json.RawMessage // of Go
	}
	if json.Unmarshal([]byte(line[at:]), &told) != nil || told.ErrorType != v.ErrorType || told.ErrorMessage != v.ErrorMessage || len(told.StackTrace) > 0 {
		return nil, false
	}
	if len(told.Stack) > 0 && told.Stack[0] == whole {
		return told.Stack[1:], true
	}
	return told.Stack, true
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
