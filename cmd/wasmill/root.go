package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wasmill/wasmill/api/admin"
)

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "wasmill",
		Short: "Streams turn functions, on one machine",
		Long: help(
			"wasmill keeps sharded streams, runs WebAssembly functions on their records in batches, and",
			"buries the records no function can digest where you can look at them.",
			"",
			"A first round:",
			"  wasmill up --detach                                 start a server in the background",
			"  wasmill stream create orders --shards 4             a stream",
			"  wasmill fn create enrich ./handler                  a Go Lambda handler, built and deployed",
			"  wasmill trigger create enrich --stream orders --fn enrich --bisect --retries 2",
			"  wasmill stream put orders --file orders.ndjson --key '$.customer'",
			"  wasmill trigger wait enrich --drained               until all of it is done",
			"  wasmill dlq ls                                      what could not be done, and why",
			"  wasmill down",
			"",
			"With a handler of your own: `wasmill init` writes a wasmill.toml, `wasmill dev` runs it and deploys it anew",
			"with each save, `wasmill deploy` puts it on a server.",
			"",
			"Data goes to standard output, talk and progress to standard error. --json prints one envelope,",
			"{schemaVersion, command, status, data, warnings, error}; `stream tail` and `fn logs -f` print an",
			"object a line and the envelope last.",
			"",
			"Exit status: 0 done, 1 failed, 2 called wrongly, 3 not found, 4 conflict, 5 no server answers,",
			"6 timed out. Settings come from flags, then WASMILL_ variables (WASMILL_ENDPOINT, WASMILL_DATA, …),",
			"then defaults."),
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: c.group(true),
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(flagError)
	p := root.PersistentFlags()
	p.StringVar(&c.endpoint, "endpoint", "", "the server's `URL` (default: WASMILL_ENDPOINT, AWS_ENDPOINT_URL, the server on the default data directory, "+defaultEndpoint+")")
	p.BoolVar(&c.json, "json", false, "print JSON")
	p.BoolVarP(&c.quiet, "quiet", "q", false, "say nothing but results and errors")
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		c.command = noun(cmd)
		for _, name := range []string{"json", "quiet"} {
			if err := c.fromEnv(cmd, p.Lookup(name)); err != nil {
				return err
			}
		}
		return nil
	}
	root.AddCommand(c.up(), c.down(), c.initCommand(), c.devCommand(), c.deployCommand(), c.diffCommand(), c.rmCommand(), c.build(), c.fn(), c.stream(), c.shard(), c.trigger(), c.eventCommand(), c.dlq(), c.fault(), c.explain(), c.envCommand(), c.version())
	return root
}

// fromEnv sets a flag nobody gave from its WASMILL_ variable.
func (c *cli) fromEnv(cmd *cobra.Command, f *pflag.Flag) error {
	name := "WASMILL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	value := c.getenv(name)
	if f.Changed || value == "" {
		return nil
	}
	if err := cmd.Flags().Set(f.Name, value); err != nil {
		return usage(cmd, "%s=%q: %s", name, value, plainFlag(err.Error()))
	}
	return nil
}

// noun makes a command that only holds others.
func (c *cli) nounCommand(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: c.group(false)}
	cmd.AddCommand(verbs...)
	return cmd
}

// group runs when no verb was recognised: it says which was probably meant.
func (c *cli) group(bare bool) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		var verbs []string
		for _, v := range cmd.Commands() {
			if v.IsAvailableCommand() {
				verbs = append(verbs, v.Name())
			}
		}
		if len(args) > 0 {
			e := usage(cmd, "%s has no command %q", cmd.CommandPath(), args[0])
			for ours := synonyms[args[0]]; ours != ""; ours = synonyms[ours] {
				if slices.Contains(verbs, ours) {
					return meant(e, ours, []string{ours})
				}
			}
			return meant(e, args[0], verbs)
		}
		if bare {
			return cmd.Help()
		}
		return usage(cmd, "%s needs a command: %s", cmd.CommandPath(), strings.Join(verbs, ", "))
	}
}

// synonyms are the words other tools use for our verbs.
var synonyms = map[string]string{
	"list": "ls", "delete": "rm", "remove": "rm", "describe": "get", "info": "get", "inspect": "get", "add": "create", "new": "create",
	"edit": "update", "stop": "pause", "start": "resume", "call": "invoke", "run": "invoke", "read": "tail", "cat": "tail", "write": "put",
	"create": "set",
}

func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		e := usage(cmd, "%s has no flag --%s", cmd.CommandPath(), name)
		if near := admin.Nearest(name, names); len(near) > 0 {
			e.Message += "; did you mean --" + strings.Join(near, " or --") + "?"
			e.Details["didYouMean"] = near
		}
		return e
	}
	return usage(cmd, "%s", plainFlag(text))
}

// needs says which flags a command cannot do without.
func needs(cmd *cobra.Command, names ...string) error {
	var missing []string
	for _, n := range names {
		if !cmd.Flags().Changed(n) {
			missing = append(missing, "--"+n)
		}
	}
	if missing == nil {
		return nil
	}
	return usage(cmd, "%s needs %s", cmd.CommandPath(), strings.Join(missing, " and "))
}

var flagText = regexp.MustCompile(`(?s)^invalid argument "(.*)" for "(.*)" flag: (.*)$`)

// plainFlag says what is wrong with a flag's value as we would, not as Go does.
func plainFlag(text string) string {
	if _, set, ok := strings.Cut(text, "none of the others can be; ["); ok {
		names := strings.Fields(strings.TrimSuffix(set, "] were all set"))
		return "--" + strings.Join(names, " and --") + ": want one of them"
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return name + " needs a value"
	}
	m := flagText.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	value, name, why := m[1], m[2], m[3]
	switch {
	case strings.HasSuffix(why, "value out of range"):
		why = fmt.Sprintf("%q is too large a number", value)
	case strings.HasPrefix(why, "strconv.ParseBool"):
		why = fmt.Sprintf("%q: want true or false", value)
	case strings.HasPrefix(why, "strconv."):
		why = fmt.Sprintf("%q is no whole number", value)
	}
	return name + ": " + why
}

// takes checks how many arguments a command is given: "NAME", "[FILE]", "ID...".
func takes(names ...string) cobra.PositionalArgs {
	least, most := 0, len(names)
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
		if strings.Contains(n, "...") {
			most = 1 << 20
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usage(cmd, "%s needs %s", cmd.CommandPath(), strings.TrimSuffix(names[len(args)], "..."))
		}
		if len(args) > most {
			return usage(cmd, "%s takes no argument %q", cmd.CommandPath(), args[most])
		}
		return nil
	}
}

// version of the binary; the Makefile sets it.
var version = "dev"

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this command, and of the server if one answers", Args: takes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			data := map[string]any{"version": version, "server": nil}
			line := "wasmill " + version
			ctx, cancel := quick(cmd.Context())
			defer cancel()
			if info, err := c.server().Info(ctx); err == nil {
				data["server"] = map[string]any{"version": info.Version, "endpoint": info.Endpoint}
				line += fmt.Sprintf("\nserver  %s at %s", info.Version, c.server().Endpoint())
			}
			return c.done(data, printLine(line))
		},
	}
}

func (c *cli) explain() *cobra.Command {
	var markdown bool
	var out string
	cmd := &cobra.Command{
		Use: "explain [CODE]", Short: "Say what an error code means and what to do about it", Args: takes("[CODE]"),
		Long: help("Says what an error code means and what to do about it. Without a code it lists all of them.",
			"It needs no server."),
		Example: "  wasmill explain WM2001\n  wasmill explain",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, code := range admin.Codes {
				ids = append(ids, code.ID+"\t"+code.Title)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case markdown && out != "":
				f, err := os.Create(out)
				if err != nil {
					return err
				}
				if err := admin.WriteDocs(f); err != nil {
					return err
				}
				return f.Close()
			case markdown:
				return admin.WriteDocs(c.out)
			case len(args) == 0:
				return c.done(viewCodes(admin.Codes), codeTable)
			}
			code, ok := admin.Lookup(strings.ToUpper(args[0]))
			if !ok {
				var ids []string
				for _, known := range admin.Codes {
					ids = append(ids, known.ID)
				}
				return meant(admin.NewError(admin.CodeUnknownCode, "there is no error code %q", args[0]), args[0], ids)
			}
			return c.done(viewCodes([]admin.Code{code})[0], explainCode(code))
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print docs/errors.md")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write it to a `file`")
	cmd.Flags().MarkHidden("markdown")
	cmd.Flags().MarkHidden("output")
	return cmd
}

func (c *cli) envCommand() *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use: "env", Short: "Print the variable that points this command at the server", Args: takes(),
		Long: help("Prints the variable that points this command, and programs that read it, at the server, and says why it is",
			"that one. The first of these is used: --endpoint, WASMILL_ENDPOINT, AWS_ENDPOINT_URL, the server running on the",
			"data directory (WASMILL_DATA, else the user's), and where WASMILL_DATA is not set "+defaultEndpoint+".",
			"Where there is none nothing is printed but why; the exit status is 0."),
		Example: "  eval \"$(wasmill env)\"\n  wasmill env --shell fish | source\n  wasmill env --shell powershell | Invoke-Expression",
		RunE: func(cmd *cobra.Command, args []string) error {
			endpoint, from, none := c.where()
			vars := []variable{{"WASMILL_ENDPOINT", endpoint}}
			lines, err := exports(shell, vars)
			if err != nil {
				return usageError{err}
			}
			if none != nil {
				c.say("# there is no endpoint: %s; commands find none until one does (wasmill up), or WASMILL_ENDPOINT names another", none.Message)
				return c.done(map[string]any{"endpointFrom": none.Message}, nil)
			}
			ctx, cancel := quick(cmd.Context())
			defer cancel()
			answers := c.server().Healthy(ctx) == nil
			c.say("# the endpoint is from %s%s%s", from, c.outranked(from), map[bool]string{false: "; no server answers there now"}[answers])
			data := map[string]any{"endpointFrom": from, "answers": answers}
			for _, v := range vars {
				data[v.name] = v.value
			}
			return c.done(data, printLine(lines))
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "sh", "`sh`, fish or powershell")
	return cmd
}

// outranked names the variables that are set and not used.
func (c *cli) outranked(from string) string {
	if from == "the default" || strings.HasPrefix(from, "the server running on ") {
		return ""
	}
	var unused []string
	for _, name := range append(slices.Clone(endpointVariables), "WASMILL_DATA") {
		if name != from && c.getenv(name) != "" {
			unused = append(unused, name)
		}
	}
	if unused == nil {
		return ""
	}
	return ", which outranks " + strings.Join(unused, " and ")
}

type variable struct{ name, value string }

func exports(shell string, vars []variable) (string, error) {
	form, ok := map[string]string{"sh": "export %s=%s", "bash": "export %s=%s", "zsh": "export %s=%s", "fish": "set -gx %s %s", "powershell": "$env:%s = '%s'"}[shell]
	if !ok {
		return "", fmt.Errorf("--shell %q: want sh, fish or powershell", shell)
	}
	var lines []string
	for _, v := range vars {
		value := v.value
		if shell != "powershell" {
			value = quoteAll([]string{value})[0]
		}
		lines = append(lines, fmt.Sprintf(form, v.name, value))
	}
	return strings.Join(lines, "\n"), nil
}
