package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/dlq"
)

func (c *cli) dlq() *cobra.Command {
	cmd := c.nounCommand("dlq", "Dead letters: records no function could digest", c.dlqLs(), c.dlqShow(), c.dlqReplay(), c.dlqRedrive(), c.dlqExport(), c.dlqPurge())
	cmd.Aliases = []string{"dead-letters"}
	return cmd
}

// letterFlags pick dead letters.
func letterFlags(c *cli, cmd *cobra.Command, f *admin.LetterFilter) {
	fs := cmd.Flags()
	fs.Var((*timeFlag)(&f.Since), "since", "only those buried then or later: 2026-01-02T15:04:05Z, -15m, @1767366245")
	fs.Var((*timeFlag)(&f.Before), "before", "only those buried earlier")
	fs.StringVar(&f.Error, "error", "", "only those with that `text` in their error")
	fs.StringVar(&f.Trigger, "trigger", "", "only those of a `trigger`")
	fs.StringVar(&f.Stream, "stream", "", "only those of a `stream`")
	fs.StringVar((*string)(&f.Reason), "reason", "", "only those given up for that `reason`: "+
		strings.Join(admin.Reasons, ", "))
	cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(admin.Reasons, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("trigger", c.flagNames(triggerNames))
	cmd.RegisterFlagCompletionFunc("stream", c.flagNames(streamNames))
}

func reasonKnown(f admin.LetterFilter) error {
	if f.Reason != "" && !slices.Contains(admin.Reasons, string(f.Reason)) {
		return usageError{fmt.Errorf("--reason %q: want %s", f.Reason, strings.Join(admin.Reasons, ", "))}
	}
	return nil
}

func (c *cli) dlqLs() *cobra.Command {
	var f admin.LetterFilter
	cmd := &cobra.Command{
		Use: "ls", Short: "List the dead letters, oldest first", Args: takes(),
		Long: "Lists dead letters, oldest first. They are kept for 14 days, whatever becomes of their stream and trigger.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasonKnown(f); err != nil {
				return err
			}
			if f.Limit < 0 {
				return usageError{fmt.Errorf("--limit %d: want 0 or more", f.Limit)}
			}
			all, more, err := c.server().Letters(cmd.Context(), f)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				c.say("no dead letters")
				c.noTrigger(cmd.Context(), f.Trigger)
			}
			if err := c.done(map[string]any{"deadLetters": notNil(all), "more": more}, func(w io.Writer) {
				var rows [][]any
				for _, l := range all {
					key, text := oneLine([]byte(l.Key)), failure(l)
					if c.outTTY { // a program gets it whole
						key, text = cut(key, 24), cut(text, 60)
					}
					if l.Redriving {
						text = "(being redriven) " + text
					}
					rows = append(rows, []any{l.ID, l.Trigger, shortShard(l.Shard), key, l.Attempts, ago(l.Buried), text})
				}
				if rows != nil {
					table(w, "ID TRIGGER SHARD KEY ATTEMPTS BURIED ERROR", rows)
				}
			}); err != nil {
				return err
			}
			if more {
				c.say("these are the newest %s; --limit 0 shows all", count(len(all)))
			} else if len(all) > 0 {
				c.say("%s; look at one with: wasmill dlq show ID", plural(len(all), "dead letter"))
			}
			return nil
		},
	}
	letterFlags(c, cmd, &f)
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "list the newest so `many`; 0: all")
	return cmd
}

// noTrigger says that a trigger by whose name nothing was found is not there.
func (c *cli) noTrigger(ctx context.Context, name string) {
	if name == "" {
		return
	}
	if _, err := c.server().Trigger(ctx, name); hasCode(err, admin.CodeTriggerNotFound) {
		c.say("there is no trigger %s; triggers are listed by: wasmill trigger ls", name)
	}
}

func failure(l admin.Letter) string {
	text := l.ErrorMessage
	if l.ErrorType != "" {
		text = l.ErrorType + ": " + text
	}
	if text == "" {
		text = string(l.Reason)
	}
	return oneLine([]byte(text))
}

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

func (c *cli) dlqShow() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use: "show ID", Aliases: []string{"get"}, Short: "Show a dead letter: its record as it came, and what it went through",
		Args: takes("ID"), ValidArgsFunction: c.names(letterIDs),
		Long: help("Shows one dead letter: its record as it came, decoded where it is JSON or text and in hexadecimal where",
			"it is neither, and the error, attempts, times, code and batch. --raw prints the record's data alone,",
			"byte for byte."),
		Example: "  wasmill dlq show ID\n  wasmill dlq show ID --raw > record.bin",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.server().Letter(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if raw && !c.json {
				_, err := c.out.Write(l.Payload())
				return err
			}
			data := letterView{Letter: l}
			if payload := l.Payload(); json.Valid(payload) {
				data.JSON = payload
			}
			if err := c.done(data, func(w io.Writer) { showLetter(w, l) }); err != nil {
				return err
			}
			if place := placeToAllow(l.ErrorMessage); place != "" && !c.json {
				if fn, err := c.server().Function(cmd.Context(), l.Function, ""); err == nil {
					for _, a := range allowActions(fn, place) {
						c.say("  - %s", strings.TrimSuffix(a.Text+": "+a.Command, ": "))
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the record's data and nothing else")
	return cmd
}

func redriveState(l admin.Letter) string {
	if l.Redriving {
		return "being redriven"
	}
	return ""
}

// letterView adds the data as JSON where it is.
type letterView struct {
	admin.Letter
	JSON json.RawMessage `json:"json,omitempty"`
}

func showLetter(w io.Writer, l admin.Letter) {
	attempts, function := "", ""
	if l.Attempts > 0 || l.Kind != dlq.KindOutput {
		attempts = plural(l.Attempts, "attempt")
	}
	if l.Function != "" {
		function = strings.TrimSuffix(l.Function+" version "+l.Version, " version ")
	}
	if !l.FirstFailure.IsZero() {
		attempts += ", the first failed " + stamp(l.FirstFailure)
	}
	batch := ""
	if l.BatchSize > 0 {
		batch = fmt.Sprintf("record %d of %d, invocation %s", l.BatchPosition+1, l.BatchSize, l.BatchInvocation)
	}
	log := ""
	if l.BatchInvocation != "" {
		log = "wasmill fn logs " + l.Function + " --request " + l.BatchInvocation
	}
	code := ""
	if l.Digest != "" {
		code = "sha256 " + l.Digest
	}
	burial := ""
	if l.Burial > 1 {
		burial = fmt.Sprintf(" (burial %d)", l.Burial)
	}
	facts(w, "dead letter", l.ID, "kind", kindOf(l), "state", redriveState(l), "reason", l.Reason, "error", failure(l), "attempts", attempts,
		"buried", stamp(l.Buried)+burial+"  "+ago(l.Buried), "trigger", l.Trigger, "function", function, "code", code,
		"last batch", batch, "its log", log, "stream", l.Stream, "shard", l.Shard, "sequence", l.Sequence, "key", oneLine([]byte(l.Key)), "hash key", l.HashKey,
		"arrived", stamp(l.Arrival), "trace", l.TraceParent)
	data := l.Payload()
	kind, shown := decode(data)
	fmt.Fprintf(w, "\nrecord (%s of %s):\n%s\n", size(len(data)), kind, strings.TrimRight(shown, "\n"))
	if n := len(data) - mostHex; kind == binaryData && n > 0 {
		fmt.Fprintf(w, "… and %s bytes more; all of it: wasmill dlq show %s --raw\n", count(n), l.ID)
	}
}

const (
	binaryData = "binary data"
	mostHex    = 256 // bytes of it that are shown
)

// decode makes a record's data readable, and safe for a terminal: of binary data
// the beginning.
func decode(data []byte) (kind, shown string) {
	var pretty bytes.Buffer
	switch {
	case len(data) == 0:
		return "nothing", ""
	case json.Indent(&pretty, data, "", "  ") == nil:
		return "JSON", printable(pretty.String())
	case utf8.Valid(data) && !bytes.ContainsFunc(data, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }):
		return "text", printable(string(data))
	}
	return binaryData, hex.Dump(data[:min(len(data), mostHex)])
}

// printable keeps line breaks and takes out other control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '\ufffd'
		}
		return r
	}, s)
}

func (c *cli) dlqPurge() *cobra.Command {
	var f admin.LetterFilter
	var yes, all bool
	cmd := &cobra.Command{
		Use: "purge [ID...]", Short: "Delete dead letters", Args: takes("[ID...]"),
		Long:    "Deletes dead letters with their records: those named, those a filter picks, or --all.",
		Example: "  wasmill dlq purge ID\n  wasmill dlq purge --trigger enrich\n  wasmill dlq purge --all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (all || f != admin.LetterFilter{}) {
				return usage(cmd, "ids and a filter: want one of them")
			}
			if len(args) == 0 && !all && f == (admin.LetterFilter{}) {
				return usage(cmd, "which dead letters? want ids, a filter, or --all")
			}
			if len(args) > 0 {
				return c.purgeIDs(cmd, args, yes)
			}
			if err := reasonKnown(f); err != nil {
				return err
			}
			found, _, err := c.server().Letters(cmd.Context(), f)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				c.noTrigger(cmd.Context(), f.Trigger)
			} else {
				if err := c.confirm(yes, purgeOf(len(found))); err != nil {
					return err
				}
			}
			n, err := c.server().PurgeLetters(cmd.Context(), f, all)
			if err != nil {
				return err
			}
			c.say("purged %s", plural(n, "dead letter"))
			return c.done(map[string]any{"purged": n}, nil)
		},
	}
	letterFlags(c, cmd, &f)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&all, "all", false, "every one")
	return cmd
}

func purgeOf(n int) string {
	if n == 1 {
		return "delete 1 dead letter with its record for good"
	}
	return fmt.Sprintf("delete %s with their records for good", plural(n, "dead letter"))
}

func (c *cli) purgeIDs(cmd *cobra.Command, ids []string, yes bool) error {
	for _, id := range ids {
		if _, err := c.server().Letter(cmd.Context(), id); err != nil {
			return err // before any is deleted
		}
	}
	if err := c.confirm(yes, purgeOf(len(ids))); err != nil {
		return err
	}
	purged := 0
	for _, id := range ids {
		n, err := c.server().PurgeLetters(cmd.Context(), admin.LetterFilter{ID: id}, false)
		if err != nil {
			return err
		}
		purged += n
	}
	c.say("purged %s", plural(purged, "dead letter"))
	return c.done(map[string]any{"purged": purged}, nil)
}
