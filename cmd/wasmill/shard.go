package main

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/stream"
)

func (c *cli) shard() *cobra.Command {
	cmd := c.nounCommand("shard", "The shards of a stream", c.shardLs())
	cmd.Aliases = []string{"shards"}
	return cmd
}

func (c *cli) shardLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls STREAM", Short: "List the shards of a stream, open and closed, with where they come from", Args: takes("STREAM"), ValidArgsFunction: c.names(streamNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.done(map[string]any{"shards": notNil(v.Shards)}, func(w io.Writer) {
				var rows [][]any
				for _, s := range v.Shards {
					closed := "-"
					if !s.Closed.IsZero() {
						closed = ago(s.Closed)
					}
					from := "-"
					if len(s.Parents) > 0 {
						from = strings.Join(shortShards(s.Parents), " + ")
					}
					rows = append(rows, []any{s.ID, s.State, s.From, s.To, from, count(s.Records), closed})
				}
				table(w, "SHARD STATE FROM TO PARENTS RECORDS CLOSED", rows)
			})
		},
	}
}

func shortShards(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = shortShard(id)
	}
	return out
}

func (c *cli) streamSplit() *cobra.Command {
	var shard, at string
	cmd := &cobra.Command{
		Use: "split NAME", Short: "Split a shard in two", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Closes a shard and puts two in its place that share its hash keys. No record is lost, and records of a",
			"key keep their order: triggers finish the closed shard first. Without --shard it is the one that took",
			"the most records in the last minute, or else owns the most hash keys; without --at it is cut in the middle."),
		Example: "  wasmill stream split orders\n  wasmill stream split orders --shard 0 --at 170141183460469231731687303715884105728",
		RunE: func(cmd *cobra.Command, args []string) error {
			var key *stream.HashKey
			if at != "" {
				k, err := stream.ParseHashKey(at)
				if err != nil {
					return usageError{fmt.Errorf("--at %q: want the first hash key of the second half, a decimal number", at)}
				}
				key = &k
			}
			was, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			id := busiest(was.Shards)
			if shard != "" {
				if id, err = shardOf(shard); err != nil {
					return err
				}
			}
			v, err := c.server().SplitShard(cmd.Context(), args[0], id, key)
			if err != nil {
				return err
			}
			return c.resharded(v, was)
		},
	}
	cmd.Flags().StringVar(&shard, "shard", "", "the `shard` to split: its id or its number")
	cmd.Flags().StringVar(&at, "at", "", "first hash `key` of the second half (default the middle)")
	return cmd
}

func (c *cli) streamMerge() *cobra.Command {
	return &cobra.Command{
		Use: "merge NAME SHARD SHARD", Short: "Merge two neighbouring shards", Args: takes("NAME", "SHARD", "SHARD"), ValidArgsFunction: c.names(streamNames),
		Long: help("Closes two shards whose hash keys lie side by side and puts one in their place. Shards are named by id",
			"or number: `wasmill shard ls NAME` lists them."),
		Example: "  wasmill stream merge orders 1 2",
		RunE: func(cmd *cobra.Command, args []string) error {
			a, errA := shardOf(args[1])
			b, errB := shardOf(args[2])
			if err := errors.Join(errA, errB); err != nil {
				return err
			}
			was, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := c.server().MergeShards(cmd.Context(), args[0], a, b)
			if err != nil {
				return err
			}
			return c.resharded(v, was)
		},
	}
}

func (c *cli) streamScale() *cobra.Command {
	var n int
	cmd := &cobra.Command{
		Use: "scale NAME --shards N", Short: "Have a stream's hash keys shared evenly by N shards", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long:    help("Splits and merges shards until N open ones share the hash keys evenly."),
		Example: "  wasmill stream scale orders --shards 8",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "shards"); err != nil {
				return err
			}
			if n < 1 || n > stream.MaxShards {
				return usageError{fmt.Errorf("--shards %d: want 1 to %d", n, stream.MaxShards)}
			}
			was, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := c.server().ScaleStream(cmd.Context(), args[0], n)
			if err != nil {
				return err
			}
			return c.resharded(v, was)
		},
	}
	cmd.Flags().IntVar(&n, "shards", 0, "how many open `shards` there are to be, 1 to 10000")
	return cmd
}

// resharded tells what became of a stream's shards.
func (c *cli) resharded(v, was admin.Stream) error {
	var made, closed []string
	for _, s := range v.Shards {
		i := slices.IndexFunc(was.Shards, func(o admin.Shard) bool { return o.ID == s.ID })
		switch {
		case i < 0 && isOpen(s):
			made = append(made, shortShard(s.ID))
		case i >= 0 && isOpen(was.Shards[i]) && !isOpen(s):
			closed = append(closed, shortShard(s.ID))
		}
	}
	if v.State == stream.Updating { // as with `up --state-delay`
		c.say("stream %s is being changed; see it: wasmill stream get %s", v.Name, v.Name)
		return c.done(v, nil)
	}
	if len(made) == 0 {
		c.say("stream %s stays as it is: %s", v.Name, plural(v.ShardCount, "open shard"))
		return c.done(v, nil)
	}
	c.say("stream %s has %s: %s closed, %s opened", v.Name, plural(v.ShardCount, "open shard"), some(closed), some(made))
	c.say("  next: wasmill stream get %s", v.Name)
	return c.done(v, nil)
}

// some names a few of many.
func some(ids []string) string {
	if len(ids) > 8 {
		return strings.Join(ids[:6], ", ") + fmt.Sprintf(" and %d more", len(ids)-6)
	}
	return strings.Join(ids, ", ")
}

func isOpen(s admin.Shard) bool { return s.State == stream.Active || s.State == stream.Creating }

// shardOf is the id of a shard given by it or by its number.
func shardOf(text string) (string, error) {
	if strings.HasPrefix(text, "shardId-") {
		return text, nil
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 0 || fmt.Sprint(n) != text {
		return "", usageError{fmt.Errorf("shard %q: want its id (%s) or its number (0)", text, stream.ShardID(0))}
	}
	return stream.ShardID(n), nil
}

// busiest is the open shard that is best split.
func busiest(all []admin.Shard) string {
	best := admin.Shard{}
	for _, s := range all {
		if isOpen(s) && (best.ID == "" || s.RecordRate > best.RecordRate || s.RecordRate == best.RecordRate && s.KeyShare > best.KeyShare) {
			best = s
		}
	}
	return best.ID
}

func (c *cli) streamConsumers() *cobra.Command {
	return &cobra.Command{
		Use: "consumers NAME", Short: "List the registered consumers of a stream (enhanced fan-out)", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Lists who is registered to be pushed records by SubscribeToShard. AWS clients register and",
			"deregister consumers; triggers need none."),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(v.Consumers) == 0 {
				c.say("no consumers are registered; an AWS client does it: aws kinesis register-stream-consumer")
			}
			return c.done(map[string]any{"consumers": notNil(v.Consumers)}, func(w io.Writer) {
				var rows [][]any
				for _, o := range v.Consumers {
					rows = append(rows, []any{o.Name, ago(o.Created), o.ARN})
				}
				if rows != nil {
					table(w, "NAME REGISTERED ARN", rows)
				}
			})
		},
	}
}

// band draws which part of all hash keys a shard owns, over the whole width:
// open ones full, closed ones light.
func (c *cli) band(s admin.Shard, width int) string {
	full, light, empty := "█", "▒", "·"
	if c.getenv("TERM") == "dumb" {
		full, light, empty = "#", "+", "."
	}
	if !isOpen(s) {
		full = light
	}
	from, to := column(s.From, width), column(s.To, width)
	return strings.Repeat(empty, from) + strings.Repeat(full, to-from+1) + strings.Repeat(empty, width-to-1)
}

// column is where a hash key lies in a band, 0 to width-1.
func column(h stream.HashKey, width int) int {
	n, _ := new(big.Int).SetString(h.String(), 10)
	n.Mul(n, big.NewInt(int64(width)))
	return int(n.Rsh(n, 128).Int64())
}
