package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
)

func (c *cli) triggerExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain NAME", Short: "Tell what a trigger is doing in each shard, and what it waits for", Args: takes("NAME"), ValidArgsFunction: c.names(triggerNames),
		Long: help("Tells of each shard where the trigger stands and what it waits for: position, lag in records and in time,",
			"what is at the function, how often it was tried, and when it is tried again. The line of each shard pictures it",
			"from its beginning to its end: what is done, what is at the function, what is still to come."),
		Example: "  wasmill trigger explain enrich",
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Trigger(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.done(v, func(w io.Writer) { c.explainTrigger(w, v) })
		},
	}
}

func (c *cli) explainTrigger(w io.Writer, v admin.Trigger) {
	fmt.Fprintf(w, "%s: %s calls %s with up to %s at once", v.Name, v.Stream, target(v), plural(v.BatchSize, "record"))
	if len(v.Filters) > 0 {
		fmt.Fprintf(w, ", those that match %s", map[bool]string{true: "its filter", false: "one of its filters"}[len(v.Filters) == 1])
	}
	if v.TumblingWindow > 0 {
		fmt.Fprintf(w, ", in windows of %s", v.TumblingWindow)
	}
	fmt.Fprintln(w)
	var lag uint64
	var oldest time.Duration
	open, windows := 0, 0
	filtered := uint64(0)
	for _, s := range v.Shards {
		lag, oldest, filtered = lag+s.Lag, max(oldest, time.Duration(s.LagAge)), filtered+s.Filtered
		if s.Window != nil {
			windows++
		}
		if !s.Ended {
			open++
		}
	}
	switch {
	case v.Problem != "":
		fmt.Fprintf(w, "It does not run: %s\n", v.Problem)
	case v.State == triggers.Disabled:
		window := map[bool]string{true: " and an open tumbling window"}[windows > 0]
		fmt.Fprintf(w, "It is paused, with %s to do%s. Let it go on with: wasmill trigger resume %s\n", plural(lag, "record"), window, v.Name)
		if v.Trouble != "" {
			fmt.Fprintf(w, "It would not get on: %s\n", v.Trouble)
		}
	case v.Trouble != "":
		fmt.Fprintf(w, "It does not get on: %s\n", v.Trouble)
	case lag == 0 && windows > 0:
		fmt.Fprintf(w, "It is at the end of %s, with the tumbling %s of %s open.\n", plural(open, "shard"), map[bool]string{true: "window", false: "windows"}[windows == 1], plural(windows, "shard"))
	case lag == 0:
		fmt.Fprintf(w, "It is at the end of %s: nothing to do.\n", plural(open, "shard"))
	default:
		fmt.Fprintf(w, "It is %s, or %s, behind.\n", plural(lag, "record"), span(oldest))
	}
	if v.Outputs != "" {
		fmt.Fprintf(w, "Not delivered yet: %s\n", undelivered(v))
	}
	if len(v.Filters) > 0 {
		fmt.Fprintf(w, "Its filters have let %s pass by since the server was started.\n", plural(filtered, "record"))
		if set, err := filter.Compile(v.Filters, filter.Options{}); err == nil && v.Trouble == "" {
			for _, line := range never(set, len(v.Filters)) {
				fmt.Fprintln(w, "Mind: "+line)
			}
		}
	}
	if v.LastResult != "" {
		fmt.Fprintf(w, "Last result, in AWS's words: %s\n", v.LastResult)
	}
	for _, s := range v.Shards {
		fmt.Fprintf(w, "\n%s  %s\n", s.Shard, c.picture(s))
		for _, line := range s.Explain {
			fmt.Fprintln(w, "  "+line)
		}
	}
}

// picture draws a shard: what is done, what is at the function or waits to be tried
// again, what is to come.
func (c *cli) picture(s admin.ShardProgress) string {
	const width = 24
	done, open, rest := "█", "▒", "░"
	if c.getenv("TERM") == "dumb" {
		done, open, rest = "#", "+", "."
	}
	cells := width
	if s.End > 0 {
		cells = int(uint64(width) * min(s.Next, s.End) / s.End)
	}
	if s.Lag > 0 {
		cells = min(cells, width-1)
	}
	line := ""
	for i := range width {
		switch {
		case i < cells:
			line += done
		case i == cells && (s.InFlight > 0 || s.Waiting > 0):
			line += open
		default:
			line += rest
		}
	}
	text := fmt.Sprintf("%s  %s of %s done", line, count(min(s.Next, s.End)), plural(s.End, "record"))
	switch {
	case s.Ended:
		text += ", closed"
	case s.Lag > 0:
		text += fmt.Sprintf(", %s behind (%s)", count(s.Lag), lagAge(s))
	}
	if s.InFlight > 0 {
		text += fmt.Sprintf(", %d at the function", s.InFlight)
	}
	if s.Waiting > 0 {
		text += fmt.Sprintf(", %d waiting to be tried again", s.Waiting)
	}
	return text
}
