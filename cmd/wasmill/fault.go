package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
)

func (c *cli) fault() *cobra.Command {
	cmd := c.nounCommand("fault", "Errors and delays that AWS clients are to meet", c.faultAdd(), c.faultLs(), c.faultRm())
	cmd.Aliases = []string{"faults"}
	cmd.Long = help("Has calls of AWS clients fail or be slow, so that a program's retries can be tested. The commands of",
		"wasmill itself and triggers are not hit. Faults live in the server's memory: after a restart there are none.")
	return cmd
}

func (c *cli) faultAdd() *cobra.Command {
	var spec admin.FaultSpec
	rate := percentFlag(1)
	var latency durationFlag
	var seed uint64
	cmd := &cobra.Command{
		Use: "add --op OPERATION", Short: "Have calls fail or be slow", Args: takes(),
		Long: help("Has calls of an operation be answered with an error, be delayed, or both, from now until the fault is",
			"removed or the server stops. Nothing is done of a call that gets an error. A call that is wrong in",
			"itself gets the error it deserves.",
			"",
			"With --records single records of PutRecords fail: the call succeeds, and some of its results bear the",
			"error, as on AWS when one shard has too much to do. The others are stored.",
			"",
			"With --seed the same calls in the same order are hit each time the fault is added."),
		Example: "  wasmill fault add --op PutRecords --records --rate 5% --error ProvisionedThroughputExceededException\n" +
			"  wasmill fault add --op GetRecords --latency 200ms\n  wasmill fault add --op PutRecord --rate 10% --error InternalFailure --seed 1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "op"); err != nil {
				return err
			}
			if spec.Error == "" && latency == 0 {
				return usage(cmd, "what is to happen to %s? want --error CODE, --latency TIME or both", spec.Op)
			}
			if spec.Records && latency != 0 {
				return usage(cmd, "--records and --latency: single records fail, they cannot be late")
			}
			share := float64(rate)
			spec.Rate, spec.Latency = &share, admin.Duration(latency)
			if cmd.Flags().Changed("seed") {
				spec.Seed = &seed
			}
			f, err := c.server().AddFault(cmd.Context(), spec)
			if err != nil {
				return err
			}
			c.say("fault %s: %s of %s of %s %s", f.ID, rate.String(), map[bool]string{true: "the records", false: "the calls"}[f.Records], f.Op, effect(f))
			c.say("  until it is removed, or the server stops; undo: wasmill fault rm %s", f.ID)
			return c.done(f, nil)
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Op, "op", "", "the `operation` of AWS's: PutRecords, GetRecords, …")
	f.StringVar(&spec.Service, "service", "", "its `service`, such as kinesis (default the one that has it)")
	f.Var(&rate, "rate", "which share of calls or records is hit, such as 5%")
	f.StringVar(&spec.Error, "error", "", "the `code` to answer: ProvisionedThroughputExceededException, InternalFailure, …")
	f.Var(&latency, "latency", "how long calls are delayed, up to 5m")
	f.BoolVar(&spec.Records, "records", false, "fail single records of PutRecords, and not the call")
	f.Uint64Var(&seed, "seed", 0, "have the same calls be hit each time; any `number` (default another each time)")
	return cmd
}

// effect says what a fault does.
func effect(f admin.Fault) string {
	late := "are " + f.Latency.String() + " late"
	fails := "get " + f.Error
	switch {
	case f.Latency == 0:
		return fails
	case f.Error == "":
		return late
	}
	return late + " and " + fails
}

func (c *cli) faultLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the faults, and how often they have hit", Args: takes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.server().Faults(cmd.Context())
			if err != nil {
				return err
			}
			if len(all) == 0 {
				c.say("no faults; next: wasmill fault add --help")
			}
			return c.done(map[string]any{"faults": notNil(all)}, func(w io.Writer) {
				var rows [][]any
				for _, f := range all {
					of := "calls"
					if f.Records {
						of = "records"
					}
					rows = append(rows, []any{f.ID, f.Service, f.Op, percentFlag(f.Rate).String() + " of " + of, effect(f), fmt.Sprintf("%s of %s", count(uint64(f.Hits)), count(uint64(f.Seen))), f.Seed})
				}
				if rows != nil {
					table(w, "ID SERVICE OPERATION RATE WHICH HITS SEED", rows)
				}
			})
		},
	}
}

func (c *cli) faultRm() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "rm [ID...]", Short: "End faults", Args: takes("[ID...]"),
		Example: "  wasmill fault rm 1\n  wasmill fault rm --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage(cmd, "want the ids of faults, as `wasmill fault ls` shows them, or --all")
			}
			if all {
				there, err := c.server().Faults(cmd.Context())
				if err != nil {
					return err
				}
				for _, f := range there {
					args = append(args, f.ID)
				}
			}
			removed := []string{}
			for _, id := range args {
				err := c.server().RemoveFault(cmd.Context(), id)
				if all && hasCode(err, admin.CodeFaultNotFound) {
					continue // somebody else was quicker
				}
				if err != nil {
					return err
				}
				removed = append(removed, id)
			}
			if len(removed) == 0 {
				c.say("there are no faults")
			} else {
				c.say("removed %s: %s", plural(len(removed), "fault"), strings.Join(removed, ", "))
			}
			return c.done(map[string]any{"removed": removed}, nil)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all of them")
	return cmd
}

// percentFlag is a share, given and shown as "5%".
type percentFlag float64

func (p *percentFlag) Type() string { return "percentage" }

func (p percentFlag) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*1e6)/1e4, 'f', -1, 64) + "%"
}

func (p *percentFlag) Set(text string) error {
	digits, ok := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if !ok || err != nil || !(v > 0 && v <= 100) {
		return errors.New("want a percentage above 0% and up to 100%, such as 5%")
	}
	*p = percentFlag(v / 100)
	return nil
}
