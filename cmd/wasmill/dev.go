package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/internal/project"
	"github.com/wasmill/wasmill/server"
)

func (c *cli) devCommand() *cobra.Command {
	var o deployFlags
	listen := ""
	cmd := &cobra.Command{
		Use: "dev [DIR]", Short: "Start a server with a folder's function on it, and deploy it anew with each save", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Starts a server in memory, deploys the folder's wasmill.toml on it, watches the sources (what the language's",
			"build reads, what Go embeds, wasmill.toml) and deploys again with each save. What the function writes and emits, its",
			"dead letters and what stops its triggers are shown as they come. Code that does not build or start is",
			"shown with its errors, and the version before it goes on running. Ctrl-C ends it, and the server with all",
			"that is on it. With --endpoint no server is started: it deploys to that one, where everything stays.",
			"",
			"On its own server triggers are pruned and replaced as the file says; on another that takes --prune and",
			"--replace. With --json each event is an object on a line, {event, time, …}, and the envelope comes last."),
		Example: "  wasmill dev\n  wasmill dev ./handler --listen :0\n  wasmill dev --endpoint http://127.0.0.1:4566",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.fromEnv(cmd, cmd.Flags().Lookup("listen")); err != nil {
				return err
			}
			own := !cmd.Flags().Changed("endpoint")
			if !own && cmd.Flags().Changed("listen") {
				return usage(cmd, "--listen and --endpoint: want one of them")
			}
			return c.dev(cmd.Context(), folder(args), upFlags{memory: true, listen: listen}, own, o)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:4566", "`address` to listen on; :0 picks a free port of this machine")
	o.add(cmd)
	return cmd
}

// dev deploys a folder again and again, until ctx ends or the server does.
func (c *cli) dev(ctx context.Context, dir string, o upFlags, own bool, flags deployFlags) (err error) {
	if _, err := c.openJob(dir, c.getenv); hasCode(err, admin.CodeNoProject) {
		return err // what else is wrong is mended while it runs
	}
	var ended <-chan struct{} // the server's own end; nil: it is not ours
	if own {
		s, err := c.devServer(ctx, o)
		if err != nil {
			return err
		}
		defer os.RemoveAll(c.cache)
		defer func() {
			err = errors.Join(err, c.stop(s))
		}()
		c.endpoint, ended = s.Endpoint(), s.Done()
		// What is on it came from this folder and dies with it: the file is right.
		flags.prune, flags.replace = true, true
	} else if _, err := c.server().Info(ctx); err != nil {
		return err
	}
	w, err := newWatcher()
	if err != nil {
		return unwatched(dir, err)
	}
	defer w.Close()
	d := &dev{cli: c, dir: dir, flags: flags, watcher: w, started: time.Now(), own: own}
	defer d.stopFollowing()
	if own {
		c.say("%s is up at %s, in memory; Ctrl-C ends it", c.paint(bold, "wasmill "+version), c.paint(green, c.endpoint))
		if other, from, _ := c.ofShell().where(); isVariable(from) && !sameServer(other, c.endpoint) {
			c.say("  %s is not used: this is a server of dev's own. To work on that one: wasmill dev --endpoint %s", from, quoteAll([]string{other})[0])
		}
	}
	d.event("up", map[string]any{"endpoint": c.server().Endpoint(), "own": own})
	if err := d.watch(); err != nil {
		return unwatched(dir, err)
	}
	if w.Crowded() {
		c.warn(fmt.Sprintf("there are more than %d folders: saves in some of them are not noticed", maxFolders))
	}
	d.turn(ctx, change{})
	for {
		select {
		case ch := <-w.changes:
			d.turn(ctx, ch)
			if err := d.watch(); err != nil {
				c.warn(fmt.Sprintf("not all sources are watched: %v", err))
			}
		case <-ctx.Done():
			c.say("stopping; once more Ctrl-C ends it at once")
			return d.end()
		case <-ended:
			c.say("the server was asked to stop")
			return d.end()
		}
	}
}

// unwatched says why files cannot be watched: a limit of the system, mostly.
func unwatched(dir string, err error) error {
	return admin.NewError(admin.CodeInput, "the files in %s cannot be watched: %v", dir, err)
}

// devServer starts the server in memory.
func (c *cli) devServer(ctx context.Context, o upFlags) (*server.Server, error) {
	if strings.HasPrefix(o.listen, ":") {
		o.listen = "127.0.0.1" + o.listen
	}
	cache, err := os.MkdirTemp("", "wasmill-dev-")
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := server.Start(ctx, server.Config{Memory: true, Cache: cache, Listen: o.listen, AllowReset: true, Version: version, Logger: logger})
	if err != nil {
		os.RemoveAll(cache)
		err = c.startError(ctx, err, o)
		if e, ok := errors.AsType[*admin.Error](err); ok && e.Code == admin.CodeAddressInUse {
			e.Actions = []admin.Action{{Text: "listen on a port that is free", Command: "wasmill dev --listen :0"}}
			if at, ok := e.Details["endpoint"].(string); ok {
				e.Actions = append(e.Actions, admin.Action{Text: "or work on the server that is there", Command: "wasmill dev --endpoint " + at})
			}
		}
		return nil, err
	}
	c.cache = cache
	return s, nil
}

// dev is a folder under development. Its fields belong to the goroutine of
// [cli.dev]; what follows the server has its own.
type dev struct {
	*cli
	dir     string
	flags   deployFlags
	watcher *watcher
	started time.Time
	own     bool

	deployed int // how often
	failed   bool
	remarked string // what was last said of what differs and stays
	news     *news  // nil until there is a function
}

// watch has the sources watched that there are now.
func (d *dev) watch() error {
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return err
	}
	if filepath.Base(dir) == project.FileName {
		dir = filepath.Dir(dir)
	}
	files := []string{filepath.Join(dir, project.FileName)}
	var roots []string
	if j, err := d.openJob(dir, func(string) string { return "-" }); err == nil {
		path, isFolder, err := j.source()
		switch {
		case err == nil && !isFolder:
			files = append(files, path)
		case err == nil:
			var more []string
			roots, more = sources(path)
			files = append(files, more...)
		}
	}
	return d.watcher.Follow(roots, files)
}

// turn deploys once and says what came of it. A change without files is the first.
func (d *dev) turn(ctx context.Context, ch change) {
	start := time.Now()
	d.routine = d.deployed > 0 || d.failed
	d.after = ""
	j, plan, err := d.deployOnce(ctx)
	if ctx.Err() != nil {
		return // it is over
	}
	took := time.Since(start)
	if !ch.since.IsZero() {
		took = time.Since(ch.since) // as somebody who saved a file sees it
	}
	switch {
	case err != nil:
		e := d.toError(ctx, nil, err)
		if d.json {
			d.event("failed", map[string]any{"error": e, "files": notNil(ch.files)})
		} else {
			d.complain(e)
		}
		d.failed = true
		if d.deployed > 0 {
			d.say("%s goes on as it was; waiting for the next save", d.news.function)
		} else {
			d.say("waiting for the next save")
		}
		return
	case len(plan.Steps) == 0 && d.deployed > 0:
		d.say("%s", d.paint(faint, fmt.Sprintf("nothing has changed (%s)", base(ch.files))))
		d.event("unchanged", map[string]any{"files": notNil(ch.files)})
	default:
		parts := fmt.Sprintf("build %s, trial %s, the rest %s", span(j.took-j.try), span(j.try), span(took-j.took))
		d.event("deployed", map[string]any{"function": j.Function.Name, "sha256": j.Function.Digest, "plan": plan, "files": notNil(ch.files),
			"seconds": took.Seconds(), "buildSeconds": (j.took - j.try).Seconds(), "trialSeconds": j.try.Seconds()})
		if d.deployed > 0 {
			d.say("%s", d.paint(green, fmt.Sprintf("%s answers with the new version %s after the save (%s)", j.Function.Name, span(took), parts)))
		} else {
			d.say("%s runs after %s (%s)", j.Function.Name, span(took), parts)
			d.hints(j)
		}
	}
	d.deployed, d.failed = d.deployed+1, false
	d.follow(ctx, j)
}

func (d *dev) deployOnce(ctx context.Context) (*job, project.Plan, error) {
	j, err := d.openJob(d.dir, d.getenv)
	if err != nil {
		return nil, project.Plan{}, err
	}
	plan, err := d.plan(ctx, j, d.flags.options())
	if err != nil {
		return j, plan, err
	}
	if err := refused(plan, j.dir); err != nil {
		return j, plan, err
	}
	if err := d.apply(ctx, j, plan.Steps); err != nil {
		return j, plan, err
	}
	if now := fmt.Sprint(plan.Strays, plan.Notes); now != d.remarked {
		d.remarks(plan)
		d.remarked = now
	}
	_, err = d.running(ctx, j, 30*time.Second)
	return j, plan, err
}

// hints are what to try next, once.
func (d *dev) hints(j *job) {
	if found, _, none := d.ofShell().where(); d.own && (none != nil || !sameServer(found, d.endpoint)) {
		d.say("  Other commands need this line in their shell:")
		d.say("    export WASMILL_ENDPOINT=%s", d.endpoint)
	}
	if len(j.Triggers) > 0 {
		d.say("  try  wasmill stream put %s --data '{\"hello\":\"world\"}' --key 1", j.Triggers[0].Config.Stream)
		d.say("       wasmill fn invoke %s --record '{\"hello\":\"world\"}'", j.Function.Name)
	} else {
		d.say("  try  wasmill fn invoke %s --data '{}'", j.Function.Name)
	}
	d.say("       wasmill dlq ls        # what could not be done, and why")
	d.say("  Save a source file to deploy it again.")
}

// ofShell is another command of the same shell, typed without flags.
func (c *cli) ofShell() *cli { return &cli{env: c.env} }

// sameServer says whether two endpoints are written alike.
func sameServer(a, b string) bool { return strings.TrimRight(a, "/") == strings.TrimRight(b, "/") }

// base are the names of files without their folders, as many as one reads.
func base(files []string) string {
	var names []string
	for _, f := range files[:min(len(files), 3)] {
		names = append(names, filepath.Base(f))
	}
	if more := len(files) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// event tells programs what happens; people hear it in their own words.
func (c *cli) event(kind string, fields map[string]any) {
	if c.json {
		line := map[string]any{"event": kind, "time": time.Now().UTC()}
		for k, v := range fields {
			line[k] = v
		}
		c.line(line)
	}
}

func (d *dev) end() error {
	d.stopFollowing()
	if d.json {
		d.envelope(map[string]any{"endpoint": d.server().Endpoint(), "deployments": d.deployed}, nil)
	}
	return nil
}
