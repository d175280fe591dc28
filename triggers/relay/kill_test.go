package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/destination"
	"github.com/wasmill/wasmill/triggers/journal"
)

const victimDir = "WASMILL_TEST_VICTIM"

func init() { children[victimDir] = victim }

// buries says which records the victim buries, and with how many bytes.
func buries(n uint64) (size int, ok bool) {
	if n%50 == 7 {
		return 1500 << 10, true // in blobs
	}
	return int(n % 2000), n%3 == 0
}

// emitted are the outputs of the victim's commit n: to x and y, of several keys.
func emitted(n uint64, x, y stream.Description) (out []triggers.Output) {
	for i := range n % 7 {
		d := []stream.Description{x, y}[i%2]
		out = append(out, triggers.Output{
			ID: fmt.Sprintf("%031x%d", n, i), StreamID: d.ID, Stream: d.ARN(), PartitionKey: fmt.Sprint("key", (n+i)%5), Data: make([]byte, n%3000),
		})
	}
	if n%60 == 13 {
		out = append(out, triggers.Output{ID: fmt.Sprintf("%032x", 1<<60+n), StreamID: x.ID, Stream: x.ARN(), PartitionKey: "large", Data: make([]byte, 1500<<10)}) // in blobs
	}
	return out
}

// discards are the notices of the victim's commit n: to files below told, and to a stream.
func discards(n uint64, told string) (out []triggers.Notice) {
	for i, destination := range []string{"file://" + filepath.ToSlash(told), stream.Local("told").ARN()} {
		if (n+uint64(i))%4 == 1 {
			out = append(out, triggers.Notice{
				ID: fmt.Sprintf("%030x%02d", n, i), Destination: destination, Mapping: mapping, Shard: source0.Shard, At: time.Unix(17e8+int64(n), 0), Records: 1,
				Body: fmt.Appendf(nil, `{"n":%d}`, n), Payload: make([]byte, n%3000),
			})
		}
	}
	if n%60 == 15 && len(out) > 0 {
		out[0].Payload = make([]byte, 1500<<10) // in blobs
	}
	return out
}

// openTargets opens the streams that the victim emits to, made by the first.
func openTargets(ctx context.Context, srv *natsd.Server) (s *natsstream.Store, x, y stream.Description, err error) {
	if s, err = natsstream.Open(ctx, srv, log.New(srv, log.Options{}), natsstream.Options{}); err != nil {
		return s, x, y, err
	}
	for _, of := range []struct {
		d      *stream.Description
		name   string
		shards int
	}{{&x, "x", 2}, {&y, "y", 1}} {
		if *of.d, err = s.Describe(ctx, stream.Local(of.name)); errors.Is(err, stream.ErrNotFound) {
			*of.d, err = s.Create(ctx, stream.Local(of.name), stream.Config{Shards: of.shards, RecordBytes: 2 << 20})
		}
		if err != nil {
			return s, x, y, err
		}
	}
	return s, x, y, nil
}

// victim commits until it is killed, and prints each number that is
// acknowledged.
func victim(dir string) error {
	ctx := context.Background()
	srv, err := natsd.Start(ctx, natsd.Options{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return err
	}
	journals := journal.Open(srv, journal.Options{})
	if err := journals.Create(ctx, mapping); err != nil {
		return err
	}
	m, err := morgue.Open(ctx, srv, journals)
	if err != nil {
		return err
	}
	streams, x, y, err := openTargets(ctx, srv)
	if err != nil {
		return err
	}
	told := filepath.Join(dir, "told")
	if err := os.MkdirAll(told, 0o700); err != nil {
		return err
	}
	if _, err := streams.Create(ctx, stream.Local("told"), stream.Config{}); err != nil && !errors.Is(err, stream.ErrExists) {
		return err
	}
	sender, err := destination.New(destination.Options{Streams: streams, Directories: []string{told}})
	if err != nil {
		return err
	}
	r := New(srv, journals, m, streams, nil)
	r.Notify(sender, nil)
	go func() { _ = r.Run(ctx) }()
	go func() {
		for {
			time.Sleep(20 * time.Millisecond)
			if _, err := reshard(streams, x.Ref); err != nil && !errors.Is(err, stream.ErrBusy) {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	j, cp, err := journals.Take(ctx, source0, "victim")
	if err != nil {
		return err
	}
	n := uint64(0)
	if cp != nil {
		n = cp.Next
	}
	fmt.Println("start", n)
	for ; ; n++ {
		var letters []dlq.Letter
		if size, ok := buries(n); ok {
			letters = append(letters, letter(n, size))
		}
		if err := j.Commit(ctx, triggers.Checkpoint{Next: n + 1}, journal.Cargo{Letters: letters, Outputs: emitted(n, x, y), Notices: discards(n, told)}); err != nil {
			return err
		}
		fmt.Println("ack", n+1)
		if n%40 == 39 {
			fmt.Println("purging", n+1)
			if _, err := m.Purge(ctx, morgue.Filter{}); err != nil {
				return err
			}
			fmt.Println("purged", n+1)
		}
	}
}

// TestSIGKILLLosesNoCommitAndNoNoticeAndDoublesNoLetterOrOutput kills a process that commits, again
// and again, while the shards of one of the streams that it emits to split and merge.
func TestSIGKILLLosesNoCommitAndNoNoticeAndDoublesNoLetterOrOutput(t *testing.T) {
	dir := t.TempDir()
	// Letters below purged are gone, those from purging on are there, and of those
	// between a purge that was killed may have left some.
	acked, purging, purged, rounds := uint64(0), uint64(0), uint64(0), 15
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := acked
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			word, number, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.ParseUint(number, 10, 64)
			if err != nil {
				t.Fatalf("victim says %q", lines.Text())
			}
			switch word {
			case "start":
				if n < acked {
					t.Fatalf("round %d: checkpoint is %d, %d was acknowledged", round, n, acked)
				}
				before = n
				// At a random moment from now on, whatever it does then.
				time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			case "ack":
				acked = n
			case "purging":
				purging = n
			case "purged":
				purged = n
			}
		}
		if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("victim ended by itself: %v: %s", err, stderr.String())
		}
		t.Logf("round %d: %d commits", round, max(acked, before)-before)
	}

	told := filepath.Join(dir, "told")
	srv := natsdtest.Start(t, natsd.Options{Dir: filepath.Join(dir, "data")})
	var sender *destination.Sender
	p := bootWith(t, srv, func(s *natsstream.Store) Targets {
		var err error
		if sender, err = destination.New(destination.Options{Streams: s, Directories: []string{told}}); err != nil {
			t.Fatal(err)
		}
		return s
	}, nil, func(r *Relay) { r.Notify(sender, nil) })
	cp, err := p.journals.Peek(context.Background(), source0)
	if err != nil || cp == nil || cp.Next < acked {
		t.Fatalf("checkpoint = %+v, %v; %d was acknowledged", cp, err, acked)
	}
	p.drain(mapping)
	there, next := strings.Fields(p.kept()), 0
	for n := range cp.Next {
		if _, ok := buries(n); !ok {
			continue
		}
		found := next < len(there) && there[next] == fmt.Sprint(n)
		if found {
			next++
		}
		if found && n < purged || !found && n >= purging {
			t.Errorf("letter %d is there: %v; letters below %d were purged, perhaps those below %d", n, found, purged, purging)
		}
	}
	if next != len(there) {
		t.Errorf("%v in the morgue: not ascending, or twice, or never buried", there[next:])
	}
	all, err := p.morgue.List(context.Background(), morgue.Filter{Data: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if size, _ := buries(l.Number); len(l.Data) != size {
			t.Errorf("letter %d has %d bytes, want %d", l.Number, len(l.Data), size)
		}
	}
	_, x, y, err := openTargets(context.Background(), p.srv)
	if err != nil {
		t.Fatal(err)
	}
	b := book{all: map[string][]triggers.Output{}}
	for n := range cp.Next {
		b.add(emitted(n, x, y), x, y)
	}
	p.checkTold(cp.Next, told)
	p.checkOrder(&b, x.Ref)
	p.checkOrder(&b, y.Ref)
	t.Logf("%d outputs, %d shards", len(b.all[x.ID])+len(b.all[y.ID]), len(x.Shards)+len(y.Shards))
	t.Logf("%d commits over %d kills; %d dead letters after the last purge, of those below %d", cp.Next, rounds, len(there), purging)
}

// checkTold wants each notice of the victim's commits below next: as one file, or in
// the stream at least once, in order where it is there first.
func (p *process) checkTold(next uint64, told string) {
	p.t.Helper()
	files, wanted := map[string]string{}, []string{}
	for n := range next {
		for _, notice := range discards(n, told) {
			if strings.HasPrefix(notice.Destination, "file:") {
				files[filepath.FromSlash(destination.Key(notice))] = string(destination.Object(notice))
			} else {
				wanted = append(wanted, string(notice.Body))
			}
		}
	}
	want := len(files)
	err := filepath.WalkDir(told, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(told, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if object, ok := files[name]; !ok || object != string(content) {
			p.t.Errorf("file %s: wanted %v, %d bytes", name, ok, len(content))
		}
		delete(files, name)
		return err
	})
	if err != nil || len(files) > 0 {
		p.t.Errorf("%d of %d notices have no file: %v", len(files), want, err)
	}
	d, err := p.streams.Describe(context.Background(), stream.Local("told"))
	if err != nil {
		p.t.Fatal(err)
	}
	seen, twice := map[string]bool{}, 0
	var got []string
	for pos := (stream.Position{Kind: stream.TrimHorizon}); ; {
		page, err := p.streams.Read(context.Background(), d.Ref, d.Shards[0].ID, pos, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, r := range page.Records {
			if body := string(r.Data); seen[body] {
				twice++
			} else {
				seen[body] = true
				got = append(got, body)
			}
		}
		if len(page.Records) == 0 {
			break
		}
		pos = page.Next
	}
	if !slices.Equal(got, wanted) {
		p.t.Errorf("the stream has %d notices, want %d, in order", len(got), len(wanted))
	}
	p.t.Logf("%d notices in files, %d in a stream, %d of them sent again after a kill", want, len(got), twice)
}
