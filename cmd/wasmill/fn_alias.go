package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
)

func (c *cli) fnAlias() *cobra.Command {
	cmd := c.nounCommand("alias", "Names for versions of a function", c.fnAliasSet(), c.fnAliasLs(), c.fnAliasRm())
	cmd.Aliases = []string{"aliases"}
	return cmd
}

func (c *cli) fnAliasSet() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use: "set NAME ALIAS VERSION|OTHER=SHARE...", Short: "Have an alias name a version, or two of them", Args: takes("NAME", "ALIAS", "VERSION", "[OTHER=SHARE]"), ValidArgsFunction: c.names(functionNames),
		Long: help("Makes an alias of a function, or has it name another version: triggers and callers that name the alias",
			"call that version from now on. With OTHER=SHARE, of 0 to 1 or in percent, that share of calls goes to the OTHER",
			"version, by chance; alone it leaves the version as it is. A published version may be named, or $LATEST."),
		Example: "  wasmill fn alias set enrich live 3\n  wasmill fn alias set enrich live 4=10%    # 10 % of calls go to version 4, others still to 3\n  wasmill fn alias set enrich live 4",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := aliasSpec(args[2:])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("description") {
				spec.Description = &description
			}
			all, err := c.server().Aliases(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			undo := "wasmill fn alias rm " + args[0] + " " + args[1]
			at := slices.IndexFunc(all, func(a admin.Alias) bool { return a.Name == args[1] })
			if at >= 0 {
				was := all[at]
				undo = "wasmill fn alias set " + strings.Join(append([]string{args[0], args[1], was.Version}, shares(was.Weights)...), " ")
				if spec.Version == "" {
					spec.Version = was.Version
				}
			}
			if spec.Version == "" {
				return usageError{fmt.Errorf("function %s has no alias %s yet: name the version that it is to have beside %s", args[0], args[1], args[2])}
			}
			v, err := c.server().SetAlias(cmd.Context(), args[0], args[1], spec)
			if err != nil {
				return err
			}
			c.say("alias %s of function %s is version %s", v.Name, args[0], aliasText(v))
			c.say("  undo: %s", undo)
			return c.done(v, nil)
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "free `text`")
	return cmd
}

// aliasSpec reads VERSION, OTHER=SHARE or both.
func aliasSpec(args []string) (s admin.AliasSpec, err error) {
	for _, arg := range args {
		other, share, weighed := strings.Cut(arg, "=")
		switch {
		case weighed && s.Weights == nil:
			number, percent := strings.CutSuffix(share, "%")
			weight, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if percent {
				weight /= 100
			}
			if err != nil || other == "" || !(weight >= 0 && weight <= 1) {
				return s, usageError{fmt.Errorf("%q: want a version and its share, 0 to 1 or in percent, like 4=10%%", arg)}
			}
			s.Weights = map[string]float64{other: weight}
		case !weighed && s.Version == "":
			s.Version = arg
		default:
			return s, usageError{fmt.Errorf("%q: want one VERSION and one OTHER=SHARE at most", arg)}
		}
	}
	return s, nil
}

// shares are weights as arguments of set.
func shares(weights map[string]float64) (out []string) {
	for _, version := range slices.Sorted(maps.Keys(weights)) {
		out = append(out, fmt.Sprintf("%s=%s%%", version, inPercent(weights[version])))
	}
	return out
}

func inPercent(share float64) string { return strconv.FormatFloat(share*100, 'g', 6, 64) }

// aliasText is which versions an alias names: "3", or "3, and 4 for 10 % of calls".
func aliasText(a admin.Alias) string {
	out := a.Version
	for _, version := range slices.Sorted(maps.Keys(a.Weights)) {
		out += fmt.Sprintf(", and %s for %s %% of calls", version, inPercent(a.Weights[version]))
	}
	return out
}

func aliasesText(all []admin.Alias) string {
	var out []string
	for _, a := range all {
		out = append(out, a.Name+" is "+aliasText(a))
	}
	return strings.Join(out, "; ")
}

func (c *cli) fnAliasLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls NAME", Short: "List the aliases of a function", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.server().Aliases(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(all) == 0 {
				c.say("function %s has no aliases; next: wasmill fn alias set %s ALIAS VERSION", args[0], args[0])
			}
			return c.done(map[string]any{"aliases": notNil(all)}, func(w io.Writer) {
				var rows [][]any
				for _, a := range all {
					other := "-"
					if len(a.Weights) > 0 {
						other = strings.Join(shares(a.Weights), " ")
					}
					rows = append(rows, []any{a.Name, a.Version, other, oneLine([]byte(a.Description))})
				}
				if rows != nil {
					table(w, "ALIAS VERSION SHARES DESCRIPTION", rows)
				}
			})
		},
	}
}

func (c *cli) fnAliasRm() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME ALIAS", Short: "Delete an alias of a function; its version stays", Args: takes("NAME", "ALIAS"), ValidArgsFunction: c.names(functionNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.server().DeleteAlias(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			c.say("deleted alias %s of function %s", args[1], args[0])
			return c.done(map[string]any{"name": args[1], "function": args[0], "deleted": true}, nil)
		},
	}
}
