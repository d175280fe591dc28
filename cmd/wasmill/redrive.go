package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/dlq"
)

func (c *cli) dlqRedrive() *cobra.Command {
	var spec admin.RedriveSpec
	var filters []string
	var rate string
	cmd := &cobra.Command{
		Use: "redrive TRIGGER", Short: "Deliver dead letters to their function again, in order", Args: takes("TRIGGER"), ValidArgsFunction: c.names(triggerNames),
		Long: help("Delivers dead letters of a trigger to its function again: each alone and as it came, with the trigger's",
			"whole quota of retries, in order per key and before newer records of its key. One that succeeds is a dead",
			"letter no more; one that fails for good is buried again. Other triggers of the stream see nothing of it.",
			"",
			"It may be stopped and repeated at will: what is under way goes on, what is done is left alone, what is",
			"missing is completed. Exit status 1 when some failed again."),
		Example: help("  wasmill dlq redrive enrich --dry-run",
			"  wasmill dlq redrive enrich",
			"  wasmill dlq redrive enrich --filter 'error~timeout' --filter key=ci --rate 10/s",
			"  wasmill dlq redrive enrich --id 7t3k9q0azd-31nb"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, f := range filters {
				if err := addFilter(&spec, f); err != nil {
					return err
				}
			}
			if len(spec.IDs) > 0 && (len(filters) > 0 || spec.Reason != "" || spec.Error != "" || !spec.Since.IsZero() || !spec.Before.IsZero()) {
				return usage(cmd, "--id and a filter: want one of them")
			}
			if spec.Reason != "" && !slices.Contains(admin.Reasons, string(spec.Reason)) {
				return usageError{fmt.Errorf("--filter reason=%s: want %s", spec.Reason, strings.Join(admin.Reasons, ", "))}
			}
			var err error
			if spec.Rate, err = parseRate(rate); err != nil {
				return err
			}
			return c.redrive(cmd, args[0], spec)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&spec.IDs, "id", nil, "the dead letter of that `id`; may be repeated")
	f.StringArrayVar(&filters, "filter", nil, "only those that `match`: error~TEXT, key=KEY, reason=REASON; may be repeated")
	f.Var((*timeFlag)(&spec.Since), "since", "only those buried then or later: 2026-01-02T15:04:05Z, -15m, @1767366245")
	f.Var((*timeFlag)(&spec.Before), "before", "only those buried earlier")
	f.StringVar(&rate, "rate", "50/s", "the most to start: `N/s`, N/m or N/h")
	f.BoolVar(&spec.DryRun, "dry-run", false, "list them in order and do nothing")
	return cmd
}

// addFilter reads FIELD=VALUE or FIELD~PART.
func addFilter(spec *admin.RedriveSpec, text string) error {
	at := strings.IndexAny(text, "=~")
	if at < 0 {
		return usageError{fmt.Errorf("--filter %q: want error~TEXT, key=KEY or reason=REASON", text)}
	}
	field, op, value := text[:at], text[at], text[at+1:]
	var to *string
	switch {
	case field == "error" && op == '~':
		to = &spec.Error
	case field == "key" && op == '=':
		to = &spec.Key
	case field == "reason" && op == '=':
		to = (*string)(&spec.Reason)
	case slices.Contains([]string{"error", "key", "reason"}, field):
		return usageError{fmt.Errorf("--filter %q: want error~TEXT (part of it), key=KEY or reason=REASON (exactly)", text)}
	default:
		return usageError{fmt.Errorf("--filter %q: there is no field %q; want error, key or reason", text, field)}
	}
	if value == "" {
		return usageError{fmt.Errorf("--filter %q: nothing stands behind the %c", text, op)}
	}
	if *to != "" {
		return usageError{fmt.Errorf("--filter %q: %s is asked for twice", text, field)}
	}
	*to = value
	return nil
}

// parseRate reads 50/s, 30/m, 10/h or a number, of a second.
func parseRate(text string) (float64, error) {
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(number, 64)
	per, known := map[string]float64{"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}[unit]
	if err != nil || !known || !(n > 0) || n/per > 1e6 {
		return 0, usageError{fmt.Errorf("--rate %q: want a number above 0 of letters in a second, minute or hour: 50/s, 30/m, 10/h", text)}
	}
	return n / per, nil
}

func (c *cli) redrive(cmd *cobra.Command, trigger string, spec admin.RedriveSpec) error {
	start, shown := time.Now(), c.progress()
	total, ended := 0, 0
	var letters []admin.Redriven
	end, err := c.server().Redrive(cmd.Context(), trigger, spec, func(n int) {
		total = n
		if n > 0 && !spec.DryRun {
			c.say("redriving %s of trigger %s", plural(n, "dead letter"), trigger)
		}
	}, func(r admin.Redriven) {
		ended++
		letters = append(letters, r)
		shown.show(func() string { return fmt.Sprintf("%s of %s through", count(ended), count(total)) })
	})
	shown.clear()
	if err != nil {
		if total > 0 {
			c.say("%d of %d are through: %d done, %d buried again; repeat the command to complete the rest", ended, total, end.Done, end.Buried)
			if end.Buried > 0 {
				c.say("  without those that have failed again: --before %s", start.UTC().Format(time.RFC3339))
			}
		}
		return err
	}
	data := map[string]any{"trigger": trigger, "total": total, "dryRun": spec.DryRun, "outcomes": end, "letters": notNil(letters)}
	switch {
	case total == 0:
		c.say("trigger %s has no dead letters%s", trigger, map[bool]string{true: " that match"}[filtered(spec)])
	case spec.DryRun:
		c.say("would redrive %s, in this order; nothing was done", plural(total, "dead letter"))
	default:
		text := fmt.Sprintf("%d done", end.Done)
		for _, part := range []struct {
			n    int
			what string
		}{{end.Buried, "buried again"}, {end.Gone, "gone before"}, {end.Refused, "refused"}} {
			if part.n > 0 {
				text += fmt.Sprintf(", %d %s", part.n, part.what)
			}
		}
		c.say("redrove %s in %s: %s", plural(total, "dead letter"), span(time.Since(start)), text)
	}
	failed := func(r admin.Redriven) bool {
		return r.Outcome == admin.RedriveBuried || r.Outcome == admin.RedriveRefused
	}
	people := func(w io.Writer) {
		var rows [][]any
		for _, r := range letters {
			if spec.DryRun || failed(r) {
				rows = append(rows, []any{r.ID, cut(oneLine([]byte(r.Key)), 24), r.Outcome, r.Letter, failure(admin.Letter{ErrorType: r.ErrorType, ErrorMessage: r.ErrorMessage})})
			}
		}
		if rows != nil {
			table(w, "ID KEY OUTCOME NOW ERROR", rows)
		}
	}
	if end.Buried+end.Refused == 0 {
		return c.done(data, people)
	}
	if !c.json {
		people(c.out)
	}
	what := fmt.Sprintf("%d of %s failed again", end.Buried, plural(total, "dead letter"))
	if end.Refused > 0 {
		what = strings.TrimPrefix(fmt.Sprintf("%s, %d cannot be delivered", what, end.Refused), "0 of "+plural(total, "dead letter")+" failed again, ")
	}
	e := admin.NewError(admin.CodeRedriveFailed, "%s", what).With("redrive", data)
	for _, r := range letters {
		if r.Letter != "" {
			e.Actions = []admin.Action{{Text: "look at one", Command: "wasmill dlq show " + r.Letter},
				{Text: "try another build on it, without any effect", Command: "wasmill dlq replay " + r.Letter + " --against DIR"}}
			break
		}
	}
	return e
}

// filtered says whether a redrive was asked for some letters only.
func filtered(s admin.RedriveSpec) bool {
	return len(s.IDs) > 0 || s.Reason != "" || s.Error != "" || s.Key != "" || !s.Since.IsZero() || !s.Before.IsZero()
}

func (c *cli) dlqReplay() *cobra.Command {
	var against string
	cmd := &cobra.Command{
		Use: "replay ID", Short: "Run a dead letter's batch on the function, or on another build, without any effect", Args: takes("ID"), ValidArgsFunction: c.names(letterIDs),
		Long: help("Runs the dead letters of the batch that a letter failed in last, as one event, on the function as it is and,",
			"with --against, on another build: a module or a folder that is built first. Shows what differs: outcome,",
			"log and what was emitted. No checkpoint moves, nothing is emitted, and the letters stay as they are."),
		Example: "  wasmill dlq replay ID\n  wasmill dlq replay ID --against ./handler",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if _, err := c.server().Letter(ctx, args[0]); err != nil {
				return err // before a long build
			}
			var code []byte
			if cmd.Flags().Changed("against") {
				var err error
				if code, err = c.module(ctx, against); err != nil {
					return err
				}
				if len(code) == 0 {
					return admin.NewError(admin.CodeInput, "%s is empty; want a module", against)
				}
			}
			v, err := c.server().ReplayLetter(ctx, args[0], code)
			if e, ok := errors.AsType[*admin.Error](err); ok && e.Code == admin.CodeCodeRefused {
				e.Message = against + ": " + e.Message
			}
			if err != nil {
				return err
			}
			return c.done(v, func(w io.Writer) { c.showReplay(w, v, against) })
		},
	}
	cmd.Flags().StringVar(&against, "against", "", "the `module` or folder to run it on as well")
	return cmd
}

func (c *cli) showReplay(w io.Writer, v admin.Replay, against string) {
	ids := make([]string, len(v.Letters))
	for i, l := range v.Letters {
		ids[i] = l.ID
	}
	fmt.Fprintf(w, "replayed %s: %s\n\n", plural(len(ids), "dead letter"), strings.Join(ids, ", "))
	if v.Against == nil {
		describeRun(w, v.Current)
		return
	}
	now, then := v.Current, v.Against
	rows := [][]any{
		{"code", short(now.SHA256), short(then.SHA256) + "  " + against},
		{"outcome", runOutcome(now), runOutcome(then)},
		{"duration", milli(now.DurationMS), milli(then.DurationMS)},
		{"emitted", len(now.Emits), len(then.Emits)},
	}
	for _, r := range rows {
		r[0] = fmt.Sprint("  ", r[0])
		if r[0] != "  duration" && fmt.Sprint(r[1]) != fmt.Sprint(r[2]) {
			r[0] = strings.Replace(r[0].(string), " ", "≠", 1)
		}
	}
	table(w, "WHAT CURRENT AGAINST", rows)
	difference(w, c, "log", ownLines(now.Log), ownLines(then.Log))
	difference(w, c, "emits", emitLines(now), emitLines(then))
}

func runOutcome(r *admin.Run) string {
	if r.ErrorMessage == "" && r.ErrorType == "" {
		return r.Outcome
	}
	return r.Outcome + ": " + failure(admin.Letter{ErrorType: r.ErrorType, ErrorMessage: r.ErrorMessage})
}

func milli(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }

func describeRun(w io.Writer, r *admin.Run) {
	facts(w, "code", short(r.SHA256), "outcome", runOutcome(r), "duration", milli(r.DurationMS), "emitted", len(r.Emits))
	for _, part := range []struct {
		name  string
		lines []string
	}{{"log", ownLines(r.Log)}, {"emits", emitLines(r)}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(w, "\n%s:\n", part.name)
			for _, l := range part.lines {
				fmt.Fprintln(w, "  "+printable(l))
			}
		}
	}
}

// ownLines are what the function wrote itself: START, END and REPORT differ always.
func ownLines(log string) []string {
	var out []string
	for l := range strings.Lines(log) {
		l = strings.TrimRight(l, "\r\n")
		if !strings.HasPrefix(l, "START RequestId:") && !strings.HasPrefix(l, "END RequestId:") && !strings.HasPrefix(l, "REPORT RequestId:") {
			out = append(out, l)
		}
	}
	return out
}

func emitLines(r *admin.Run) []string {
	out := make([]string, len(r.Emits))
	for i, e := range r.Emits {
		data := e.Data
		if e.Text != nil {
			data = []byte(*e.Text)
		}
		out[i] = fmt.Sprintf("%s  %s  %s", e.Stream, oneLine([]byte(e.Key)), cut(oneLine(data), mostData))
	}
	return out
}

// difference prints the lines that only one of two runs has, in order. Lines of a
// log begin with their time, which is no difference.
func difference(w io.Writer, c *cli, what string, now, then []string) {
	if len(now)+len(then) == 0 {
		return
	}
	key := func(l string) string {
		if len(l) > 20 && l[4] == '/' && l[7] == '/' && l[13] == ':' { // of package log
			return l[20:]
		}
		return l
	}
	same := func(a, b []string) bool {
		return slices.EqualFunc(a, b, func(x, y string) bool { return key(x) == key(y) })
	}
	if same(now, then) {
		fmt.Fprintf(w, "\n%s: the same (%s)\n", what, plural(len(now), "line"))
		return
	}
	fmt.Fprintf(w, "\n%s:\n", what)
	for _, l := range diff(now, then, key) {
		colour := map[byte]string{'-': red, '+': green}[l[0]]
		if colour != "" && c.outTTY && !c.plain() {
			fmt.Fprintf(w, "  \x1b[%sm%s\x1b[0m\n", colour, printable(l))
		} else {
			fmt.Fprintf(w, "  %s\n", printable(l))
		}
	}
}

// diff is the shortest way from a to b: lines that begin with a blank, - or +. Long
// texts are compared up to their first thousand lines.
func diff(a, b []string, key func(string) string) []string {
	const most = 1000
	a, b = a[:min(len(a), most)], b[:min(len(b), most)]
	long := make([][]int, len(a)+1) // of the common part of a[i:] and b[j:]
	for i := range long {
		long[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if key(a[i]) == key(b[j]) {
				long[i][j] = long[i+1][j+1] + 1
			} else {
				long[i][j] = max(long[i+1][j], long[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && key(a[i]) == key(b[j]):
			out = append(out, "  "+b[j])
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || long[i+1][j] >= long[i][j+1]):
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}

func (c *cli) dlqExport() *cobra.Command {
	var f admin.LetterFilter
	var file string
	cmd := &cobra.Command{
		Use: "export", Short: "Write dead letters with their records, one JSON object a line", Args: takes(),
		Long: help("Writes dead letters, oldest first, with their records and all that is known of them: one JSON object a line,",
			"to standard output or a file. Data that is text stands in \"text\", other data in \"data\", in base64."),
		Example: "  wasmill dlq export > letters.ndjson\n  wasmill dlq export --trigger enrich --output letters.ndjson",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasonKnown(f); err != nil {
				return err
			}
			ctx, client := cmd.Context(), c.server()
			all, _, err := client.Letters(ctx, f)
			if err != nil {
				return err
			}
			to := c.out
			var out *os.File
			if file != "" && file != "-" {
				if out, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
					return err
				}
				to = out
			}
			if len(all) == 0 {
				c.noTrigger(ctx, f.Trigger)
			}
			n, err := c.export(client, cmd, all, to)
			if out != nil {
				if err = errors.Join(err, out.Close()); err != nil {
					err = errors.Join(err, os.Remove(file)) // no half of it
				}
			}
			if err != nil {
				return err
			}
			c.say("exported %s", plural(n, "dead letter"))
			if out == nil {
				return nil
			}
			return c.done(map[string]any{"exported": n, "file": file}, nil)
		},
	}
	letterFlags(c, cmd, &f)
	cmd.Flags().StringVarP(&file, "output", "o", "", "the `file` to write, which must not exist (default: standard output)")
	return cmd
}

func (c *cli) export(client *admin.Client, cmd *cobra.Command, all []admin.Letter, to io.Writer) (int, error) {
	shown := c.progress()
	defer shown.clear()
	w := bufio.NewWriter(to)
	lines := &cli{env: env{out: w}}
	n := 0
	for _, l := range all {
		whole, err := client.Letter(cmd.Context(), l.ID)
		if hasCode(err, admin.CodeLetterNotFound) {
			continue // purged or redriven meanwhile
		}
		if err != nil {
			return n, err
		}
		if err := lines.line(whole); err != nil {
			return n, err
		}
		n++
		shown.show(func() string { return fmt.Sprintf("%s of %s exported", count(n), count(len(all))) })
	}
	return n, w.Flush()
}

func (c *cli) triggerSeek() *cobra.Command {
	var to string
	var dry, yes bool
	cmd := &cobra.Command{
		Use: "seek NAME --to PLACE", Short: "Have a trigger go on from another place in its stream", Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		Long: help("Moves a trigger's checkpoint, forth or back, at a batch boundary. PLACE is trim-horizon (the oldest record",
			"there is), latest, a time (2026-01-02T15:04:05Z, -15m, @1767366245) or a sequence number, which moves the",
			"shard that it belongs to and no other.",
			"",
			"Records behind the place are delivered again, and what the function emits for them is emitted again; records",
			"passed over are never delivered. Retries under way are given up. Dead letters stay as they are."),
		Example: "  wasmill trigger seek enrich --to -15m --dry-run\n  wasmill trigger seek enrich --to trim-horizon --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "to"); err != nil {
				return err
			}
			now := time.Now()
			pos, err := admin.ParseFrom(to, now)
			if err != nil {
				return usageError{fmt.Errorf("--to %w", err)}
			}
			if !pos.Time.IsZero() {
				to = pos.Time.UTC().Format(time.RFC3339Nano) // the same instant in both calls
			}
			client := c.server()
			plan, err := client.SeekTrigger(cmd.Context(), args[0], admin.SeekSpec{To: to, DryRun: true})
			if err != nil {
				return err
			}
			if dry {
				c.say("%s; nothing was done", seekText(plan, "would"))
				return c.done(plan, func(w io.Writer) { seekTable(w, plan) })
			}
			if plan.Again+plan.Skipped+plan.Windows > 0 {
				if err := c.confirm(yes, fmt.Sprintf("move trigger %s: %s", args[0], seekText(plan, "will"))); err != nil {
					return err
				}
			}
			done, err := client.SeekTrigger(cmd.Context(), args[0], admin.SeekSpec{To: to})
			if err != nil {
				return err
			}
			c.say("moved trigger %s, generation %d: %s", done.Trigger, done.Generation, seekText(done, "will"))
			return c.done(done, func(w io.Writer) { seekTable(w, done) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "`place` to go on at")
	f.BoolVar(&dry, "dry-run", false, "count the records and do nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func seekText(a admin.SeekAnswer, will string) string {
	var parts []string
	if a.Again > 0 {
		text := fmt.Sprintf("%s %s be delivered again", plural(a.Again, "record"), will)
		if len(a.Emits) > 0 {
			text += ", and what the function emits for them to " + strings.Join(a.Emits, ", ") + " emitted again"
		}
		parts = append(parts, text)
	}
	if a.Skipped > 0 {
		most := ""
		if a.AtMost {
			most = "up to "
		}
		parts = append(parts, fmt.Sprintf("%s%s %s never be delivered", most, plural(a.Skipped, "record"), will))
	}
	if a.Windows > 0 {
		parts = append(parts, fmt.Sprintf("%s %s be given up with what the function has gathered in it", plural(a.Windows, "tumbling window"), will))
	}
	if parts == nil {
		return "no record is delivered again or passed over"
	}
	return strings.Join(parts, "; ")
}

func seekTable(w io.Writer, a admin.SeekAnswer) {
	var rows [][]any
	for _, s := range a.Shards {
		rows = append(rows, []any{shortShard(s.Shard), count(s.From), count(s.To), count(s.Again), count(s.Skipped)})
	}
	table(w, "SHARD FROM TO AGAIN SKIPPED", rows)
}

// kindOf says of a letter what it is, where it is no record.
func kindOf(l admin.Letter) string {
	if l.Kind == dlq.KindOutput {
		return "a record that the function emitted, and whose stream is gone"
	}
	return ""
}
