package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/stream"
)

func (c *cli) stream() *cobra.Command {
	cmd := c.nounCommand("stream", "Sharded streams of records",
		c.streamCreate(), c.streamUpdate(), c.streamLs(), c.streamGet(), c.streamPut(), c.streamTail(), c.streamSplit(), c.streamMerge(), c.streamScale(), c.streamConsumers(), c.streamRm())
	cmd.Aliases = []string{"streams"}
	return cmd
}

func (c *cli) streamCreate() *cobra.Command {
	var spec admin.StreamSpec
	var record, most sizeFlag
	var retention durationFlag
	var ifNotExists, onDemand bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a stream", Args: takes("NAME"),
		Long: help("Creates a stream. Its shards share the partition keys evenly; records of one key keep their order.",
			"Undo it with: wasmill stream rm NAME"),
		Example: "  wasmill stream create orders --shards 4\n  wasmill stream create audit --retention 7d --record-size 2MB --max-bytes 1GB",
		RunE: func(cmd *cobra.Command, args []string) error {
			if onDemand && !cmd.Flags().Changed("shards") {
				spec.Shards = stream.OnDemandShards
			}
			// Zero would be the default to the server; whoever says 0 means none.
			if spec.Shards < 1 || spec.Shards > stream.MaxShards {
				return usageError{fmt.Errorf("--shards %d: want 1 to %d", spec.Shards, stream.MaxShards)}
			}
			if cmd.Flags().Changed("retention") && retention == 0 {
				return usageError{errors.New("--retention 0: want 24h to 365d")}
			}
			if cmd.Flags().Changed("record-size") && record == 0 {
				return usageError{errors.New("--record-size 0: want 1MB to 10MB")}
			}
			spec.Name, spec.Retention, spec.RecordBytes = args[0], admin.Duration(retention), int(record)
			spec.MaxBytes = int64(most)
			if onDemand {
				spec.Mode = stream.OnDemand
			}
			v, err := c.server().CreateStream(cmd.Context(), spec)
			if ifNotExists && hasCode(err, admin.CodeStreamExists) {
				c.say("stream %s exists already and stays as it is", spec.Name)
				v, err = c.server().Stream(cmd.Context(), spec.Name)
			} else if err == nil {
				kept := "kept for " + v.Retention.String()
				if v.MaxBytes > 0 {
					kept += ", " + quota(v.MaxBytes)
				}
				c.say("created stream %s: %s, %s", v.Name, plural(v.ShardCount, "shard"), kept)
				c.say("  next: wasmill stream put %s --data '{\"hello\":\"world\"}' --key 1", v.Name)
				c.say("  undo: wasmill stream rm %s", v.Name)
			}
			if err != nil {
				return err
			}
			return c.done(v, nil)
		},
	}
	f := cmd.Flags()
	f.IntVar(&spec.Shards, "shards", 1, "how many `shards`, 1 to 10000; to begin with, and 4 unless said, with --on-demand")
	f.Var(&retention, "retention", "how long records are kept, 24h to 365d (default 24h)")
	f.Var(&record, "record-size", "the most data and key of one record, up to 10MB (default 1MB)")
	f.Var(&most, "max-bytes", "the most its records may take; more is refused until older ones expire (default no limit)")
	f.BoolVar(&onDemand, "on-demand", false, "have its shards split and merge by themselves, by how much is written")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "accept a stream that is there already, as it is")
	return cmd
}

func (c *cli) streamUpdate() *cobra.Command {
	var most sizeFlag
	var retention durationFlag
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change how much of a stream is kept, and how long", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Changes a stream's retention, its quota, or both, at once also for the records it holds. A shorter",
			"retention deletes what is older. A quota below what the stream holds deletes nothing: it refuses new",
			"records until enough have expired. --max-bytes 0 ends it."),
		Example: "  wasmill stream update orders --max-bytes 10GB\n  wasmill stream update orders --retention 48h",
		RunE: func(cmd *cobra.Command, args []string) error {
			var change admin.StreamChange
			if cmd.Flags().Changed("retention") {
				change.Retention = (*admin.Duration)(&retention)
			}
			if cmd.Flags().Changed("max-bytes") {
				change.MaxBytes = (*int64)(&most)
			}
			if change == (admin.StreamChange{}) {
				return usage(cmd, "nothing to change: want --retention, --max-bytes or both")
			}
			was, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := c.server().UpdateStream(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			c.say("updated stream %s: kept for %s, %s", v.Name, v.Retention, quota(v.MaxBytes))
			c.say("  undo: wasmill stream update %s --retention %s --max-bytes %d", v.Name, was.Retention, was.MaxBytes)
			return c.done(v, nil)
		},
	}
	f := cmd.Flags()
	f.Var(&retention, "retention", "how long records are kept, 24h to 365d")
	f.Var(&most, "max-bytes", "the most its records may take; 0 is no limit")
	return cmd
}

// quota says what a stream may hold.
func quota(most int64) string {
	if most == 0 {
		return "no limit of bytes"
	}
	return "up to " + size(most)
}

func (c *cli) streamLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the streams", Args: takes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.server().Streams(cmd.Context())
			if err != nil {
				return err
			}
			if len(all) == 0 {
				c.say("no streams yet; next: wasmill stream create NAME")
			}
			return c.done(map[string]any{"streams": notNil(all)}, func(w io.Writer) {
				var rows [][]any
				for _, s := range all {
					name := s.Name
					if local := stream.Local(s.Name); s.ARN != local.ARN() { // an AWS client made it elsewhere
						name = s.ARN
					}
					rows = append(rows, []any{name, s.ShardCount, s.Retention, s.State, ago(s.Created)})
				}
				if rows != nil {
					table(w, "NAME SHARDS RETENTION STATE CREATED", rows)
				}
			})
		},
	}
}

func (c *cli) streamGet() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Describe a stream, its shards and what they hold", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if v.Warning != "" {
				c.warn(v.Warning)
			}
			return c.done(v, func(w io.Writer) {
				facts(w, "name", v.Name, "arn", v.ARN, "state", v.State, "mode", mode(v), "created", stamp(v.Created)+"  "+ago(v.Created),
					"retention", v.Retention, "record size", "up to "+size(v.RecordBytes),
					"records", count(v.Records)+"  "+size(v.Bytes), "quota", quotaUse(v))
				fmt.Fprintln(w)
				traffic := 0.0
				for _, s := range v.Shards {
					traffic += s.RecordRate
				}
				var rows [][]any
				for _, s := range v.Shards {
					share := 0.0
					if traffic > 0 {
						share = s.RecordRate / traffic
					}
					rows = append(rows, []any{s.ID, s.State, c.band(s, 32), percent(s.KeyShare), c.bar(share, 10) + " " + percent(share), fmt.Sprintf("%.1f", s.RecordRate), count(s.Records), size(s.Bytes), ago(s.Newest)})
				}
				table(w, "SHARD STATE HASH-KEYS OF-ALL TRAFFIC RECORDS/S RECORDS BYTES NEWEST", rows)
			})
		},
	}
}

// mode says who splits and merges a stream's shards.
func mode(v admin.Stream) string {
	if v.Mode == stream.OnDemand {
		return "on-demand: shards split and merge by themselves"
	}
	return "provisioned"
}

// quotaUse says what a stream holds of what it may.
func quotaUse(v admin.Stream) string {
	if v.MaxBytes == 0 {
		return "none"
	}
	return fmt.Sprintf("%s of %s  %s", size(v.Bytes), size(v.MaxBytes), percent(float64(v.Bytes)/float64(v.MaxBytes)))
}

func (c *cli) streamRm() *cobra.Command {
	var yes, ignore, force bool
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "Delete a stream with its records", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Deletes a stream with all of its records. Its dead letters stay. A stream of that name that is",
			"created later is another one and starts empty. A stream that a trigger reads is not deleted: delete",
			"the trigger first, or say --force; such a trigger never goes on."),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Stream(cmd.Context(), args[0])
			if ignore && hasCode(err, admin.CodeStreamNotFound) {
				c.say("there is no stream %s", args[0])
				return c.done(map[string]any{"name": args[0], "deleted": false}, nil)
			}
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("delete stream %s with its %s for good", v.Name, plural(v.Records, "record"))); err != nil {
				return err
			}
			if err := c.server().DeleteStream(cmd.Context(), v.Name, force); err != nil {
				return err
			}
			c.say("deleted stream %s", v.Name)
			return c.done(map[string]any{"name": v.Name, "deleted": true}, nil)
		},
	}
	removal(cmd, &yes, &ignore)
	cmd.Flags().BoolVar(&force, "force", false, "also where a trigger reads it, or tells it of discarded batches")
	return cmd
}

// removal adds the flags of every verb that deletes.
func removal(cmd *cobra.Command, yes, ignore *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(ignore, "ignore-missing", false, "accept that it is not there")
}

func (c *cli) streamTail() *cobra.Command {
	var o admin.TailOptions
	var noFollow bool
	cmd := &cobra.Command{
		Use: "tail NAME", Short: "Print a stream's records, and follow it", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Prints records as they arrive, from now on or from --from. With --no-follow it prints what is",
			"stored, all shards together in order of arrival, and ends.",
			"",
			"--from takes trim-horizon, latest, a time (2026-01-02T15:04:05Z, -15m, @1767366245), and with --shard",
			"at:SEQUENCE or after:SEQUENCE. With --json each line is a record and the last one the envelope."),
		Example: "  wasmill stream tail orders\n  wasmill stream tail orders --from -15m\n  wasmill stream tail orders --no-follow --json | jq .text",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.From != "" {
				if _, err := admin.ParseFrom(o.From, time.Now()); err != nil {
					return usageError{fmt.Errorf("--from %w", err)}
				}
			}
			o.Follow = !noFollow
			records := uint64(0)
			err := c.server().Tail(cmd.Context(), args[0], o, func(l admin.TailLine) error {
				switch {
				case l.Record != nil:
					records++
					if c.json {
						return c.line(l.Record)
					}
					r := l.Record
					_, err := fmt.Fprintf(c.out, "%s  %s  %s  %s\n", stamp(r.Arrival), shortShard(r.Shard), r.Key, oneLine(r.Payload()))
					return err
				case l.Gap != nil:
					c.warn(fmt.Sprintf("%s: %s were lost to retention", l.Gap.Shard, plural(l.Gap.Records, "record")))
				case l.CaughtUp:
					c.say("%s", c.paint(faint, "waiting for records; stop with Ctrl-C"))
				}
				return nil
			})
			// Whoever follows and has seen enough has not failed.
			if o.Follow && hasCode(err, admin.CodeInterrupted) {
				err = nil
			}
			if err != nil {
				return err
			}
			if c.json {
				c.envelope(map[string]any{"records": records}, nil)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "`place` to start at (default latest, with --no-follow trim-horizon)")
	f.BoolVar(&noFollow, "no-follow", false, "end where the stream ends")
	f.IntVar(&o.Limit, "limit", 0, "end after that many `records`")
	f.StringVar(&o.Shard, "shard", "", "only that `shard`, by its id or index")
	return cmd
}

// shortShard is the number of a shard id.
func shortShard(id string) string {
	digits := strings.TrimLeft(strings.TrimPrefix(id, "shardId-"), "0")
	if digits == "" {
		digits = "0"
	}
	return "shard " + digits
}

// oneLine shows data on a line, and never lets it command the terminal.
func oneLine(data []byte) string {
	if !utf8.Valid(data) {
		return fmt.Sprintf("<%s of binary data> %x", size(len(data)), data[:min(len(data), 32)])
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, string(bytes.TrimRight(data, "\r\n")))
}

func hasCode(err error, code string) bool {
	e, ok := errors.AsType[*admin.Error](err)
	return ok && e.Code == code
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func plural[T int | int64 | uint64](n T, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// notNil makes an empty list print as [].
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
