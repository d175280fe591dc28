// Package server builds a wasmill from its parts, bottom up, and takes it down
// again, top down. It decides nothing: what it holds is the order of things.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/api/cloudwatch"
	"github.com/wasmill/wasmill/api/iam"
	"github.com/wasmill/wasmill/api/kinesis"
	"github.com/wasmill/wasmill/api/lambda"
	cloudwatchlogs "github.com/wasmill/wasmill/api/logs"
	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/dlq/morgue"
	functionlogs "github.com/wasmill/wasmill/functions/logs"
	"github.com/wasmill/wasmill/functions/store"
	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/s3"
	"github.com/wasmill/wasmill/runtime/door"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/runtime/sandbox"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/stream/ondemand"
	"github.com/wasmill/wasmill/telemetry"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/destination"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/poll"
	"github.com/wasmill/wasmill/triggers/relay"
)

// Config says what to build. Exactly one of Data and Memory is wanted.
type Config struct {
	// Data is the data directory, made if missing.
	Data string
	// Memory keeps everything in memory, MaxMemory bytes at most (default 1 GiB).
	Memory    bool
	MaxMemory int64
	// Cache is a folder for compiled code, with Memory; another engine in this
	// process may use it too. Defaults to none. With Data it is in there.
	Cache string
	// Listen is the address of the HTTP listener. Defaults to 127.0.0.1:4566;
	// port 0 picks a free one.
	Listen string
	// AllowHosts are names by which the server may be called, besides those of
	// this machine and Listen's own; see [admin.Hosts].
	AllowHosts []string
	// Reserve is disk space to leave free, in bytes; 0: natsd's default.
	Reserve int64
	// MaxDisk is the most bytes the data directory takes; 0: no limit. Not with Memory.
	MaxDisk int64
	// Relaxed acknowledges what the operating system has taken, without fsync.
	Relaxed bool
	// Upstream is the URL of another emulator that gets AWS requests for services that
	// are not served here; empty: they are refused.
	Upstream string
	// StateDelay is how long streams show CREATING, UPDATING and DELETING, as on AWS.
	// Defaults to not at all.
	StateDelay time.Duration
	// Limits applies AWS's quotas per shard.
	Limits bool
	// S3 is where functions' code may be read from, and triggers may have a destination.
	// Without an endpoint there is none.
	S3 s3.Options
	// FileDestinations are directories that triggers may have destinations in.
	FileDestinations []string
	// AllowReset opens POST /_wasmill/reset.
	AllowReset bool
	// Version is wasmill's own, for those who ask.
	Version string
	// StateFile is where whoever runs the server says that it runs; the server
	// only tells of it.
	StateFile string
	// Logger takes what the server has to say. Defaults to none.
	Logger *slog.Logger
}

var (
	// ErrLocked means another process has the data directory open.
	ErrLocked = errors.New("server: data directory in use")
	// ErrData means the data directory was written by a newer release, or is
	// none. Nothing in it was touched.
	ErrData = errors.New("server: data directory cannot be opened")
	// ErrListen means the address cannot be listened on.
	ErrListen = errors.New("server: listen")
)

// Server is a running wasmill.
type Server struct {
	config  Config
	started time.Time
	stop    closers
	addr    net.Addr
	missing []string // protections that the sandbox lacks here

	ending   chan struct{} // closed by the first of Shutdown and Close: answers without an end must end
	asked    chan struct{} // closed by Shutdown
	once     sync.Once     // closes ending
	askOnce  sync.Once     // closes asked
	shutOnce sync.Once     // runs stop
	shutErr  error         // of stop
}

// closers are undone last first.
type closers []closer

type closer struct {
	what string
	do   func(ctx context.Context) error
}

func (c *closers) add(what string, do func(context.Context) error) {
	*c = append(*c, closer{what, do})
}

func (c closers) close(ctx context.Context) error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		if err := c[i].do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c[i].what, err))
		}
	}
	return errors.Join(errs...)
}

// Start builds a server and has it listen. When it returns without an error,
// the server serves. ctx bounds the start only.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:4566")
	c.Version = cmp.Or(c.Version, "dev")
	s := &Server{config: c, started: time.Now(), ending: make(chan struct{}), asked: make(chan struct{})}
	// The address first: it is the likeliest to fail, and nothing is done yet.
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrListen, err)
	}
	s.addr = ln.Addr()
	if err := s.build(ctx, ln); err != nil {
		ln.Close()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, errors.Join(err, s.stop.close(bounded))
	}
	return s, nil
}

func (s *Server) build(ctx context.Context, ln net.Listener) error {
	c := s.config
	component := func(name string) *slog.Logger { return c.Logger.With("component", name) }

	events, err := history.FromEnv()
	if err != nil {
		return err
	}
	s.stop.add("history", func(context.Context) error { return events.Close() })
	meters, err := telemetry.New(ctx, c.Version)
	if err != nil {
		return err
	}
	s.stop.add("telemetry", meters.Shutdown)

	// 1: matter
	nd, err := natsd.Start(ctx, natsd.Options{Dir: c.Data, Memory: c.Memory, MaxMemory: c.MaxMemory, Reserve: c.Reserve, MaxDisk: c.MaxDisk, Relaxed: c.Relaxed, Logger: component("store")})
	switch {
	case errors.Is(err, natsd.ErrLocked):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.Is(err, natsd.ErrFormat):
		return fmt.Errorf("%w: %w", ErrData, err)
	case err != nil:
		return err
	}
	s.stop.add("store", nd.Close)
	records, err := functionlogs.Open(functionlogs.Options{Dir: s.dir("logs"), Admit: func(n int) error { return nd.Admit(natsd.Data, n) }, Bytes: logBytes(c.MaxDisk), Logger: component("function logs")})
	if err != nil {
		return err
	}
	s.stop.add("function logs", records.Close)
	series, err := telemetry.OpenSeries(telemetry.SeriesOptions{Dir: s.dir("metrics"), Admit: func(n int) error { return nd.Admit(natsd.Data, n) }, Logger: component("metrics")})
	if err != nil {
		return err
	}
	s.stop.add("metrics", series.Close)
	meters.Feed(series)
	logs := log.New(nd, log.Options{Logger: component("log")})
	s.stop.add("logs", logs.Close)
	var confirmed atomic.Pointer[relay.Relay] // set once there is one
	streams, err := natsstream.Open(ctx, nd, logs, natsstream.Options{
		Keep: func(ctx context.Context, source string, m log.Mark) (bool, error) {
			if r := confirmed.Load(); r != nil {
				return r.Confirmed(ctx, source, m)
			}
			return false, nil // nobody knows yet
		},
		StateDelay: c.StateDelay, Logger: component("streams")})
	if err != nil {
		return err
	}
	s.stop.add("streams", streams.Close)
	if err := meters.Watch(rooms(nd, streams)); err != nil {
		return err
	}
	cache, err := s.cacheDir()
	if err != nil {
		return err
	}
	// Functions come to a listener of their own, whatever name they call us by: the
	// API of the command line is not for them.
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("%w for functions: %w", ErrListen, err)
	}
	s.stop.add("address for functions", func(context.Context) error {
		if err := inner.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	out := door.New(door.Options{Endpoint: strings.TrimPrefix(s.Endpoint(), "http://"), Behind: inner.Addr().(*net.TCPAddr).AddrPort(), Logger: component("door")})
	engine, err := sandbox.New(ctx, sandbox.Options{Options: wasm.Options{CacheDir: cache, Endpoint: s.Endpoint(), Dialer: out}, Logger: component("sandbox")})
	if err != nil {
		return err
	}
	s.stop.add("engine", engine.Close)
	s.missing = engine.Missing()
	registry, err := store.Open(ctx, nd, engine)
	if err != nil {
		return err
	}
	s.run("compiling", component("functions"), registry.Run)
	journals := journal.Open(nd, journal.Options{Logger: component("journal")})
	mappings, err := kv.Open[triggers.Mapping](ctx, nd, "triggers")
	if err != nil {
		return err
	}

	// 3: engine
	runner := pool.New(registry, engine, pool.Options{ProcessBytes: processBytes, Logs: records, Logger: component("pool"), Observer: observeInvocations(meters)})
	s.stop.add("functions", runner.Close)
	registry.Watch(runner.Changed)
	letters, err := morgue.Open(ctx, nd, journals)
	if err != nil {
		return err
	}
	objects, err := s3.New(c.S3)
	if err != nil {
		return err
	}
	destinations, err := destination.New(destination.Options{Streams: meteredStreams{streams, meters}, Objects: objects, Directories: c.FileDestinations})
	if err != nil {
		return err
	}
	carrier := relay.New(nd, journals, letters, streams, component("relay"))
	carrier.Notify(destinations, observeNotices(meters))
	confirmed.Store(carrier)
	s.run("relay", component("relay"), carrier.Run)
	mill := poll.New(poll.Deps{Streams: streams, Journals: journals, Mappings: mappings, Invoker: runner, Relay: carrier, Letters: letters, Functions: registry, Destinations: destinations,
		History: events, Observer: observeTriggers(meters), Logger: component("triggers")})
	if err := mill.Start(ctx); err != nil {
		return err
	}
	s.stop.add("triggers", func(ctx context.Context) error {
		// Calls under way may end, but not use up the time that writing down
		// how they ended takes.
		ctx, cancel := early(ctx)
		defer cancel()
		return mill.Close(ctx)
	})
	if all, err := registry.List(ctx); err == nil {
		runner.Warm(all)
	}

	elastic := ondemand.New(streams, component("ondemand"))
	s.run("on-demand streams", component("ondemand"), elastic.Run)

	// 4: face
	faults := new(wire.Faults)
	deps := admin.Deps{
		Streams: streamFace{meteredStreams{streams, meters}}, Functions: registry, Invoker: runner, Logs: logFace{runner}, Triggers: triggerFace{mill}, Letters: letterFace{letters}, Replayer: replayFace{registry, runner},
		Metrics: meters.Handler(), Healthy: healthy(nd), NoRoom: noRoom, Info: func() admin.Info { return s.info(nd) }, AllowReset: c.AllowReset, Hosts: s.hosts(),
		Faults: faults, StreamWarning: elastic.Warning, Shutdown: s.Shutdown, Closing: s.ending, Logger: component("admin"),
	}
	key, err := kv.Secret(ctx, nd, "kinesis") // a restart does not void the iterators that are out
	if err != nil {
		return err
	}
	var limits *kinesis.Limits
	if c.Limits {
		limits = &kinesis.Limits{}
	}
	entities, err := kv.Open[iam.Entity](ctx, nd, "iam")
	if err != nil {
		return err
	}
	identities := iam.NewStore(entities)
	data := kinesis.New(kinesis.Deps{Streams: meteredStreams{streams, meters}, Limits: limits, Faults: faults, StateDelay: c.StateDelay, Secret: key, Logger: component("kinesis")})
	services := func(inner bool) []*wire.Service {
		first := data
		if inner {
			first = kinesis.ForFunctions(data)
		}
		all := []*wire.Service{
			first,
			lambda.New(lambda.Deps{Functions: registry, Invoker: runner, Mappings: mill, Streams: streams, Objects: objects, Endpoint: s.Endpoint(), Inner: inner, Logger: component("lambda")}),
			cloudwatchlogs.New(cloudwatchlogs.Deps{Store: records, Inner: inner, Logger: component("logs")}),
			cloudwatch.New(cloudwatch.Deps{Series: series, Inner: inner, Logger: component("cloudwatch")}),
		}
		return append(all, iam.New(iam.Deps{Store: identities, Inner: inner})...)
	}
	face := wire.Options{Services: services(true), Caller: out.Caller, Faults: faults, Closing: s.ending, Logger: component("aws")}
	// What another emulator serves may be a way out of the sandbox: functions dial it if
	// they are allowed to. Nor may they change what runs, or where.
	within, err := wire.New(face)
	if err != nil {
		return err
	}
	face.Services, face.Caller, face.Upstream = services(false), nil, c.Upstream
	aws, err := wire.New(face)
	if err != nil {
		return err
	}
	s.serve("listener for functions", inner, front(admin.ForFunctions(deps), within, s.hosts()))
	s.serve("listener", ln, front(admin.New(deps), aws, s.hosts()))
	return nil
}

// processBytes is what a process of the sandbox takes beside its guests: 27 MB with a
// Go function of 4 MB loaded, less with a small one.
const processBytes = 24 << 20

// dir is a directory of the server's beside its store; empty in memory.
func (s *Server) dir(name string) string {
	if s.config.Memory {
		return ""
	}
	return filepath.Join(s.config.Data, name)
}

// logBytes is how much function logs may take, where the disk's share is limited: a tenth of
// that; 0 leaves it at the default.
func logBytes(most int64) int64 {
	if share := most / 10; most > 0 && share < 1<<30 {
		return share
	}
	return 0
}

// hosts are the names to be called by. A name to listen on is one of them.
func (s *Server) hosts() admin.Hosts {
	names := slices.Clone(s.config.AllowHosts)
	if host, _, err := net.SplitHostPort(s.config.Listen); err == nil {
		names = append(names, host)
	}
	return admin.Hosts{Listen: s.addr, Names: names}
}

// run starts something that lasts as long as the server.
func (s *Server) run(what string, logger *slog.Logger, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}) // closed when run has returned
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			logger.Error("ended by itself", "error", err)
		}
	}()
	s.stop.add(what, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// serve answers HTTP until it is stopped.
func (s *Server) serve(what string, ln net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, Protocols: wire.Protocols(),
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug)}
	done := make(chan struct{}) // closed when Serve has returned
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.config.Logger.Error("the "+what+" ended by itself", "error", err)
			s.Shutdown()
		}
	}()
	s.stop.add(what, func(ctx context.Context) error {
		ctx, cancel := early(ctx)
		defer cancel()
		err := srv.Shutdown(ctx)
		if err != nil {
			err = srv.Close()
		}
		<-done
		return err
	})
}

// early ends a while before ctx does, so that what comes after has time left.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-time.Until(end)/3))
}

// cacheDir is where compiled code is kept; in memory there need be none.
func (s *Server) cacheDir() (string, error) {
	if s.config.Memory {
		return s.config.Cache, nil
	}
	dir := filepath.Join(s.config.Data, "cache")
	return dir, os.MkdirAll(dir, 0o700)
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.addr }

// Endpoint is its URL for clients on this machine.
func (s *Server) Endpoint() string {
	host, port, err := net.SplitHostPort(s.addr.String())
	if err != nil {
		return "http://" + s.addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Missing are the protections of the sandbox that this machine does not have, a
// sentence each.
func (s *Server) Missing() []string { return s.missing }

// Done is closed when somebody asked for the server's end; Close brings it.
func (s *Server) Done() <-chan struct{} { return s.asked }

// Shutdown asks for the server's end and returns at once.
func (s *Server) Shutdown() {
	s.askOnce.Do(func() { close(s.asked) })
}

// Close stops the server in two steps: it takes nothing new and lets what is
// under way end; what has not ended shortly before ctx does is cut short, and
// runs again after the next start. Closing again returns what the first returned.
func (s *Server) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.ending) })
	s.Shutdown()
	s.shutOnce.Do(func() { s.shutErr = s.stop.close(ctx) })
	return s.shutErr
}
