package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/internal/project"
)

func (c *cli) rmCommand() *cobra.Command {
	var yes, prune bool
	cmd := &cobra.Command{
		Use: "rm [DIR]", Short: "Delete what a folder's wasmill.toml has deployed", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Deletes the triggers and the function of the folder's wasmill.toml. Streams and dead letters stay, with",
			"their records. What is gone already is no error."),
		Example: "  wasmill rm\n  wasmill rm ./handler --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			// What the deployer's variables are does not matter to what goes.
			j, err := c.openJob(folder(args), func(string) string { return "-" })
			if err != nil {
				return err
			}
			found, err := c.find(cmd.Context(), j.Function.Name)
			if err != nil {
				return err
			}
			plan := project.Removal(j.Project, found, project.Options{Prune: prune})
			if err := refused(plan, j.dir); err != nil {
				return err
			}
			c.remarks(plan)
			if len(plan.Steps) == 0 {
				c.say("nothing to delete: the server has no function %s", j.Function.Name)
				return c.done(map[string]any{"plan": plan, "deleted": false}, nil)
			}
			if err := c.confirm(yes, "delete "+removed(plan)+" for good"); err != nil {
				return err
			}
			if err := c.apply(cmd.Context(), j, plan.Steps); err != nil {
				return err
			}
			var stay []string
			for _, s := range found.Streams {
				for _, used := range j.Streams {
					if used.Name == s.Name {
						stay = append(stay, s.Name)
					}
				}
			}
			if len(stay) > 0 {
				c.say("streams stay, with their records: %s; delete one with: wasmill stream rm NAME", strings.Join(stay, ", "))
			}
			return c.done(map[string]any{"plan": plan, "deleted": true, "streams": notNil(stay)}, nil)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&prune, "prune", false, "also delete triggers that call the function and are not in the file")
	return cmd
}

// removed says what a plan deletes: "trigger quakes with its checkpoint, and function quakes with its versions".
func removed(plan project.Plan) string {
	var parts []string
	for _, s := range plan.Steps {
		what := "its versions"
		if s.Kind == project.OfTrigger {
			what = "its checkpoint"
		}
		parts = append(parts, fmt.Sprintf("%s %s with %s", s.Kind, s.Name, what))
	}
	if n := len(parts); n > 1 {
		return strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
	return parts[0]
}
