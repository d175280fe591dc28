package natsd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// unlimited is JetStream's store limit. What may be written is decided by
// Admit; a limit of zero would make JetStream invent one.
const unlimited = 1 << 60

// settings of one embedded server.
type settings struct {
	dir           string
	always        bool  // fsync before each acknowledgement
	store, memory int64 // JetStream's limits in bytes, both above 0
}

// instance is one run of the embedded server. A failed store is mended by
// ending its instance and starting another on the same files.
type instance struct {
	ns  *server.Server
	dir string // its StoreDir
	log *bridge
	// writes ends when this instance takes no writes any more, serves when it
	// answers nothing any more.
	writes, serves context.Context
	lose, end      context.CancelCauseFunc
}

// startInstance returns when JetStream has recovered its streams. changed is
// called, never blocking, when the instance may have failed.
func startInstance(set settings, log *slog.Logger, changed func()) (*instance, error) {
	opts := &server.Options{
		ServerName:             "wasmill",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true, // our own logger is set below
		DisableJetStreamBanner: true,
		MaxPayload:             MaxPayload,
		// A burst of large reads must not make the server take us for a slow
		// consumer and hang up: requests bound what is on its way.
		MaxPending:         1 << 30,
		JetStream:          true,
		StoreDir:           set.dir,
		SyncAlways:         set.always,
		JetStreamMaxStore:  set.store,
		JetStreamMaxMemory: set.memory,
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	in := &instance{ns: ns, dir: set.dir}
	in.serves, in.end = context.WithCancelCause(context.Background())
	in.writes, in.lose = context.WithCancelCause(in.serves)
	in.log = &bridge{log: log, failed: func() {
		in.lose(ErrDown)
		changed()
	}}
	ns.SetLoggerV2(in.log, false, false, false)
	ns.Start() // returns when all is up, as nothing listens
	if text := in.log.fatal.Load(); text != nil {
		in.stop()
		return nil, errors.New(*text)
	}
	if !ns.ReadyForConnections(10 * time.Second) {
		in.stop()
		return nil, errors.New("embedded server did not become ready")
	}
	return in, nil
}

// stop returns when no goroutine of the instance runs and no file is open.
func (in *instance) stop() {
	in.end(ErrDown)
	in.ns.Shutdown()
	in.ns.WaitForShutdown()
}

// sick tells why the instance will not store anything any more, or nil.
func (in *instance) sick() error {
	if !in.ns.JetStreamEnabled() {
		return errors.New("JetStream has disabled itself")
	}
	for _, e := range in.health() {
		if strings.Contains(e.Error, "write error") {
			return errors.New(e.Error)
		}
	}
	if text := in.log.critical.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

// health is what JetStream finds wrong with its streams. It looks at them only
// if the server proves within a millisecond that it is up, which takes a few
// tries on a busy machine.
func (in *instance) health() (errs []server.HealthzError) {
	for range 1000 {
		errs = in.ns.Healthz(&server.HealthzOptions{Details: true}).Errors
		if len(errs) == 0 || errs[0].Type != server.HealthzErrorConn {
			return errs
		}
	}
	return errs
}

// unrecovered names the streams on disk that JetStream could not open: it goes
// on without them, which would show as data that was never there.
//
// A kill while a stream is made or deleted leaves a directory without its
// description. Nobody was told that such a stream exists, so it is no damage.
func (in *instance) unrecovered() error {
	var errs []error
	for _, e := range in.health() {
		info := filepath.Join(in.dir, server.JetStreamStoreDir, e.Account, "streams", e.Stream, server.JetStreamMetaFile)
		if _, err := os.Stat(info); e.Stream != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, errors.New(e.Error))
	}
	return errors.Join(errs...)
}

// dialer connects one connection to whatever instance is current.
type dialer struct {
	s    *Server
	conn *nats.Conn               // set once, before anyone asks
	last atomic.Pointer[instance] // the one it dialled last
}

// InProcessConn implements nats.InProcessConnProvider. It must not wait, since
// the connection's lock is held.
func (d *dialer) InProcessConn() (net.Conn, error) {
	d.s.mu.Lock()
	in := d.s.cur
	d.s.mu.Unlock()
	if in == nil {
		return nil, ErrDown
	}
	c, err := in.ns.InProcessConn()
	if err == nil {
		d.last.Store(in)
	}
	return c, err
}

// on says whether the connection stands and ends at in.
func (d *dialer) on(in *instance) bool {
	return d.last.Load() == in && d.conn.IsConnected()
}

// bridge hands the server's log to slog and listens for the words by which a
// store says that it has failed for good. The server may hold any lock.
type bridge struct {
	log      *slog.Logger
	failed   func() // called once, on the first critical error; does not block
	once     sync.Once
	critical atomic.Pointer[string] // the store's first critical error
	fatal    atomic.Pointer[string] // why the start failed
}

func (b *bridge) Noticef(format string, v ...any) { b.debug(format, v...) }
func (b *bridge) Debugf(format string, v ...any)  { b.debug(format, v...) }
func (b *bridge) Tracef(format string, v ...any)  { b.debug(format, v...) }

func (b *bridge) debug(format string, v ...any) {
	b.log.Debug("nats: " + fmt.Sprintf(format, v...))
}

func (b *bridge) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // frames are meant to be large, and never leave the process
	}
	b.log.Warn("nats: " + fmt.Sprintf(format, v...))
}

func (b *bridge) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	b.log.Error("nats: " + text)
	if strings.Contains(strings.ToLower(text), "critical write error") {
		b.critical.CompareAndSwap(nil, &text)
		b.once.Do(b.failed)
	}
}

// Fatalf does not end the process: Start returns after it.
func (b *bridge) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	b.fatal.CompareAndSwap(nil, &text)
}
