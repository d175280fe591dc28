package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
)

func (c *cli) trigger() *cobra.Command {
	cmd := c.nounCommand("trigger", "Triggers: a function called with a stream's records",
		c.triggerCreate(), c.triggerLs(), c.triggerGet(), c.triggerUpdate(),
		c.triggerSwitch("pause", "Stop a trigger at its checkpoint", "paused", (*admin.Client).PauseTrigger),
		c.triggerSwitch("resume", "Let a paused trigger go on at its checkpoint", "resumed", (*admin.Client).ResumeTrigger),
		c.triggerWait(), c.triggerSeek(), c.triggerExplain(), c.triggerTestFilter(), c.triggerRm())
	cmd.Aliases = []string{"triggers"}
	return cmd
}

// triggerFlags are the settings create and update share.
type triggerFlags struct {
	fn                       string
	batch, parallel, retries int
	window, age, backoff     durationFlag
	bisect, partial, skip    bool
	unpack                   bool
	filters                  []string
	noFilters, strict        bool
	tumbling                 durationFlag
	onFailure, onDestination string
}

func (t *triggerFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.fn, "fn", "", "the `function` to call, or FUNCTION:VERSION")
	f.IntVar(&t.batch, "batch-size", 100, "the most `records` of a call, 1 to 10000")
	f.Var(&t.window, "window", "how long a first record waits for company, 0s to 300s (default 0s)")
	f.IntVar(&t.parallel, "parallel", 1, "`batches` of a shard under way at once, 1 to 10; order holds per key")
	f.IntVar(&t.retries, "retries", -1, "how `many` times a failing batch is tried again, to 10000; -1: for ever")
	f.Var(&t.age, "record-age", "age at which a record is given up, 60s to 7d; 0s: never (default 0s)")
	f.BoolVar(&t.bisect, "bisect", false, "halve a failing batch, so that a poisoned record ends alone")
	f.BoolVar(&t.partial, "partial-replies", false, "let the function name the records that failed (ReportBatchItemFailures)")
	f.Var(&t.backoff, "backoff", "first wait before the same batch is tried again, doubling to 60s (default 500ms)")
	f.BoolVar(&t.unpack, "deaggregate", false, "unpack records that the Kinesis Producer Library has packed into one; it is retried and buried as one")
	f.StringArrayVar(&t.filters, "filter", nil, "`pattern` of records that go to the function, or @FILE that holds it; of several, one has to match")
	f.BoolVar(&t.strict, "strict-filters", false, "refuse filters that AWS does not support in event source mappings")
	f.Var(&t.tumbling, "tumbling-window", "hand records over in windows of so long, with a state, whole seconds up to 15m (default 0s: none)")
	f.StringVar(&t.onFailure, "on-failure", "", "where to tell of discarded batches: a `stream`, the ARN of one or of an S3 bucket, or file:///DIR; none: nowhere")
	f.StringVar(&t.onDestination, "on-destination-failure", "retry", "what to do if that cannot be told: `retry` for ever, or drop")
	f.BoolVar(&t.skip, "skip-corrupt", false, "pass records damaged on disk as a counted gap instead of stopping their shard")
}

// spec holds what was said and nothing else, so that the rest stays or takes the server's default.
func (c *cli) triggerSpec(cmd *cobra.Command, t *triggerFlags) (s admin.TriggerSpec, err error) {
	said := cmd.Flags().Changed
	if said("fn") {
		fn, qualifier, _ := strings.Cut(t.fn, ":")
		s.Function, s.Qualifier = &fn, &qualifier
	}
	give(said("batch-size"), &s.BatchSize, t.batch)
	give(said("parallel"), &s.Parallel, t.parallel)
	give(said("retries"), &s.Retries, t.retries)
	give(said("window"), &s.Window, admin.Duration(t.window))
	give(said("record-age"), &s.RecordAge, admin.Duration(t.age))
	give(said("backoff"), &s.Backoff, admin.Duration(t.backoff))
	give(said("bisect"), &s.Bisect, t.bisect)
	give(said("partial-replies"), &s.PartialReplies, t.partial)
	give(said("deaggregate"), &s.Deaggregate, t.unpack)
	give(said("skip-corrupt"), &s.SkipCorrupt, t.skip)
	give(said("strict-filters"), &s.StrictFilters, t.strict)
	give(said("tumbling-window"), &s.TumblingWindow, admin.Duration(t.tumbling))
	if said("filter") || t.noFilters {
		all, err := patterns(t.filters)
		if err != nil {
			return s, err
		}
		set, err := c.compile(all, filter.Options{Strict: t.strict})
		if err != nil {
			return s, err
		}
		c.warnAll(never(set, len(all)))
		s.Filters = &all
	}
	if t.onFailure, err = destination(t.onFailure); err != nil {
		return s, usageError{fmt.Errorf("--on-failure %w", err)}
	}
	give(said("on-failure"), &s.OnFailure, t.onFailure)
	switch t.onDestination {
	case "retry":
		t.onDestination = ""
	case triggers.Drop:
	default:
		return s, usageError{fmt.Errorf("--on-destination-failure %s: want retry or %s", t.onDestination, triggers.Drop)}
	}
	give(said("on-destination-failure"), &s.OnDestinationFailure, t.onDestination)
	return s, nil
}

// destination is what is meant by where notices are to go: "none" is nowhere, and a name alone is
// that of a stream.
func destination(text string) (string, error) {
	switch {
	case text == "none":
		return "", nil
	case text == "" || strings.HasPrefix(text, "arn:") || strings.HasPrefix(text, "file:///"):
		return text, nil
	case strings.HasPrefix(text, "file://") && filepath.IsAbs(filepath.FromSlash(text[len("file://"):])): // of Windows
		return text, nil
	case strings.HasPrefix(text, "file:") || strings.ContainsAny(text, `/\`) && !strings.Contains(text, "://"):
		path, err := filepath.Abs(filepath.FromSlash(strings.TrimPrefix(strings.TrimPrefix(text, "file://"), "file:")))
		if err != nil {
			return "", err
		}
		return "", fmt.Errorf("%s: want the whole path of a directory: file://%s", text, filepath.ToSlash(path))
	}
	if stream.Local(text).Validate() != nil {
		return text, nil // the server says what it is not
	}
	return stream.Local(text).ARN(), nil
}

func give[T any](said bool, to **T, v T) {
	if said {
		*to = &v
	}
}

func (c *cli) triggerCreate() *cobra.Command {
	var flags triggerFlags
	var streamName, from string
	var paused, ifNotExists bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Have a function called with a stream's records", Args: takes("NAME"),
		Long: help("Joins a stream and a function: the function is called with batches of the stream's records, in order",
			"per partition key, each at least once. A batch that fails is tried again; with --bisect it is halved",
			"until the poisoned record stands alone. What exceeds --retries or --record-age becomes a dead letter.",
			"",
			"--from says where it starts in the shards there are: trim-horizon (the oldest record, the default),",
			"latest, or a time (2026-01-02T15:04:05Z, -15m, @1767366245). Undo it with: wasmill trigger rm NAME",
			"",
			"--filter passes by what the function does not want, in the patterns of AWS's FilterCriteria; try them with",
			"wasmill trigger test-filter. --on-failure tells of each batch that is given up, beside its dead letters."),
		Example: help("  wasmill trigger create enrich --stream orders --fn enrich",
			"  wasmill trigger create enrich --stream orders --fn enrich:3 --from latest --batch-size 500 --window 2s \\",
			"      --parallel 4 --retries 5 --bisect",
			"  wasmill trigger create big --stream orders --fn enrich --filter '{\"data\": {\"total\": [{\"numeric\": [\">\", 100]}]}}'"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "stream", "fn"); err != nil {
				return err
			}
			spec, err := c.triggerSpec(cmd, &flags)
			if err != nil {
				return err
			}
			spec.Name, spec.Stream, spec.From, spec.Paused = args[0], streamName, from, paused
			if _, err := admin.ParseFrom(from, time.Now()); err != nil {
				return usageError{fmt.Errorf("--from %w", err)}
			}
			v, err := c.server().CreateTrigger(cmd.Context(), spec)
			if e, ok := errors.AsType[*admin.Error](err); ok && ifNotExists && e.Code == admin.CodeTriggerExists && e.Details["trigger"] == spec.Name {
				if v, err = c.server().Trigger(cmd.Context(), spec.Name); err == nil {
					c.say("trigger %s exists already and stays as it is", spec.Name)
				}
			} else if err == nil {
				c.say("created trigger %s: %s calls %s, from %s", v.Name, v.Stream, target(v), v.From)
				c.say("  next: wasmill trigger get %s", v.Name)
				c.say("  undo: wasmill trigger rm %s", v.Name)
			}
			if err != nil {
				return err
			}
			return c.done(v, nil)
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&streamName, "stream", "", "the `stream` to read")
	f.StringVar(&from, "from", "trim-horizon", "`place` to start at")
	f.BoolVar(&paused, "paused", false, "create it without starting it")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "accept a trigger that is there already, as it is")
	cmd.RegisterFlagCompletionFunc("stream", c.flagNames(streamNames))
	cmd.RegisterFlagCompletionFunc("fn", c.flagNames(functionNames))
	return cmd
}

func target(v admin.Trigger) string {
	if v.Qualifier == "" {
		return v.Function
	}
	return v.Function + ":" + v.Qualifier
}

func (c *cli) triggerLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the triggers", Args: takes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.server().Triggers(cmd.Context())
			if err != nil {
				return err
			}
			if len(all) == 0 {
				c.say("no triggers yet; next: wasmill trigger create NAME --stream STREAM --fn FUNCTION")
			}
			return c.done(map[string]any{"triggers": notNil(all)}, func(w io.Writer) {
				var rows [][]any
				heading := "NAME STREAM FUNCTION STATE BATCH PARALLEL RETRIES"
				states := make([]string, len(all))
				for i, t := range all {
					states[i] = triggerState(t)
					all[i].Problem = cmp.Or(t.Problem, t.Trouble, t.Outputs)
				}
				problems := slices.ContainsFunc(all, func(t admin.Trigger) bool { return t.Problem != "" })
				if problems {
					heading += " PROBLEM"
				}
				for i, t := range all {
					row := []any{t.Name, t.Stream, target(t), states[i], t.BatchSize, t.Parallel, attempts(t.Retries)}
					if problems {
						row = append(row, t.Problem)
					}
					rows = append(rows, row)
				}
				if rows != nil {
					table(w, heading, rows)
				}
			})
		},
	}
}

// triggerState is a trigger's state in our words where they say more than AWS's.
func triggerState(t admin.Trigger) string {
	switch {
	case t.Problem != "":
		return "stopped"
	case t.State == triggers.Disabled:
		return "paused"
	}
	return string(t.State)
}

func attempts(retries int) string {
	if retries < 0 {
		return "for ever"
	}
	return count(retries)
}

func (c *cli) triggerGet() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME|UUID", Short: "Describe a trigger and where it stands in each shard", Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Trigger(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.done(v, func(w io.Writer) { c.showTrigger(w, v) })
		},
	}
}

func (c *cli) showTrigger(w io.Writer, v admin.Trigger) {
	age := "no limit"
	if v.RecordAge > 0 {
		age = v.RecordAge.String()
	}
	var yes []string
	for _, option := range []struct {
		on   bool
		name string
	}{{v.Bisect, "bisect"}, {v.PartialReplies, "partial-replies"}, {v.Deaggregate, "deaggregate"}, {v.SkipCorrupt, "skip-corrupt"}, {v.StrictFilters, "strict-filters"}} {
		if option.on {
			yes = append(yes, option.name)
		}
	}
	facts(w, "name", v.Name, "uuid", v.ID, "state", triggerState(v), "problem", v.Problem, "trouble", v.Trouble, "not delivered", undelivered(v), "stream", v.Stream, "function", target(v), "from", v.From,
		"batch", fmt.Sprintf("%d records, window %s, %d at once per shard", v.BatchSize, v.Window, v.Parallel),
		"retries", fmt.Sprintf("%s, back-off from %s, record age %s", attempts(v.Retries), v.Backoff, age),
		"options", strings.Join(yes, ", "), "filters", strings.Join(v.Filters, " or "), "windows", tumblingText(v), "on failure", failureText(v), "last result", v.LastResult,
		"created", stamp(v.Created)+"  "+ago(v.Created))
	if len(v.Shards) == 0 {
		return
	}
	fmt.Fprintln(w)
	var rows [][]any
	for _, s := range v.Shards {
		share := 1.0
		if s.End > 0 {
			share = float64(s.Next) / float64(s.End)
		}
		rows = append(rows, []any{s.Shard, c.bar(share, 12), count(s.Lag), lagAge(s), s.InFlight, count(s.Done), count(s.Buried), shardState(s)})
	}
	heading := "SHARD READ LAG OLDEST RUNNING DONE BURIED NOW"
	if len(v.Filters) > 0 {
		heading = "SHARD READ LAG OLDEST RUNNING DONE FILTERED BURIED NOW"
		for i, s := range v.Shards {
			rows[i] = slices.Insert(rows[i], 6, any(count(s.Filtered)))
		}
	}
	table(w, heading, rows)
	if len(v.Filters) > 0 {
		c.say("FILTERED counts since the server was started; see which records pass with: wasmill trigger test-filter --trigger %s", v.Name)
	}
}

// undelivered says what of the trigger's has not got to where it belongs, and what can be done.
func undelivered(v admin.Trigger) string {
	if !strings.Contains(v.Outputs, " for arn:") && !strings.Contains(v.Outputs, " for file:") { // notices
		return v.Outputs
	}
	return fmt.Sprintf("%s; or tell another destination of those to come (wasmill trigger update %s --on-failure …), or give the notices up (wasmill trigger update %s --on-destination-failure drop)",
		v.Outputs, v.Name, v.Name)
}

// windowOpen says in a few words where the open tumbling window of a shard stands.
func windowOpen(w *admin.TriggerWindow) string {
	switch {
	case w.Attempts > 0:
		text := "the final invocation of its window fails, after " + plural(w.Attempts, "attempt")
		if !w.RetryAt.IsZero() {
			text += ", again in " + span(time.Until(w.RetryAt))
		}
		return text + prefixed("; last: ", w.LastError)
	case w.Closing:
		return "its window is being ended"
	}
	return "window open until " + stamp(w.End)
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func tumblingText(v admin.Trigger) string {
	if v.TumblingWindow == 0 {
		return ""
	}
	return "tumbling, of " + v.TumblingWindow.String()
}

// failureText says where notices of discarded batches go.
func failureText(v admin.Trigger) string {
	switch {
	case v.OnFailure == "":
		return ""
	case v.OnDestinationFailure == triggers.Drop:
		return v.OnFailure + ", dropped if it cannot be told"
	}
	return v.OnFailure
}

func lagAge(s admin.ShardProgress) string {
	if s.Lag == 0 {
		return "-"
	}
	return span(time.Duration(s.LagAge))
}

// shardState says in a few words what a shard is doing.
func shardState(s admin.ShardProgress) string {
	var parts []string
	switch {
	case s.Problem != "":
		parts = append(parts, "stopped: "+s.Problem)
	case s.Ended:
		parts = append(parts, "ended")
	case s.Window != nil && s.Window.Attempts > 0:
		parts = append(parts, windowOpen(s.Window))
	case s.Waiting > 0:
		text := fmt.Sprintf("backing off after %s", plural(s.Attempts, "attempt"))
		if !s.RetryAt.IsZero() {
			text += ", again in " + span(time.Until(s.RetryAt))
		}
		parts = append(parts, text)
	case s.InFlight > 0:
		parts = append(parts, "running")
	case strings.HasPrefix(s.WaitsFor, "waits for "): // other shards
		parts = append(parts, s.WaitsFor)
	case s.Lag == 0:
		parts = append(parts, "caught up")
		if s.Window != nil {
			parts = append(parts, windowOpen(s.Window))
		}
	}
	if s.Redriving > 0 {
		parts = append(parts, plural(s.Redriving, "dead letter")+" being redriven")
	}
	if strings.Contains(s.WaitsFor, "outputs") && !strings.HasPrefix(s.WaitsFor, "waits for ") {
		parts = append(parts, "held: "+s.WaitsFor)
	}
	if s.Gaps > 0 {
		parts = append(parts, plural(s.Gaps, "record")+" lost")
	}
	if s.LastError != "" && s.Problem == "" && !s.Ended && (s.Window == nil || s.Window.Attempts == 0) && (s.Waiting > 0 || s.LastOutcome != "done") {
		parts = append(parts, "last: "+s.LastError)
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, "; ")
}

func (c *cli) triggerUpdate() *cobra.Command {
	var flags triggerFlags
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a trigger's settings", Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		Long: help("Changes the settings that are named; the others stay. It takes effect with the next batch and moves no",
			"checkpoint."),
		Example: "  wasmill trigger update enrich --batch-size 500 --bisect\n  wasmill trigger update enrich --skip-corrupt",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := c.triggerSpec(cmd, &flags)
			if err != nil {
				return err
			}
			if spec == (admin.TriggerSpec{}) {
				return usage(cmd, "nothing to change: name at least one setting")
			}
			v, err := c.server().UpdateTrigger(cmd.Context(), args[0], spec)
			if err != nil {
				return err
			}
			c.say("updated trigger %s", v.Name)
			return c.done(v, nil)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.noFilters, "no-filters", false, "take the filters away, so that all records go to the function")
	cmd.MarkFlagsMutuallyExclusive("filter", "no-filters")
	cmd.RegisterFlagCompletionFunc("fn", c.flagNames(functionNames))
	return cmd
}

func (c *cli) triggerSwitch(verb, short, did string, do func(*admin.Client, context.Context, string) (admin.Trigger, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := do(c.server(), cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c.say("%s trigger %s", did, v.Name)
			return c.done(v, nil)
		},
	}
}

func (c *cli) triggerWait() *cobra.Command {
	var drained bool
	timeout := durationFlag(time.Minute)
	cmd := &cobra.Command{
		Use: "wait NAME --drained", Short: "Wait until a trigger has done all its work", Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		Long: help("Waits until every record that was stored before the call is resolved, by success or as a dead letter,",
			"and its dead letters can be seen with `wasmill dlq ls`. A tumbling window that is open, or whose final invocation",
			"fails, is not waited for, and said. Exit status 6 when --timeout passes first."),
		Example: "  wasmill trigger wait enrich --drained --timeout 5m",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !drained {
				return usage(cmd, "what to wait for? want --drained")
			}
			start, client := time.Now(), c.server()
			watching, stop := context.WithCancel(cmd.Context())
			watched := make(chan struct{}) // closed by the watcher
			go func() {
				defer close(watched)
				c.watch(watching, client, args[0])
			}()
			v, err := client.WaitDrained(cmd.Context(), args[0], time.Duration(timeout))
			stop()
			<-watched
			if err != nil {
				return err
			}
			var done, filtered uint64
			for _, s := range v.Shards {
				done, filtered = done+s.Done, filtered+s.Filtered
			}
			letters, _, err := client.Letters(cmd.Context(), admin.LetterFilter{Trigger: v.ID})
			if err != nil {
				return err
			}
			passed := ""
			if len(v.Filters) > 0 {
				passed = fmt.Sprintf(", %s filtered out since the server was started", count(filtered))
			}
			c.say("trigger %s is drained after %s: %s done%s, %s", v.Name, span(time.Since(start)), plural(done, "record"), passed, plural(len(letters), "dead letter"))
			c.windowsOpen(v)
			return c.done(v, nil)
		},
	}
	cmd.Flags().BoolVar(&drained, "drained", false, "until every record stored before the call is resolved")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait, up to 24h")
	return cmd
}

// windowsOpen says of a trigger that is drained which windows it has not ended.
func (c *cli) windowsOpen(v admin.Trigger) {
	open := 0
	var last *admin.TriggerWindow
	for _, s := range v.Shards {
		switch w := s.Window; {
		case w == nil:
		case w.Attempts > 0:
			c.warn(fmt.Sprintf("%s: %s; see: wasmill trigger explain %s", s.Shard, windowOpen(w), v.Name))
		default:
			if open++; last == nil || w.End.After(last.End) {
				last = w
			}
		}
	}
	if open == 1 {
		c.say("  a tumbling window is open until %s", stamp(last.End))
	} else if open > 1 {
		c.say("  tumbling windows of %s are open, the last until %s", plural(open, "shard"), stamp(last.End))
	}
}

// watch shows a trigger's progress until ctx ends.
func (c *cli) watch(ctx context.Context, client *admin.Client, name string) {
	if c.quiet || c.json {
		return
	}
	shown := c.progress()
	defer shown.clear()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		v, err := client.Trigger(ctx, name)
		if err != nil {
			continue // the wait itself will say so
		}
		var lag, done, buried uint64
		running := 0
		for _, s := range v.Shards {
			lag, done, buried, running = lag+s.Lag, done+s.Done, buried+s.Buried, running+s.InFlight
		}
		shown.show(func() string {
			line := fmt.Sprintf("%s done, %s, %s left, %d running", plural(done, "record"), plural(buried, "dead letter"), count(lag), running)
			for _, s := range v.Shards {
				if why := s.Hindrance(); why != "" {
					return line + "; " + cut(oneLine([]byte(why)), 160)
				}
			}
			return line
		})
	}
}

func (c *cli) triggerRm() *cobra.Command {
	var yes, ignore bool
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "Delete a trigger; its dead letters stay", Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Trigger(cmd.Context(), args[0])
			if ignore && hasCode(err, admin.CodeTriggerNotFound) {
				c.say("there is no trigger %s", args[0])
				return c.done(map[string]any{"name": args[0], "deleted": false}, nil)
			}
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("delete trigger %s (%s to %s) and its checkpoint for good", v.Name, v.Stream, target(v))); err != nil {
				return err
			}
			if err := c.server().DeleteTrigger(cmd.Context(), v.Name); err != nil {
				return err
			}
			c.say("deleted trigger %s", v.Name)
			return c.done(map[string]any{"name": v.Name, "deleted": true}, nil)
		},
	}
	removal(cmd, &yes, &ignore)
	return cmd
}
