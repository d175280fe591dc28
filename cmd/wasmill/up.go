package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/internal/s3"
	"github.com/wasmill/wasmill/server"
)

// noNATS is the answer to --nats.
const noNATS = "a user outgrows one machine by pointing the same binary at a NATS JetStream cluster; that is a later version's, and until then --nats is refused"

// grace is how long a stopping server lets what is under way end.
const grace = 10 * time.Second

type upFlags struct {
	data, listen, durability, nats, runDir, logLevel, upstream, s3 string
	memory, detach, allowReset, limits                             bool
	stateDelay                                                     durationFlag
	allowHosts, files                                              []string
	maxMemory, reserve, maxDisk                                    sizeFlag
}

func (c *cli) up() *cobra.Command {
	var o upFlags
	cmd := &cobra.Command{
		Use: "up", Short: "Start the server", Args: takes(),
		Long: help("Starts the server, in the foreground until Ctrl-C or, with --detach, in the background until",
			"`wasmill down`. It prints the variable that points this command at it on standard output:",
			"  eval \"$(wasmill up --detach)\"",
			"",
			"Data is kept in the data directory, which one server at a time may use. What is acknowledged is on",
			"disk. With --memory nothing is kept, and POST /_wasmill/reset empties the server between tests.",
			"",
			"Each setting is also a variable: WASMILL_DATA, WASMILL_MEMORY, WASMILL_LISTEN, WASMILL_DISK_RESERVE, …"),
		Example: help("  wasmill up", "  wasmill up --memory --listen :0", "  wasmill up --detach --data ./data && wasmill down"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"data", "memory", "max-memory", "listen", "allow-host", "disk-reserve", "max-disk", "durability", "allow-reset", "log-level", "upstream", "state-delay", "aws-limits", "s3", "file-destinations"} {
				if (name == "data" || name == "max-disk") && cmd.Flags().Changed("memory") {
					continue // --memory outranks WASMILL_DATA and WASMILL_MAX_DISK
				}
				if name == "memory" && cmd.Flags().Changed("data") {
					continue
				}
				if err := c.fromEnv(cmd, cmd.Flags().Lookup(name)); err != nil {
					return err
				}
			}
			return c.runUp(cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "data `directory` (default: wasmill in the user's data folder)")
	f.BoolVar(&o.memory, "memory", false, "keep everything in memory and nothing on disk")
	f.Var(&o.maxMemory, "max-memory", "the most --memory keeps (default 1GB)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:4566", "`address` to listen on; :0 picks a free port of this machine")
	f.StringSliceVar(&o.allowHosts, "allow-host", nil, "a further `name` that clients may call the server by, such as its container's; repeatable")
	f.BoolVar(&o.detach, "detach", false, "run in the background, and return when it is ready")
	f.Var(&o.reserve, "disk-reserve", "disk space to leave free (default 256MB or 1 %, at most a quarter of the disk)")
	f.Var(&o.maxDisk, "max-disk", "the most the data directory may take before records are refused (default no limit but the disk's)")
	f.StringVar(&o.durability, "durability", "disk", "what an acknowledgement means, `disk|os`: fsynced, or a power loss may lose minutes")
	f.BoolVar(&o.allowReset, "allow-reset", false, "allow POST /_wasmill/reset to delete everything, also on disk")
	f.StringVar(&o.logLevel, "log-level", "", "least `level` of what is logged on standard error: debug, info, warn, error (default warn, with --detach info)")
	f.StringVar(&o.upstream, "upstream", "", "`URL` of another emulator that gets the AWS requests for services which wasmill does not have")
	f.BoolVar(&o.limits, "aws-limits", false, "apply AWS's quotas per shard: 1 MB or 1,000 records/s in, 2 MB or 5 reads/s out")
	f.Var(&o.stateDelay, "state-delay", "how long streams show CREATING, UPDATING and DELETING, as on AWS (default not at all)")
	f.StringVar(&o.s3, "s3", "", "`URL` of the S3 service for functions' code and destinations; credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	f.StringSliceVar(&o.files, "file-destinations", nil, "a `directory` that triggers may keep notices of discarded batches in (--on-failure file:///…); repeatable")
	f.StringVar(&o.nats, "nats", "", "")
	f.StringVar(&o.runDir, "run-dir", "", "")
	f.MarkHidden("nats")
	f.MarkHidden("run-dir")
	return cmd
}

func (c *cli) runUp(cmd *cobra.Command, o upFlags) error {
	if cmd.Flags().Changed("nats") {
		return admin.NewError(admin.CodeNoNATS, noNATS)
	}
	if o.memory && o.data != "" {
		return usage(cmd, "--data and --memory: want one of them")
	}
	if o.maxMemory != 0 && !o.memory {
		return usage(cmd, "--max-memory is of --memory")
	}
	if o.maxDisk != 0 && o.memory {
		return usage(cmd, "--max-disk is of a server on disk; with --memory the limit is --max-memory")
	}
	if o.maxDisk != 0 && o.maxDisk < 1<<20 {
		return usage(cmd, "--max-disk %s: want 1MB or more", size(int64(o.maxDisk)))
	}
	if o.durability != "disk" && o.durability != "os" {
		return usage(cmd, "--durability %q: want disk or os", o.durability)
	}
	for _, name := range o.allowHosts {
		if err := admin.ValidHost(name); err != nil {
			return usage(cmd, "--allow-host: %v", err)
		}
	}
	if o.stateDelay < 0 {
		return usage(cmd, "--state-delay %s: want 0s or more, such as 2s", time.Duration(o.stateDelay))
	}
	if u, err := url.Parse(o.upstream); o.upstream != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return usage(cmd, "--upstream %q: want a URL such as http://localhost:4567", o.upstream)
	}
	if u, err := url.Parse(o.s3); o.s3 != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "") {
		return usage(cmd, "--s3 %q: want a URL such as http://localhost:9000 or https://s3.eu-west-1.amazonaws.com", o.s3)
	}
	for i, dir := range o.files {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if info, err := os.Stat(abs); err != nil || !info.IsDir() {
			return usage(cmd, "--file-destinations %q: want a directory that exists", dir)
		}
		o.files[i] = abs
	}
	var level slog.Level
	if o.logLevel == "" {
		o.logLevel = "warn"
		if o.detach {
			o.logLevel = "info"
		}
	}
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usage(cmd, "--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	if !o.memory {
		if o.data == "" {
			dir, err := c.dataDir()
			if err != nil {
				return usage(cmd, "%v", err)
			}
			o.data = dir
		}
		dir, err := filepath.Abs(o.data)
		if err != nil {
			return err
		}
		o.data = dir
	}
	if strings.HasPrefix(o.listen, ":") {
		o.listen = "127.0.0.1" + o.listen // never the whole network by accident; 0.0.0.0:4566 says so
	}
	if o.durability == "os" {
		c.warn("--durability=os: a power loss may lose what was acknowledged in the last minutes")
	}
	if o.detach {
		return c.detach(cmd.Context(), o)
	}
	return c.serve(cmd.Context(), o, level)
}

// s3Options are the endpoint, with what the AWS CLI's variables say.
func s3Options(endpoint string) s3.Options {
	return s3.Options{Endpoint: endpoint, Region: cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN")}
}

// serve runs the server until ctx ends or somebody stops it.
func (c *cli) serve(ctx context.Context, o upFlags, level slog.Level) error {
	runDir := o.runDir
	if runDir == "" {
		runDir = o.data
	}
	logger := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
	file := ""
	if runDir != "" {
		file = stateFile(runDir)
	}
	s, err := server.Start(ctx, server.Config{Data: o.data, Memory: o.memory, MaxMemory: int64(o.maxMemory), Listen: o.listen, Reserve: int64(o.reserve), MaxDisk: int64(o.maxDisk),
		Relaxed: o.durability == "os", AllowReset: o.allowReset || o.memory, AllowHosts: o.allowHosts, Version: version,
		Upstream: o.upstream, Limits: o.limits, StateDelay: time.Duration(o.stateDelay), S3: s3Options(o.s3), FileDestinations: o.files, StateFile: file, Logger: logger})
	if err != nil {
		return c.startError(ctx, err, o)
	}
	defer func() {
		if file != "" {
			os.Remove(file) // the last act: who waits for the server's end waits for this
		}
		if o.memory && o.runDir != "" {
			os.RemoveAll(o.runDir) // made for this server by detach
		}
	}()
	if file != "" {
		if err := (state{os.Getpid(), s.Endpoint(), version, time.Now().UTC()}).write(runDir); err != nil {
			return errors.Join(err, c.stop(s))
		}
	}
	if o.runDir == "" { // else the parent says it
		if err := c.greet(s.Endpoint(), os.Getpid(), s.Missing(), o); err != nil {
			return errors.Join(err, c.stop(s))
		}
	}
	select {
	case <-ctx.Done():
		c.say("stopping; once more Ctrl-C ends it at once")
	case <-s.Done():
	}
	return c.stop(s)
}

// stop closes the server. ctx of the command has ended by then, so it takes none.
func (c *cli) stop(s *server.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return s.Close(ctx)
}

// greet prints where the server is and what to do with it.
func (c *cli) greet(endpoint string, pid int, missing []string, o upFlags) error {
	where := "in memory; nothing is kept"
	if o.data != "" {
		where = o.data
	}
	c.say("%s is up at %s", c.paint(bold, "wasmill "+version), c.paint(green, endpoint))
	c.say("  data   %s", where)
	for _, m := range missing {
		c.say("  %s %s", c.paint(yellow, "weaker"), m)
	}
	c.say("  stop   %s", map[bool]string{true: "wasmill down", false: "Ctrl-C, or wasmill down"}[o.detach])
	c.say("  next   wasmill init hello && wasmill deploy hello  # a handler of your own; or piece by piece:")
	c.say("         wasmill stream create orders --shards 4 && wasmill fn create enrich ./handler")
	c.say("         wasmill trigger create enrich --stream orders --fn enrich --bisect --retries 2")
	c.say("         wasmill stream put orders --data '{\"id\":1}' --key 1")
	c.say("         wasmill trigger wait enrich --drained && wasmill dlq ls")
	if endpoint != defaultEndpoint && o.runDir == "" {
		c.say("  Other commands need this line in their shell:")
	}
	line := "export WASMILL_ENDPOINT=" + endpoint
	return c.done(map[string]any{"endpoint": endpoint, "pid": pid, "dataDir": o.data, "memory": o.memory, "version": version, "export": line}, printLine(line))
}

// startError gives a failed start its code.
func (c *cli) startError(ctx context.Context, err error, o upFlags) error {
	switch {
	case errors.Is(err, server.ErrLocked):
		return locked(o.data)
	case errors.Is(err, server.ErrData):
		return admin.NewError(admin.CodeDataDir, "%s", plainStart(err)).With("dataDir", o.data)
	case errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "Only one usage of each socket address"):
		// The address is asked for first: whoever has it may be the very server
		// that is wanted.
		if s, err := readState(o.data); o.data != "" && err == nil && s.answers(ctx) {
			return locked(o.data)
		}
		e := admin.NewError(admin.CodeAddressInUse, "%s is in use by another program", o.listen).With("listen", o.listen)
		if info, ok := whoListens(ctx, o.listen); ok {
			where := "on " + info.DataDir
			if info.Memory {
				where = "in memory"
			}
			e.Message = fmt.Sprintf("%s is in use by another wasmill server: pid %d, %s", o.listen, info.PID, where)
			e.With("pid", info.PID).With("endpoint", info.Endpoint)
		}
		return e
	case errors.Is(err, server.ErrListen):
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return admin.NewError(admin.CodeUsage, "--listen %s: %v", o.listen, err)
	}
	e := admin.NewError(admin.CodeStartFailed, "%s", plainStart(err))
	e.Actions = []admin.Action{{Text: "correct what the message names, then start it again"}}
	return e
}

// locked says which server has a data directory.
func locked(dir string) error {
	e := admin.NewError(admin.CodeLocked, "a server has %s open already", dir).With("dataDir", dir)
	if s, err := readState(dir); err == nil && alive(s.PID) {
		e.Message = fmt.Sprintf("a server is up on %s already: pid %d at %s", dir, s.PID, s.Endpoint)
		e.With("pid", s.PID).With("endpoint", s.Endpoint)
	}
	return e
}

// whoListens asks who has an address.
func whoListens(ctx context.Context, listen string) (admin.Info, bool) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return admin.Info{}, false
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := quick(ctx)
	defer cancel()
	client := admin.NewClient("http://" + net.JoinHostPort(host, port))
	defer client.Close()
	info, err := client.Info(ctx)
	return info, err == nil && info.PID != 0
}

// plainStart takes the parts' own prefixes off an error that people read.
func plainStart(err error) string {
	text := err.Error()
	for _, prefix := range []string{server.ErrData.Error() + ": ", "natsd: not a data directory this release can open: ", "natsd: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// startTime is how long a server in the background may take until it is
// ready: opening a large data directory takes a while.
const startTime = 60 * time.Second

// maxLog is the size at which the log of a server in the background is put
// aside at the next start.
const maxLog = 10 << 20

// detach starts this program again, in the background, and waits for it.
func (c *cli) detach(ctx context.Context, o upFlags) error {
	runDir := o.data
	if o.memory {
		dir, err := os.MkdirTemp("", "wasmill-")
		if err != nil {
			return err
		}
		runDir = dir
	} else if err := os.MkdirAll(o.data, 0o700); err != nil {
		return err
	}
	// What was left by a server that was killed says nothing, even where a process
	// has its id; where a server does not answer, the directory's lock decides.
	if s, err := readState(runDir); err == nil && s.answers(ctx) {
		return c.startError(ctx, server.ErrLocked, o)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"up", "--run-dir", runDir, "--listen", o.listen, "--durability", o.durability, "--log-level", o.logLevel, "--quiet"}
	if o.memory {
		args = append(args, "--memory")
	} else {
		args = append(args, "--data", o.data)
	}
	if o.allowReset {
		args = append(args, "--allow-reset")
	}
	if o.limits {
		args = append(args, "--aws-limits")
	}
	if o.upstream != "" {
		args = append(args, "--upstream", o.upstream)
	}
	if o.stateDelay != 0 {
		args = append(args, "--state-delay", time.Duration(o.stateDelay).String())
	}
	if o.s3 != "" {
		args = append(args, "--s3", o.s3)
	}
	for _, dir := range o.files {
		args = append(args, "--file-destinations", dir)
	}
	for _, name := range o.allowHosts {
		args = append(args, "--allow-host", name)
	}
	for name, v := range map[string]sizeFlag{"max-memory": o.maxMemory, "disk-reserve": o.reserve, "max-disk": o.maxDisk} {
		if v != 0 {
			args = append(args, fmt.Sprintf("--%s=%d", name, int64(v)))
		}
	}
	// A data directory has to be empty until the server has marked it as its
	// own, so the log of a first start begins beside it.
	logName := logFile(runDir)
	if entries, err := os.ReadDir(runDir); err == nil && len(entries) == 0 && !o.memory {
		logName = runDir + ".log"
	}
	if info, err := os.Stat(logName); err == nil && info.Size() > maxLog {
		os.Rename(logName, logName+".old") // at worst it goes on growing
	}
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	child := exec.Command(self, args...)
	child.Stdout, child.Stderr = log, log
	apart(child)
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	endpoint, err := c.ready(ctx, runDir, child.Process.Pid, ended)
	if err != nil {
		child.Process.Kill() // it is ours and nobody has learned of it
		e := admin.NewError(admin.CodeStartFailed, "the server did not start: %v", err)
		if code, text := lastError(logName, begin); code != "" {
			if known, ok := admin.Lookup(code); ok {
				e = admin.NewError(known.ID, "%s", text)
			}
		} else if text != "" {
			e.Message += "\n" + text
		}
		if o.memory {
			os.RemoveAll(runDir)
		} else if logName != logFile(runDir) {
			os.Remove(logName)
		}
		return e
	}
	// Where an open file cannot be moved, it stays where it is.
	if logName != logFile(runDir) && os.Rename(logName, logFile(runDir)) == nil {
		logName = logFile(runDir)
	}
	o.runDir = ""
	c.say("%s", c.paint(faint, "log: "+logName))
	var missing []string
	if info, err := admin.NewClient(endpoint).Info(ctx); err == nil {
		missing = info.Missing
	}
	return c.greet(endpoint, child.Process.Pid, missing, o)
}

// ready waits until the server of that process answers.
func (c *cli) ready(ctx context.Context, dir string, pid int, ended <-chan error) (string, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := readState(dir); err == nil && s.PID == pid {
			client := admin.NewClient(s.Endpoint)
			err := client.Healthy(ctx)
			client.Close()
			if err == nil {
				return s.Endpoint, nil
			}
		}
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("it ended at once")
			}
			return "", err
		case <-ctx.Done():
			return "", errors.New("it did not become healthy in time")
		case <-tick.C:
		}
	}
}

// lastError finds what a server that did not start had to say: the code it
// ended with, or the last lines of its log.
func lastError(file string, from int64) (code, text string) {
	b, err := os.ReadFile(file)
	if err != nil || int64(len(b)) < from {
		return "", ""
	}
	lines := strings.Split(strings.TrimSpace(string(b[from:])), "\n")
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "error["); ok {
			code, text, _ = strings.Cut(rest, "]: ")
			return code, text
		}
	}
	var out bytes.Buffer
	for _, l := range lines[max(0, len(lines)-5):] {
		fmt.Fprintf(&out, "  %s\n", l)
	}
	return "", strings.TrimRight(out.String(), "\n")
}

func (c *cli) down() *cobra.Command {
	var data string
	timeout := durationFlag(30 * time.Second)
	cmd := &cobra.Command{
		Use: "down", Short: "Stop the server, letting what is under way end", Args: takes(),
		Long: help("Stops the server at the endpoint, or with --data the one running on that directory, and waits until it",
			"has ended. Calls under way get a moment to end; what does not, runs again after the next start."),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(timeout))
			defer cancel()
			if data != "" {
				s, err := readState(data)
				if err != nil || !alive(s.PID) {
					return admin.NewError(admin.CodeUnreachable, "no server runs on %s", data)
				}
				c.endpoint = s.Endpoint
			}
			client := c.server()
			info, err := client.Info(ctx)
			if err != nil {
				return err
			}
			if err := client.Shutdown(ctx); err != nil {
				return err
			}
			c.say("stopping the server at %s", client.Endpoint())
			if err := gone(ctx, client, info); err != nil {
				return err
			}
			c.say("stopped")
			return c.done(map[string]any{"endpoint": client.Endpoint(), "pid": info.PID}, nil)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "stop the server running on that data `directory`")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait for its end")
	return cmd
}

// gone waits for a server's end: until its state file has gone where it has
// one on this machine, else until nobody listens any more.
func gone(ctx context.Context, client *admin.Client, info admin.Info) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		here := false
		if info.StateFile != "" {
			s, err := readState(filepath.Dir(info.StateFile))
			here = err == nil && s.PID == info.PID && alive(info.PID)
		}
		if !here && hasCode(client.Healthy(ctx), admin.CodeUnreachable) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return admin.NewError(admin.CodeWaitExpired, "the server at %s has not ended yet (pid %d)", client.Endpoint(), info.PID)
		}
	}
}
