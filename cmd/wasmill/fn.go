package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/project"
)

func (c *cli) fn() *cobra.Command {
	cmd := c.nounCommand("fn", "Functions: WebAssembly modules that run here",
		c.fnCreate(), c.fnUpdate(), c.fnLs(), c.fnGet(), c.fnInvoke(), c.fnLogs(), c.fnPublish(), c.fnAlias(), c.fnCode(), c.fnRm())
	cmd.Aliases = []string{"function", "functions"}
	return cmd
}

// fnFlags are the settings create and update share.
type fnFlags struct {
	timeout     durationFlag
	memory      string
	env, emits  []string
	allow       []string
	isolation   string
	concurrency string
	description string
}

func (f *fnFlags) add(c *cli, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.Var(&f.timeout, "timeout", "of a call, 1s to 900s (default 3s)")
	fs.StringVar(&f.memory, "memory", "", "of one environment, 128MB to 10240MB; a bare number is of MB (default 128MB)")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "environment variable `NAME=VALUE`; repeat it; together they replace all there were")
	fs.StringArrayVar(&f.emits, "emit", nil, "a `stream` it may emit records to; repeat it; together they replace all there were, '' is none")
	fs.StringArrayVar(&f.allow, "allow", nil, "a place it may dial, `HOST:PORT`; repeat it; together they replace all there were (fn get shows them), '' is none")
	fs.StringVar(&f.isolation, "isolation", "", "what a call finds in memory: environment (what earlier ones left) or invocation (nothing) (default environment)")
	fs.StringVar(&f.concurrency, "concurrency", "", "the most calls at once, kept free for it: a number, 0 to let none run, or none for no such limit (default none)")
	fs.StringVar(&f.description, "description", "", "free `text`")
	cmd.RegisterFlagCompletionFunc("emit", c.flagNames(streamNames))
	cmd.RegisterFlagCompletionFunc("isolation", cobra.FixedCompletions([]string{string(functions.IsolationEnvironment), string(functions.IsolationInvocation)}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *fnFlags) spec(cmd *cobra.Command) (admin.FunctionSpec, error) {
	var s admin.FunctionSpec
	said := cmd.Flags().Changed
	give(said("timeout"), &s.Timeout, admin.Duration(f.timeout))
	give(said("description"), &s.Description, f.description)
	if said("memory") {
		mb, err := parseMegabytes(f.memory)
		if err != nil {
			return s, usageError{fmt.Errorf("--memory %w", err)}
		}
		s.MemoryMB = &mb
	}
	if said("env") {
		env := admin.EnvSpec{}
		for _, pair := range f.env {
			name, value, ok := strings.Cut(pair, "=")
			if pair == "" {
				continue // --env '' empties the environment
			}
			if !ok || name == "" {
				return s, usageError{fmt.Errorf("--env %q: want NAME=VALUE", pair)}
			}
			env[name] = value
		}
		s.Environment = &env
	}
	var err error
	if said("emit") {
		if s.Emits, err = several("emit", "stream", f.emits); err != nil {
			return s, err
		}
	}
	if said("allow") {
		if s.Allow, err = several("allow", "place", f.allow); err != nil {
			return s, err
		}
		for _, pattern := range *s.Allow {
			if _, err := functions.ParseAllow(pattern); err != nil {
				return s, usageError{fmt.Errorf("--allow %q: %w", pattern, err)}
			}
		}
	}
	if said("isolation") {
		i := functions.Isolation(f.isolation)
		if i != functions.IsolationEnvironment && i != functions.IsolationInvocation {
			return s, usageError{fmt.Errorf("--isolation %q: want %s or %s", f.isolation, functions.IsolationEnvironment, functions.IsolationInvocation)}
		}
		s.Isolation = &i
	}
	if said("concurrency") {
		n, err := strconv.Atoi(f.concurrency)
		switch {
		case f.concurrency == "none":
			n = admin.NoConcurrency
		case err != nil || n < 0:
			return s, usageError{fmt.Errorf("--concurrency %q: want 0 or more, or none", f.concurrency)}
		}
		s.Concurrency = &n
	}
	return s, nil
}

// several takes a flag that is repeated, and whose empty value alone is none.
func several(flag, what string, values []string) (*[]string, error) {
	some := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
	if len(some) == 0 && len(values) > 1 || len(some) > 0 && len(some) < len(values) {
		return nil, usageError{fmt.Errorf("--%s '': want it alone, for no %s at all", flag, what)}
	}
	return &some, nil
}

// parseMegabytes reads a size in MB, which is also what a bare number means.
func parseMegabytes(text string) (int, error) {
	if mb, err := strconv.Atoi(text); err == nil {
		return mb, nil
	}
	n, err := parseSize(text)
	if err == nil && n%(1<<20) != 0 {
		err = fmt.Errorf("%q: want whole megabytes", text)
	}
	return int(n >> 20), err
}

func (c *cli) fnCreate() *cobra.Command {
	var flags fnFlags
	var ifNotExists bool
	cmd := &cobra.Command{
		Use: "create NAME FILE.wasm|FILE.zip|DIR", Short: "Create a function from a module, or from a project's folder", Args: takes("NAME", "FILE.wasm|DIR"),
		Long: help("Creates a function from a WebAssembly module, a zip file that holds one, or from the folder of a project (Go, Rust, C, AssemblyScript,",
			"JavaScript), which is built first as `wasmill build` does. The module is checked and compiled now, never at the first call.",
			"A FILE of - is standard input. Undo it with: wasmill fn rm NAME"),
		Example: "  wasmill fn create enrich ./handler --timeout 30s --memory 256MB -e TABLE=orders\n  wasmill fn create enrich enrich.wasm\n  wasmill fn create index ./index --allow opensearch:9200 --concurrency 4",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := flags.spec(cmd)
			if err != nil {
				return err
			}
			// All that can be refused now, before a long build.
			if err := functions.ValidateName(args[0]); err != nil {
				return admin.NewError(admin.CodeFunctionInvalid, "%s", strings.TrimPrefix(err.Error(), functions.ErrInvalid.Error()+": "))
			}
			switch v, err := c.server().Function(cmd.Context(), args[0], ""); {
			case err == nil && ifNotExists:
				c.say("function %s exists already and stays as it is", args[0])
				return c.done(v, nil)
			case err == nil:
				return admin.NewError(admin.CodeFunctionExists, "a function named %s exists already", args[0]).Named(args[0]).With("function", args[0])
			case !hasCode(err, admin.CodeFunctionNotFound):
				return err
			}
			code, err := c.module(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			v, warnings, err := c.deploy(func(progress func(admin.Progress)) (admin.Function, []string, error) {
				return c.server().CreateFunction(cmd.Context(), args[0], code, spec, progress)
			})
			if err != nil {
				return err
			}
			for _, w := range warnings {
				c.warn(w)
			}
			c.say("created function %s: %s, %s, %d MB, timeout %s", v.Name, size(v.CodeBytes), v.ABI, v.MemoryMB, v.Timeout)
			c.say("  next: wasmill fn invoke %s --data '{}'", v.Name)
			c.say("  undo: wasmill fn rm %s", v.Name)
			return c.done(v, nil)
		},
	}
	flags.add(c, cmd)
	cmd.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "accept a function that is there already, as it is")
	return cmd
}

// deploy shows how far a deployment is.
func (c *cli) deploy(do func(func(admin.Progress)) (admin.Function, []string, error)) (admin.Function, []string, error) {
	shown := c.progress()
	defer shown.clear()
	return do(func(p admin.Progress) {
		if !c.moving() {
			return // a line that is not painted over says nothing
		}
		shown.show(func() string {
			if p.Total > 0 && p.Done > 0 {
				return fmt.Sprintf("%s %d %%", p.Stage, 100*p.Done/p.Total)
			}
			return p.Stage
		})
	})
}

func (c *cli) fnUpdate() *cobra.Command {
	var flags fnFlags
	cmd := &cobra.Command{
		Use: "update NAME [FILE.wasm|FILE.zip|DIR]", Short: "Give a function new code, or other settings", Args: takes("NAME", "[FILE.wasm|DIR]"), ValidArgsFunction: c.names(functionNames),
		Long: help("Changes $LATEST: its code where a module or folder is named, and the settings that are named. Published",
			"versions never change. Calls under way end on the old code. It prints what differs.",
			"",
			"--allow, --emit and --env replace the whole list: repeat the flag for all that is to stay."),
		Example: "  wasmill fn update enrich ./handler\n  wasmill fn update enrich --timeout 30s",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := flags.spec(cmd)
			if err != nil {
				return err
			}
			if len(args) == 1 && spec == (admin.FunctionSpec{}) {
				return usage(cmd, "nothing to change: name a module, a folder, or at least one setting")
			}
			v, err := c.server().Function(cmd.Context(), args[0], "") // before a long build
			if err != nil {
				return err
			}
			before := v
			var warnings []string
			if spec != (admin.FunctionSpec{}) {
				if v, warnings, err = c.server().UpdateConfig(cmd.Context(), args[0], spec); err != nil {
					return err
				}
			}
			if len(args) == 2 {
				code, err := c.module(cmd.Context(), args[1])
				if err != nil {
					return err
				}
				var more []string
				if v, more, err = c.deploy(func(progress func(admin.Progress)) (admin.Function, []string, error) {
					return c.server().UpdateCode(cmd.Context(), args[0], code, progress)
				}); err != nil {
					return err
				}
				warnings = append(warnings, more...)
			}
			for _, w := range warnings {
				c.warn(w)
			}
			var changes []project.Change
			if before.SHA256 != v.SHA256 {
				changes = append(changes, project.Change{Setting: "code", From: short(before.SHA256), To: short(v.SHA256)})
			}
			step := project.Step{Action: project.Update, Kind: project.OfFunction, Name: v.Name, Changes: append(changes, project.FunctionChanges(configOf(before), configOf(v))...)}
			if len(step.Changes) == 0 {
				c.say("nothing to change: function %s is so already", v.Name)
			} else {
				c.say("updated function %s", strings.TrimPrefix(step.Line(), "~ function "))
			}
			return c.done(v, nil)
		},
	}
	flags.add(c, cmd)
	return cmd
}

func (c *cli) fnLs() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the functions", Args: takes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.server().Functions(cmd.Context())
			if err != nil {
				return err
			}
			if len(all) == 0 {
				c.say("no functions yet; next: wasmill fn create NAME FILE.wasm|DIR")
			}
			return c.done(map[string]any{"functions": notNil(all)}, func(w io.Writer) {
				var rows [][]any
				for _, v := range all {
					rows = append(rows, []any{v.Name, v.ABI, size(v.CodeBytes), fmt.Sprintf("%d MB", v.MemoryMB), v.Timeout, short(v.SHA256), ago(v.Modified)})
				}
				if rows != nil {
					table(w, "NAME ABI CODE MEMORY TIMEOUT SHA256 MODIFIED", rows)
				}
			})
		},
	}
}

func short(digest string) string { return digest[:min(12, len(digest))] }

func (c *cli) fnGet() *cobra.Command {
	var qualifier string
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Describe a function", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Function(cmd.Context(), args[0], qualifier)
			if err != nil {
				return err
			}
			return c.done(v, func(w io.Writer) {
				facts(w, "name", v.Name, "version", v.Version, "arn", v.ARN, "state", stateText(v), "description", v.Description,
					"code", fmt.Sprintf("%s, called by %s, sha256 %s", size(v.CodeBytes), v.ABI, v.SHA256),
					"timeout", v.Timeout, "memory", fmt.Sprintf("%d MB", v.MemoryMB), "modified", stamp(v.Modified)+"  "+ago(v.Modified),
					"emits to", strings.Join(v.Emits, ", "), "may dial", strings.Join(v.Allow, ", "), "isolation", isolationText(v.Isolation),
					"concurrency", concurrencyText(v.Concurrency), "published", strings.Join(v.Versions, ", "),
					"aliases", aliasesText(v.Aliases), "tags", tagsText(v.Tags))
				printEnvironment(w, v.Environment)
			})
		},
	}
	cmd.Flags().StringVar(&qualifier, "version", "", "a published `version`, or an alias (default $LATEST)")
	return cmd
}

// stateText is what is not as usual: a function that does not run yet, or never will, and
// new code that does not run.
func stateText(v admin.Function) string {
	switch {
	case v.State == functions.Pending:
		return "pending: its code is being compiled"
	case v.State == functions.Failed:
		return "failed, and does not run: " + oneLine([]byte(v.Reason))
	case v.Update == functions.UpdateInProgress:
		return "active; new code is being compiled"
	case v.Update == functions.UpdateFailed:
		return "active, on the code from before, for the new code cannot run: " + oneLine([]byte(v.UpdateReason))
	}
	return ""
}

func tagsText(tags map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, oneLine([]byte(name+"="+tags[name])))
	}
	return strings.Join(out, ", ")
}

// isolationText is what is not the default.
func isolationText(i functions.Isolation) string {
	if i == functions.IsolationInvocation {
		return "invocation: each call finds memory as it was after start-up"
	}
	return ""
}

func concurrencyText(n *int) string {
	switch {
	case n == nil:
		return ""
	case *n == 0:
		return "0: no call runs"
	}
	return fmt.Sprintf("%s at once, kept free for it", plural(*n, "call"))
}

func (c *cli) fnLogs() *cobra.Command {
	var follow, verbose bool
	var request string
	var n int
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print what a function wrote, and follow it", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		Long: help("Prints the last lines a function wrote, with Lambda's START, END and REPORT lines around each call. The",
			"server keeps 64 MB of a function, in memory 4 MB. AWS's clients find the same as log group",
			"/aws/lambda/NAME. With -f --json each line is an object and the last one the envelope.",
			"--request prints all that one call wrote; -v and --json name the call of each line."),
		Example: "  wasmill fn logs enrich -n 20\n  wasmill fn logs enrich -f\n  wasmill fn logs enrich --request ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 0 {
				return usageError{fmt.Errorf("--tail %d: want 0 or more", n)}
			}
			if request != "" {
				if cmd.Flags().Changed("tail") {
					return usageError{errors.New("--tail and --request: want one of them")}
				}
				n = 1 << 20 // more than there can be
			}
			var lines []admin.LogLine
			sent := 0
			err := c.server().Logs(cmd.Context(), args[0], n, follow, func(l admin.LogLine) error {
				if request != "" && l.RequestID != request {
					return nil
				}
				sent++
				switch {
				case !c.json:
					id := ""
					if verbose {
						id = fmt.Sprintf("%-36s  ", l.RequestID)
					}
					_, err := fmt.Fprintf(c.out, "%s  %s%s\n", stamp(l.Time), id, printable(strings.TrimRight(l.Line, "\n")))
					return err
				case follow:
					return c.line(l)
				}
				lines = append(lines, l)
				return nil
			})
			if follow && hasCode(err, admin.CodeInterrupted) {
				err = nil
			}
			if err != nil {
				return err
			}
			switch {
			case c.json && follow:
				c.envelope(map[string]any{"lines": sent}, nil)
			case c.json:
				return c.done(map[string]any{"lines": notNil(lines)}, nil)
			case sent == 0 && request != "":
				c.say("nothing is kept of what function %s wrote in call %s; the server keeps the last 64 MB of a function, in memory 4 MB", args[0], request)
			case sent == 0:
				c.say("function %s has written nothing that is kept", args[0])
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it writes")
	cmd.Flags().StringVar(&request, "request", "", "only what the call of that `ID` wrote")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "name the call of each line")
	cmd.Flags().IntVarP(&n, "tail", "n", 100, "`lines` to begin with")
	return cmd
}

func (c *cli) fnPublish() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use: "publish NAME", Short: "Publish $LATEST as an immutable version", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		Long: "Publishes $LATEST as a version that never changes. Unchanged since the last one, it is that version again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Publish(cmd.Context(), args[0], description)
			if err != nil {
				return err
			}
			c.say("published %s as version %s", v.Name, v.Version)
			return c.done(v, printLine(v.Version))
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "free `text` of the version")
	return cmd
}

func (c *cli) fnRm() *cobra.Command {
	var yes, ignore bool
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "Delete a function with its versions", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.server().Function(cmd.Context(), args[0], "")
			if ignore && hasCode(err, admin.CodeFunctionNotFound) {
				c.say("there is no function %s", args[0])
				return c.done(map[string]any{"name": args[0], "deleted": false}, nil)
			}
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("delete function %s with its %s for good", v.Name, plural(len(v.Versions), "published version"))); err != nil {
				return err
			}
			if err := c.server().DeleteFunction(cmd.Context(), v.Name); err != nil {
				return err
			}
			c.say("deleted function %s", v.Name)
			return c.done(map[string]any{"name": v.Name, "deleted": true}, nil)
		},
	}
	removal(cmd, &yes, &ignore)
	return cmd
}

// readAll reads a module or payload from standard input, bounded.
func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, functions.MaxCode+1))
	if err != nil {
		return nil, admin.NewError(admin.CodeInput, "standard input: %v", err)
	}
	if len(b) > functions.MaxCode {
		return nil, admin.NewError(admin.CodeTooLarge, "standard input has more than %s", size(functions.MaxCode))
	}
	return b, nil
}

func printEnvironment(w io.Writer, env map[string]string) {
	if len(env) == 0 {
		return
	}
	fmt.Fprintln(w, "\nenvironment:")
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(w, "  %s=%s\n", name, oneLine([]byte(env[name])))
	}
}
