package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/kinesis"
	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream/natsstream"
)

const (
	// kinesalite is what the wire is measured against: in memory, where ours is fsynced.
	kinesalite = "kinesalite@3.3.3"
	// serveVar asks a child for a server: "kinesis", or "json", which only decodes what it
	// gets with encoding/json.
	serveVar = "WASMILL_BENCH_SERVE"
	dataVar  = "WASMILL_BENCH_DATA"
)

// peer is a server in a process of its own.
type peer struct {
	url    string
	pid    int
	client *http.Client
}

// kinesisWire: the same client and the same bodies, made beforehand, sent to our Kinesis API,
// to kinesalite, and to a handler that does nothing but encoding/json with them.
func kinesisWire(ctx context.Context, h *host) ([]result, error) {
	ours, err := h.serve(ctx, "kinesis")
	if err != nil {
		return nil, err
	}
	theirs, err := h.kinesalite(ctx)
	if err != nil {
		return nil, err
	}
	decoder, err := h.serve(ctx, "json")
	if err != nil {
		return nil, err
	}
	for _, p := range []*peer{ours, theirs} {
		if err := p.create(ctx); err != nil {
			return nil, err
		}
	}
	many, single := putBodies(8, 500), putBodies(64, 1)
	var results []result
	versus := func(name, goal string, ours, theirs func() (float64, float64, error)) error {
		var cpus [2][]float64
		side := func(i int, run func() (float64, float64, error)) func() (float64, error) {
			return func() (float64, error) {
				rate, cpu, err := run()
				cpus[i] = append(cpus[i], cpu)
				return rate, err
			}
		}
		r, err := compare(name, "records/s", goal, 0, side(0, ours), side(1, theirs))
		if err != nil {
			return err
		}
		results = append(results, r)
		if a, b := median(cpus[0]), median(cpus[1]); a > 0 && b > 0 {
			results = append(results, result{Bench: name + ".cpu", Value: round(a), Unit: "µs/record of the server", Raw: round(b), Ratio: round(a / b)})
		}
		return nil
	}
	put := func(p *peer, op string, bodies [][]byte, records int) func() (float64, float64, error) {
		return func() (float64, float64, error) {
			return p.measure(ctx, len(bodies), h.last, func(ctx context.Context, caller, _ int) (int, error) {
				answer, err := p.call(ctx, op, bodies[caller])
				if err == nil && p != decoder && (bytes.Contains(answer, []byte("ErrorCode")) || !bytes.Contains(answer, []byte("SequenceNumber"))) {
					err = fmt.Errorf("%s: %.200s", op, answer)
				}
				return records, err
			})
		}
	}
	err = versus("kinesis.PutRecords.500x1KB.decode", "ratio >= 0.6", put(ours, "PutRecords", many, 500), put(decoder, "PutRecords", many, 500))
	if err == nil {
		err = versus("kinesis.PutRecords.500x1KB", "ratio >= 10", put(ours, "PutRecords", many, 500), put(theirs, "PutRecords", many, 500))
	}
	if err == nil {
		err = versus("kinesis.PutRecord.64callers", "ratio >= 5", put(ours, "PutRecord", single, 1), put(theirs, "PutRecord", single, 1))
	}
	get := func(p *peer) func() (float64, float64, error) {
		return func() (float64, float64, error) {
			var at [shards][]byte
			return p.measure(ctx, shards, h.last, func(ctx context.Context, caller, _ int) (n int, err error) {
				n, at[caller], err = p.page(ctx, caller, at[caller])
				return n, err
			})
		}
	}
	if err == nil {
		err = versus("kinesis.GetRecords.1000x1KB", "ratio >= 5", get(ours), get(theirs))
	}
	return results, err
}

// putBodies are n inputs of PutRecords, or of PutRecord if records is 1.
func putBodies(n, records int) [][]byte {
	bodies := make([][]byte, n)
	for i := range bodies {
		var list []string
		for j := range records {
			list = append(list, fmt.Sprintf(`"Data":"%s","PartitionKey":"key-%d"`, base64.StdEncoding.EncodeToString(payload(1000)), i*records+j))
		}
		if records == 1 {
			bodies[i] = []byte(`{"StreamName":"bench",` + list[0] + `}`)
		} else {
			bodies[i] = []byte(`{"StreamName":"bench","Records":[{` + strings.Join(list, "},{") + `}]}`)
		}
	}
	return bodies
}

// create makes the stream and waits until it takes records.
func (p *peer) create(ctx context.Context) error {
	if _, err := p.call(ctx, "CreateStream", []byte(`{"StreamName":"bench","ShardCount":`+strconv.Itoa(shards)+`}`)); err != nil {
		return err
	}
	for {
		answer, err := p.call(ctx, "DescribeStream", []byte(`{"StreamName":"bench"}`))
		if err != nil || bytes.Contains(answer, []byte(`"ACTIVE"`)) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// page reads the next page of a shard, from its beginning if at is nil or the page before was
// the last.
func (p *peer) page(ctx context.Context, shard int, at []byte) (records int, next []byte, err error) {
	if at == nil {
		answer, err := p.call(ctx, "GetShardIterator", fmt.Appendf(nil, `{"StreamName":"bench","ShardId":"shardId-%012d","ShardIteratorType":"TRIM_HORIZON"}`, shard))
		if err != nil {
			return 0, nil, err
		}
		at = quoted(answer, "ShardIterator")
	}
	answer, err := p.call(ctx, "GetRecords", fmt.Appendf(nil, `{"ShardIterator":"%s","Limit":1000}`, at))
	if err != nil {
		return 0, nil, err
	}
	if records = bytes.Count(answer, []byte(`"SequenceNumber"`)); records > 0 {
		next = bytes.Clone(quoted(answer, "NextShardIterator"))
	}
	return records, next, nil
}

// quoted is the text of a member.
func quoted(answer []byte, name string) []byte {
	_, rest, _ := bytes.Cut(answer, []byte(`"`+name+`":"`))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return text
}

func (p *peer) call(ctx context.Context, op string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=0000000000000000000000000000000000000000000000000000000000000000")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	buf := bytes.NewBuffer(make([]byte, 0, max(resp.ContentLength, 0)+bytes.MinRead))
	if _, err := buf.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", op, resp.Status, buf.Bytes())
	}
	return buf.Bytes(), nil
}

// measure runs callers, and gives besides their rate the server's CPU time in µs for each
// record; 0 where the system does not tell.
func (p *peer) measure(ctx context.Context, n int, last time.Duration, call func(ctx context.Context, caller, round int) (int, error)) (rate, cpu float64, err error) {
	before := processorTime(p.pid)
	began := time.Now()
	rate, err = callers(ctx, n, last, call)
	if err != nil {
		return 0, 0, err
	}
	spent := processorTime(p.pid) - before
	return rate, float64(spent.Microseconds()) / (rate * time.Since(began).Seconds()), nil
}

// processorTime is what a process has used, in user and system mode, where /proc tells it.
func processorTime(pid int) time.Duration {
	if runtime.GOOS != "linux" {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the third on
	var ticks int64
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ is 100 wherever Go runs
}

// serve starts this program once more, as the server of that kind.
func (h *host) serve(ctx context.Context, kind string) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), serveVar+"="+kind, dataVar+"="+h.sub("kinesis"))
	return h.peer(cmd, "")
}

// kinesalite starts npm's; the first time it is installed, into the user's cache.
func (h *host) kinesalite(ctx context.Context) (*peer, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "wasmill", "bench", kinesalite)
	script := filepath.Join(dir, "node_modules", "kinesalite", "cli.js")
	if _, err := os.Stat(script); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		npm := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-fund", "--no-audit", kinesalite)
		if out, err := npm.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm install %s: %w: %s", kinesalite, err, out)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0") // it cannot choose a port itself
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	if err := free.Close(); err != nil {
		return nil, err
	}
	return h.peer(exec.CommandContext(ctx, "node", "--max-old-space-size=4096", script, "--port", port), "http://127.0.0.1:"+port)
}

// peer starts a server that prints a URL when it is ready: its own unless url is given.
func (h *host) peer(cmd *exec.Cmd, url string) (*peer, error) {
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h.undo = append(h.undo, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at := strings.Index(lines.Text(), "http://"); at >= 0 {
			if url == "" {
				url = lines.Text()[at:]
			}
			return &peer{url: url, pid: cmd.Process.Pid, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("%s printed no URL", cmd), lines.Err())
}

// serveKinesis is the child: a server until it is interrupted.
func serveKinesis(kind string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	handler := http.Handler(http.HandlerFunc(decodeOnly))
	if kind == "kinesis" {
		srv, err := natsd.Start(ctx, natsd.Options{Dir: os.Getenv(dataVar)})
		if err != nil {
			return err
		}
		defer srv.Close(context.Background())
		logs := log.New(srv, log.Options{})
		defer logs.Close(context.Background())
		store, err := natsstream.Open(ctx, srv, logs, natsstream.Options{})
		if err != nil {
			return err
		}
		defer store.Close(context.Background())
		if handler, err = wire.New(wire.Options{Services: []*wire.Service{kinesis.New(kinesis.Deps{Streams: store})}}); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, Protocols: wire.Protocols()}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// decodeOnly is what any server in Go does at least, unless it has a decoder of its own.
func decodeOnly(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in struct {
		StreamName string
		Records    []struct {
			Data            []byte
			PartitionKey    string
			ExplicitHashKey string
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, `{"Records":%d}`, len(in.Records))
}
