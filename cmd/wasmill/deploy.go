package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/project"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
)

// deployFlags are the settings of deploy, diff and dev.
type deployFlags struct {
	prune, replace bool
	timeout        durationFlag
}

func (o *deployFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.prune, "prune", false, "also delete triggers that call the function and are not in the file")
	cmd.Flags().BoolVar(&o.replace, "replace", false, "delete and create triggers whose stream or starting place has changed, which loses their checkpoints")
}

func (o deployFlags) options() project.Options {
	return project.Options{Prune: o.prune, Replace: o.replace}
}

func (c *cli) deployCommand() *cobra.Command {
	o := deployFlags{timeout: durationFlag(30 * time.Second)}
	var dry bool
	cmd := &cobra.Command{
		Use: "deploy [DIR]", Short: "Bring a server to what a folder's wasmill.toml says", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Builds the function of the folder's wasmill.toml, shows in what the server differs (+ new, ~ changed,",
			"- deleted), changes that, and waits until the triggers run. What is as the file says is left alone, so a",
			"second run has nothing to change, and a run that was cut short is completed by the next.",
			"",
			"Streams that triggers or emits name are created where they do not exist, and never deleted. Triggers that",
			"are not in the file stay, unless --prune. Begin with: wasmill init. Undo it with: wasmill rm"),
		Example: "  wasmill deploy\n  wasmill deploy ./handler --dry-run\n  API_KEY=… wasmill deploy --endpoint http://10.0.0.5:4566",
		RunE: func(cmd *cobra.Command, args []string) error {
			start := time.Now()
			j, err := c.openJob(folder(args), c.getenv)
			if err != nil {
				return err
			}
			plan, err := c.plan(cmd.Context(), j, o.options())
			if err != nil {
				return err
			}
			if dry {
				return c.showPlan(plan, nil)
			}
			if err := refused(plan, j.dir); err != nil {
				return err
			}
			return c.deployPlan(cmd.Context(), j, plan, time.Duration(o.timeout), start)
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would be changed, and change nothing")
	cmd.Flags().Var(&o.timeout, "timeout", "how long to wait until the triggers run")
	return cmd
}

func (c *cli) diffCommand() *cobra.Command {
	var o deployFlags
	var status bool
	cmd := &cobra.Command{
		Use: "diff [DIR]", Short: "Show what deploying a folder would change", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Builds the function of the folder's wasmill.toml and shows in what the server differs: + would be created,",
			"~ changed, - deleted, ! stands in the way. Nothing is changed. The exit status is 0 whatever it finds, and",
			"with --exit-code 1 where a deployment would change something or be refused."),
		Example: "  wasmill diff\n  wasmill diff ./handler --exit-code",
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := c.openJob(folder(args), c.getenv)
			if err != nil {
				return err
			}
			plan, err := c.plan(cmd.Context(), j, o.options())
			if err != nil {
				return err
			}
			if err := c.showPlan(plan, nil); err != nil {
				return err
			}
			if status && (len(plan.Steps) > 0 || len(plan.Refusals) > 0) {
				return exitStatus(1)
			}
			return nil
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&status, "exit-code", false, "exit with status 1 where there is a difference")
	return cmd
}

// folders completes a folder.
func folders(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func folder(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// job is a project on its way to a server.
type job struct {
	project.Project
	dir  string // with the file in it
	code []byte
	took time.Duration // of the build, the trial of it included
	try  time.Duration // of the trial; 0: the server has the code
}

// openJob reads the file of a folder. The file itself may be named too.
func (c *cli) openJob(dir string, getenv func(string) string) (*job, error) {
	if filepath.Base(dir) == project.FileName {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			dir = filepath.Dir(dir)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, project.FileName))
	if errors.Is(err, os.ErrNotExist) {
		e := admin.NewError(admin.CodeNoProject, "there is no %s in %s", project.FileName, dir)
		e.Actions = []admin.Action{{Text: "write one", Command: ofFolder("init", dir)}}
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	p, err := project.Read(data, project.Words{Duration: admin.ParseDuration, Megabytes: parseMegabytes, Bytes: parseSize, Getenv: getenv, Near: admin.Nearest,
		Place: func(text string) (stream.Position, error) { return admin.ParseFrom(text, time.Now()) }, Filter: soundFilter})
	if faults, ok := errors.AsType[project.Faults](err); ok {
		file := filepath.Join(dir, project.FileName)
		text := faults.Error()
		if dir != "." {
			text = strings.ReplaceAll("\n"+text, "\n"+project.FileName, "\n"+file)[1:]
		}
		if len(faults) > 1 {
			text = fmt.Sprintf("%s has %s\n%s", file, plural(len(faults), "fault"), text)
		}
		return nil, admin.NewError(admin.CodeProjectInvalid, "%s", text).With("file", file).With("faults", faults)
	}
	if err != nil {
		return nil, err
	}
	for i := range p.Triggers {
		t := &p.Triggers[i]
		if set, err := filter.Compile(t.Config.Filters, filter.Options{}); err == nil {
			for _, line := range never(set, len(t.Config.Filters)) {
				p.Warnings = append(p.Warnings, fmt.Sprintf("trigger %s: %s", t.Name, line))
			}
		}
		if t.Config.OnFailure, err = destination(t.Config.OnFailure); err != nil {
			return nil, admin.NewError(admin.CodeProjectInvalid, "%s: trigger %s: on-failure %v", filepath.Join(dir, project.FileName), t.Name, err)
		}
	}
	return &job{Project: p, dir: dir}, nil
}

// source is where the code comes from, and whether it is to be built.
func (j *job) source() (path string, isFolder bool, err error) {
	path = filepath.FromSlash(j.Function.Source)
	if !filepath.IsAbs(path) {
		path = filepath.Join(j.dir, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return path, false, admin.NewError(admin.CodeProjectInvalid, "%s: source %q: %s is not there", project.FileName, j.Function.Source, path)
	}
	return path, info.IsDir(), nil
}

// make gets the code. What the server has already is known to start; anything
// else is started once, with the environment of the file: a function that
// cannot start never takes the place of one that can.
func (c *cli) makeCode(ctx context.Context, j *job, have string) error {
	path, isFolder, err := j.source()
	if err != nil {
		return err
	}
	try := func(ctx context.Context, code []byte) error {
		if digest(code) == have {
			return nil
		}
		start := time.Now()
		defer func() { j.try = time.Since(start) }()
		return trial(ctx, code, j.Function.Config, c.compileCache(ctx))
	}
	start := time.Now()
	if isFolder {
		tmp, err := os.MkdirTemp("", "wasmill-build-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		r, err := c.buildWith(ctx, path, filepath.Join(tmp, "function.wasm"), try, c.building)
		if err != nil {
			if e, ok := errors.AsType[*admin.Error](err); ok && e.Code == admin.CodeBuildFailed {
				e.Actions = []admin.Action{{Text: "correct what the message names, then run it again"}}
			}
			return err
		}
		if j.code, err = os.ReadFile(r.Out); err != nil {
			return err
		}
		c.building(fmt.Sprintf("built %s: %s in %s", path, size(r.Size), span(r.Took)))
	} else {
		if j.code, err = os.ReadFile(path); err != nil {
			return err
		}
		if err := try(ctx, j.code); err != nil {
			if errors.Is(err, functions.ErrCode) {
				return admin.NewError(admin.CodeCodeRefused, "%s: %s", path, strings.TrimPrefix(err.Error(), functions.ErrCode.Error()+": "))
			}
			return admin.NewError(admin.CodeBuildFailed, "%s: %v: %v", path, build.ErrHandler, err)
		}
	}
	j.took = time.Since(start)
	j.Function.Digest = digest(j.code)
	return nil
}

// building tells how a build goes on.
func (c *cli) building(line string) {
	if !c.routine {
		c.say("%s", c.paint(faint, line))
	}
}

func digest(code []byte) string {
	sum := sha256.Sum256(code)
	return hex.EncodeToString(sum[:])
}

// plan builds the code and compares. The server is asked before the build, so
// that none is waited for in vain, and again after it.
func (c *cli) plan(ctx context.Context, j *job, o project.Options) (project.Plan, error) {
	found, err := c.find(ctx, j.Function.Name)
	if err != nil {
		return project.Plan{}, err
	}
	have := ""
	if found.Function != nil {
		have = found.Function.Digest
	}
	if err := c.makeCode(ctx, j, have); err != nil {
		return project.Plan{}, err
	}
	if j.took > time.Second {
		if found, err = c.find(ctx, j.Function.Name); err != nil {
			return project.Plan{}, err
		}
	}
	for _, w := range j.Warnings {
		c.warn(w)
	}
	plan := project.Make(j.Project, found, o)
	return plan, c.destinations(ctx, j, found)
}

// destinations asks whether the destinations of triggers are there, before anything is changed.
// Streams that this deployment makes will be.
func (c *cli) destinations(ctx context.Context, j *job, found project.Found) error {
	for _, t := range j.Triggers {
		to := t.Config.OnFailure
		same := func(h project.Trigger) bool { return h.Name == t.Name && h.Config.OnFailure == to }
		made := func(s project.Stream) bool { return stream.Local(s.Name).ARN() == to && s.Name != t.Config.Stream }
		if to == "" || slices.ContainsFunc(found.Triggers, same) || slices.ContainsFunc(j.Streams, made) {
			continue
		}
		err := c.server().CheckDestination(ctx, to)
		if to == stream.Local(t.Config.Stream).ARN() {
			err = admin.NewError(admin.CodeTriggerInvalid, "destination %s is the stream that the trigger reads", to)
		}
		if err != nil {
			if e, ok := errors.AsType[*admin.Error](err); ok {
				e.Message = fmt.Sprintf("trigger %s: %s; nothing was done", t.Name, e.Message)
			}
			return err
		}
	}
	return nil
}

// find asks the server what it has.
func (c *cli) find(ctx context.Context, function string) (found project.Found, err error) {
	switch v, err := c.server().Function(ctx, function, ""); {
	case err == nil:
		found.Function = &project.Function{Name: v.Name, Digest: v.SHA256, Config: configOf(v)}
	case !hasCode(err, admin.CodeFunctionNotFound):
		return found, err
	}
	all, err := c.server().Triggers(ctx)
	if err != nil {
		return found, err
	}
	for _, t := range all {
		position, err := admin.ParseFrom(t.From, time.Now())
		if err != nil {
			return found, admin.NewError(admin.CodeVersion, "trigger %s: %v", t.Name, err)
		}
		paused := t.State == triggers.Disabled || t.State == triggers.Disabling
		found.Triggers = append(found.Triggers, project.Trigger{Name: t.Name, From: t.From, Paused: &paused, Generation: t.Generation, Created: t.Created,
			Config: triggers.Config{Function: t.Function, Qualifier: t.Qualifier, Stream: t.Stream, Position: position, BatchSize: t.BatchSize,
				Window: time.Duration(t.Window), Parallel: t.Parallel, Retries: &t.Retries, RecordAge: time.Duration(t.RecordAge), Bisect: t.Bisect,
				PartialReplies: t.PartialReplies, Backoff: time.Duration(t.Backoff), SkipCorrupt: t.SkipCorrupt, Deaggregate: t.Deaggregate,
				Filters: t.Filters, StrictFilters: t.StrictFilters, Tumbling: time.Duration(t.TumblingWindow), OnFailure: t.OnFailure, OnDestinationFailure: t.OnDestinationFailure}})
	}
	streams, err := c.server().Streams(ctx)
	if err != nil {
		return found, err
	}
	for _, s := range streams {
		if s.State != stream.Deleting {
			found.Streams = append(found.Streams, project.Stream{Name: s.Name, Shards: s.ShardCount, Mode: s.Mode, Retention: time.Duration(s.Retention),
				MaxBytes: &s.MaxBytes, RecordBytes: s.RecordBytes, Created: s.Created})
		}
	}
	return found, nil
}

func configOf(v admin.Function) functions.Config {
	return functions.Config{Timeout: time.Duration(v.Timeout), Memory: v.MemoryMB, Environment: v.Environment, Description: v.Description, Emits: v.Emits,
		Allow: v.Allow, Isolation: v.Isolation, Concurrency: v.Concurrency}
}

// refused is the error of a plan that must not be carried out.
func refused(plan project.Plan, dir string) error {
	if len(plan.Refusals) == 0 {
		return nil
	}
	var texts []string
	e := admin.NewError(admin.CodeDeployRefused, "")
	e.Actions = nil
	for _, r := range plan.Refusals {
		texts = append(texts, r.Text)
		for _, ch := range r.Choices {
			a := admin.Action{Text: ch.Text, Command: inFolder(ch.Command, dir)}
			if !slices.Contains(e.Actions, a) {
				e.Actions = append(e.Actions, a)
			}
		}
	}
	e.Message = strings.Join(texts, "\n")
	if len(texts) > 1 {
		e.Message = fmt.Sprintf("nothing was done, for %s:\n%s", plural(len(texts), "reason"), e.Message)
	} else {
		e.Message += "; nothing was done"
	}
	return e.With("plan", plan)
}

// ofFolder is a command about a project, for pasting.
func ofFolder(verb, dir string) string {
	if dir == "." {
		return "wasmill " + verb
	}
	return "wasmill " + verb + " " + quoteAll([]string{dir})[0]
}

// inFolder puts the folder into a command that is about a project.
func inFolder(command, dir string) string {
	for _, verb := range []string{"deploy", "rm"} {
		if flags, ok := strings.CutPrefix(command, "wasmill "+verb+" --"); ok {
			return ofFolder(verb, dir) + " --" + flags
		}
	}
	return command
}

// showPlan prints a plan as what was asked for.
func (c *cli) showPlan(plan project.Plan, extra map[string]any) error {
	data := map[string]any{"plan": plan, "different": len(plan.Steps) > 0 || len(plan.Refusals) > 0}
	maps.Copy(data, extra)
	err := c.done(data, func(w io.Writer) {
		for _, s := range plan.Steps {
			fmt.Fprintln(w, c.tinted(colour(s), s.Line()))
		}
		for _, r := range plan.Refusals {
			fmt.Fprintln(w, "! "+r.Text)
			for _, ch := range r.Choices {
				fmt.Fprintln(w, "    "+strings.TrimSuffix(ch.Text+": "+ch.Command, ": "))
			}
		}
	})
	c.remarks(plan)
	if len(plan.Steps) == 0 && len(plan.Refusals) == 0 {
		c.say("nothing to change")
	}
	return err
}

// colour is that of what a step does.
func colour(s project.Step) string {
	return map[string]string{"+": green, "~": yellow, "-": red}[s.Mark()]
}

// remarks tells what differs and stays.
func (c *cli) remarks(plan project.Plan) {
	for _, name := range plan.Strays {
		c.say("! trigger %s calls %s and is not in %s; delete it with: wasmill trigger rm %s", name, plan.Function, project.FileName, name)
	}
	for _, note := range plan.Notes {
		c.say("! %s", note)
	}
}

// deployPlan carries a plan out and says so.
func (c *cli) deployPlan(ctx context.Context, j *job, plan project.Plan, timeout time.Duration, start time.Time) error {
	if err := c.apply(ctx, j, plan.Steps); err != nil {
		return err
	}
	all, err := c.running(ctx, j, timeout)
	if err != nil {
		return err
	}
	fn, err := c.server().Function(ctx, j.Function.Name, "")
	if err != nil {
		return err
	}
	c.remarks(plan)
	if len(plan.Steps) == 0 {
		c.say("nothing to change: %s is as %s says", fn.Name, project.FileName)
	} else {
		c.say("deployed %s in %s%s", fn.Name, span(time.Since(start)), standing(all))
		if len(all) > 0 && plan.Steps[0].Action == project.Create {
			data, key := `{"hello":"world"}`, "1"
			if event := filepath.Join(j.dir, filepath.FromSlash(eventFile)); testRecord(event, &data, &key) {
				c.say("  next: wasmill fn invoke %s --event %s --tail", fn.Name, quoteAll([]string{event})[0])
				c.say("        wasmill stream put %s --data %s --key %s", all[0].Stream, quoteAll([]string{data})[0], quoteAll([]string{key})[0])
			} else {
				c.say("  next: wasmill stream put %s --data %s --key %s", all[0].Stream, quoteAll([]string{data})[0], key)
			}
			c.say("  undo: %s", ofFolder("rm", j.dir))
		}
	}
	return c.done(map[string]any{"plan": plan, "changed": len(plan.Steps) > 0, "function": fn, "triggers": notNil(all)}, nil)
}

// testRecord takes data and key from the first record of a project's test event, so
// that what is suggested is what the function takes.
func testRecord(event string, data, key *string) bool {
	b, err := os.ReadFile(event)
	if err != nil {
		return false
	}
	var e struct {
		Records []struct {
			Kinesis struct {
				PartitionKey string
				Data         []byte
			}
		}
	}
	if json.Unmarshal(b, &e) != nil || len(e.Records) == 0 {
		return false
	}
	first := e.Records[0].Kinesis
	if len(first.Data) == 0 || len(first.Data) > mostData || first.PartitionKey == "" || oneLine(first.Data) != string(first.Data) {
		return false
	}
	*data, *key = string(first.Data), first.PartitionKey
	return true
}

func standing(all []admin.Trigger) string {
	if len(all) == 0 {
		return ""
	}
	var parts []string
	for _, t := range all {
		parts = append(parts, fmt.Sprintf("trigger %s is %s", t.Name, strings.ToLower(triggerState(t))))
	}
	return "; " + strings.Join(parts, ", ")
}

// apply carries steps out, and says each when it is done.
func (c *cli) apply(ctx context.Context, j *job, steps []project.Step) error {
	for i, s := range steps {
		if err := c.step(ctx, j, s); err != nil {
			return c.cutShort(err, steps, i)
		}
		c.say("%s", c.paint(colour(s), s.Line()))
	}
	return nil
}

// cutShort says of a deployment that failed in the middle what it has done.
func (c *cli) cutShort(err error, steps []project.Step, failed int) error {
	e, ok := errors.AsType[*admin.Error](err)
	if !ok {
		return err
	}
	lines := func(steps []project.Step) []string {
		out := []string{}
		for _, s := range steps {
			out = append(out, s.Line())
		}
		return out
	}
	done, left := lines(steps[:failed]), lines(steps[failed:])
	e.Message = fmt.Sprintf("%s %s: %s", steps[failed].Kind, steps[failed].Name, e.Message)
	e.With("done", done).With("notDone", left)
	e.Actions = append(e.Actions, admin.Action{Text: "run it again: it goes on where it stopped"})
	if len(done) > 0 {
		c.after += "done before:\n  " + strings.Join(done, "\n  ") + "\n"
	}
	c.after += "not done:\n  " + strings.Join(left, "\n  ") + "\n"
	return e
}

// step makes one call of the server's API.
func (c *cli) step(ctx context.Context, j *job, s project.Step) (err error) {
	client := c.server()
	switch {
	case s.Kind == project.OfStream && s.Action == project.Create:
		spec := admin.StreamSpec{Name: s.Name, Shards: s.Stream.Shards, Retention: admin.Duration(s.Stream.Retention), RecordBytes: s.Stream.RecordBytes, Mode: s.Stream.Mode}
		if s.Stream.MaxBytes != nil {
			spec.MaxBytes = *s.Stream.MaxBytes
		}
		_, err = client.CreateStream(ctx, spec)
	case s.Kind == project.OfStream && s.Action == project.Scale:
		_, err = client.ScaleStream(ctx, s.Name, s.Stream.Shards)
	case s.Kind == project.OfStream:
		change := admin.StreamChange{MaxBytes: s.Stream.MaxBytes}
		if s.Stream.Mode != "" {
			change.Mode = &s.Stream.Mode
		}
		if s.Stream.Retention > 0 {
			change.Retention = (*admin.Duration)(&s.Stream.Retention)
		}
		_, err = client.UpdateStream(ctx, s.Name, change)
	case s.Kind == project.OfFunction && s.Action == project.Delete:
		err = client.DeleteFunction(ctx, s.Name)
	case s.Kind == project.OfFunction && s.Action == project.Update:
		var warnings []string
		_, warnings, err = client.UpdateConfig(ctx, s.Name, functionSpec(s.Function.Config))
		c.warnAll(warnings)
	case s.Kind == project.OfFunction:
		var warnings []string
		_, warnings, err = c.deploy(func(progress func(admin.Progress)) (admin.Function, []string, error) {
			if s.Action == project.Create {
				return client.CreateFunction(ctx, s.Name, j.code, functionSpec(s.Function.Config), progress)
			}
			return client.UpdateCode(ctx, s.Name, j.code, progress)
		})
		c.warnAll(warnings)
	case s.Action == project.Delete:
		err = client.DeleteTrigger(ctx, s.Name)
	case s.Action == project.Create:
		spec := triggerSpec(*s.Trigger)
		spec.Name, spec.Stream, spec.From = s.Name, s.Trigger.Config.Stream, s.Trigger.From
		spec.Paused = s.Trigger.Paused != nil && *s.Trigger.Paused
		_, err = client.CreateTrigger(ctx, spec)
	case s.Action == project.Update:
		_, err = client.UpdateTrigger(ctx, s.Name, triggerSpec(*s.Trigger))
	case s.Action == project.Pause:
		_, err = client.PauseTrigger(ctx, s.Name)
	case s.Action == project.Resume:
		_, err = client.ResumeTrigger(ctx, s.Name)
	}
	return err
}

func (c *cli) warnAll(warnings []string) {
	for _, w := range warnings {
		c.warn(w)
	}
}

func functionSpec(f functions.Config) admin.FunctionSpec {
	timeout, env, emits := admin.Duration(f.Timeout), admin.EnvSpec{}, append([]string{}, f.Emits...)
	maps.Copy(env, f.Environment)
	allow, isolation, concurrency := append([]string{}, f.Allow...), cmp.Or(f.Isolation, functions.IsolationEnvironment), admin.NoConcurrency
	if f.Concurrency != nil {
		concurrency = *f.Concurrency
	}
	return admin.FunctionSpec{Timeout: &timeout, MemoryMB: &f.Memory, Environment: &env, Description: &f.Description, Emits: &emits,
		Allow: &allow, Isolation: &isolation, Concurrency: &concurrency}
}

func triggerSpec(t project.Trigger) admin.TriggerSpec {
	f := t.Config
	window, age, backoff, tumbling, retries := admin.Duration(f.Window), admin.Duration(f.RecordAge), admin.Duration(f.Backoff), admin.Duration(f.Tumbling), *f.Retries
	filters := notNil(f.Filters)
	return admin.TriggerSpec{Function: &f.Function, Qualifier: &f.Qualifier, BatchSize: &f.BatchSize, Window: &window, Parallel: &f.Parallel, Retries: &retries,
		RecordAge: &age, Bisect: &f.Bisect, PartialReplies: &f.PartialReplies, Backoff: &backoff, SkipCorrupt: &f.SkipCorrupt, Deaggregate: &f.Deaggregate,
		Filters: &filters, StrictFilters: &f.StrictFilters, TumblingWindow: &tumbling, OnFailure: &f.OnFailure, OnDestinationFailure: &f.OnDestinationFailure}
}

// problemTime is how long a trigger may say that it cannot run: right after a
// change it may still speak of what was before.
const problemTime = 3 * time.Second

// running waits until the project's triggers run.
func (c *cli) running(ctx context.Context, j *job, timeout time.Duration) ([]admin.Trigger, error) {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	all := make([]admin.Trigger, 0, len(j.Triggers))
	for _, want := range j.Triggers {
		var since time.Time // it has had a problem
		for {
			t, err := c.server().Trigger(waiting, want.Name)
			if err != nil && ctx.Err() == nil && waiting.Err() != nil {
				err = admin.NewError(admin.CodeWaitExpired, "trigger %s does not run after %s", want.Name, span(timeout)).Do("see why", "wasmill trigger get "+want.Name)
			}
			if err != nil {
				return nil, err
			}
			if t.Problem == "" {
				since = time.Time{}
			} else if since.IsZero() {
				since = time.Now()
			}
			if t.Problem == "" && (t.State == triggers.Enabled || t.State == triggers.Disabled) {
				for _, s := range t.Shards {
					if s.Problem != "" {
						c.warn(fmt.Sprintf("trigger %s has stopped in %s: %s", t.Name, s.Shard, s.Problem))
					}
				}
				all = append(all, t)
				break
			}
			if !since.IsZero() && time.Since(since) > problemTime {
				return nil, admin.NewError(admin.CodeTriggerStopped, "trigger %s does not run: %s", t.Name, t.Problem).Named(t.Name)
			}
			select {
			case <-tick.C:
			case <-waiting.Done():
			}
		}
	}
	return all, nil
}

// exitStatus ends a command that has said all it had to say.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
