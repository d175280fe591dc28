package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/wasmill/wasmill/api/admin"
)

// env is everything of the world a command may touch besides files and the network.
type env struct {
	in                    io.Reader
	out, err              io.Writer
	getenv                func(string) string
	inTTY, outTTY, errTTY bool
}

func system() env {
	tty := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	return env{os.Stdin, os.Stdout, os.Stderr, os.Getenv, tty(os.Stdin), tty(os.Stdout), tty(os.Stderr)}
}

// cli is one call of the command.
type cli struct {
	env
	args     []string // as given, for what to try next
	json     bool
	quiet    bool
	endpoint string
	command  string   // noun and verb, set before a command runs
	warnings []string // for the envelope
	client   *admin.Client
	cache    string // of compiled code, where this process has a server in memory
	routine  bool   // this build is one of many; only its errors are told
	closed   bool   // the envelope has been written
	after    string // what people read below an error
}

// run is main without the process around it.
func run(ctx context.Context, e env, args []string) int {
	c := &cli{env: e, args: args}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	cmd, err := root.ExecuteContextC(ctx)
	if c.client != nil {
		c.client.Close()
	}
	if err == nil {
		return 0
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	c.command = noun(cmd)
	// A call that could not be parsed never set its flags.
	c.json = c.json || slices.Contains(args, "--json")
	return c.fail(ctx, cmd, err)
}

func noun(cmd *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "wasmill"), " ")
}

// envelope is what every command prints with --json. SchemaVersion grows when a
// field changes its meaning or goes.
type envelope struct {
	SchemaVersion int          `json:"schemaVersion"`
	Command       string       `json:"command"`
	Status        string       `json:"status"` // ok or error
	Data          any          `json:"data"`
	Warnings      []string     `json:"warnings"`
	Error         *admin.Error `json:"error"`
}

const schemaVersion = 1

// done ends a command well: with the envelope, or with what people read.
func (c *cli) done(data any, people func(w io.Writer)) error {
	if c.json {
		c.envelope(data, nil)
		return nil
	}
	if people != nil {
		people(c.out)
	}
	return nil
}

func (c *cli) envelope(data any, err *admin.Error) {
	status := "ok"
	if err != nil {
		status = "error"
	}
	c.closed = true
	c.line(envelope{schemaVersion, c.command, status, data, append([]string{}, c.warnings...), err})
}

// line writes one JSON object on a line of standard output.
func (c *cli) line(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// say tells people what happens; programs do not hear it.
func (c *cli) say(format string, args ...any) {
	if !c.quiet && !c.json {
		fmt.Fprintf(c.err, format+"\n", args...)
	}
}

// warn says what is likely to surprise.
func (c *cli) warn(text string) {
	c.warnings = append(c.warnings, text)
	if !c.json {
		fmt.Fprintf(c.err, "%s: %s\n", c.paint(yellow, "warning"), text)
	}
}

// fail ends a command badly and returns its exit status.
func (c *cli) fail(ctx context.Context, cmd *cobra.Command, err error) int {
	e := c.toError(ctx, cmd, err)
	switch {
	case c.closed: // the envelope already says so
	case c.json:
		c.envelope(nil, e)
	default:
		c.complain(e)
	}
	return e.Category.ExitStatus()
}

// complain tells people of an error, and what to do about it.
func (c *cli) complain(e *admin.Error) {
	fmt.Fprintf(c.err, "%s: %s\n", c.paint(red, "error["+e.Code+"]"), e.Message)
	for _, a := range e.Actions {
		if a.Command == "" {
			fmt.Fprintf(c.err, "  - %s\n", a.Text)
			continue
		}
		fmt.Fprintf(c.err, "  - %s: %s\n", a.Text, c.paint(bold, a.Command))
	}
	if e.Category != admin.Usage {
		fmt.Fprintf(c.err, "  - more about this error: %s\n", c.paint(bold, "wasmill explain "+e.Code))
	}
	fmt.Fprint(c.err, c.after)
}

// toError gives every error its code.
func (c *cli) toError(ctx context.Context, cmd *cobra.Command, err error) *admin.Error {
	if e, ok := errors.AsType[*admin.Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return admin.NewError(admin.CodeInterrupted, "interrupted")
	}
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return admin.NewError(admin.CodeInput, "%v", p)
	}
	if _, ok := errors.AsType[usageError](err); ok || cmd.ValidateFlagGroups() != nil {
		return usage(cmd, "%s", plainFlag(err.Error()))
	}
	return admin.NewError(admin.CodeInternal, "%v", err)
}

// usageError is a mistake in a flag's or argument's value.
type usageError struct{ error }

// usage is an error of somebody who called cmd wrongly.
func usage(cmd *cobra.Command, format string, args ...any) *admin.Error {
	e := admin.NewError(admin.CodeUsage, format, args...)
	e.Actions = []admin.Action{{Text: "see how it is called", Command: cmd.CommandPath() + " --help"}}
	return e
}

// meant adds what was probably meant to an error's text.
func meant(e *admin.Error, typed string, names []string) *admin.Error {
	if near := admin.Nearest(typed, names); len(near) > 0 {
		e.Message += "; did you mean " + strings.Join(near, " or ") + "?"
		e.Details["didYouMean"] = near
	}
	return e
}

// confirm asks before something is lost for good. Without a terminal only
// --yes is an answer, so that no script hangs or deletes by accident.
func (c *cli) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	if !c.inTTY || !c.errTTY || c.json {
		e := admin.NewError(admin.CodeConfirm, "this would %s, and there is no terminal to ask on", what)
		e.Actions = []admin.Action{{Text: "if that is what you want, say so", Command: "wasmill " + strings.Join(quoteAll(c.args), " ") + " --yes"}}
		return e
	}
	fmt.Fprintf(c.err, "This will %s. Go on? [y/N] ", what)
	var answer string
	fmt.Fscanln(c.in, &answer)
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		e := admin.NewError(admin.CodeConfirm, "not confirmed; nothing was done")
		e.Actions = nil
		return e
	}
	return nil
}

// quoteAll makes arguments safe to paste into a shell.
func quoteAll(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !strings.ContainsRune("-_./:=@,+%", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return out
}

// Colours of a terminal.
const (
	red    = "1;31"
	yellow = "33"
	green  = "32"
	bold   = "1"
	faint  = "2"
)

// plain says that no colour and no moving line is wanted.
func (c *cli) plain() bool {
	return c.getenv("NO_COLOR") != "" || c.getenv("CI") != "" || c.getenv("TERM") == "dumb"
}

// paint colours text for standard error.
func (c *cli) paint(colour, text string) string {
	if !c.errTTY || c.plain() {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// server returns the client of the server in use.
func (c *cli) server() *admin.Client {
	if c.client == nil {
		endpoint, _, none := c.where()
		if none != nil {
			c.client = admin.NoServer(none)
			return c.client
		}
		c.client = admin.NewClient(endpoint)
	}
	return c.client
}

const defaultEndpoint = "http://127.0.0.1:4566"

// endpointVariables name the endpoint; the first that is set does.
var endpointVariables = []string{"WASMILL_ENDPOINT", "AWS_ENDPOINT_URL"}

// isVariable says whether what [cli.where] found is from a variable of the shell.
func isVariable(from string) bool { return slices.Contains(endpointVariables, from) }

// where finds the endpoint, and says where it is from. Whoever names a data
// directory means its server and no other, which may be somebody else's.
func (c *cli) where() (endpoint, from string, none *admin.Error) {
	if c.endpoint != "" {
		return c.endpoint, "--endpoint", nil
	}
	for _, name := range endpointVariables {
		if v := c.getenv(name); v != "" {
			return v, name, nil
		}
	}
	if dir, err := c.dataDir(); err == nil {
		if s, err := readState(dir); err == nil && alive(s.PID) {
			return s.Endpoint, "the server running on " + dir, nil
		}
		if c.getenv("WASMILL_DATA") != "" {
			return "", "", admin.NewError(admin.CodeUnreachable, "no server runs on %s (WASMILL_DATA)", dir).With("dataDir", dir)
		}
	}
	return defaultEndpoint, "the default", nil
}

// help joins the lines of a help text.
func help(lines ...string) string { return strings.Join(lines, "\n") }
