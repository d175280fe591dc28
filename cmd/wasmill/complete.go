package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
)

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// names completes the first argument with what the running server has.
func (c *cli) names(list func(context.Context, *admin.Client) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := quick(context.Background())
		defer cancel()
		found, err := list(ctx, c.server())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// flagNames is names for a flag, where arguments may stand before.
func (c *cli) flagNames(list func(context.Context, *admin.Client) ([]string, error)) completer {
	complete := c.names(list)
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, nil, typed)
	}
}

func streamNames(ctx context.Context, s *admin.Client) (names []string, err error) {
	all, err := s.Streams(ctx)
	for _, v := range all {
		names = append(names, v.Name)
	}
	return names, err
}

func functionNames(ctx context.Context, s *admin.Client) (names []string, err error) {
	all, err := s.Functions(ctx)
	for _, v := range all {
		names = append(names, v.Name)
	}
	return names, err
}

func triggerNames(ctx context.Context, s *admin.Client) (names []string, err error) {
	all, err := s.Triggers(ctx)
	for _, v := range all {
		names = append(names, v.Name+"\t"+v.Stream+" to "+v.Function)
	}
	return names, err
}

func letterIDs(ctx context.Context, s *admin.Client) (ids []string, err error) {
	all, _, err := s.Letters(ctx, admin.LetterFilter{Limit: 200})
	for _, v := range all {
		ids = append(ids, v.ID+"\t"+v.Trigger+": "+v.ErrorMessage)
	}
	return ids, err
}
